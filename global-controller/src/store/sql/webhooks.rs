//! Webhooks, and the calls that are due to them.
//!
//! Locks are taken in one order: the meeting's row, the webhook's, its deliveries'. The meeting's row guards who is next in its queues: an event
//! that is kept at the same time either sees that nobody waits before it, or is seen by whoever makes the next one due.

use uuid::Uuid;

use super::super::pool::{Connection, Row, Sql, args, some_rows};
use super::super::{Delivery, IdempotencyKey, StoreError, UnixMillis, Webhook};
use super::{SqlStore, events};
use crate::timestamp::now_millis;

/// Holds the API client, so that two registrations count one after the other. In SQLite whoever writes is alone.
const LOCK_CLIENT: Sql = Sql {
    sqlite: "SELECT id FROM api_clients WHERE id = $1 AND revoked_at IS NULL",
    postgres: "SELECT id FROM api_clients WHERE id = $1 AND revoked_at IS NULL FOR UPDATE",
};
const INSERT: &str = "INSERT INTO webhooks (id, client_id, tenant_id, url, events, secret, created_at, delivered_at, failing_since, last_error) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const OF_CLIENT: &str = "SELECT id, client_id, tenant_id, url, events, secret, created_at, delivered_at, failing_since, last_error \
    FROM webhooks WHERE client_id = $1 AND dropped_at IS NULL ORDER BY created_at, id";
/// Dropped is marked, not deleted: a hundred thousand calls may be due, and taking those away is [`purge`]'s, bit by bit.
macro_rules! drop_webhooks {
    ($which:literal) => {
        concat!("UPDATE webhooks SET dropped_at = $1, secret = '' WHERE dropped_at IS NULL AND ", $which)
    };
}
const DELETE_SOME_DUE: Sql = some_rows!("webhook_deliveries", "webhook_id = $1", " LIMIT $2");
/// Several processes take from one PostgreSQL: what another one is just taking is passed over.
macro_rules! take {
    ($busy:literal, $lock:literal) => {
        concat!(
            "WITH due AS (SELECT d.webhook_id AS w, d.room_id AS r, d.sequence AS s \
             FROM webhook_deliveries d JOIN webhooks ON webhooks.id = d.webhook_id \
             WHERE d.due_at <= $1 AND webhooks.dropped_at IS NULL AND d.webhook_id NOT IN (",
            $busy,
            ") ORDER BY d.due_at LIMIT $3",
            $lock,
            ") UPDATE webhook_deliveries SET due_at = $2 FROM due WHERE webhook_id = w AND room_id = r AND sequence = s \
             RETURNING webhook_id, room_id, sequence"
        )
    };
}
const TAKE: Sql = Sql {
    sqlite: take!("SELECT value FROM json_each($4)", ""),
    postgres: take!("SELECT json_array_elements_text(CAST($4 AS json))", " FOR UPDATE OF d SKIP LOCKED"),
};
const TAKEN: &str = "SELECT d.attempts, e.id AS event_id, e.room_id, e.sequence, e.kind, e.occurred_at, e.data, \
    w.id, w.client_id, w.tenant_id, w.url, w.events, w.secret, w.created_at, w.delivered_at, w.failing_since, w.last_error \
    FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id JOIN meeting_events e ON e.room_id = d.room_id AND e.sequence = d.sequence \
    WHERE d.webhook_id = $1 AND d.room_id = $2 AND d.sequence = $3";
const LOCK_EVENT: Sql = Sql {
    sqlite: "SELECT e.room_id, e.sequence FROM meeting_events e WHERE e.id = $1",
    postgres: "SELECT e.room_id, e.sequence FROM meeting_events e JOIN rooms ON rooms.id = e.room_id WHERE e.id = $1 FOR UPDATE OF rooms",
};
/// Whether the call is still to be made: another process may have made it meanwhile.
macro_rules! if_waiting {
    ($change:literal) => {
        concat!(
            "UPDATE webhooks SET ",
            $change,
            " WHERE id = $1 AND EXISTS (SELECT 1 FROM webhook_deliveries WHERE webhook_id = $1 AND room_id = $2 AND sequence = $3)"
        )
    };
}
const NOTE_SUCCESS: &str = if_waiting!("delivered_at = $4, failing_since = NULL, last_error = NULL");
const NOTE_FAILURE: &str = if_waiting!("failing_since = COALESCE(failing_since, $4), last_error = $5");
const DELAY: &str =
    "UPDATE webhook_deliveries SET due_at = $4, attempts = attempts + 1 WHERE webhook_id = $1 AND room_id = $2 AND sequence = $3";
const FINISH: &str = "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND room_id = $2 AND sequence = $3";
const NEXT: &str = "UPDATE webhook_deliveries SET due_at = $3 WHERE webhook_id = $1 AND room_id = $2 AND due_at IS NULL \
    AND sequence = (SELECT MIN(sequence) FROM webhook_deliveries WHERE webhook_id = $1 AND room_id = $2)";

/// A repeat of the registration must not bring the webhook back, also not when its row is gone.
const FORGET_REGISTRATION: &str = "UPDATE idempotency_keys SET outcome = $4 WHERE caller = $1 AND operation = $2 AND outcome = $3";

pub(super) async fn create(store: &SqlStore, webhook: &Webhook, max: u32) -> Result<bool, StoreError> {
    let mut transaction = store.transaction().await?;
    let known = transaction.row(LOCK_CLIENT, args![&webhook.client]).await?.is_some();
    let count = "SELECT COUNT(*) AS total FROM webhooks WHERE client_id = $1 AND dropped_at IS NULL";
    let total = transaction.row(count, args![&webhook.client]).await?.map_or(Ok(0), |row| row.integer("total"))?;
    if !known || total >= i64::from(max) {
        transaction.roll_back().await?;
        return Ok(false);
    }
    let (failing_since, last_error) = webhook.failing.as_ref().map(|(since, reason)| (*since, reason.as_str())).unzip();
    let args = args![
        webhook.id,
        &webhook.client,
        webhook.tenant,
        &webhook.url,
        webhook.events,
        &webhook.secret,
        webhook.created_at,
        webhook.delivered_at,
        failing_since,
        last_error
    ];
    transaction.execute(INSERT, args).await?;
    transaction.commit().await?;
    Ok(true)
}

pub(super) async fn of_client(store: &SqlStore, client: &str) -> Result<Vec<Webhook>, StoreError> {
    store.read().await?.rows(OF_CLIENT, args![client]).await?.iter().map(webhook).collect()
}

pub(super) async fn delete(store: &SqlStore, client: &str, id: Uuid) -> Result<bool, StoreError> {
    let drop = drop_webhooks!("id = $2 AND client_id = $3");
    let mut transaction = store.transaction().await?;
    let known = transaction.execute(drop, args![now_millis(), id, client]).await? == 1;
    if known {
        let args = args![IdempotencyKey::caller_of(client), IdempotencyKey::CREATE_WEBHOOK, id.to_string(), IdempotencyKey::DELETED];
        transaction.execute(FORGET_REGISTRATION, args).await?;
    }
    transaction.commit().await?;
    Ok(known)
}

/// Drops all webhooks of an API client.
pub(super) async fn delete_all(transaction: &mut Connection, client: &str) -> Result<(), StoreError> {
    transaction.execute(drop_webhooks!("client_id = $2"), args![now_millis(), client]).await.map(drop)
}

/// Takes what was due to dropped webhooks away, at most `limit` of each, and those that have nothing left. Returns how many.
pub(super) async fn purge(connection: &mut Connection, limit: u32) -> Result<u64, StoreError> {
    let mut purged = 0;
    for row in connection.rows("SELECT id FROM webhooks WHERE dropped_at IS NOT NULL", &[]).await? {
        let id = row.text("id")?;
        let due = connection.execute(DELETE_SOME_DUE, args![&id, i64::from(limit)]).await?;
        if due < u64::from(limit) {
            connection.execute("DELETE FROM webhooks WHERE id = $1", args![&id]).await?;
        }
        purged += due;
    }
    Ok(purged)
}

pub(super) async fn take(
    store: &SqlStore,
    now: UnixMillis,
    lease_until: UnixMillis,
    limit: u32,
    busy: &[Uuid],
) -> Result<Vec<Delivery>, StoreError> {
    let busy = serde_json::to_string(busy).map_err(|error| StoreError::Failed(error.to_string()))?;
    let mut connection = store.write().await?;
    let taken = connection.rows(TAKE, args![now, lease_until, i64::from(limit), busy]).await?;
    let mut deliveries = Vec::with_capacity(taken.len());
    for row in &taken {
        let args = args![row.text("webhook_id")?, row.text("room_id")?, row.integer("sequence")?];
        // None: it was dropped in between.
        let Some(found) = connection.row(TAKEN, args).await? else { continue };
        match delivery(&found) {
            Ok(delivery) => deliveries.push(delivery),
            // It is looked at again when its lease ends; the others do not wait for it.
            Err(error) => {
                let (webhook, meeting, sequence) = (row.text("webhook_id")?, row.text("room_id")?, row.integer("sequence")?);
                tracing::error!(webhook, meeting, sequence, %error, "a webhook call cannot be read and is not made");
                metrics::counter!("dark_tower_webhook_unreadable_total").increment(1);
            }
        }
    }
    Ok(deliveries)
}

pub(super) async fn pending(store: &SqlStore) -> Result<u64, StoreError> {
    let count = "SELECT COUNT(*) AS total FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE w.dropped_at IS NULL";
    let row = store.read().await?.row(count, &[]).await?;
    row.map_or(Ok(0), |row| Ok(row.integer("total")?.unsigned_abs()))
}

/// One call that is to be made, by its event. The meeting's row is locked.
struct Waiting {
    room: String,
    sequence: i64,
}

pub(super) async fn delivered(store: &SqlStore, webhook: Uuid, event: Uuid, now: UnixMillis) -> Result<(), StoreError> {
    let mut transaction = store.transaction().await?;
    if let Some(Waiting { room, sequence }) = waiting(&mut transaction, event).await?
        && transaction.execute(NOTE_SUCCESS, args![webhook, &room, sequence, now]).await? == 1
    {
        finish(&mut transaction, webhook, &room, sequence, now).await?;
    }
    transaction.commit().await
}

pub(super) async fn not_delivered(
    store: &SqlStore,
    webhook: Uuid,
    event: Uuid,
    now: UnixMillis,
    again: Option<UnixMillis>,
    reason: &str,
) -> Result<(), StoreError> {
    let mut transaction = store.transaction().await?;
    if let Some(Waiting { room, sequence }) = waiting(&mut transaction, event).await?
        && transaction.execute(NOTE_FAILURE, args![webhook, &room, sequence, now, reason]).await? == 1
    {
        match again {
            Some(again) => drop(transaction.execute(DELAY, args![webhook, &room, sequence, again]).await?),
            None => finish(&mut transaction, webhook, &room, sequence, now).await?,
        }
    }
    transaction.commit().await
}

async fn waiting(transaction: &mut Connection, event: Uuid) -> Result<Option<Waiting>, StoreError> {
    let row = transaction.row(LOCK_EVENT, args![event]).await?;
    row.map(|row| Ok(Waiting { room: row.text("room_id")?, sequence: row.integer("sequence")? })).transpose()
}

/// Takes a call out of its queue; the next one is due.
async fn finish(transaction: &mut Connection, webhook: Uuid, room: &str, sequence: i64, now: UnixMillis) -> Result<(), StoreError> {
    transaction.execute(FINISH, args![webhook, room, sequence]).await?;
    transaction.execute(NEXT, args![webhook, room, now]).await?;
    Ok(())
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let attempts = u32::try_from(row.integer("attempts")?).unwrap_or(u32::MAX);
    Ok(Delivery { webhook: webhook(row)?, event: events::event(row)?, attempts })
}

fn webhook(row: &Row) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        id: row.parsed("id")?,
        client: row.text("client_id")?,
        tenant: row.parsed("tenant_id")?,
        url: row.text("url")?,
        events: row.integer("events")?,
        secret: row.text("secret")?,
        created_at: row.integer("created_at")?,
        delivered_at: row.optional_integer("delivered_at")?,
        failing: row.optional_integer("failing_since")?.zip(row.optional_text("last_error")?),
    })
}
