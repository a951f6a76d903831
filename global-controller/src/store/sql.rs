//! The store in SQL: one implementation over both databases. Each call is one statement or one transaction, ends within the store's timeout, and
//! is measured.

mod clients;
mod events;
mod meetings;
mod requests;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common_core::{MeetingId, NodeId};
use uuid::Uuid;

use super::pool::{Connection, Pool, Sql};
use super::recent::RecentMeetings;
use super::{
    Account, ApiClient, AssignedMeeting, Assignment, ClientChange, Delivery, Ended, Event, IdempotencyKey, Listing, Meeting, MeetingKey,
    NewEvent, NewMeeting, Page, Presence, Repeated, SigningKey, Store, StoreError, TenantId, UnixMillis, Webhook,
};

/// How much of a database the store may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// From a call to its answer, waiting for others included.
    pub timeout: Duration,
}

/// See the module.
#[derive(Clone)]
pub struct SqlStore {
    /// For calls that change something. SQLite has one writer, and who waits for it waits here, in order, instead of trying again and again.
    writers: Pool,
    readers: Pool,
    timeout: Duration,
    ping: Ping,
    /// A call failed since the last look that wrote: whether a disk is full only a write can tell.
    is_doubtful: Arc<AtomicBool>,
    recent: Arc<RecentMeetings>,
}

/// Takes a page of the database's file, and no row of anybody's. The file's own free number is nobody else's, and stays what it is.
const TRIAL: Sql = Sql { sqlite: "PRAGMA user_version = 0", postgres: "SELECT 1" };

/// How to find out whether a database takes what it is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ping {
    /// Asks for the writer's lock: another program may hold it.
    Lock,
    /// Asks whether the server may write: one that waits to take over may not.
    Writable,
}

impl SqlStore {
    pub(super) fn new(writers: Pool, readers: Pool, timeout: Duration, ping: Ping) -> Self {
        Self { writers, readers, timeout, ping, is_doubtful: Arc::default(), recent: Arc::new(RecentMeetings::new()) }
    }

    async fn read(&self) -> Result<Connection, StoreError> {
        self.readers.acquire().await
    }

    async fn write(&self) -> Result<Connection, StoreError> {
        self.writers.acquire().await
    }

    async fn transaction(&self) -> Result<Connection, StoreError> {
        let mut connection = self.writers.acquire().await?;
        connection.begin().await?;
        Ok(connection)
    }

    /// Ends `call` in time, and measures it under its name.
    async fn timed<T>(&self, operation: &'static str, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let began = Instant::now();
        let result = tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer to {operation} within {} ms", self.timeout.as_millis()))));
        metrics::histogram!("dark_tower_store_seconds", "operation" => operation).record(began.elapsed().as_secs_f64());
        if let Err(error) = &result {
            metrics::counter!("dark_tower_store_errors_total", "kind" => error.kind()).increment(1);
            if matches!(error, StoreError::Unavailable(_)) {
                self.is_doubtful.store(true, Ordering::Relaxed);
            }
        }
        result
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.ping {
            Ping::Lock => {
                let mut connection = self.transaction().await?;
                if !self.is_doubtful.load(Ordering::Relaxed) {
                    return connection.roll_back().await;
                }
                connection.execute(TRIAL, &[]).await?;
                connection.commit().await?;
                self.is_doubtful.store(false, Ordering::Relaxed);
                Ok(())
            }
            Ping::Writable => {
                let mut connection = self.write().await?;
                // The table is named so that a database without our schema is not taken for ours.
                let select = "SELECT current_setting('transaction_read_only') AS read_only, EXISTS (SELECT 1 FROM rooms) AS kept";
                let row = connection.row(select, &[]).await?;
                if row.is_some_and(|row| row.text("read_only").is_ok_and(|read_only| read_only == "on")) {
                    connection.throw_away();
                    self.writers.forget_idle();
                    return Err(StoreError::Unavailable("the server may only be read: it is none that leads".to_owned()));
                }
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn ping(&self) -> Result<(), StoreError> {
        self.timed("ping", self.check()).await
    }

    async fn create_meeting(&self, meeting: &NewMeeting, key: Option<&IdempotencyKey>) -> Result<Repeated, StoreError> {
        self.timed("create_meeting", meetings::create(self, meeting, key)).await
    }

    async fn meeting(&self, key: MeetingKey) -> Result<Option<Meeting>, StoreError> {
        self.timed("meeting", meetings::find(self, key)).await
    }

    async fn recent_meeting(&self, key: MeetingKey) -> Result<Option<Arc<Meeting>>, StoreError> {
        let now = Instant::now();
        match self.recent.find(key, now) {
            Ok(meeting) => Ok(Some(meeting)),
            Err(reading) => {
                let meeting = self.meeting(key).await?.map(Arc::new);
                if let Some(meeting) = &meeting {
                    self.recent.note(&reading, now, meeting);
                }
                Ok(meeting)
            }
        }
    }

    async fn list_meetings(&self, listing: &Listing) -> Result<Page, StoreError> {
        self.timed("list_meetings", meetings::list(self, listing)).await
    }

    async fn end_meeting(&self, id: MeetingId, now: UnixMillis) -> Result<Option<Ended>, StoreError> {
        let _changing = self.recent.changing(id);
        self.timed("end_meeting", meetings::end(self, id, now)).await
    }

    async fn note_running(&self, ids: &[MeetingId], now: UnixMillis) -> Result<Vec<MeetingId>, StoreError> {
        self.timed("note_running", meetings::note_running(self, ids, now)).await
    }

    async fn reassign(&self, id: MeetingId, assignment: &Assignment) -> Result<Option<Assignment>, StoreError> {
        let _changing = self.recent.changing(id);
        self.timed("reassign", meetings::reassign(self, id, assignment)).await
    }

    async fn moved(&self, ids: &[MeetingId], controller: &NodeId, start_number: u64) -> Result<Vec<MeetingId>, StoreError> {
        self.timed("moved", meetings::moved(self, ids, controller, start_number)).await
    }

    async fn newest_assignments(&self, limit: u32) -> Result<Vec<AssignedMeeting>, StoreError> {
        self.timed("newest_assignments", meetings::newest_assignments(self, limit)).await
    }

    async fn upsert_user(&self, tenant: TenantId, account: &Account, now: UnixMillis) -> Result<(), StoreError> {
        self.timed("upsert_user", async { clients::upsert_user(&mut self.write().await?, tenant, account, now).await }).await
    }

    async fn refuse_subject(&self, id: MeetingId, subject: &str, now: UnixMillis) -> Result<(), StoreError> {
        self.timed("refuse_subject", requests::refuse_subject(self, id, subject, now)).await
    }

    async fn refused_subjects(&self, id: MeetingId) -> Result<Vec<String>, StoreError> {
        self.timed("refused_subjects", requests::refused_subjects(self, id)).await
    }

    async fn is_refused(&self, id: MeetingId, subject: &str) -> Result<bool, StoreError> {
        self.timed("is_refused", requests::is_refused(self, id, subject)).await
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Repeated, StoreError> {
        self.timed("recall", async { requests::recall(&mut self.read().await?, key).await }).await
    }

    async fn remember(&self, key: &IdempotencyKey, outcome: &str) -> Result<Repeated, StoreError> {
        self.timed("remember", async { requests::remember(&mut self.write().await?, key, outcome).await }).await
    }

    async fn create_api_client(&self, client: &ApiClient) -> Result<(), StoreError> {
        self.timed("create_api_client", clients::create(self, client)).await
    }

    async fn api_client(&self, id: &str) -> Result<Option<ApiClient>, StoreError> {
        self.timed("api_client", clients::find(self, id)).await
    }

    async fn api_clients(&self) -> Result<Vec<ApiClient>, StoreError> {
        self.timed("api_clients", clients::all(self)).await
    }

    async fn revoke_api_client(&self, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
        self.timed("revoke_api_client", clients::revoke(self, id, now)).await
    }

    async fn change_api_client(&self, id: &str, change: &ClientChange) -> Result<bool, StoreError> {
        self.timed("change_api_client", clients::change(self, id, change)).await
    }

    async fn revoked_since(&self, since: UnixMillis) -> Result<Vec<String>, StoreError> {
        self.timed("revoked_since", clients::revoked_since(self, since)).await
    }

    async fn signing_keys(&self, candidate: &SigningKey) -> Result<Vec<SigningKey>, StoreError> {
        self.timed("signing_keys", clients::signing_keys(self, candidate)).await
    }

    async fn add_signing_key(&self, key: &SigningKey) -> Result<(), StoreError> {
        self.timed("add_signing_key", clients::add_signing_key(self, key)).await
    }

    async fn drop_signing_keys(&self, key_ids: &[String]) -> Result<(), StoreError> {
        self.timed("drop_signing_keys", clients::drop_signing_keys(self, key_ids)).await
    }

    async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<MeetingId>, StoreError> {
        self.timed("append_events", events::append(self, events)).await
    }

    async fn events(&self, meeting: MeetingId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.timed("events", events::list(self, meeting, after, limit)).await
    }

    async fn note_processes(&self, live: &[(NodeId, u64)]) -> Result<(), StoreError> {
        self.timed("note_processes", events::note_processes(self, live)).await
    }

    async fn orphans(&self, live: &[(NodeId, u64)], patience: Duration, limit: u32) -> Result<Vec<Presence>, StoreError> {
        self.timed("orphans", events::orphans(self, live, patience, limit)).await
    }

    async fn create_webhook(&self, webhook: &Webhook, max: u32) -> Result<bool, StoreError> {
        self.timed("create_webhook", webhooks::create(self, webhook, max)).await
    }

    async fn webhooks(&self, client: &str) -> Result<Vec<Webhook>, StoreError> {
        self.timed("webhooks", webhooks::of_client(self, client)).await
    }

    async fn delete_webhook(&self, client: &str, id: Uuid) -> Result<bool, StoreError> {
        self.timed("delete_webhook", webhooks::delete(self, client, id)).await
    }

    async fn take_deliveries(
        &self,
        now: UnixMillis,
        lease_until: UnixMillis,
        limit: u32,
        busy: &[Uuid],
    ) -> Result<Vec<Delivery>, StoreError> {
        self.timed("take_deliveries", webhooks::take(self, now, lease_until, limit, busy)).await
    }

    async fn deliveries_pending(&self) -> Result<u64, StoreError> {
        self.timed("deliveries_pending", webhooks::pending(self)).await
    }

    async fn delivered(&self, webhook: Uuid, event: Uuid, now: UnixMillis) -> Result<(), StoreError> {
        self.timed("delivered", webhooks::delivered(self, webhook, event, now)).await
    }

    async fn not_delivered(
        &self,
        webhook: Uuid,
        event: Uuid,
        now: UnixMillis,
        again: Option<UnixMillis>,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.timed("not_delivered", webhooks::not_delivered(self, webhook, event, now, again, reason)).await
    }

    async fn purge(&self, events_before: UnixMillis, keys_before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
        self.timed("purge", events::purge(self, events_before, keys_before, limit)).await
    }
}
