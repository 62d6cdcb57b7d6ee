-- What rows of a sheet have in common stands in it once: a row is half as long, and half as dear to write.

DROP VIEW request_log;
DROP VIEW requests;

-- JSONB: an array of arrays (sqlite/sheets). NULL in sheets of an earlier version, of up to 256 rows; today's have up to 512.
ALTER TABLE log_sheets ADD COLUMN shapes BLOB;

-- Rows one by one. Where a column may be a text or a number, the number is that of a name.
CREATE VIEW requests AS
SELECT sheet, number, id, at,
       shape ->> 0 AS scope,                 -- of kind 0
       (shape ->> 1) & 1 AS admitted,
       nullif((shape ->> 1) >> 1 & 7, 0) - 1 AS outcome, -- of what was admitted: 0 success, 1 failure, 2 upstream_error, 3 client_aborted, 4 crashed
       (shape ->> 1) >> 4 & 7 AS cost_source, -- 0 header, 1 json, 2 status, 3 unknown, 4 free
       (shape ->> 1) >> 8 AS status,
       coalesce(row ->> 8, shape ->> 9) AS credits,
       coalesce(row ->> 9, shape ->> 10) AS microcents,
       row ->> 2 AS first_byte_micros,
       row ->> 3 AS total_micros,
       row ->> 4 AS bytes_in,
       row ->> 5 AS bytes_out,
       unhex(coalesce(row ->> 10, shape ->> 11)) AS address, -- 4 or 16 bytes
       shape ->> 2 AS project,
       shape ->> 3 AS method,
       shape ->> 4 AS path,
       shape ->> 5 AS code,                  -- NULL for an upstream's answer
       shape ->> 6 AS tier,
       row ->> 6 AS domain,
       shape ->> 7 AS target,
       shape ->> 8 AS user_agent
FROM (
    SELECT s.first AS sheet, s.first + r.key AS number, substr(s.ids, r.key * 16 + 1, 16) AS id,
           s.base + (r.value ->> 0) AS at, r.value AS row, s.shapes -> (r.value ->> 1) AS shape
    FROM log_sheets s, json_each(s.rows) r
    WHERE s.shapes IS NOT NULL
)
UNION ALL
SELECT s.first AS sheet, s.first + r.key AS number,
       substr(s.ids, r.key * 16 + 1, 16) AS id,
       s.base + (r.value ->> 0) AS at,
       r.value ->> 1 AS scope,
       (r.value ->> 2) & 1 AS admitted,
       nullif((r.value ->> 2) >> 1 & 7, 0) - 1 AS outcome,
       (r.value ->> 2) >> 4 & 7 AS cost_source,
       (r.value ->> 2) >> 8 AS status,
       r.value ->> 3 AS credits,
       r.value ->> 4 AS microcents,
       r.value ->> 5 AS first_byte_micros,
       r.value ->> 6 AS total_micros,
       r.value ->> 7 AS bytes_in,
       r.value ->> 8 AS bytes_out,
       unhex(r.value ->> 9) AS address,
       r.value ->> 10 AS project,
       r.value ->> 11 AS method,
       r.value ->> 12 AS path,
       r.value ->> 13 AS code,
       r.value ->> 14 AS tier,
       r.value ->> 15 AS domain,
       r.value ->> 16 AS target,
       r.value ->> 17 AS user_agent
FROM log_sheets s, json_each(s.rows) r
WHERE s.shapes IS NULL;

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
