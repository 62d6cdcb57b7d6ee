-- Blocks stand in the order in which they came, and by scope in an index: a new one of each of many scopes is written to a page of
-- its own where they stand by scope, and two thirds of those pages were empty.
ALTER TABLE log_blocks RENAME TO old_blocks;

-- A row's place is (millisecond of its arrival << 21 | the id's lowest bits), or the next that was free. Which rows a
-- scope has, in blocks in the order of their places; no two blocks of a scope overlap. An entry is place, number,
-- status, tier and domain (sqlite/log_blocks.rs): what pages are filtered by, and where the row stands.
CREATE TABLE log_blocks (
    id      INTEGER PRIMARY KEY,
    scope   INTEGER NOT NULL,
    first   INTEGER NOT NULL,                -- place of its first row
    last    INTEGER NOT NULL,                -- place of its last row
    size    INTEGER NOT NULL,                -- rows
    success INTEGER NOT NULL,                -- how many of them succeeded
    entries BLOB    NOT NULL
) STRICT;
INSERT INTO log_blocks (scope, first, last, size, success, entries)
SELECT scope, first, last, size, success, entries FROM old_blocks ORDER BY last, scope;
DROP TABLE old_blocks;
-- With all that rows are counted by.
CREATE INDEX log_blocks_by_scope ON log_blocks (scope, first, last, size, success);
