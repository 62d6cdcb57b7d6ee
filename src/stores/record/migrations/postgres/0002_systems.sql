-- What the published key systems ask to be remembered.

-- Which project made what an answer named; the first has it. Goes with the rows of its time.
CREATE TABLE jobs (
    job     TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    project TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL
);
CREATE INDEX jobs_by_age ON jobs (at);

-- A notice that a user has been shown, once and for all.
CREATE TABLE notices (
    user_id  UUID   NOT NULL REFERENCES users (id),
    notice   TEXT COLLATE "C" NOT NULL,
    shown_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, notice)
);
