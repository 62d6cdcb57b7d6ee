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
CREATE INDEX sessions_by_end ON sessions (expires_at);

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

-- The request log. No reference to keys or organizations: a row is kept whatever became of them. A row's place is
-- (millisecond of its arrival << 21 | the id's lowest bits), or the next that was free: rows are appended in the
-- order of time, and found by time and by id without an index.
CREATE TABLE requests (
    place             INTEGER PRIMARY KEY,
    id                BLOB    NOT NULL,
    at                INTEGER NOT NULL,
    key               BLOB,
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
    organization      TEXT,
    project           TEXT,
    method            TEXT    NOT NULL,
    path              TEXT    NOT NULL,
    code              TEXT,                  -- NULL for an upstream's answer
    tier              TEXT,
    domain            TEXT,
    target            TEXT,
    user_agent        TEXT
) STRICT;

-- The same for people: words in the place of numbers.
CREATE VIEW request_log AS
SELECT id, at, organization, project, key, admitted, method, path, status, coalesce(code, '') AS code,
       CASE outcome WHEN 0 THEN 'success' WHEN 1 THEN 'failure' WHEN 2 THEN 'upstream_error'
                    WHEN 3 THEN 'client_aborted' WHEN 4 THEN 'crashed' END AS outcome,
       first_byte_micros, total_micros, address, credits, microcents,
       CASE cost_source WHEN 0 THEN 'header' WHEN 1 THEN 'json' WHEN 2 THEN 'status'
                        WHEN 3 THEN 'unknown' WHEN 4 THEN 'free' END AS cost_source,
       tier, domain, bytes_in, bytes_out, target, user_agent
FROM requests;

-- Sums of the log in cells of five minutes; key is empty for what was not made with one.
CREATE TABLE usage_5m (
    organization TEXT    NOT NULL,
    key          BLOB    NOT NULL,
    cell         INTEGER NOT NULL,           -- five minutes since the Unix epoch
    admitted     INTEGER NOT NULL,
    refused      INTEGER NOT NULL,
    success      INTEGER NOT NULL,
    failed       INTEGER NOT NULL,
    credits      INTEGER NOT NULL,
    microcents   INTEGER NOT NULL,
    PRIMARY KEY (organization, key, cell)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_cell ON usage_5m (cell);

-- Sums of a key over all time: the log forgets, a total must not.
CREATE TABLE key_usage (
    key          BLOB    NOT NULL PRIMARY KEY,
    organization TEXT    NOT NULL,
    requests     INTEGER NOT NULL,           -- admitted
    rows         INTEGER NOT NULL,           -- refused too
    last_used_at INTEGER                     -- last admitted
) STRICT, WITHOUT ROWID;

CREATE TABLE spool_cursors (
    segment TEXT    NOT NULL PRIMARY KEY,
    bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Admissions without a row yet, from segments of the spool that are gone.
CREATE TABLE open_admissions (
    id           BLOB    NOT NULL PRIMARY KEY,
    at           INTEGER NOT NULL,
    key          BLOB,
    organization TEXT,
    project      TEXT,
    credits      INTEGER NOT NULL,
    microcents   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
