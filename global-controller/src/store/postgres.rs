//! The store in PostgreSQL: one for any number of global controllers. Numbered migrations, run by one of them at a time.

use std::str::FromStr;
use std::time::Duration;

use common::Secret;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::StoreError;
use super::pool::{Pool, Target};
use super::sql::{Limits, Ping, SqlStore};
use super::sqlite::migrator;

/// What was released never changes: servers know them by their checksums.
const MIGRATIONS: [(&str, &str); 2] = [
    ("initial", include_str!("../../migrations/postgres/0001_initial.sql")),
    ("newest assignments", include_str!("../../migrations/postgres/0002_newest_assignments.sql")),
];
/// A transaction that its process forgot, because it was frozen in it, holds its locks no longer than this.
const FORGOTTEN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process may wait for another one's migrations.
const MIGRATION_LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all migrations of a release may take on a large database.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Connects to the server at `url` (`postgres://…`) and brings its schema up to date. [`StoreError::Unavailable`]: it is not there now.
pub async fn open(url: &Secret, limits: Limits) -> Result<SqlStore, StoreError> {
    let options = PgConnectOptions::from_str(url.expose()).map_err(|error| StoreError::Failed(format!("store.url: {error}")))?;
    let options = options.application_name("dark-tower global-controller");
    migrate(&options, limits.timeout).await?;
    let timeout = limits.timeout.as_millis().to_string();
    // The server gives up as well: what nobody waits for any more must not go on there.
    let options = options.options([
        ("statement_timeout", timeout.clone()),
        ("lock_timeout", timeout),
        ("idle_in_transaction_session_timeout", FORGOTTEN_TRANSACTION_TIMEOUT.as_millis().to_string()),
    ]);
    let pool = Pool::new(Target::Postgres(options), limits.connections, limits.timeout);
    Ok(SqlStore::new(pool.clone(), pool, limits.timeout, Ping::Writable))
}

/// On a connection of its own, whose statements may take as long as they have to.
async fn migrate(options: &PgConnectOptions, timeout: Duration) -> Result<(), StoreError> {
    let options = options.clone().options([("lock_timeout", MIGRATION_LOCK_TIMEOUT.as_millis().to_string())]);
    let away = |what: &str, timeout: Duration| StoreError::Unavailable(format!("{what} took more than {} ms", timeout.as_millis()));
    let mut connection = tokio::time::timeout(timeout, options.connect()).await.map_err(|_| away("connecting", timeout))??;
    // It holds an advisory lock while it runs, so of several processes that start at once one migrates and the others find it done.
    let migrator = migrator(&MIGRATIONS);
    let migrated = tokio::time::timeout(MIGRATION_TIMEOUT, migrator.run(&mut connection)).await;
    migrated.map_err(|_| away("migrating", MIGRATION_TIMEOUT))?.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StoreError::Failed(other.to_string()),
    })?;
    // It did its work; how it ends has no consequence.
    let _ = tokio::time::timeout(timeout, connection.close()).await;
    Ok(())
}
