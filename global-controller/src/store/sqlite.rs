//! The store in a SQLite file: the embedded default. One file, write-ahead log, numbered migrations.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use common_core::MeetingId;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqlSafeStr};
use uuid::Uuid;

use super::{
    Account, ApiClient, Assignment, Ended, IdempotencyKey, Listing, Meeting, MeetingKey, NewMeeting, Page, Repeated, Settings, SigningKey,
    Status, Store, StoreError, TenantId, UnixMillis,
};

/// Connections to the file: readers do not wait for the one writer, and a handful of readers keeps two cores busy.
const CONNECTIONS_MAX: u32 = 8;
/// Longest wait for a connection or for the writer before us: an answer "not available" is due within two seconds (DESIGN section 7).
const BUSY_TIMEOUT: Duration = Duration::from_millis(1500);

/// See the module.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens or creates the file at `path` and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            // An answered request is on disk: what was promised by a 201 survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(BUSY_TIMEOUT).connect_with(options).await?;
        let initial = include_str!("../../migrations/0001_initial.sql").into_sql_str();
        let migrations = vec![Migration::new(1, "initial".into(), MigrationType::Simple, initial, false)];
        Migrator::with_migrations(migrations).run(&pool).await.map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self { pool })
    }
}

/// The file holds signing keys: for its owner's eyes only. SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                let code = database.message().contains("rooms.code");
                StoreError::Taken(if code { "the meeting code" } else { "the id" })
            }
            // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN; extended codes carry more in the higher bytes.
            sqlx::Error::Database(database) => {
                let primary = database.code().and_then(|code| code.parse::<u32>().ok()).map(|code| code & 0xff);
                match primary {
                    Some(5 | 6 | 10 | 13 | 14) => StoreError::Unavailable(error.to_string()),
                    _ => StoreError::Failed(error.to_string()),
                }
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
                StoreError::Unavailable(error.to_string())
            }
            _ => StoreError::Failed(error.to_string()),
        }
    }
}

const INSERT_ROOM: &str = "INSERT INTO rooms (id, code, tenant_id, host_user_id, display_name, settings, status, region, created_at) \
    VALUES (?1, ?2, ?3, (SELECT id FROM users WHERE tenant_id = ?3 AND subject = ?4), ?5, ?6, 'SCHEDULED', ?7, ?8)";
const INSERT_ASSIGNMENT: &str = "INSERT INTO assignments (room_id, controller_id, start_number, controller_url, epoch, reason, assigned_at) \
    VALUES (?, ?, ?, ?, ?, ?, ?)";
const UPDATE_ASSIGNMENT: &str = "UPDATE assignments SET controller_id = ?2, start_number = ?3, controller_url = ?4, epoch = ?5, reason = ?6, \
    assigned_at = ?7 WHERE room_id = ?1 AND epoch = ?5 - 1";
const UPSERT_USER: &str = "INSERT INTO users (id, tenant_id, subject, display_name, created_at) \
    VALUES (?1, ?2, ?3, COALESCE(?4, ?3), ?5) \
    ON CONFLICT (tenant_id, subject) DO UPDATE SET display_name = ?4 WHERE ?4 IS NOT NULL AND display_name <> ?4";
/// Begins every query that [`meeting`] reads.
macro_rules! select_meeting {
    ($rest:literal) => {
        concat!(
            "SELECT rooms.id, code, rooms.tenant_id, users.subject AS host, rooms.display_name, settings, status, region, rooms.created_at, \
             ended_at, controller_id, start_number, controller_url, epoch, reason, assigned_at \
             FROM rooms JOIN assignments ON assignments.room_id = rooms.id LEFT JOIN users ON users.id = rooms.host_user_id ",
            $rest
        )
    };
}
/// The conditions of a listing; ?1 tenant, ?2 host, ?3 active.
macro_rules! listed {
    () => {
        "WHERE rooms.tenant_id = ?1 AND (?2 IS NULL OR users.subject = ?2) AND (?3 IS NULL OR (ended_at IS NULL) = ?3) "
    };
}
const LIST_ROOMS: &str = concat!(
    select_meeting!(""),
    listed!(),
    "AND (?4 IS NULL OR (rooms.created_at, rooms.id) < (?4, ?5)) ORDER BY rooms.created_at DESC, rooms.id DESC LIMIT ?6"
);
const COUNT_ROOMS: &str = concat!("SELECT COUNT(*) FROM rooms LEFT JOIN users ON users.id = rooms.host_user_id ", listed!());
const ENDED_AMONG: &str = "SELECT id FROM rooms WHERE ended_at IS NOT NULL AND id IN (SELECT value FROM json_each(?))";
const START_AMONG: &str = "UPDATE rooms SET status = 'ACTIVE' WHERE status = 'SCHEDULED' AND id IN (SELECT value FROM json_each(?))";
const END_ROOM: &str = "UPDATE rooms SET status = 'COMPLETED', ended_at = ?2 WHERE id = ?1 AND ended_at IS NULL";

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM rooms LIMIT 1").fetch_optional(&self.pool).await?;
        Ok(())
    }

    async fn create_meeting(&self, meeting: &NewMeeting, _key: Option<&IdempotencyKey>) -> Result<Repeated, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        if let Some(host) = &meeting.host {
            upsert_user(&mut transaction, meeting.tenant, host, meeting.created_at).await?;
        }
        sqlx::query(INSERT_ROOM)
            .bind(meeting.id.to_string())
            .bind(meeting.code.as_str())
            .bind(meeting.tenant.to_string())
            .bind(meeting.host.as_ref().map(|host| &host.subject))
            .bind(&meeting.display_name)
            .bind(serde_json::to_string(&meeting.settings).map_err(|error| StoreError::Failed(error.to_string()))?)
            .bind(&meeting.region)
            .bind(meeting.created_at)
            .execute(&mut *transaction)
            .await?;
        bind_assignment(sqlx::query(INSERT_ASSIGNMENT), meeting.id, &meeting.assignment).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Repeated::New)
    }

    async fn meeting(&self, key: MeetingKey) -> Result<Option<Meeting>, StoreError> {
        let query = match key {
            MeetingKey::Id(id) => sqlx::query(select_meeting!("WHERE rooms.id = ?")).bind(id.to_string()),
            MeetingKey::Code(code) => sqlx::query(select_meeting!("WHERE code = ?")).bind(code.to_string()),
        };
        query.fetch_optional(&self.pool).await?.as_ref().map(meeting).transpose()
    }

    async fn list_meetings(&self, listing: &Listing) -> Result<Page, StoreError> {
        let mut rows = sqlx::query(LIST_ROOMS)
            .bind(listing.tenant.to_string())
            .bind(listing.host.as_ref())
            .bind(listing.active)
            .bind(listing.after.map(|(created_at, _)| created_at))
            .bind(listing.after.map(|(_, id)| id.to_string()))
            // One more than asked for tells whether more follow.
            .bind(i64::from(listing.limit) + 1)
            .fetch_all(&self.pool)
            .await?;
        let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let total: i64 = sqlx::query_scalar(COUNT_ROOMS)
            .bind(listing.tenant.to_string())
            .bind(listing.host.as_ref())
            .bind(listing.active)
            .fetch_one(&self.pool)
            .await?;
        Ok(Page { meetings: rows.iter().map(meeting).collect::<Result<_, _>>()?, total: total.unsigned_abs(), more })
    }

    async fn end_meeting(&self, id: MeetingId, now: UnixMillis) -> Result<Option<Ended>, StoreError> {
        let changed = sqlx::query(END_ROOM).bind(id.to_string()).bind(now).execute(&self.pool).await?.rows_affected();
        let ended_at: Option<Option<i64>> =
            sqlx::query_scalar("SELECT ended_at FROM rooms WHERE id = ?").bind(id.to_string()).fetch_optional(&self.pool).await?;
        // Nothing un-ends a meeting, so what is read here was true at the update.
        Ok(ended_at.flatten().map(|ended_at| Ended { ended_at, already: changed == 0 }))
    }

    async fn note_running(&self, ids: &[MeetingId], _now: UnixMillis) -> Result<Vec<MeetingId>, StoreError> {
        let ids = serde_json::to_string(&ids.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        sqlx::query(START_AMONG).bind(&ids).execute(&self.pool).await?;
        let ended: Vec<String> = sqlx::query_scalar(ENDED_AMONG).bind(&ids).fetch_all(&self.pool).await?;
        ended.iter().map(|id| parse(id)).collect()
    }

    async fn reassign(&self, id: MeetingId, assignment: &Assignment) -> Result<Option<Assignment>, StoreError> {
        bind_assignment(sqlx::query(UPDATE_ASSIGNMENT), id, assignment).execute(&self.pool).await?;
        let row = sqlx::query("SELECT * FROM assignments WHERE room_id = ?").bind(id.to_string()).fetch_optional(&self.pool).await?;
        row.as_ref().map(read_assignment).transpose()
    }

    async fn upsert_user(&self, tenant: TenantId, account: &Account, now: UnixMillis) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        upsert_user(&mut connection, tenant, account, now).await
    }

    async fn create_api_client(&self, client: &ApiClient) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO api_clients (id, secret_hash, tenant_id, name, scopes, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(&client.id)
            .bind(&client.secret_hash)
            .bind(client.tenant.to_string())
            .bind(&client.name)
            .bind(client.scopes.to_string())
            .bind(client.created_at)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn api_client(&self, id: &str) -> Result<Option<ApiClient>, StoreError> {
        let row = sqlx::query("SELECT * FROM api_clients WHERE id = ?").bind(id).fetch_optional(&self.pool).await?;
        row.map(|row| {
            Ok(ApiClient {
                id: row.try_get("id")?,
                secret_hash: row.try_get("secret_hash")?,
                tenant: parse(row.try_get("tenant_id")?)?,
                name: row.try_get("name")?,
                scopes: global_controller_core::Scopes::known_in(row.try_get("scopes")?),
                rate_limit: None,
                created_at: row.try_get("created_at")?,
                revoked_at: None,
            })
        })
        .transpose()
    }

    async fn signing_keys(&self, candidate: &SigningKey) -> Result<Vec<SigningKey>, StoreError> {
        sqlx::query("INSERT INTO signing_keys SELECT ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM signing_keys)")
            .bind(&candidate.key_id)
            .bind(&candidate.pkcs8)
            .bind(candidate.created_at)
            .execute(&self.pool)
            .await?;
        let rows = sqlx::query("SELECT * FROM signing_keys ORDER BY created_at DESC, key_id").fetch_all(&self.pool).await?;
        let key = |row: SqliteRow| {
            Ok(SigningKey { key_id: row.try_get("key_id")?, pkcs8: row.try_get("pkcs8")?, created_at: row.try_get("created_at")? })
        };
        rows.into_iter().map(key).collect()
    }
}

async fn upsert_user(
    connection: &mut sqlx::SqliteConnection,
    tenant: TenantId,
    account: &Account,
    now: UnixMillis,
) -> Result<(), StoreError> {
    sqlx::query(UPSERT_USER)
        .bind(Uuid::to_string(&common::random::uuid()))
        .bind(tenant.to_string())
        .bind(&account.subject)
        .bind(account.display_name.as_ref())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

type SqliteQuery<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// Binds, in order: meeting, controller, start number, URL, epoch, reason, time.
fn bind_assignment<'q>(query: SqliteQuery<'q>, id: MeetingId, assignment: &'q Assignment) -> SqliteQuery<'q> {
    query
        .bind(id.to_string())
        .bind(assignment.controller.as_str())
        .bind(assignment.start_number.to_string())
        .bind(&assignment.controller_url)
        .bind(assignment.epoch)
        .bind(&assignment.reason)
        .bind(assignment.assigned_at)
}

fn meeting(row: &SqliteRow) -> Result<Meeting, StoreError> {
    let status: &str = row.try_get("status")?;
    let settings: &str = row.try_get("settings")?;
    Ok(Meeting {
        id: parse(row.try_get("id")?)?,
        code: parse(row.try_get("code")?)?,
        tenant: parse(row.try_get("tenant_id")?)?,
        host: row.try_get("host")?,
        display_name: row.try_get("display_name")?,
        settings: serde_json::from_str::<Settings>(settings).map_err(|error| StoreError::Corrupt(error.to_string()))?,
        status: Status::from_name(status).ok_or_else(|| StoreError::Corrupt(format!("status {status}")))?,
        region: row.try_get("region")?,
        created_at: row.try_get("created_at")?,
        ended_at: row.try_get("ended_at")?,
        assignment: read_assignment(row)?,
    })
}

fn read_assignment(row: &SqliteRow) -> Result<Assignment, StoreError> {
    Ok(Assignment {
        controller: parse(row.try_get("controller_id")?)?,
        start_number: parse(row.try_get("start_number")?)?,
        controller_url: row.try_get("controller_url")?,
        epoch: row.try_get("epoch")?,
        reason: row.try_get("reason")?,
        assigned_at: row.try_get("assigned_at")?,
    })
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt(error.to_string()))
}
