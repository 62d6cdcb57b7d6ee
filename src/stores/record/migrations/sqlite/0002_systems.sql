-- What the published key systems ask to be remembered.

-- A notice that a user has been shown, once and for all.
CREATE TABLE notices (
    user     BLOB    NOT NULL REFERENCES users (id),
    notice   TEXT    NOT NULL,
    shown_at INTEGER NOT NULL,
    PRIMARY KEY (user, notice)
) STRICT, WITHOUT ROWID;
