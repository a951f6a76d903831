//! Meetings and their assignments.

use common_core::{MeetingId, NodeId};

use super::super::event::{created_data, nothing};
use super::super::pool::{Connection, Row, Sql, args};
use super::super::{
    AssignedMeeting, Assignment, Ended, EventKind, IdempotencyKey, Listing, Meeting, MeetingKey, NewEvent, NewMeeting, Page, Repeated,
    Settings, Status, StoreError, UnixMillis,
};
use super::{SqlStore, clients, events, requests};

const INSERT_ROOM: &str = "INSERT INTO rooms \
    (id, code, tenant_id, host_user_id, display_name, settings, status, region, created_at, last_event_sequence) \
    VALUES ($1, $2, $3, (SELECT id FROM users WHERE tenant_id = $3 AND subject = $4), $5, $6, 'SCHEDULED', $7, $8, 1)";
const INSERT_ASSIGNMENT: &str = "INSERT INTO assignments (room_id, controller_id, start_number, controller_url, epoch, reason, assigned_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const UPDATE_ASSIGNMENT: &str = "UPDATE assignments SET controller_id = $2, start_number = $3, controller_url = $4, epoch = $5, reason = $6, \
    assigned_at = $7 WHERE room_id = $1 AND epoch = $5 - 1";
const SELECT_ASSIGNMENT: &str =
    "SELECT controller_id, start_number, controller_url, epoch, reason, assigned_at FROM assignments WHERE room_id = $1";
/// Begins every query that [`meeting`] reads.
macro_rules! select_meeting {
    ($($rest:expr),+) => {
        concat!(
            "SELECT rooms.id, code, rooms.tenant_id, users.subject AS host, rooms.display_name, settings, status, region, rooms.created_at, \
             ended_at, controller_id, start_number, controller_url, epoch, reason, assigned_at \
             FROM rooms JOIN assignments ON assignments.room_id = rooms.id LEFT JOIN users ON users.id = rooms.host_user_id ",
            $($rest),+
        )
    };
}
/// A page of a listing, and how many there are in all. Each choice has a text of its own, for which there is an index.
macro_rules! listing {
    ($whose:literal, $which:literal) => {
        listing!($whose, $which, concat!("SELECT COUNT(*) AS total FROM rooms WHERE ", $whose, $which))
    };
    ($whose:literal, $which:literal, $count:expr) => {
        (
            select_meeting!(
                "WHERE ",
                $whose,
                $which,
                " AND (rooms.created_at, rooms.id) < ($2, $3) ORDER BY rooms.created_at DESC, rooms.id DESC LIMIT $4"
            ),
            $count,
        )
    };
}
/// Those that have ended are all but those that have not: both counts read indexes alone.
macro_rules! count_ended {
    ($whose:literal) => {
        concat!(
            "SELECT (SELECT COUNT(*) FROM rooms WHERE ",
            $whose,
            ") - (SELECT COUNT(*) FROM rooms WHERE ended_at IS NULL AND ",
            $whose,
            ") AS total"
        )
    };
}
const AMONG: Sql = Sql {
    sqlite: "SELECT id, status FROM rooms WHERE status <> 'ACTIVE' AND id IN (SELECT value FROM json_each($1)) ORDER BY id",
    postgres: "SELECT id, status FROM rooms WHERE status <> 'ACTIVE' AND id = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS json)))) ORDER BY id",
};
const MOVED: Sql = Sql {
    sqlite: "SELECT id FROM rooms JOIN assignments ON room_id = id WHERE id IN (SELECT value FROM json_each($1)) \
        AND (ended_at IS NOT NULL OR controller_id <> $2 OR start_number <> $3) ORDER BY id",
    postgres: "SELECT id FROM rooms JOIN assignments ON room_id = id WHERE id = ANY (ARRAY(SELECT json_array_elements_text(CAST($1 AS json)))) \
        AND (ended_at IS NOT NULL OR controller_id <> $2 OR start_number <> $3) ORDER BY id",
};
const NEWEST_ASSIGNMENTS: &str = "SELECT id, code, controller_id, start_number, controller_url, epoch, reason, assigned_at \
    FROM assignments JOIN rooms ON id = room_id WHERE ended_at IS NULL ORDER BY assigned_at DESC, id LIMIT $1";
const START_ROOM: &str = "UPDATE rooms SET status = 'ACTIVE', last_event_sequence = last_event_sequence + 1 \
    WHERE id = $1 AND status = 'SCHEDULED' RETURNING tenant_id, last_event_sequence";
const END_ROOM: &str = "UPDATE rooms SET status = 'COMPLETED', ended_at = $2, last_event_sequence = last_event_sequence + 1 \
    WHERE id = $1 AND ended_at IS NULL RETURNING tenant_id, last_event_sequence";

pub(super) async fn create(store: &SqlStore, meeting: &NewMeeting, key: Option<&IdempotencyKey>) -> Result<Repeated, StoreError> {
    let settings = serde_json::to_string(&meeting.settings).map_err(|error| StoreError::Failed(error.to_string()))?;
    let mut transaction = store.transaction().await?;
    if let Some(key) = key {
        let repeated = requests::remember(&mut transaction, key, &meeting.id.to_string()).await?;
        if repeated != Repeated::New {
            transaction.roll_back().await?;
            return Ok(repeated);
        }
    }
    if let Some(host) = &meeting.host {
        clients::upsert_user(&mut transaction, meeting.tenant, host, meeting.created_at).await?;
    }
    let host = meeting.host.as_ref().map(|host| host.subject.as_str());
    let room = args![
        meeting.id,
        meeting.code.as_str(),
        meeting.tenant,
        host,
        &meeting.display_name,
        settings,
        &meeting.region,
        meeting.created_at
    ];
    transaction.execute(INSERT_ROOM, room).await?;
    write_assignment(&mut transaction, INSERT_ASSIGNMENT, meeting.id, &meeting.assignment).await?;
    let event = own_event(meeting.id, EventKind::MeetingCreated, meeting.created_at, created_data(meeting));
    events::insert(&mut transaction, meeting.tenant, 1, &event).await?;
    transaction.commit().await?;
    Ok(Repeated::New)
}

pub(super) async fn find(store: &SqlStore, key: MeetingKey) -> Result<Option<Meeting>, StoreError> {
    let mut connection = store.read().await?;
    let row = match key {
        MeetingKey::Id(id) => connection.row(select_meeting!("WHERE rooms.id = $1"), args![id]).await?,
        MeetingKey::Code(code) => connection.row(select_meeting!("WHERE code = $1"), args![code.as_str()]).await?,
    };
    row.as_ref().map(meeting).transpose()
}

pub(super) async fn list(store: &SqlStore, listing: &Listing) -> Result<Page, StoreError> {
    let mut transaction = store.read().await?;
    transaction.begin_snapshot().await?;
    let whose = match &listing.host {
        None => Some(listing.tenant.to_string()),
        Some(subject) => {
            let find = "SELECT id FROM users WHERE tenant_id = $1 AND subject = $2";
            let row = transaction.row(find, args![listing.tenant, subject]).await?;
            row.map(|row| row.text("id")).transpose()?
        }
    };
    let Some(whose) = whose else {
        transaction.roll_back().await?;
        return Ok(Page { meetings: Vec::new(), total: 0, more: false });
    };
    let (page, count) = match (listing.host.is_some(), listing.active) {
        (false, None) => listing!("rooms.tenant_id = $1", ""),
        (false, Some(true)) => listing!("rooms.tenant_id = $1", " AND rooms.ended_at IS NULL"),
        (false, Some(false)) => listing!("rooms.tenant_id = $1", " AND rooms.ended_at IS NOT NULL", count_ended!("tenant_id = $1")),
        (true, None) => listing!("rooms.host_user_id = $1", ""),
        (true, Some(true)) => listing!("rooms.host_user_id = $1", " AND rooms.ended_at IS NULL"),
        (true, Some(false)) => listing!("rooms.host_user_id = $1", " AND rooms.ended_at IS NOT NULL", count_ended!("host_user_id = $1")),
    };
    // Nothing stands before these: ids are hexadecimal.
    let (before, id) = listing.after.map_or_else(|| (UnixMillis::MAX, "g".to_owned()), |(created_at, id)| (created_at, id.to_string()));
    // One more than asked for tells whether more follow.
    let mut rows = transaction.rows(page, args![&whose, before, id, i64::from(listing.limit) + 1]).await?;
    let total = transaction.row(count, args![&whose]).await?.map_or(Ok(0), |row| row.integer("total"))?;
    transaction.commit().await?;
    let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Page { meetings: rows.iter().map(meeting).collect::<Result<_, _>>()?, total: total.unsigned_abs(), more })
}

pub(super) async fn end(store: &SqlStore, id: MeetingId, now: UnixMillis) -> Result<Option<Ended>, StoreError> {
    let mut transaction = store.transaction().await?;
    if let Some(row) = transaction.row(END_ROOM, args![id, now]).await? {
        let event = own_event(id, EventKind::MeetingEnded, now, nothing());
        events::insert(&mut transaction, row.parsed("tenant_id")?, row.integer("last_event_sequence")?, &event).await?;
        transaction.commit().await?;
        return Ok(Some(Ended { ended_at: now, already: false }));
    }
    let row = transaction.row("SELECT ended_at FROM rooms WHERE id = $1", args![id]).await?;
    transaction.roll_back().await?;
    // Nothing un-ends a meeting, so one that is there has ended.
    row.map(|row| Ok(Ended { ended_at: row.integer("ended_at")?, already: true })).transpose()
}

pub(super) async fn note_running(store: &SqlStore, ids: &[MeetingId], now: UnixMillis) -> Result<Vec<MeetingId>, StoreError> {
    let mut connection = store.read().await?;
    let rows = connection.rows(AMONG, args![json_of(ids)?]).await?;
    drop(connection);
    let (mut ended, mut scheduled) = (Vec::new(), Vec::new());
    for row in &rows {
        let id: MeetingId = row.parsed("id")?;
        if status(row)? == Status::Completed { ended.push(id) } else { scheduled.push(id) }
    }
    if scheduled.is_empty() {
        return Ok(ended);
    }
    let mut transaction = store.transaction().await?;
    // In the order of their ids, as everyone who locks several meetings does: so two never wait for each other.
    for id in scheduled {
        // Whoever came first in the meantime has told of it.
        if let Some(row) = transaction.row(START_ROOM, args![id]).await? {
            let event = own_event(id, EventKind::MeetingStarted, now, nothing());
            events::insert(&mut transaction, row.parsed("tenant_id")?, row.integer("last_event_sequence")?, &event).await?;
        }
    }
    transaction.commit().await?;
    Ok(ended)
}

pub(super) async fn reassign(store: &SqlStore, id: MeetingId, assignment: &Assignment) -> Result<Option<Assignment>, StoreError> {
    let mut connection = store.write().await?;
    if write_assignment(&mut connection, UPDATE_ASSIGNMENT, id, assignment).await? == 1 {
        return Ok(Some(assignment.clone()));
    }
    connection.row(SELECT_ASSIGNMENT, args![id]).await?.as_ref().map(read_assignment).transpose()
}

pub(super) async fn moved(
    store: &SqlStore,
    ids: &[MeetingId],
    controller: &NodeId,
    start_number: u64,
) -> Result<Vec<MeetingId>, StoreError> {
    let args = args![json_of(ids)?, controller.as_str(), start_number.to_string()];
    store.read().await?.rows(MOVED, args).await?.iter().map(|row| row.parsed("id")).collect()
}

pub(super) async fn newest_assignments(store: &SqlStore, limit: u32) -> Result<Vec<AssignedMeeting>, StoreError> {
    let rows = store.read().await?.rows(NEWEST_ASSIGNMENTS, args![i64::from(limit)]).await?;
    let read = |row: &Row| Ok(AssignedMeeting { id: row.parsed("id")?, code: row.parsed("code")?, assignment: read_assignment(row)? });
    rows.iter().map(read).collect()
}

fn json_of(ids: &[MeetingId]) -> Result<String, StoreError> {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    serde_json::to_string(&ids).map_err(|error| StoreError::Failed(error.to_string()))
}

/// An event that the store itself tells of.
fn own_event(meeting: MeetingId, kind: EventKind, now: UnixMillis, data: serde_json::Value) -> NewEvent {
    NewEvent { id: common::random::uuid(), meeting, kind, occurred_at: now, data, source: None, presence: None }
}

async fn write_assignment(
    connection: &mut Connection,
    sql: &'static str,
    id: MeetingId,
    assignment: &Assignment,
) -> Result<u64, StoreError> {
    let args = args![
        id,
        assignment.controller.as_str(),
        assignment.start_number.to_string(),
        &assignment.controller_url,
        assignment.epoch,
        &assignment.reason,
        assignment.assigned_at
    ];
    connection.execute(sql, args).await
}

fn meeting(row: &Row) -> Result<Meeting, StoreError> {
    let settings: Settings = serde_json::from_str(&row.text("settings")?).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Meeting {
        id: row.parsed("id")?,
        code: row.parsed("code")?,
        tenant: row.parsed("tenant_id")?,
        host: row.optional_text("host")?,
        display_name: row.text("display_name")?,
        settings,
        status: status(row)?,
        region: row.text("region")?,
        created_at: row.integer("created_at")?,
        ended_at: row.optional_integer("ended_at")?,
        assignment: read_assignment(row)?,
    })
}

pub(super) fn status(row: &Row) -> Result<Status, StoreError> {
    let name = row.text("status")?;
    Status::from_name(&name).ok_or_else(|| StoreError::Corrupt(format!("status {name}")))
}

fn read_assignment(row: &Row) -> Result<Assignment, StoreError> {
    Ok(Assignment {
        controller: row.parsed("controller_id")?,
        start_number: row.parsed("start_number")?,
        controller_url: row.text("controller_url")?,
        epoch: row.integer("epoch")?,
        reason: row.text("reason")?,
        assigned_at: row.integer("assigned_at")?,
    })
}
