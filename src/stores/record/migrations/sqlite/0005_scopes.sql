-- An organization's sums are asked for when its counters are rebuilt, and by its reports: without this each time every
-- scope there is would be looked at, and there are as many as keys.
CREATE INDEX scopes_of_organization ON scopes (organization, kind, key);
