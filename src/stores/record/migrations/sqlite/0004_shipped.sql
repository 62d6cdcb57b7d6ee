-- The number of the last batch that a spool's gateway has moved in: how far the log knows what it admitted.
ALTER TABLE spools ADD COLUMN shipped INTEGER;
