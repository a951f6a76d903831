//! The store in a SQLite file: the embedded default. One file, write-ahead log, numbered migrations, one writer.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::StoreError;
use super::pool::{Pool, Target};
use super::sql::{Limits, Ping, SqlStore};

/// What each connection keeps of the file, in KiB: the upper pages of the indexes. The kernel keeps the file itself, once for all of them; with
/// SQLite's 2 MiB each, eight connections would hold the same pages eight times over, and grow to that for hours.
const CACHE_KIB: i64 = 256;

/// Between two attempts to open a file that somebody else is opening.
const OPENING_PAUSE: Duration = Duration::from_millis(20);

/// What was released never changes: files are found by their checksums.
const MIGRATIONS: [(&str, &str); 3] = [
    ("initial", include_str!("../../migrations/sqlite/0001_initial.sql")),
    ("events", include_str!("../../migrations/sqlite/0002_events.sql")),
    ("newest assignments", include_str!("../../migrations/sqlite/0003_newest_assignments.sql")),
];

/// Opens or creates the file at `path` and brings its schema up to date.
pub async fn open(path: &Path, limits: Limits) -> Result<SqlStore, StoreError> {
    create_private(path).map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // An answered request is on disk: what was promised by a 201 survives a power cut.
        .synchronous(SqliteSynchronous::Full)
        // Negative: KiB instead of pages.
        .pragma("cache_size", (-CACHE_KIB).to_string())
        .busy_timeout(limits.timeout);
    migrate(&options, limits.timeout).await?;
    let writers = Pool::new(Target::Sqlite(options.clone()), 1, limits.timeout);
    let reading = options.pragma("query_only", "ON");
    let readers = Pool::new(Target::Sqlite(reading), limits.connections.saturating_sub(1), limits.timeout);
    Ok(SqlStore::new(writers, readers, limits.timeout, Ping::Lock))
}

/// In one transaction that holds the writer's lock: of two processes that open the file at once, one migrates and the other finds it done.
async fn migrate(options: &SqliteConnectOptions, patience: Duration) -> Result<(), StoreError> {
    let mut connection = first_connection(options, patience).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrator(&MIGRATIONS).run(&mut *transaction).await.map_err(|error| StoreError::Failed(error.to_string()))?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// A connection to a file that others may be opening for the first time as well: the change to a write-ahead log needs the file alone, and does not
/// wait for it as everything else does (sqlite.org/wal.html).
async fn first_connection(options: &SqliteConnectOptions, patience: Duration) -> Result<SqliteConnection, StoreError> {
    let deadline = Instant::now() + patience;
    loop {
        match options.connect().await.map_err(StoreError::from) {
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => tokio::time::sleep(OPENING_PAUSE).await,
            other => return other,
        }
    }
}

/// Numbers migrations from 1.
pub(super) fn migrator(migrations: &[(&'static str, &'static str)]) -> Migrator {
    let numbered = (1..).zip(migrations);
    Migrator::with_migrations(
        numbered
            .map(|(number, (name, sql))| Migration::new(number, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false))
            .collect(),
    )
}

/// The file holds signing keys: for its owner's eyes only. SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}
