-- The tables of migrations/sqlite, in the same order. Instants are microseconds of Unix time, digests the 32 bytes of
-- SHA-256. A cap that is NULL is no cap; a limit without a period is no limit. Texts are compared byte by byte
-- (COLLATE "C"), so that lists have the order that SQLite gives them, whatever the database's own is.

CREATE TABLE organizations (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name             TEXT COLLATE "C" NOT NULL UNIQUE,
    plan             TEXT    NOT NULL,
    per_second       BIGINT,
    per_minute       BIGINT,
    concurrency      BIGINT,
    limit_requests   BIGINT,
    limit_microcents BIGINT,
    limit_period     TEXT    CHECK (limit_period IN ('daily', 'weekly', 'monthly')),
    limit_enabled    BOOLEAN NOT NULL DEFAULT FALSE,
    created_at       BIGINT  NOT NULL
);

CREATE TABLE users (
    id         UUID    NOT NULL PRIMARY KEY,
    email      TEXT COLLATE "C" NOT NULL UNIQUE,
    password   TEXT,                         -- PHC string; NULL: only an outside issuer knows it
    subject    TEXT COLLATE "C" UNIQUE,      -- who it is to the outside issuer, once that has said so
    operator   BOOLEAN NOT NULL,
    personal   TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    created_at BIGINT  NOT NULL
);

CREATE TABLE members (
    user_id      UUID NOT NULL REFERENCES users (id),
    organization TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    role         TEXT NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    since        BIGINT NOT NULL,
    PRIMARY KEY (user_id, organization)
);
CREATE INDEX members_of_organization ON members (organization, user_id);

-- An accepted or withdrawn one is gone; the audit trail keeps what became of it.
CREATE TABLE invitations (
    id           UUID    NOT NULL PRIMARY KEY,
    digest       BYTEA   NOT NULL UNIQUE CHECK (length(digest) = 32),
    organization TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    email        TEXT COLLATE "C" NOT NULL,
    role         TEXT    NOT NULL CHECK (role IN ('member', 'admin', 'owner')),
    invited_by   UUID    REFERENCES users (id),
    created_at   BIGINT  NOT NULL,
    expires_at   BIGINT  NOT NULL,
    UNIQUE (organization, email)
);

CREATE TABLE projects (
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    name         TEXT COLLATE "C" NOT NULL,
    is_default   BOOLEAN NOT NULL DEFAULT FALSE,
    created_at   BIGINT  NOT NULL,
    UNIQUE (organization, name)
);
CREATE UNIQUE INDEX one_default_project ON projects (organization) WHERE is_default;

CREATE TABLE keys (
    id               UUID    NOT NULL PRIMARY KEY,
    organization     TEXT COLLATE "C" NOT NULL REFERENCES organizations (id),
    project          TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    name             TEXT COLLATE "C" NOT NULL,
    category         TEXT    NOT NULL,
    prefix           TEXT    NOT NULL,
    hint             TEXT    NOT NULL,
    scope_read       BOOLEAN NOT NULL,
    scope_write      BOOLEAN NOT NULL,
    active           BOOLEAN NOT NULL DEFAULT TRUE,
    expires_at       BIGINT,
    revoked_at       BIGINT,
    allowed_ips      TEXT    NOT NULL,       -- CIDRs with a space between; empty is everywhere
    quota_total      BIGINT,
    quota_daily      BIGINT,
    quota_weekly     BIGINT,
    quota_monthly    BIGINT,
    limit_requests   BIGINT,
    limit_microcents BIGINT,
    limit_period     TEXT    CHECK (limit_period IN ('daily', 'weekly', 'monthly')),
    limit_enabled    BOOLEAN NOT NULL DEFAULT FALSE,
    created_by       UUID    REFERENCES users (id),
    created_at       BIGINT  NOT NULL
);
CREATE UNIQUE INDEX one_living_key_per_name ON keys (organization, name) WHERE revoked_at IS NULL;
CREATE INDEX keys_of_organization ON keys (organization, name);
CREATE INDEX keys_by_age ON keys (organization, created_at, id);

-- A rotated key has several while the grace of the old ones lasts.
CREATE TABLE key_secrets (
    digest      BYTEA NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    key         UUID  NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    valid_until BIGINT,
    imported    BOOLEAN NOT NULL DEFAULT FALSE,  -- came as a digest, so may be of any shape
    sealed      BYTEA                        -- the secret itself under keys.reveal_key: nonce, ciphertext, tag
);
CREATE INDEX secrets_of_key ON key_secrets (key);
CREATE INDEX imported_secrets ON key_secrets (imported) WHERE imported;
CREATE INDEX secrets_by_end ON key_secrets (valid_until) WHERE valid_until IS NOT NULL;

CREATE TABLE sessions (
    id         UUID   NOT NULL PRIMARY KEY,
    user_id    UUID   NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- What a request that names itself (Idempotency-Key) was answered, so that its repetition is answered the same.
CREATE TABLE idempotency (
    caller     TEXT COLLATE "C" NOT NULL,
    key        BYTEA  NOT NULL CHECK (length(key) = 32),       -- digest of the name
    request    BYTEA  NOT NULL CHECK (length(request) = 32),   -- digest of what was asked
    answer     BYTEA,                        -- sealed; NULL while it is being found
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_by_end ON idempotency (expires_at);

-- What caches must forget. Numbers become visible in their order, as whoever writes one has the turn to write until
-- its transaction has ended (postgres/mod.rs).
CREATE TABLE changes (
    sequence     BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at           BIGINT NOT NULL,
    digest       BYTEA,
    organization TEXT COLLATE "C",
    CHECK ((digest IS NULL) <> (organization IS NULL))
);

CREATE TABLE audit (
    id           BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at           BIGINT NOT NULL,
    who          TEXT   NOT NULL,
    origin       TEXT   NOT NULL,
    what         TEXT   NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,
    organization TEXT COLLATE "C",           -- whose it is; NULL where it is nobody's
    before       TEXT,                       -- JSON; NULL where there was nothing
    after        TEXT                        -- JSON; NULL where nothing is left
);
CREATE INDEX audit_of_organization ON audit (organization, id);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

-- Whose requests: those of an organization with one key or (nil) without one, all of an organization, everything.
CREATE TABLE scopes (
    number       INTEGER  GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    kind         SMALLINT NOT NULL,          -- 0 with one key or without, 1 organization, 2 everything
    key          UUID     NOT NULL,
    organization TEXT COLLATE "C" NOT NULL,  -- empty: nobody, the caller stayed unknown
    UNIQUE (kind, key, organization)
);
INSERT INTO scopes (kind, key, organization) VALUES
    (2, '00000000-0000-0000-0000-000000000000', ''), (0, '00000000-0000-0000-0000-000000000000', '');

-- The request log, a partition for each day (UTC) of arrival. No reference to keys or organizations: a row is kept
-- whatever became of them. A row's place is (millisecond of its arrival << 21 | the id's lowest bits): places have the
-- order of time, and a row is found by its id without an index of ids. Rows may share a place.
CREATE TABLE requests (
    place             BIGINT   NOT NULL,
    id                UUID     NOT NULL,
    at                BIGINT   NOT NULL,
    key               UUID,
    admitted          BOOLEAN  NOT NULL,
    outcome           SMALLINT,              -- of what was admitted: 0 success, 1 failure, 2 upstream_error, 3 client_aborted, 4 crashed
    credits           BIGINT   NOT NULL,
    microcents        BIGINT   NOT NULL,
    cost_source       SMALLINT NOT NULL,     -- 0 header, 1 json, 2 status, 3 unknown, 4 free
    status            SMALLINT NOT NULL,
    first_byte_micros BIGINT   NOT NULL,
    total_micros      BIGINT   NOT NULL,
    bytes_in          BIGINT   NOT NULL,
    bytes_out         BIGINT   NOT NULL,
    address           INET     NOT NULL,
    organization      TEXT COLLATE "C",
    project           TEXT COLLATE "C",
    method            TEXT COLLATE "C" NOT NULL,
    path              TEXT COLLATE "C" NOT NULL,
    code              TEXT COLLATE "C",      -- NULL for an upstream's answer
    tier              TEXT COLLATE "C",
    domain            TEXT COLLATE "C",
    target            TEXT COLLATE "C",
    user_agent        TEXT COLLATE "C",
    batch             BIGINT   NOT NULL,     -- log_arrivals.sequence
    PRIMARY KEY (place, id)
) PARTITION BY RANGE (place);
CREATE INDEX requests_of_key ON requests (key, place) WHERE key IS NOT NULL;
CREATE INDEX requests_of_organization ON requests (organization, place) WHERE organization IS NOT NULL;
-- Rows of one batch are beside each other, so this costs next to nothing.
CREATE INDEX requests_of_batch ON requests USING brin (batch) WITH (pages_per_range = 16);

-- The same for people: words in the place of numbers.
CREATE VIEW request_log AS
SELECT id, to_timestamp(at / 1e6) AS at, organization, project, key, admitted, method, path, status,
       coalesce(code, '') AS code,
       CASE outcome WHEN 0 THEN 'success' WHEN 1 THEN 'failure' WHEN 2 THEN 'upstream_error'
                    WHEN 3 THEN 'client_aborted' WHEN 4 THEN 'crashed' END AS outcome,
       first_byte_micros, total_micros, address, credits, microcents,
       CASE cost_source WHEN 0 THEN 'header' WHEN 1 THEN 'json' WHEN 2 THEN 'status'
                        WHEN 3 THEN 'unknown' WHEN 4 THEN 'free' END AS cost_source,
       tier, domain, bytes_in, bytes_out, target, user_agent
FROM requests;

-- Batches in the order in which they came in, for whoever follows the log. Kept for some minutes.
CREATE SEQUENCE log_batches;
CREATE TABLE log_arrivals (
    sequence BIGINT NOT NULL PRIMARY KEY,    -- of log_batches
    first    BIGINT NOT NULL,                -- the batch's first place
    last     BIGINT NOT NULL,                -- and its last
    rows     BIGINT NOT NULL
);

-- What was removed as it was old. Rows before `rows` are not told any more; they go with the partition of their day.
CREATE TABLE log_removed (
    rows    BIGINT NOT NULL,                 -- the first place that was kept
    cells   BIGINT NOT NULL,                 -- the first cell of five minutes that was kept
    changes BIGINT NOT NULL                  -- the last of `changes` that was removed
);
INSERT INTO log_removed VALUES (0, 0, 0);

-- Sums of the log per scope, in cells of five minutes and of a day.
CREATE TABLE usage (
    scope             INTEGER NOT NULL,
    width             INTEGER NOT NULL,      -- seconds: 300 or 86400
    cell              BIGINT  NOT NULL,      -- widths since the Unix epoch
    admitted          BIGINT  NOT NULL,
    refused           BIGINT  NOT NULL,
    success           BIGINT  NOT NULL,
    credits           BIGINT  NOT NULL,
    microcents        BIGINT  NOT NULL,
    first_byte_micros BIGINT  NOT NULL,      -- this and the next over admitted requests
    total_micros      BIGINT  NOT NULL,
    bytes_in          BIGINT  NOT NULL,
    bytes_out         BIGINT  NOT NULL,
    parts             BYTEA   NOT NULL,      -- by tier, domain, and kind of failure (record/parts.rs)
    PRIMARY KEY (scope, width, cell)
) WITH (fillfactor = 80);
CREATE INDEX usage_by_cell ON usage (cell) WHERE width = 300;

-- For people, and for restoring counters: by key, which is nil for what was not made with one.
CREATE VIEW usage_5m AS
SELECT organization, key, cell, admitted, refused, success, admitted - success AS failed, credits, microcents
FROM usage JOIN scopes ON number = scope
WHERE width = 300 AND kind = 0 AND organization <> '';

-- Sums of a key over all time: the log forgets, a total must not.
CREATE TABLE key_usage (
    key          UUID   NOT NULL PRIMARY KEY,
    organization TEXT COLLATE "C" NOT NULL,
    requests     BIGINT NOT NULL,            -- admitted
    rows         BIGINT NOT NULL,            -- refused too
    last_used_at BIGINT                      -- last admitted
) WITH (fillfactor = 80);

-- Directories of spools, each a gateway's, and when it last said that it lives.
CREATE TABLE spools (
    id      UUID        NOT NULL PRIMARY KEY,
    seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

CREATE TABLE spool_cursors (
    segment TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    bytes   BIGINT NOT NULL
);

-- Admissions without a row yet, from segments of the spool that are gone.
CREATE TABLE open_admissions (
    id           UUID   NOT NULL PRIMARY KEY,
    spool        UUID   NOT NULL,            -- whose it is to end
    at           BIGINT NOT NULL,
    key          UUID,
    organization TEXT COLLATE "C",
    project      TEXT COLLATE "C",
    credits      BIGINT NOT NULL,
    microcents   BIGINT NOT NULL
);

-- Where this record was migrated from, if it was, and how far that is. One that is not whole is not used.
CREATE TABLE migration (
    source BYTEA   NOT NULL,                 -- what tells the source from any other
    whole  BOOLEAN NOT NULL
);
CREATE TABLE migration_steps (
    name     TEXT    NOT NULL PRIMARY KEY,   -- the table
    rows     BIGINT  NOT NULL,
    checksum NUMERIC NOT NULL,               -- of what was sent
    last     BIGINT  NOT NULL,               -- of the log: the source's place that was reached
    done     BOOLEAN NOT NULL
);
