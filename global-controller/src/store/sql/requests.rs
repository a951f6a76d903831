//! Requests that may be repeated, and subjects that are kept out.

use common_core::MeetingId;

use super::super::pool::{Connection, args};
use super::super::{IDEMPOTENCY_LIFE_MS, IdempotencyKey, Repeated, StoreError, UnixMillis};
use super::SqlStore;

/// Subjects that are told of one meeting.
const REFUSED_MAX: i64 = 1000;

/// Takes the place of a key whose day is over.
const REMEMBER: &str = "INSERT INTO idempotency_keys (caller, operation, key, fingerprint, outcome, created_at) VALUES ($1, $2, $3, $4, $5, $6) \
    ON CONFLICT (caller, operation, key) DO UPDATE SET fingerprint = excluded.fingerprint, outcome = excluded.outcome, \
    created_at = excluded.created_at WHERE idempotency_keys.created_at <= $7";
const RECALL: &str =
    "SELECT fingerprint, outcome FROM idempotency_keys WHERE caller = $1 AND operation = $2 AND key = $3 AND created_at > $4";

pub(super) async fn remember(connection: &mut Connection, key: &IdempotencyKey, outcome: &str) -> Result<Repeated, StoreError> {
    let args = args![
        &key.caller,
        &key.operation,
        &key.key,
        key.fingerprint.as_slice(),
        outcome,
        key.created_at,
        key.created_at - IDEMPOTENCY_LIFE_MS
    ];
    if connection.execute(REMEMBER, args).await? == 1 {
        return Ok(Repeated::New);
    }
    recall(connection, key).await
}

pub(super) async fn recall(connection: &mut Connection, key: &IdempotencyKey) -> Result<Repeated, StoreError> {
    let args = args![&key.caller, &key.operation, &key.key, key.created_at - IDEMPOTENCY_LIFE_MS];
    let Some(row) = connection.row(RECALL, args).await? else { return Ok(Repeated::New) };
    Ok(if row.bytes("fingerprint")? == key.fingerprint { Repeated::Same(row.text("outcome")?) } else { Repeated::Different })
}

pub(super) async fn refuse_subject(store: &SqlStore, id: MeetingId, subject: &str, now: UnixMillis) -> Result<(), StoreError> {
    let insert = "INSERT INTO refused_subjects (room_id, subject, created_at) SELECT id, $2, $3 FROM rooms WHERE id = $1 \
        ON CONFLICT (room_id, subject) DO NOTHING";
    store.write().await?.execute(insert, args![id, subject, now]).await.map(drop)
}

pub(super) async fn refused_subjects(store: &SqlStore, id: MeetingId) -> Result<Vec<String>, StoreError> {
    let select = "SELECT subject FROM refused_subjects WHERE room_id = $1 ORDER BY created_at DESC, subject LIMIT $2";
    let rows = store.read().await?.rows(select, args![id, REFUSED_MAX]).await?;
    rows.iter().map(|row| row.text("subject")).collect()
}

pub(super) async fn is_refused(store: &SqlStore, id: MeetingId, subject: &str) -> Result<bool, StoreError> {
    let select = "SELECT subject FROM refused_subjects WHERE room_id = $1 AND subject = $2";
    Ok(store.read().await?.row(select, args![id, subject]).await?.is_some())
}
