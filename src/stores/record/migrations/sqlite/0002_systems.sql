-- What the published key systems ask to be remembered.

-- Which project made what an answer named; the first has it. Goes with the rows of its time.
CREATE TABLE jobs (
    job     TEXT    NOT NULL PRIMARY KEY,
    project TEXT    NOT NULL,
    at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_age ON jobs (at);

-- A notice that a user has been shown, once and for all.
CREATE TABLE notices (
    user     BLOB    NOT NULL REFERENCES users (id),
    notice   TEXT    NOT NULL,
    shown_at INTEGER NOT NULL,
    PRIMARY KEY (user, notice)
) STRICT, WITHOUT ROWID;
