-- The state of a cluster that outlives its processes (DESIGN section 7). Times are milliseconds since the epoch, ids canonical UUIDs. Texts that
-- are looked up or ordered by compare byte by byte (collation C): the same everywhere, and fast.

-- Programs that may ask for access tokens (OAuth 2.0 client credentials).
CREATE TABLE api_clients (
    id          TEXT COLLATE "C" PRIMARY KEY,
    secret_hash TEXT NOT NULL,               -- argon2id, PHC string
    tenant_id   TEXT COLLATE "C" NOT NULL,
    name        TEXT NOT NULL,
    scopes      TEXT NOT NULL,               -- separated by spaces
    rate_limit  BIGINT,                      -- requests in a window; none: as many as others
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);
CREATE INDEX api_clients_revoked ON api_clients (revoked_at) WHERE revoked_at IS NOT NULL;

-- Accounts, at first sight, in the tenant of the API client that names them.
CREATE TABLE users (
    id           TEXT COLLATE "C" PRIMARY KEY,
    tenant_id    TEXT COLLATE "C" NOT NULL,
    subject      TEXT COLLATE "C" NOT NULL,  -- as the application, or its client id, names the account
    display_name TEXT NOT NULL,
    email        TEXT,
    created_at   BIGINT NOT NULL,
    UNIQUE (tenant_id, subject)
);

-- Meetings.
CREATE TABLE rooms (
    id                  TEXT COLLATE "C" PRIMARY KEY,
    code                TEXT COLLATE "C" NOT NULL UNIQUE,
    tenant_id           TEXT COLLATE "C" NOT NULL,
    host_user_id        TEXT COLLATE "C" REFERENCES users (id), -- none: created without an account
    display_name        TEXT NOT NULL,
    settings            TEXT NOT NULL,       -- JSON
    status              TEXT NOT NULL CHECK (status IN ('SCHEDULED', 'ACTIVE', 'COMPLETED')),
    region              TEXT NOT NULL,       -- of the first assignment
    created_at          BIGINT NOT NULL,
    ended_at            BIGINT,
    -- Whoever raises it holds the row until the event is committed, so sequence order is commit order.
    last_event_sequence BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX rooms_by_tenant ON rooms (tenant_id, created_at DESC, id DESC);
CREATE INDEX rooms_by_host ON rooms (host_user_id, created_at DESC, id DESC);
-- Most meetings have ended: these serve the listing of those that have not.
CREATE INDEX rooms_running_by_tenant ON rooms (tenant_id, created_at DESC, id DESC) WHERE ended_at IS NULL;
CREATE INDEX rooms_running_by_host ON rooms (host_user_id, created_at DESC, id DESC) WHERE ended_at IS NULL;

-- Where new joins of a meeting go. Each further assignment raises the epoch by one.
CREATE TABLE assignments (
    room_id        TEXT COLLATE "C" PRIMARY KEY REFERENCES rooms (id),
    controller_id  TEXT NOT NULL,
    start_number   TEXT NOT NULL,            -- 64 bits, unsigned, decimal
    controller_url TEXT NOT NULL,
    epoch          BIGINT NOT NULL,
    reason         TEXT NOT NULL,            -- in words, for operators
    assigned_at    BIGINT NOT NULL
);

-- Ed25519 keys that sign tokens.
CREATE TABLE signing_keys (
    key_id     TEXT COLLATE "C" PRIMARY KEY,
    pkcs8      BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);

-- What happened in meetings.
CREATE TABLE meeting_events (
    room_id     TEXT COLLATE "C" NOT NULL REFERENCES rooms (id),
    sequence    BIGINT NOT NULL,             -- 1, 2, 3 … in the meeting
    id          TEXT COLLATE "C" NOT NULL UNIQUE,
    kind        TEXT NOT NULL,               -- as applications know it, such as participant.joined
    occurred_at BIGINT NOT NULL,
    data        TEXT NOT NULL,               -- JSON, as it is told
    source      TEXT COLLATE "C" UNIQUE,     -- who reported it under which number; none: it cannot be repeated
    PRIMARY KEY (room_id, sequence)
);
CREATE INDEX meeting_events_by_age ON meeting_events (occurred_at);

-- Who is in a meeting, by what was reported.
CREATE TABLE participants_present (
    room_id        TEXT COLLATE "C" NOT NULL REFERENCES rooms (id),
    participant_id TEXT COLLATE "C" NOT NULL,
    process        TEXT COLLATE "C" NOT NULL, -- CONTROLLER/START NUMBER
    data           TEXT NOT NULL,            -- of its join's event
    PRIMARY KEY (room_id, participant_id)
);
CREATE INDEX participants_present_by_process ON participants_present (process);

-- Processes of controllers that some global controller saw or heard of, by this database's clock: not each of them may see all.
CREATE TABLE controller_processes (
    process TEXT COLLATE "C" PRIMARY KEY,    -- CONTROLLER/START NUMBER
    seen_at BIGINT NOT NULL
);

CREATE TABLE webhooks (
    id            TEXT COLLATE "C" PRIMARY KEY,
    client_id     TEXT COLLATE "C" NOT NULL REFERENCES api_clients (id),
    tenant_id     TEXT COLLATE "C" NOT NULL,
    url           TEXT NOT NULL,
    events        BIGINT NOT NULL,           -- sum of the bits of the kinds that it wants
    secret        TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    delivered_at  BIGINT,                    -- when a call last succeeded
    failing_since BIGINT,                    -- since when all calls fail
    last_error    TEXT,
    dropped_at    BIGINT                    -- told no more; goes for good once what was due to it has gone
);
CREATE INDEX webhooks_by_client ON webhooks (client_id, created_at, id);
CREATE INDEX webhooks_dropped ON webhooks (dropped_at) WHERE dropped_at IS NOT NULL;
CREATE INDEX webhooks_by_tenant ON webhooks (tenant_id);

-- Events that webhooks have not been told of. Of each webhook and meeting the oldest alone has a due_at: the others wait behind it.
CREATE TABLE webhook_deliveries (
    webhook_id TEXT COLLATE "C" NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    room_id    TEXT COLLATE "C" NOT NULL,
    sequence   BIGINT NOT NULL,
    attempts   BIGINT NOT NULL DEFAULT 0,    -- calls that failed
    due_at     BIGINT,
    PRIMARY KEY (webhook_id, room_id, sequence)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (room_id, sequence);

-- What came of requests that may be repeated.
CREATE TABLE idempotency_keys (
    caller      TEXT COLLATE "C" NOT NULL,
    operation   TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    fingerprint BYTEA NOT NULL,              -- SHA-256 of what is asked for
    outcome     TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (caller, operation, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Who was removed from a meeting and stays out.
CREATE TABLE refused_subjects (
    room_id    TEXT COLLATE "C" NOT NULL REFERENCES rooms (id),
    subject    TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (room_id, subject)
);
