-- The state of a cluster that outlives its processes (DESIGN section 7). Times are milliseconds since the epoch, ids canonical UUIDs.

-- Programs that may ask for access tokens (OAuth 2.0 client credentials).
CREATE TABLE api_clients (
    id          TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,               -- argon2id, PHC string
    tenant_id   TEXT NOT NULL,
    name        TEXT NOT NULL,
    scopes      TEXT NOT NULL,               -- separated by spaces
    created_at  INTEGER NOT NULL
);

-- Accounts, at first sight, in the tenant of the API client that names them.
CREATE TABLE users (
    id           TEXT PRIMARY KEY,
    tenant_id    TEXT NOT NULL,
    subject      TEXT NOT NULL,              -- as the application, or its client id, names the account
    display_name TEXT NOT NULL,
    email        TEXT,
    created_at   INTEGER NOT NULL,
    UNIQUE (tenant_id, subject)
);

-- Meetings.
CREATE TABLE rooms (
    id           TEXT PRIMARY KEY,
    code         TEXT NOT NULL UNIQUE,
    tenant_id    TEXT NOT NULL,
    host_user_id TEXT REFERENCES users (id), -- none: created without an account
    display_name TEXT NOT NULL,
    settings     TEXT NOT NULL,              -- JSON
    status       TEXT NOT NULL CHECK (status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED')),
    region       TEXT NOT NULL,              -- of the first assignment
    created_at   INTEGER NOT NULL,
    ended_at     INTEGER
);
CREATE INDEX rooms_by_tenant ON rooms (tenant_id, created_at DESC, id DESC);
CREATE INDEX rooms_by_host ON rooms (host_user_id, created_at DESC, id DESC);

-- Where new joins of a meeting go. Each further assignment raises the epoch by one.
CREATE TABLE assignments (
    room_id        TEXT PRIMARY KEY REFERENCES rooms (id),
    controller_id  TEXT NOT NULL,
    start_number   TEXT NOT NULL,            -- 64 bits, unsigned, decimal
    controller_url TEXT NOT NULL,
    epoch          INTEGER NOT NULL,
    reason         TEXT NOT NULL,            -- in words, for operators
    assigned_at    INTEGER NOT NULL
);

-- Ed25519 keys that sign tokens.
CREATE TABLE signing_keys (
    key_id     TEXT PRIMARY KEY,
    pkcs8      BLOB NOT NULL,
    created_at INTEGER NOT NULL
);
