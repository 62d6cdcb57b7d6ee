-- Named as in PostgreSQL, where `user` is a reserved word: one text asks both.
ALTER TABLE members RENAME COLUMN user TO user_id;
ALTER TABLE sessions RENAME COLUMN user TO user_id;
ALTER TABLE notices RENAME COLUMN user TO user_id;
