-- Rows of the log stand in sheets, not one by one: a row costs a third to write, and less room.

DROP VIEW request_log;
-- Moved row by row, and dropped, by whoever opens the file next (sqlite/old_log.rs).
ALTER TABLE requests RENAME TO old_requests;
ALTER TABLE log_arrivals RENAME TO old_arrivals;
DROP TABLE log_blocks;

-- Up to 256 rows each, numbered in the order in which they came in. A new row goes to the last sheet.
CREATE TABLE log_sheets (
    first  INTEGER PRIMARY KEY,              -- number of its first row; none is given twice
    size   INTEGER NOT NULL,                 -- rows
    base   INTEGER NOT NULL,                 -- what its instants are counted from
    since  INTEGER NOT NULL,                 -- the first instant at which one of them was admitted or refused
    until  INTEGER NOT NULL,                 -- the last
    newest INTEGER NOT NULL,                 -- the last of their places
    ids    BLOB    NOT NULL,                 -- 16 bytes each
    rows   BLOB    NOT NULL                  -- JSONB: an array of arrays (sqlite/sheets)
) STRICT;
CREATE INDEX log_sheets_by_age ON log_sheets (newest, since, until, size);

-- A row's place is (millisecond of its arrival << 21 | the id's lowest bits), or the next that was free. Which rows a
-- scope has, in blocks in the order of their places; no two blocks of a scope overlap. An entry is place, number,
-- status, tier and domain (sqlite/log_blocks.rs): what pages are filtered by, and where the row stands.
CREATE TABLE log_blocks (
    scope   INTEGER NOT NULL,
    first   INTEGER NOT NULL,                -- place of its first row
    last    INTEGER NOT NULL,                -- place of its last row
    size    INTEGER NOT NULL,                -- rows
    success INTEGER NOT NULL,                -- how many of them succeeded
    entries BLOB    NOT NULL,
    PRIMARY KEY (scope, first)
) STRICT, WITHOUT ROWID;

-- Rows one by one. Where a column may be a text or a number, the number is that of a name.
CREATE VIEW requests AS
SELECT s.first AS sheet, s.first + r.key AS number,
       substr(s.ids, r.key * 16 + 1, 16) AS id,
       s.base + (r.value ->> 0) AS at,
       r.value ->> 1 AS scope,               -- of kind 0
       (r.value ->> 2) & 1 AS admitted,
       nullif((r.value ->> 2) >> 1 & 7, 0) - 1 AS outcome, -- of what was admitted: 0 success, 1 failure, 2 upstream_error, 3 client_aborted, 4 crashed
       (r.value ->> 2) >> 4 & 7 AS cost_source, -- 0 header, 1 json, 2 status, 3 unknown, 4 free
       (r.value ->> 2) >> 8 AS status,
       r.value ->> 3 AS credits,
       r.value ->> 4 AS microcents,
       r.value ->> 5 AS first_byte_micros,
       r.value ->> 6 AS total_micros,
       r.value ->> 7 AS bytes_in,
       r.value ->> 8 AS bytes_out,
       unhex(r.value ->> 9) AS address,      -- 4 or 16 bytes
       r.value ->> 10 AS project,
       r.value ->> 11 AS method,
       r.value ->> 12 AS path,
       r.value ->> 13 AS code,               -- NULL for an upstream's answer
       r.value ->> 14 AS tier,
       r.value ->> 15 AS domain,
       r.value ->> 16 AS target,
       r.value ->> 17 AS user_agent
FROM log_sheets s, json_each(s.rows) r;

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
