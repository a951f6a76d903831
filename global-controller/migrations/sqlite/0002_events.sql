-- What happens in meetings, calls to applications, repeatable requests, who is kept out, revocation of API clients.

ALTER TABLE api_clients ADD COLUMN rate_limit INTEGER;           -- requests in a window; none: as many as others
ALTER TABLE api_clients ADD COLUMN revoked_at INTEGER;
CREATE INDEX api_clients_revoked ON api_clients (revoked_at) WHERE revoked_at IS NOT NULL;

-- Of the events of a meeting; whoever raises it holds the row until the event is committed, so sequence order is commit order.
ALTER TABLE rooms ADD COLUMN last_event_sequence INTEGER NOT NULL DEFAULT 0;
-- Most meetings have ended: these serve the listing of those that have not.
CREATE INDEX rooms_running_by_tenant ON rooms (tenant_id, created_at DESC, id DESC) WHERE ended_at IS NULL;
CREATE INDEX rooms_running_by_host ON rooms (host_user_id, created_at DESC, id DESC) WHERE ended_at IS NULL;

CREATE TABLE meeting_events (
    room_id     TEXT NOT NULL REFERENCES rooms (id),
    sequence    INTEGER NOT NULL,            -- 1, 2, 3 … in the meeting
    id          TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,               -- as applications know it, such as participant.joined
    occurred_at INTEGER NOT NULL,
    data        TEXT NOT NULL,               -- JSON
    source      TEXT UNIQUE,                 -- who reported it under which number; none: it cannot be repeated
    PRIMARY KEY (room_id, sequence)
);
CREATE INDEX meeting_events_by_age ON meeting_events (occurred_at);

-- Who is in a meeting, by what was reported.
CREATE TABLE participants_present (
    room_id        TEXT NOT NULL REFERENCES rooms (id),
    participant_id TEXT NOT NULL,
    process        TEXT NOT NULL,            -- CONTROLLER/START NUMBER
    data           TEXT NOT NULL,            -- of its join's event
    PRIMARY KEY (room_id, participant_id)
);
CREATE INDEX participants_present_by_process ON participants_present (process);

-- Processes of controllers that some global controller saw or heard of, by the clock of this machine: not each of them may see all.
CREATE TABLE controller_processes (
    process TEXT PRIMARY KEY,                -- CONTROLLER/START NUMBER
    seen_at INTEGER NOT NULL
);

CREATE TABLE webhooks (
    id            TEXT PRIMARY KEY,
    client_id     TEXT NOT NULL REFERENCES api_clients (id),
    tenant_id     TEXT NOT NULL,
    url           TEXT NOT NULL,
    events        INTEGER NOT NULL,          -- sum of the bits of the kinds that it wants
    secret        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    delivered_at  INTEGER,                   -- when a call last succeeded
    failing_since INTEGER,                   -- since when all calls fail
    last_error    TEXT,
    dropped_at    INTEGER                    -- told no more; goes for good once what was due to it has gone
);
CREATE INDEX webhooks_by_client ON webhooks (client_id, created_at, id);
CREATE INDEX webhooks_dropped ON webhooks (dropped_at) WHERE dropped_at IS NOT NULL;
CREATE INDEX webhooks_by_tenant ON webhooks (tenant_id);

-- Events that webhooks have not been told of. Of each webhook and meeting the oldest alone has a due_at: the others wait behind it.
CREATE TABLE webhook_deliveries (
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    room_id    TEXT NOT NULL,
    sequence   INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,   -- calls that failed
    due_at     INTEGER,
    PRIMARY KEY (webhook_id, room_id, sequence)
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (room_id, sequence);

-- What came of requests that may be repeated.
CREATE TABLE idempotency_keys (
    caller      TEXT NOT NULL,
    operation   TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,               -- SHA-256 of what is asked for
    outcome     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (caller, operation, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- Who was removed from a meeting and stays out.
CREATE TABLE refused_subjects (
    room_id    TEXT NOT NULL REFERENCES rooms (id),
    subject    TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (room_id, subject)
);
