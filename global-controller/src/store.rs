//! What outlives the process, behind a trait: meetings, accounts, API clients, assignments, signing keys.
//!
//! In: records and ids. Out: records, or [`StoreError`]. Every call is one atomic step. The contract suite in `tests/shell/store.rs` is run over
//! each database.

mod assignment;
pub mod event;
mod pool;
pub mod postgres;
mod recent;
mod repeated;
mod sql;
pub mod sqlite;

pub use assignment::{AssignedMeeting, Assignment};
pub use repeated::{IDEMPOTENCY_LIFE_MS, IdempotencyKey, Repeated};
pub use sql::{Limits, SqlStore};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common_core::{MeetingId, NodeId};
use global_controller_core::{MeetingCode, Scopes};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Whose meetings are whose: API clients of one tenant see the same ones.
pub type TenantId = Uuid;

/// The tenant of meetings created without a bearer, where the configuration allows that.
pub const ANONYMOUS_TENANT: TenantId = Uuid::nil();

/// Why the store did not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be reached, is busy for too long or out of room: worth another try.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The id or code is taken.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// A record is not what this release wrote.
    #[error("a record cannot be read: {0}")]
    Corrupt(String),
    /// The store refuses.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// As metrics know it.
    pub const fn kind(&self) -> &'static str {
        match self {
            StoreError::Unavailable(_) => "unavailable",
            StoreError::Taken(_) => "taken",
            StoreError::Corrupt(_) => "corrupt",
            StoreError::Failed(_) => "failed",
        }
    }
}

/// Milliseconds since the epoch.
pub type UnixMillis = i64;

/// How a meeting is run; in JSON by the seeds' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SettingsJson", into = "SettingsJson")]
pub struct Settings {
    /// Participants at once.
    pub max_participants: u32,
    /// Whether recordings are made.
    pub recording_enabled: bool,
    /// Whether payloads are encrypted by the clients.
    pub enable_e2e_encryption: bool,
    /// Whether one may join with a bearer only.
    pub require_auth: bool,
}

/// Seeds 000 and 001: guests are allowed where no bearer is required.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SettingsJson {
    is_recording_enabled: bool,
    max_participants: u32,
    allowed_roles: Vec<String>,
    is_e2e_encryption_enabled: bool,
}

const GUEST: &str = "guest";

impl From<Settings> for SettingsJson {
    fn from(settings: Settings) -> Self {
        let roles: &[&str] = if settings.require_auth { &["host"] } else { &["host", GUEST] };
        Self {
            is_recording_enabled: settings.recording_enabled,
            max_participants: settings.max_participants,
            allowed_roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            is_e2e_encryption_enabled: settings.enable_e2e_encryption,
        }
    }
}

impl From<SettingsJson> for Settings {
    fn from(json: SettingsJson) -> Self {
        Self {
            max_participants: json.max_participants,
            recording_enabled: json.is_recording_enabled,
            enable_e2e_encryption: json.is_e2e_encryption_enabled,
            require_auth: !json.allowed_roles.iter().any(|role| role == GUEST),
        }
    }
}

/// How far a meeting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nobody was in yet.
    Scheduled,
    /// Somebody was.
    Active,
    /// It has ended.
    Completed,
}

impl Status {
    /// The seeds' name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Scheduled => "SCHEDULED",
            Status::Active => "ACTIVE",
            Status::Completed => "COMPLETED",
        }
    }

    /// By the seeds' name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Status::Scheduled, Status::Active, Status::Completed].into_iter().find(|status| status.as_str() == name)
    }
}

/// A meeting to be kept.
#[derive(Clone, Debug)]
pub struct NewMeeting {
    /// Its id.
    pub id: MeetingId,
    /// Its short code.
    pub code: MeetingCode,
    /// Whose it is.
    pub tenant: TenantId,
    /// The account that owns it, upserted in the tenant; `None`: created without one.
    pub host: Option<Account>,
    /// What people call it.
    pub display_name: String,
    /// Its page; told in its first event, and not kept besides.
    pub meeting_url: String,
    /// How it is run.
    pub settings: Settings,
    /// Of its first assignment.
    pub region: String,
    /// When.
    pub created_at: UnixMillis,
    /// Where its first joins go.
    pub assignment: Assignment,
}

/// A meeting as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Its id.
    pub id: MeetingId,
    /// Its short code.
    pub code: MeetingCode,
    /// Whose it is.
    pub tenant: TenantId,
    /// Subject of the account that owns it.
    pub host: Option<String>,
    /// What people call it.
    pub display_name: String,
    /// How it is run.
    pub settings: Settings,
    /// How far it has come.
    pub status: Status,
    /// Of its first assignment.
    pub region: String,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it ended.
    pub ended_at: Option<UnixMillis>,
    /// Where new joins go.
    pub assignment: Assignment,
}

/// An account as an application names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The application's id of it, or the API client's own id.
    pub subject: String,
    /// What it is called, if that is known here: replaces what was known before. Absent: the subject stands in for it.
    pub display_name: Option<String>,
}

/// Which way a short code or an id was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeetingKey {
    /// By its id.
    Id(MeetingId),
    /// By its code.
    Code(MeetingCode),
}

/// Which meetings to list: one tenant's, newest first.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Whose.
    pub tenant: TenantId,
    /// Owned by this account alone.
    pub host: Option<String>,
    /// Not ended (true) or ended (false) alone.
    pub active: Option<bool>,
    /// At most so many.
    pub limit: u32,
    /// Those after this one: creation time and id of the last one seen.
    pub after: Option<(UnixMillis, MeetingId)>,
}

/// A part of a listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub meetings: Vec<Meeting>,
    /// How many there are in all, on every page.
    pub total: u64,
    /// Whether more follow.
    pub more: bool,
}

/// A program that may ask for access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiClient {
    /// `client_id`.
    pub id: String,
    /// argon2id of its secret, as a PHC string.
    pub secret_hash: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// For operators.
    pub name: String,
    /// What its tokens may allow.
    pub scopes: Scopes,
    /// Requests in a window, if not as many as others (DESIGN section 3).
    pub rate_limit: Option<u32>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was shut out: from then on it gets no token, and those that it has are worth nothing.
    pub revoked_at: Option<UnixMillis>,
}

/// A key that signs tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// `kid`.
    pub key_id: String,
    /// Ed25519, PKCS#8.
    pub pkcs8: Vec<u8>,
    /// When it was made.
    pub created_at: UnixMillis,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id).field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

/// What is to be changed of an API client; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientChange {
    /// What its tokens may allow from now on.
    pub scopes: Option<Scopes>,
    /// Requests in a window; the inner `None`: as many as others.
    pub rate_limit: Option<Option<u32>>,
}

/// What became of a wish to end a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended: now, or when it was ended first.
    pub ended_at: UnixMillis,
    /// Whether it had ended already.
    pub already: bool,
}

/// What can be told of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// `meeting.created`
    MeetingCreated,
    /// `meeting.started`: somebody is in it for the first time.
    MeetingStarted,
    /// `meeting.ended`
    MeetingEnded,
    /// `participant.joined`
    ParticipantJoined,
    /// `participant.left`
    ParticipantLeft,
    /// `stream.published`
    StreamPublished,
    /// `stream.unpublished`
    StreamUnpublished,
}

impl EventKind {
    /// All of them.
    pub const ALL: [EventKind; 7] = [
        EventKind::MeetingCreated,
        EventKind::MeetingStarted,
        EventKind::MeetingEnded,
        EventKind::ParticipantJoined,
        EventKind::ParticipantLeft,
        EventKind::StreamPublished,
        EventKind::StreamUnpublished,
    ];

    /// As applications know it.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::MeetingCreated => "meeting.created",
            EventKind::MeetingStarted => "meeting.started",
            EventKind::MeetingEnded => "meeting.ended",
            EventKind::ParticipantJoined => "participant.joined",
            EventKind::ParticipantLeft => "participant.left",
            EventKind::StreamPublished => "stream.published",
            EventKind::StreamUnpublished => "stream.unpublished",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Its place in a set of kinds as the store keeps it.
    pub const fn bit(self) -> i64 {
        1 << self as u32
    }
}

/// Something that happened in a meeting, to be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Random.
    pub id: Uuid,
    /// Where.
    pub meeting: MeetingId,
    /// What.
    pub kind: EventKind,
    /// When.
    pub occurred_at: UnixMillis,
    /// What applications are told besides: a JSON object.
    pub data: serde_json::Value,
    /// Who reported it under which number, so that a repeat changes nothing: `CONTROLLER/START NUMBER/NUMBER`. `None`: it cannot be repeated.
    pub source: Option<String>,
    /// Of a join or a leave: who is in the meeting from now on, or no more. Of a published stream: whose join it is told with, or not at all.
    pub presence: Option<Presence>,
}

/// Somebody in a meeting, as far as reports tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Where.
    pub meeting: MeetingId,
    /// Who.
    pub participant: common_core::ParticipantId,
    /// On which controller.
    pub controller: NodeId,
    /// In which of its processes.
    pub start_number: u64,
    /// What the join's event told of it, to be told again of its leave.
    pub data: String,
}

/// Something that happened in a meeting.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The same at each delivery.
    pub id: Uuid,
    /// Where.
    pub meeting: MeetingId,
    /// 1, 2, 3 … in its meeting, without holes.
    pub sequence: i64,
    /// What.
    pub kind: EventKind,
    /// When.
    pub occurred_at: UnixMillis,
    /// What applications are told besides: a JSON object.
    pub data: serde_json::Value,
}

/// An application's wish to be called when something happens.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Random.
    pub id: Uuid,
    /// The API client that registered it.
    pub client: String,
    /// Whose meetings it hears of; of those without an owner everyone hears.
    pub tenant: TenantId,
    /// Where to.
    pub url: String,
    /// Which kinds: the sum of their [bits](EventKind::bit).
    pub events: i64,
    /// Signs the calls.
    pub secret: String,
    /// When it was registered.
    pub created_at: UnixMillis,
    /// When a call last succeeded.
    pub delivered_at: Option<UnixMillis>,
    /// Since when all calls fail, and why the last one did.
    pub failing: Option<(UnixMillis, String)>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("id", &self.id).field("client", &self.client).finish_non_exhaustive()
    }
}

/// A call that is due.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// To whom.
    pub webhook: Webhook,
    /// Of what.
    pub event: Event,
    /// Calls that failed.
    pub attempts: u32,
}

/// The store. Implementations are shared by all tasks.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Keeps a new meeting with its host, first assignment and `meeting.created`: all or nothing. With a key that was used before, nothing is
    /// kept, and what came of the first request is returned.
    async fn create_meeting(&self, meeting: &NewMeeting, key: Option<&IdempotencyKey>) -> Result<Repeated, StoreError>;

    /// A meeting, ended or not.
    async fn meeting(&self, key: MeetingKey) -> Result<Option<Meeting>, StoreError>;

    /// A meeting, for who only shows it: as it was less than a second ago, and never as it was before what was changed through this store.
    async fn recent_meeting(&self, key: MeetingKey) -> Result<Option<Arc<Meeting>>, StoreError>;

    /// Meetings of a tenant.
    async fn list_meetings(&self, listing: &Listing) -> Result<Page, StoreError>;

    /// Ends a meeting, with `meeting.ended`; `None`: there is none. Ending it again changes nothing.
    async fn end_meeting(&self, id: MeetingId, now: UnixMillis) -> Result<Option<Ended>, StoreError>;

    /// Somebody is in these meetings: marks the scheduled ones active, with `meeting.started`, and returns those that have ended.
    async fn note_running(&self, ids: &[MeetingId], now: UnixMillis) -> Result<Vec<MeetingId>, StoreError>;

    /// Stores `assignment` if its epoch is one more than the stored one's. Returns what is stored afterwards: `assignment`, or that of
    /// whoever was faster; `None`: there is no such meeting.
    async fn reassign(&self, id: MeetingId, assignment: &Assignment) -> Result<Option<Assignment>, StoreError>;

    /// Those of `ids` that are assigned to another than this process of `controller`, or have ended. One that is not known is none of them.
    async fn moved(&self, ids: &[MeetingId], controller: &NodeId, start_number: u64) -> Result<Vec<MeetingId>, StoreError>;

    /// Meetings that have not ended, by their last assignment, newest first, at most `limit`.
    async fn newest_assignments(&self, limit: u32) -> Result<Vec<AssignedMeeting>, StoreError>;

    /// Upserts an account in a tenant.
    async fn upsert_user(&self, tenant: TenantId, account: &Account, now: UnixMillis) -> Result<(), StoreError>;

    /// Keeps a subject out of a meeting from now on.
    async fn refuse_subject(&self, id: MeetingId, subject: &str, now: UnixMillis) -> Result<(), StoreError>;

    /// Who is kept out of a meeting, the newest first, at most 1000.
    async fn refused_subjects(&self, id: MeetingId) -> Result<Vec<String>, StoreError>;

    /// Whether a subject is kept out.
    async fn is_refused(&self, id: MeetingId, subject: &str) -> Result<bool, StoreError>;

    /// What came of the request that `key` stands for, if there was one.
    async fn recall(&self, key: &IdempotencyKey) -> Result<Repeated, StoreError>;

    /// Remembers what came of a request. Of two at once one is first, and the other learns what came of that one.
    async fn remember(&self, key: &IdempotencyKey, outcome: &str) -> Result<Repeated, StoreError>;

    /// Keeps a new API client.
    async fn create_api_client(&self, client: &ApiClient) -> Result<(), StoreError>;

    /// An API client by its id, revoked or not.
    async fn api_client(&self, id: &str) -> Result<Option<ApiClient>, StoreError>;

    /// All API clients, oldest first.
    async fn api_clients(&self) -> Result<Vec<ApiClient>, StoreError>;

    /// Shuts an API client out and drops its webhooks; false: there is none. Doing it again changes nothing.
    async fn revoke_api_client(&self, id: &str, now: UnixMillis) -> Result<bool, StoreError>;

    /// Gives an API client other scopes or another rate limit, as far as they are stated; false: there is none, or it is shut out.
    async fn change_api_client(&self, id: &str, change: &ClientChange) -> Result<bool, StoreError>;

    /// Ids of API clients revoked at or after `since`: those whose tokens may still be about.
    async fn revoked_since(&self, since: UnixMillis) -> Result<Vec<String>, StoreError>;

    /// All signing keys, newest first; keeps `candidate` first if there is none yet.
    async fn signing_keys(&self, candidate: &SigningKey) -> Result<Vec<SigningKey>, StoreError>;

    /// Keeps a further signing key.
    async fn add_signing_key(&self, key: &SigningKey) -> Result<(), StoreError>;

    /// Drops signing keys.
    async fn drop_signing_keys(&self, key_ids: &[String]) -> Result<(), StoreError>;

    /// Keeps events in their order, numbers each in its meeting, and makes it due to every webhook that wants it. A meeting's first
    /// `participant.joined` is preceded by `meeting.started`. An event whose source is known, or whose meeting is not, is passed over; so is by
    /// [`NewEvent::presence`] the join of who is there, and the leave of who is not.
    /// Returns the meetings that have new events.
    async fn append_events(&self, events: &[NewEvent]) -> Result<Vec<MeetingId>, StoreError>;

    /// Events of a meeting with a higher sequence than `after`, in order, at most `limit`.
    async fn events(&self, meeting: MeetingId, after: i64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// Notes that these processes of controllers are there; a report of a join says so as well.
    async fn note_processes(&self, live: &[(NodeId, u64)]) -> Result<(), StoreError>;

    /// Everybody who is in a meeting by what was reported, on other processes of controllers than `live`, and than those that anybody noted
    /// within `patience`, by the database's clock: another global controller may see what this one does not. At most `limit`.
    async fn orphans(&self, live: &[(NodeId, u64)], patience: Duration, limit: u32) -> Result<Vec<Presence>, StoreError>;

    /// Registers a webhook, unless its API client has `max` already or is shut out: then false.
    async fn create_webhook(&self, webhook: &Webhook, max: u32) -> Result<bool, StoreError>;

    /// The webhooks of an API client, oldest first.
    async fn webhooks(&self, client: &str) -> Result<Vec<Webhook>, StoreError>;

    /// Drops a webhook of an API client and what is due to it; false: it has none of this id. A request that registered it is remembered as one
    /// whose webhook was deleted: [`IdempotencyKey::DELETED`].
    async fn delete_webhook(&self, client: &str, id: Uuid) -> Result<bool, StoreError>;

    /// Takes calls that are due: of each webhook and meeting the oldest alone. They are due again at `lease_until` unless their end is told
    /// before; so a process that dies over them only delays them. What is due to the webhooks `busy` is left for later.
    async fn take_deliveries(
        &self,
        now: UnixMillis,
        lease_until: UnixMillis,
        limit: u32,
        busy: &[Uuid],
    ) -> Result<Vec<Delivery>, StoreError>;

    /// How many calls are still to be made, due or not.
    async fn deliveries_pending(&self) -> Result<u64, StoreError>;

    /// A call succeeded: the next one to this webhook of this meeting is due.
    async fn delivered(&self, webhook: Uuid, event: Uuid, now: UnixMillis) -> Result<(), StoreError>;

    /// A call failed for `reason`: it is due again at `again`, or given up (`None`).
    async fn not_delivered(
        &self,
        webhook: Uuid,
        event: Uuid,
        now: UnixMillis,
        again: Option<UnixMillis>,
        reason: &str,
    ) -> Result<(), StoreError>;

    /// Drops events that happened before `events_before` and are due to nobody, and idempotency keys from before `keys_before`, and what
    /// dropped webhooks left behind; at most `limit` of each. Returns how many.
    async fn purge(&self, events_before: UnixMillis, keys_before: UnixMillis, limit: u32) -> Result<u64, StoreError>;
}
