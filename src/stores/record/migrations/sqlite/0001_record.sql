-- Instants are microseconds of Unix time, ids of keys, users, sessions and requests the 16 bytes of a UUID,
-- digests the 32 bytes of SHA-256. A cap that is NULL is no cap; a limit without a period is no limit.

CREATE TABLE organizations (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    plan             TEXT    NOT NULL,
    per_second       INTEGER,
    per_minute       INTEGER,
    concurrency      INTEGER,
    limit_requests   INTEGER,
    limit_microcents INTEGER,
    limit_period     TEXT    CHECK (limit_period IN ('daily', 'weekly', 'monthly')),
    limit_enabled    INTEGER NOT NULL DEFAULT 0,
    created_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id         BLOB    NOT NULL PRIMARY KEY,
    email      TEXT    NOT NULL UNIQUE CHECK (email = lower(email)),
    password   TEXT,                         -- PHC string; NULL: only an outside issuer knows it
    subject    TEXT    UNIQUE,               -- who it is to the outside issuer, once that has said so
    operator   INTEGER NOT NULL,
    personal   TEXT    NOT NULL REFERENCES organizations (id),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    user         BLOB NOT NULL REFERENCES users (id),
    organization TEXT NOT NULL REFERENCES organizations (id),
    role         TEXT NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    since        INTEGER NOT NULL,
    PRIMARY KEY (user, organization)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_organization ON members (organization, user);

-- An accepted or withdrawn one is gone; the audit trail keeps what became of it.
CREATE TABLE invitations (
    id           BLOB    NOT NULL PRIMARY KEY,
    digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    organization TEXT    NOT NULL REFERENCES organizations (id),
    email        TEXT    NOT NULL CHECK (email = lower(email)),
    role         TEXT    NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    invited_by   BLOB    REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    UNIQUE (organization, email)
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id           TEXT    NOT NULL PRIMARY KEY,
    organization TEXT    NOT NULL REFERENCES organizations (id),
    name         TEXT    NOT NULL,
    is_default   INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    UNIQUE (organization, name)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_default_project ON projects (organization) WHERE is_default;

CREATE TABLE keys (
    id               BLOB    NOT NULL PRIMARY KEY,
    organization     TEXT    NOT NULL REFERENCES organizations (id),
    project          TEXT    NOT NULL REFERENCES projects (id),
    name             TEXT    NOT NULL,
    category         TEXT    NOT NULL,
    prefix           TEXT    NOT NULL,
    hint             TEXT    NOT NULL,
    scope_read       INTEGER NOT NULL,
    scope_write      INTEGER NOT NULL,
    active           INTEGER NOT NULL DEFAULT 1,
    expires_at       INTEGER,
    revoked_at       INTEGER,
    allowed_ips      TEXT    NOT NULL,       -- CIDRs with a space between; empty is everywhere
    quota_total      INTEGER,
    quota_daily      INTEGER,
    quota_weekly     INTEGER,
    quota_monthly    INTEGER,
    limit_requests   INTEGER,
    limit_microcents INTEGER,
    limit_period     TEXT    CHECK (limit_period IN ('daily', 'weekly', 'monthly')),
    limit_enabled    INTEGER NOT NULL DEFAULT 0,
    created_by       BLOB    REFERENCES users (id),
    created_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_living_key_per_name ON keys (organization, name) WHERE revoked_at IS NULL;
CREATE INDEX keys_of_organization ON keys (organization, name);
CREATE INDEX keys_by_age ON keys (organization, created_at, id);

-- A rotated key has several while the grace of the old ones lasts.
CREATE TABLE key_secrets (
    digest      BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    key         BLOB NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    valid_until INTEGER,
    imported    INTEGER NOT NULL DEFAULT 0,  -- came as a digest, so may be of any shape
    sealed      BLOB                         -- the secret itself under keys.reveal_key: nonce, ciphertext, tag
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_of_key ON key_secrets (key);
CREATE INDEX imported_secrets ON key_secrets (imported) WHERE imported;

CREATE TABLE sessions (
    id         BLOB    NOT NULL PRIMARY KEY,
    user       BLOB    NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_of_user ON sessions (user);

-- What a request that names itself (Idempotency-Key) was answered, so that its repetition is answered the same.
CREATE TABLE idempotency (
    caller     TEXT    NOT NULL,
    key        BLOB    NOT NULL CHECK (length(key) = 32),      -- digest of the name
    request    BLOB    NOT NULL CHECK (length(request) = 32),  -- digest of what was asked
    answer     BLOB,                         -- sealed; NULL while it is being found
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_end ON idempotency (expires_at);

-- What caches must forget. AUTOINCREMENT: a number is never given twice, whatever was deleted.
CREATE TABLE changes (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    digest       BLOB,
    organization TEXT,
    CHECK ((digest IS NULL) <> (organization IS NULL))
) STRICT;

CREATE TABLE audit (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    who          TEXT    NOT NULL,
    origin       TEXT    NOT NULL,
    what         TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    organization TEXT,                       -- whose it is; NULL where it is nobody's
    before       TEXT,                       -- JSON; NULL where there was nothing
    after        TEXT                        -- JSON; NULL where nothing is left
) STRICT;
CREATE INDEX audit_of_organization ON audit (organization, id);
CREATE TRIGGER audit_is_never_edited BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- The request log. No reference to keys or organizations: a row is kept whatever became of them.

-- Texts that rows repeat. Where a column is ANY, it holds the number of one, or the text itself where it is long or
-- there are too many of its kind. A number is never given anew.
CREATE TABLE names (
    number INTEGER PRIMARY KEY,
    kind   INTEGER NOT NULL,                 -- 0 project, 1 method, 2 path, 3 code, 4 tier, 5 domain, 6 target, 7 user agent
    text   TEXT    NOT NULL,
    UNIQUE (kind, text)
) STRICT;

-- Whose requests: those of an organization with one key or (empty) without one, all of an organization, everything.
CREATE TABLE scopes (
    number       INTEGER PRIMARY KEY,
    kind         INTEGER NOT NULL,           -- 0 with one key or without, 1 organization, 2 everything
    key          BLOB    NOT NULL,
    organization TEXT    NOT NULL,           -- empty: nobody, the caller stayed unknown
    UNIQUE (kind, key, organization)
) STRICT;
INSERT INTO scopes VALUES (1, 2, x'', ''), (2, 0, x'', '');

-- A row's place is (millisecond of its arrival << 21 | the id's lowest bits), or the next that was free: rows are
-- appended in the order of time, and found by time and by id without an index.
CREATE TABLE requests (
    place             INTEGER PRIMARY KEY,
    id                BLOB    NOT NULL,
    at                INTEGER NOT NULL,
    scope             INTEGER NOT NULL,      -- of kind 0
    admitted          INTEGER NOT NULL,
    outcome           INTEGER,               -- of what was admitted: 0 success, 1 failure, 2 upstream_error, 3 client_aborted, 4 crashed
    credits           INTEGER NOT NULL,
    microcents        INTEGER NOT NULL,
    cost_source       INTEGER NOT NULL,      -- 0 header, 1 json, 2 status, 3 unknown, 4 free
    status            INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,
    total_micros      INTEGER NOT NULL,
    bytes_in          INTEGER NOT NULL,
    bytes_out         INTEGER NOT NULL,
    address           BLOB    NOT NULL,      -- 4 or 16 bytes
    project           ANY,
    method            ANY     NOT NULL,
    path              ANY     NOT NULL,
    code              ANY,                   -- NULL for an upstream's answer
    tier              ANY,
    domain            ANY,
    target            ANY,
    user_agent        ANY
) STRICT;

-- The same for people: words in the place of numbers.
CREATE VIEW request_log AS
SELECT id, at, nullif(organization, '') AS organization,
       CASE typeof(project) WHEN 'integer' THEN (SELECT text FROM names WHERE number = project) ELSE project END AS project,
       nullif(key, x'') AS key, admitted,
       CASE typeof(method) WHEN 'integer' THEN (SELECT text FROM names WHERE number = method) ELSE method END AS method,
       CASE typeof(path) WHEN 'integer' THEN (SELECT text FROM names WHERE number = path) ELSE path END AS path,
       status,
       CASE typeof(code) WHEN 'integer' THEN (SELECT text FROM names WHERE number = code) ELSE coalesce(code, '') END AS code,
       CASE outcome WHEN 0 THEN 'success' WHEN 1 THEN 'failure' WHEN 2 THEN 'upstream_error'
                    WHEN 3 THEN 'client_aborted' WHEN 4 THEN 'crashed' END AS outcome,
       first_byte_micros, total_micros, address, credits, microcents,
       CASE cost_source WHEN 0 THEN 'header' WHEN 1 THEN 'json' WHEN 2 THEN 'status'
                        WHEN 3 THEN 'unknown' WHEN 4 THEN 'free' END AS cost_source,
       CASE typeof(tier) WHEN 'integer' THEN (SELECT text FROM names WHERE number = tier) ELSE tier END AS tier,
       CASE typeof(domain) WHEN 'integer' THEN (SELECT text FROM names WHERE number = domain) ELSE domain END AS domain,
       bytes_in, bytes_out,
       CASE typeof(target) WHEN 'integer' THEN (SELECT text FROM names WHERE number = target) ELSE target END AS target,
       CASE typeof(user_agent) WHEN 'integer' THEN (SELECT text FROM names WHERE number = user_agent) ELSE user_agent END AS user_agent
FROM requests JOIN scopes ON scopes.number = requests.scope;

-- Which rows a scope has, in blocks of up to 128 in the order of their places; no two blocks of a scope overlap. An
-- entry is place, status, tier and domain (sqlite/log_blocks.rs): what pages are filtered by.
CREATE TABLE log_blocks (
    scope   INTEGER NOT NULL,
    first   INTEGER NOT NULL,                -- place of its first row
    last    INTEGER NOT NULL,                -- place of its last row
    rows    INTEGER NOT NULL,
    success INTEGER NOT NULL,                -- how many of them succeeded
    entries BLOB    NOT NULL,
    PRIMARY KEY (scope, first)
) STRICT, WITHOUT ROWID;

-- Places of rows in the order in which they came in, by batch, for whoever follows the log. Kept for some minutes.
CREATE TABLE log_arrivals (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    last     INTEGER NOT NULL,               -- the batch's last place
    places   BLOB    NOT NULL
) STRICT;

-- What was removed as it was old: behind this, sums can be compared with rows.
CREATE TABLE log_removed (
    rows  INTEGER,                           -- the last place of which a row was removed
    cells INTEGER                            -- the first cell of five minutes that was kept
) STRICT;
INSERT INTO log_removed VALUES (NULL, NULL);

-- Sums of the log per scope, in cells of five minutes and of a day.
CREATE TABLE usage (
    scope             INTEGER NOT NULL,
    width             INTEGER NOT NULL,      -- seconds: 300 or 86400
    cell              INTEGER NOT NULL,      -- widths since the Unix epoch
    admitted          INTEGER NOT NULL,
    refused           INTEGER NOT NULL,
    success           INTEGER NOT NULL,
    credits           INTEGER NOT NULL,
    microcents        INTEGER NOT NULL,
    first_byte_micros INTEGER NOT NULL,      -- this and the next over admitted requests
    total_micros      INTEGER NOT NULL,
    bytes_in          INTEGER NOT NULL,
    bytes_out         INTEGER NOT NULL,
    parts             BLOB    NOT NULL,      -- by tier, domain, and kind of failure (sqlite/parts.rs)
    PRIMARY KEY (scope, width, cell)
) STRICT, WITHOUT ROWID;

-- For people, and for restoring counters: by key.
CREATE VIEW usage_5m AS
SELECT organization, key, cell, admitted, refused, success, admitted - success AS failed, credits, microcents
FROM scopes CROSS JOIN usage ON scope = number AND width = 300
WHERE kind = 0 AND organization <> '';

-- Sums of a key over all time: the log forgets, a total must not.
CREATE TABLE key_usage (
    key          BLOB    NOT NULL PRIMARY KEY,
    organization TEXT    NOT NULL,
    requests     INTEGER NOT NULL,           -- admitted
    rows         INTEGER NOT NULL,           -- refused too
    last_used_at INTEGER                     -- last admitted
) STRICT, WITHOUT ROWID;

-- Directories of spools, each a gateway's, and the second in which it last said that it lives.
CREATE TABLE spools (
    id      BLOB    NOT NULL PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE spool_cursors (
    segment TEXT    NOT NULL PRIMARY KEY,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Admissions without a row yet, from segments of the spool that are gone.
CREATE TABLE open_admissions (
    id           BLOB    NOT NULL PRIMARY KEY,
    spool        BLOB    NOT NULL,           -- whose it is to end
    at           INTEGER NOT NULL,
    key          BLOB,
    organization TEXT,
    project      TEXT,
    credits      INTEGER NOT NULL,
    microcents   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- For removing what has ended.
CREATE INDEX secrets_by_end ON key_secrets (valid_until) WHERE valid_until IS NOT NULL;
