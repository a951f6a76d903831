//! What happens in meetings: the numbered record of each, who is in it, and what webhooks are to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common_core::{MeetingId, NodeId};

use super::super::event::nothing;
use super::super::pool::{Connection, Row, Sql, args, some_rows};
use super::super::{ANONYMOUS_TENANT, Event, EventKind, NewEvent, Presence, Status, StoreError, TenantId, UnixMillis};
use super::{SqlStore, meetings, webhooks};
use crate::timestamp::now_millis;

const LOCK_ROOM: Sql = Sql {
    sqlite: "SELECT tenant_id, status, last_event_sequence FROM rooms WHERE id = $1",
    postgres: "SELECT tenant_id, status, last_event_sequence FROM rooms WHERE id = $1 FOR UPDATE",
};
const UPDATE_ROOM: &str = "UPDATE rooms SET last_event_sequence = $2, status = $3 WHERE id = $1";
const KNOWN_SOURCES: Sql = Sql {
    sqlite: "SELECT source FROM meeting_events WHERE source IN (SELECT value FROM json_each($1))",
    postgres: "SELECT source FROM meeting_events WHERE source = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS json))))",
};
const INSERT_EVENT: &str =
    "INSERT INTO meeting_events (room_id, sequence, id, kind, occurred_at, data, source) VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// A row for each webhook that wants the event ($3: its kind's bit). It is due (from $4) unless older ones wait before it. In PostgreSQL a
/// webhook that is just being taken away for good is waited for, and then passed over.
macro_rules! fan_out {
    ($whose:literal, $lock:literal) => {
        concat!(
            "INSERT INTO webhook_deliveries (webhook_id, room_id, sequence, attempts, due_at) \
             SELECT w.id, $1, $2, 0, CASE WHEN EXISTS (SELECT 1 FROM webhook_deliveries o WHERE o.webhook_id = w.id AND o.room_id = $1) \
             THEN NULL ELSE $4 END FROM webhooks w WHERE w.dropped_at IS NULL AND (w.events & $3) <> 0",
            $whose,
            $lock
        )
    };
}
const FAN_OUT_TENANT: Sql =
    Sql { sqlite: fan_out!(" AND w.tenant_id = $5", ""), postgres: fan_out!(" AND w.tenant_id = $5", " FOR KEY SHARE OF w") };
const FAN_OUT_ALL: Sql = Sql { sqlite: fan_out!("", ""), postgres: fan_out!("", " FOR KEY SHARE OF w") };
const UPSERT_PRESENT: &str = "INSERT INTO participants_present (room_id, participant_id, process, data) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (room_id, participant_id) DO UPDATE SET process = excluded.process, data = excluded.data \
    WHERE participants_present.process <> excluded.process";
/// On that process: who has come to a later one is not taken away by the end of an earlier.
const DELETE_PRESENT: &str = "DELETE FROM participants_present WHERE room_id = $1 AND participant_id = $2 AND process = $3";
/// The database's own clock, in milliseconds: those of several global controllers may differ.
macro_rules! sqlite_now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}
macro_rules! postgres_now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}
/// Of somebody whose process was missed for long, unless it has spoken since it was: these milliseconds are more than the step in between takes.
macro_rules! delete_lost {
    ($now:expr) => {
        concat!(
            "DELETE FROM participants_present WHERE room_id = $1 AND participant_id = $2 AND process = $3 AND NOT EXISTS \
             (SELECT 1 FROM controller_processes c WHERE c.process = $3 AND c.seen_at > ",
            $now,
            " - $4)"
        )
    };
}
const DELETE_LOST: Sql = Sql { sqlite: delete_lost!(sqlite_now!()), postgres: delete_lost!(postgres_now!()) };
/// In order, so that two who note the same ones never wait for each other.
const NOTE_PROCESSES: Sql = Sql {
    sqlite: concat!(
        "INSERT INTO controller_processes (process, seen_at) SELECT value, ",
        sqlite_now!(),
        " FROM json_each($1) WHERE true ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at"
    ),
    postgres: concat!(
        "INSERT INTO controller_processes (process, seen_at) SELECT value, ",
        postgres_now!(),
        " FROM json_array_elements_text(CAST($1 AS json)) AS t (value) ORDER BY value \
         ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at"
    ),
};
/// Each process once that was not noted for $1 milliseconds, without reading more rows than there are processes.
macro_rules! processes {
    ($now:expr) => {
        concat!(
            "WITH RECURSIVE seen (process) AS (SELECT MIN(process) FROM participants_present UNION ALL \
             SELECT (SELECT MIN(process) FROM participants_present WHERE process > seen.process) FROM seen WHERE seen.process IS NOT NULL\
             ) SELECT process FROM seen WHERE process IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM controller_processes c WHERE c.process = seen.process AND c.seen_at > ",
            $now,
            " - $1)"
        )
    };
}
const PROCESSES: Sql = Sql { sqlite: processes!(sqlite_now!()), postgres: processes!(postgres_now!()) };
/// Those not noted for a day: few, and nobody asks for them.
const PURGE_PROCESSES: Sql = Sql {
    sqlite: concat!("DELETE FROM controller_processes WHERE seen_at < ", sqlite_now!(), " - 86400000"),
    postgres: concat!("DELETE FROM controller_processes WHERE seen_at < ", postgres_now!(), " - 86400000"),
};
const PRESENT_ON: &str = "SELECT room_id, participant_id, data FROM participants_present WHERE process = $1 LIMIT $2";
const PURGE_EVENTS: Sql = some_rows!(
    "meeting_events",
    "occurred_at < $1",
    " AND NOT EXISTS (SELECT 1 FROM webhook_deliveries d \
     WHERE d.room_id = meeting_events.room_id AND d.sequence = meeting_events.sequence) ORDER BY occurred_at LIMIT $2"
);
const PURGE_KEYS: Sql = some_rows!("idempotency_keys", "created_at < $1", " ORDER BY created_at LIMIT $2");

/// Between looking who was on a lost process and telling that they have left, a process may speak up; no step takes longer.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A meeting whose row is locked.
struct Room {
    tenant: TenantId,
    status: Status,
    last_sequence: i64,
    changed: bool,
}

/// Keeps an event under its number and makes it due to whoever wants it. The meeting's row is locked, and holds the number already.
pub(super) async fn insert(connection: &mut Connection, tenant: TenantId, sequence: i64, event: &NewEvent) -> Result<(), StoreError> {
    let args =
        args![event.meeting, sequence, event.id, event.kind.as_str(), event.occurred_at, event.data.to_string(), event.source.as_deref()];
    connection.execute(INSERT_EVENT, args).await?;
    // A reporter's clock may be ahead; nobody waits for that.
    let due_at = event.occurred_at.min(now_millis());
    if tenant == ANONYMOUS_TENANT {
        connection.execute(FAN_OUT_ALL, args![event.meeting, sequence, event.kind.bit(), due_at]).await?;
    } else {
        connection.execute(FAN_OUT_TENANT, args![event.meeting, sequence, event.kind.bit(), due_at, tenant]).await?;
    }
    Ok(())
}

pub(super) async fn append(store: &SqlStore, events: &[NewEvent]) -> Result<Vec<MeetingId>, StoreError> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = store.transaction().await?;
    let mut rooms = lock_rooms(&mut transaction, events).await?;
    // Read behind the locks: who reported the same at the same time has committed by now.
    let mut known = known_sources(&mut transaction, events).await?;
    // Whoever reports is there: nobody may take those that it reports for left behind.
    note(&mut transaction, events.iter().filter_map(joined_on).collect()).await?;
    // Who has come in this step: what hangs on that is told with it, and else was told before.
    let mut come = BTreeSet::new();
    for event in events {
        let Some(room) = rooms.get_mut(&event.meeting) else { continue };
        let who = event.presence.as_ref().map(|presence| (presence.meeting, presence.participant));
        if event.kind == EventKind::StreamPublished && who.is_some_and(|who| !come.contains(&who)) {
            continue;
        }
        if event.source.as_ref().is_some_and(|source| !known.insert(source.clone())) || !note_presence(&mut transaction, event).await? {
            continue;
        }
        if event.kind == EventKind::ParticipantJoined {
            come.extend(who);
        }
        if event.kind == EventKind::ParticipantJoined && room.status == Status::Scheduled {
            room.status = Status::Active;
            let started = NewEvent {
                id: common::random::uuid(),
                kind: EventKind::MeetingStarted,
                data: nothing(),
                source: None,
                presence: None,
                ..event.clone()
            };
            room.last_sequence += 1;
            insert(&mut transaction, room.tenant, room.last_sequence, &started).await?;
        }
        room.last_sequence += 1;
        room.changed = true;
        insert(&mut transaction, room.tenant, room.last_sequence, event).await?;
    }
    rooms.retain(|_, room| room.changed);
    for (id, room) in &rooms {
        transaction.execute(UPDATE_ROOM, args![*id, room.last_sequence, room.status.as_str()]).await?;
    }
    transaction.commit().await?;
    Ok(rooms.into_keys().collect())
}

/// Locks the meetings of these events in the order of their ids, as everyone who locks several does: so two never wait for each other.
async fn lock_rooms(transaction: &mut Connection, events: &[NewEvent]) -> Result<BTreeMap<MeetingId, Room>, StoreError> {
    let ids: BTreeSet<MeetingId> = events.iter().map(|event| event.meeting).collect();
    let mut rooms = BTreeMap::new();
    for id in ids {
        if let Some(row) = transaction.row(LOCK_ROOM, args![id]).await? {
            let (tenant, status) = (row.parsed("tenant_id")?, meetings::status(&row)?);
            rooms.insert(id, Room { tenant, status, last_sequence: row.integer("last_event_sequence")?, changed: false });
        }
    }
    Ok(rooms)
}

async fn known_sources(transaction: &mut Connection, events: &[NewEvent]) -> Result<BTreeSet<String>, StoreError> {
    let sources: Vec<&str> = events.iter().filter_map(|event| event.source.as_deref()).collect();
    if sources.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sources = serde_json::to_string(&sources).map_err(|error| StoreError::Failed(error.to_string()))?;
    transaction.rows(KNOWN_SOURCES, args![sources]).await?.iter().map(|row| row.text("source")).collect()
}

/// The process that somebody has come to.
fn joined_on(event: &NewEvent) -> Option<String> {
    let presence = event.presence.as_ref().filter(|_| event.kind == EventKind::ParticipantJoined)?;
    Some(process(&presence.controller, presence.start_number))
}

async fn note(connection: &mut Connection, processes: BTreeSet<String>) -> Result<(), StoreError> {
    if processes.is_empty() {
        return Ok(());
    }
    let processes = serde_json::to_string(&processes).map_err(|error| StoreError::Failed(error.to_string()))?;
    connection.execute(NOTE_PROCESSES, args![processes]).await.map(drop)
}

pub(super) async fn note_processes(store: &SqlStore, live: &[(NodeId, u64)]) -> Result<(), StoreError> {
    let processes: BTreeSet<String> = live.iter().map(|(controller, start_number)| process(controller, *start_number)).collect();
    if processes.is_empty() { Ok(()) } else { note(&mut store.write().await?, processes).await }
}

/// Notes who came or went; false: somebody came who was there, or went who was not, so there is nothing to tell.
async fn note_presence(transaction: &mut Connection, event: &NewEvent) -> Result<bool, StoreError> {
    let Some(presence) = &event.presence else { return Ok(true) };
    let process = process(&presence.controller, presence.start_number);
    let changed = match (event.kind, &event.source) {
        (EventKind::ParticipantJoined, _) => {
            transaction.execute(UPSERT_PRESENT, args![presence.meeting, presence.participant, process, &presence.data]).await?
        }
        (EventKind::ParticipantLeft, Some(_)) => {
            transaction.execute(DELETE_PRESENT, args![presence.meeting, presence.participant, process]).await?
        }
        (EventKind::ParticipantLeft, None) => {
            let back_within = i64::try_from(BACK_WITHIN.as_millis()).unwrap_or(i64::MAX);
            transaction.execute(DELETE_LOST, args![presence.meeting, presence.participant, process, back_within]).await?
        }
        _ => return Ok(true),
    };
    Ok(changed == 1)
}

pub(super) async fn list(store: &SqlStore, meeting: MeetingId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let select = "SELECT id AS event_id, room_id, sequence, kind, occurred_at, data FROM meeting_events \
        WHERE room_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
    store.read().await?.rows(select, args![meeting, after, i64::from(limit)]).await?.iter().map(event).collect()
}

/// An event from its row.
pub(super) fn event(row: &Row) -> Result<Event, StoreError> {
    let kind = row.text("kind")?;
    Ok(Event {
        id: row.parsed("event_id")?,
        meeting: row.parsed("room_id")?,
        sequence: row.integer("sequence")?,
        kind: EventKind::from_name(&kind).ok_or_else(|| StoreError::Corrupt(format!("event kind {kind}")))?,
        occurred_at: row.integer("occurred_at")?,
        data: serde_json::from_str(&row.text("data")?).map_err(|error| StoreError::Corrupt(format!("event data: {error}")))?,
    })
}

pub(super) async fn orphans(store: &SqlStore, live: &[(NodeId, u64)], patience: Duration, limit: u32) -> Result<Vec<Presence>, StoreError> {
    let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
    let live: BTreeSet<String> = live.iter().map(|(controller, start_number)| process(controller, *start_number)).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut connection = store.read().await?;
    let mut orphans = Vec::new();
    for row in connection.rows(PROCESSES, args![patience]).await? {
        let name = row.text("process")?;
        let left = limit - orphans.len();
        if left == 0 {
            break;
        }
        if live.contains(&name) {
            continue;
        }
        let (controller, start_number) =
            read_process(&name).ok_or_else(|| StoreError::Corrupt(format!("the process {name} of a participant")))?;
        for row in connection.rows(PRESENT_ON, args![&name, i64::try_from(left).unwrap_or(i64::MAX)]).await? {
            orphans.push(Presence {
                meeting: row.parsed("room_id")?,
                participant: row.parsed("participant_id")?,
                controller: controller.clone(),
                start_number,
                data: row.text("data")?,
            });
        }
    }
    Ok(orphans)
}

fn process(controller: &NodeId, start_number: u64) -> String {
    format!("{controller}/{start_number}")
}

fn read_process(name: &str) -> Option<(NodeId, u64)> {
    let (controller, start_number) = name.rsplit_once('/')?;
    Some((controller.parse().ok()?, start_number.parse().ok()?))
}

pub(super) async fn purge(store: &SqlStore, events_before: UnixMillis, keys_before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let mut connection = store.write().await?;
    let events = connection.execute(PURGE_EVENTS, args![events_before, i64::from(limit)]).await?;
    let keys = connection.execute(PURGE_KEYS, args![keys_before, i64::from(limit)]).await?;
    connection.execute(PURGE_PROCESSES, &[]).await?;
    Ok(events + keys + webhooks::purge(&mut connection, limit).await?)
}
