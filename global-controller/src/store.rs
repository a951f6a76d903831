//! What outlives the process, behind a trait: meetings, accounts, API clients, assignments, signing keys.
//!
//! In: records and ids. Out: records, or [`StoreError`]. Every call is one atomic step. The contract suite in `tests/shell/store.rs` is run over
//! each implementation.

pub mod sqlite;

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

/// Where new joins of a meeting go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The controller.
    pub controller: NodeId,
    /// The controller's process that was told of the meeting.
    pub start_number: u64,
    /// Its public URL at that time.
    pub controller_url: String,
    /// One more with each assignment of the meeting; the first is 1.
    pub epoch: i64,
    /// Why this one, in words.
    pub reason: String,
    /// When.
    pub assigned_at: UnixMillis,
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
    /// When it was made.
    pub created_at: UnixMillis,
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

/// What became of a wish to end a meeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When it ended: now, or when it was ended first.
    pub ended_at: UnixMillis,
    /// Whether it had ended already.
    pub already: bool,
}

/// The store. Implementations are shared by all tasks.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Keeps a new meeting with its host and first assignment: all or nothing.
    async fn create_meeting(&self, meeting: &NewMeeting) -> Result<(), StoreError>;

    /// A meeting, ended or not.
    async fn meeting(&self, key: MeetingKey) -> Result<Option<Meeting>, StoreError>;

    /// Meetings of a tenant.
    async fn list_meetings(&self, listing: &Listing) -> Result<Page, StoreError>;

    /// Ends a meeting; `None`: there is none. Ending it again changes nothing.
    async fn end_meeting(&self, id: MeetingId, now: UnixMillis) -> Result<Option<Ended>, StoreError>;

    /// Somebody is in these meetings: marks the scheduled ones active, and returns those that have ended.
    async fn note_running(&self, ids: &[MeetingId]) -> Result<Vec<MeetingId>, StoreError>;

    /// Stores `assignment` if its epoch is one more than the stored one's. Returns what is stored afterwards: `assignment`, or that of
    /// whoever was faster; `None`: there is no such meeting.
    async fn reassign(&self, id: MeetingId, assignment: &Assignment) -> Result<Option<Assignment>, StoreError>;

    /// Upserts an account in a tenant.
    async fn upsert_user(&self, tenant: TenantId, account: &Account, now: UnixMillis) -> Result<(), StoreError>;

    /// Keeps a new API client.
    async fn create_api_client(&self, client: &ApiClient) -> Result<(), StoreError>;

    /// An API client by its id.
    async fn api_client(&self, id: &str) -> Result<Option<ApiClient>, StoreError>;

    /// All signing keys, newest first; keeps `candidate` first if there is none yet.
    async fn signing_keys(&self, candidate: &SigningKey) -> Result<Vec<SigningKey>, StoreError>;
}
