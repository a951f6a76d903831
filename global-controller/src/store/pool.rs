//! Connections to one database, SQLite's or PostgreSQL's, and statements on them.
//!
//! In: SQL texts that both understand, with arguments. Out: rows, or [`StoreError`]. A connection goes back only if it is known to be in order:
//! one whose statement failed or was abandoned is settled first, for a bounded time, and thrown away if it does not answer. So a server that is
//! away, or keeps silent, holds nobody for longer than that, and nothing has to be restarted when it is back.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common_core::{MeetingId, ParticipantId};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection as _, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{StoreError, TenantId};

/// A connection that was idle for longer is asked whether it still stands: a server may have been restarted meanwhile.
const TEST_AFTER: Duration = Duration::from_secs(1);
/// How long that answer may take. Well below the store's timeout, so that a fresh connection can still be made.
const TEST_TIMEOUT: Duration = Duration::from_millis(500);

/// What to connect to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file.
    Sqlite(SqliteConnectOptions),
    /// A server.
    Postgres(PgConnectOptions),
}

/// An SQL text, in both dialects.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl From<&'static str> for Sql {
    /// Most texts mean the same to both.
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// Deletes some rows of a table, by the places that each database finds them at: PostgreSQL would read the whole table otherwise. The condition
/// is asked again at the deletion, since a row may have been written anew in between.
macro_rules! some_rows {
    ($table:literal, $which:literal, $rest:literal) => {
        Sql {
            sqlite: concat!("DELETE FROM ", $table, " WHERE rowid IN (SELECT rowid FROM ", $table, " WHERE ", $which, $rest, ")"),
            postgres: concat!(
                "DELETE FROM ",
                $table,
                " WHERE ",
                $which,
                " AND ctid = ANY (ARRAY(SELECT ctid FROM ",
                $table,
                " WHERE ",
                $which,
                $rest,
                "))"
            ),
        }
    };
}
pub(super) use some_rows;

/// What stands for `$1`, `$2` … in an SQL text.
#[derive(Clone, Debug)]
pub enum Arg<'a> {
    /// TEXT
    Text(Cow<'a, str>),
    /// TEXT or NULL
    OptionalText(Option<Cow<'a, str>>),
    /// BIGINT
    Integer(i64),
    /// BIGINT or NULL
    OptionalInteger(Option<i64>),
    /// BYTEA, BLOB
    Bytes(&'a [u8]),
}

/// PostgreSQL keeps no NUL in a text. What is looked up under such a name is not found in either database.
fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Arg::Text(without_nul(text))
    }
}

impl<'a> From<&'a String> for Arg<'a> {
    fn from(text: &'a String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Arg<'_> {
    fn from(text: String) -> Self {
        Arg::Text(Cow::Owned(text))
    }
}

impl<'a> From<Option<&'a str>> for Arg<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Arg::OptionalText(text.map(without_nul))
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Arg::Integer(number)
    }
}

impl From<Option<i64>> for Arg<'_> {
    fn from(number: Option<i64>) -> Self {
        Arg::OptionalInteger(number)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl From<MeetingId> for Arg<'_> {
    fn from(id: MeetingId) -> Self {
        id.to_string().into()
    }
}

impl From<ParticipantId> for Arg<'_> {
    fn from(id: ParticipantId) -> Self {
        id.to_string().into()
    }
}

impl From<Uuid> for Arg<'_> {
    fn from(id: TenantId) -> Self {
        id.to_string().into()
    }
}

/// The arguments of a statement.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$(crate::store::pool::Arg::from($arg)),*] };
}
pub(super) use args;

/// One row of an answer.
pub enum Row {
    /// SQLite's.
    Sqlite(SqliteRow),
    /// PostgreSQL's.
    Postgres(PgRow),
}

/// Reads a column of either row.
macro_rules! column {
    ($row:expr, $name:expr) => {
        match $row {
            Row::Sqlite(row) => row.try_get($name).map_err(|error| StoreError::Corrupt(error.to_string())),
            Row::Postgres(row) => row.try_get($name).map_err(|error| StoreError::Corrupt(error.to_string())),
        }
    };
}

impl Row {
    /// A text.
    pub fn text(&self, name: &str) -> Result<String, StoreError> {
        column!(self, name)
    }

    /// A text, or none.
    pub fn optional_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        column!(self, name)
    }

    /// A text that stands for something else.
    pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<T, StoreError> {
        let text: &str = column!(self, name)?;
        text.parse().map_err(|error: T::Err| StoreError::Corrupt(format!("{name}: {error}")))
    }

    /// A number.
    pub fn integer(&self, name: &str) -> Result<i64, StoreError> {
        column!(self, name)
    }

    /// A number, or none.
    pub fn optional_integer(&self, name: &str) -> Result<Option<i64>, StoreError> {
        column!(self, name)
    }

    /// Bytes.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        column!(self, name)
    }
}

enum Link {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Link {
    async fn connect(target: &Target) -> Result<Self, sqlx::Error> {
        match target {
            Target::Sqlite(options) => options.connect().await.map(Link::Sqlite),
            Target::Postgres(options) => options.connect().await.map(Link::Postgres),
        }
    }

    async fn ping(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Link::Sqlite(link) => link.ping().await,
            Link::Postgres(link) => link.ping().await,
        }
    }

    async fn command(&mut self, command: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Link::Sqlite(link) => sqlx::raw_sql(command).execute(link).await.map(drop),
            Link::Postgres(link) => sqlx::raw_sql(command).execute(link).await.map(drop),
        }
    }

    /// Ends what was left open.
    async fn settle(&mut self, in_transaction: bool) -> Result<(), sqlx::Error> {
        match self.command(if in_transaction { "ROLLBACK" } else { "SELECT 1" }).await {
            // SQLite ends a transaction by itself after some errors, and then has none to roll back.
            Err(sqlx::Error::Database(_)) if matches!(self, Link::Sqlite(_)) => Ok(()),
            settled => settled,
        }
    }
}

struct Idle {
    link: Link,
    since: Instant,
}

struct Shared {
    target: Target,
    timeout: Duration,
    permits: Arc<Semaphore>,
    /// The last one used is on top, so that a calm time needs few of them.
    idle: Mutex<Vec<Idle>>,
}

impl Shared {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, link: Link) {
        self.idle().push(Idle { link, since: Instant::now() });
    }
}

/// See the module. Clones share the connections.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

impl Pool {
    /// At most `connections` to `target`, made when they are needed. An abandoned one is given `timeout` to settle.
    pub fn new(target: Target, connections: u32, timeout: Duration) -> Self {
        let permits = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(1).max(1)));
        Self(Arc::new(Shared { target, timeout, permits, idle: Mutex::default() }))
    }

    /// A connection that is in order, in the order of asking. Waits without a bound of its own.
    pub async fn acquire(&self) -> Result<Connection, StoreError> {
        let closed = |_| StoreError::Unavailable("the pool is closed".to_owned());
        let permit = self.0.permits.clone().acquire_owned().await.map_err(closed)?;
        let link = match self.reuse().await {
            Some(link) => link,
            None => Link::connect(&self.0.target).await?,
        };
        Ok(Connection { link: Some(link), permit: Some(permit), shared: self.0.clone(), unsettled: false, in_transaction: false })
    }

    async fn reuse(&self) -> Option<Link> {
        let Idle { mut link, since } = self.0.idle().pop()?;
        if matches!(link, Link::Sqlite(_)) || since.elapsed() < TEST_AFTER {
            return Some(link);
        }
        if matches!(tokio::time::timeout(TEST_TIMEOUT, link.ping()).await, Ok(Ok(()))) {
            return Some(link);
        }
        // The others were idle for longer: what broke this one broke them.
        self.forget_idle();
        None
    }

    /// Throws away the connections that nobody uses.
    pub fn forget_idle(&self) {
        self.0.idle().clear();
    }
}

/// A connection on loan, alone its holder's. Dropped within a transaction it rolls that back.
pub struct Connection {
    link: Option<Link>,
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared>,
    /// A statement failed, or did not come to its end.
    unsettled: bool,
    in_transaction: bool,
}

/// Binds one argument, whichever the database.
macro_rules! bind {
    ($query:expr, $arg:expr) => {
        match $arg {
            Arg::Text(text) => $query.bind(text.as_ref()),
            Arg::OptionalText(text) => $query.bind(text.as_deref()),
            Arg::Integer(number) => $query.bind(*number),
            Arg::OptionalInteger(number) => $query.bind(*number),
            Arg::Bytes(bytes) => $query.bind(*bytes),
        }
    };
}
/// Runs a statement on either link.
macro_rules! run {
    ($connection:expr, $sql:expr, $args:expr, $method:ident) => {{
        let sql = $sql.into();
        $connection.unsettled = true;
        let result = match $connection.link()? {
            Link::Sqlite(link) => {
                $args.iter().fold(sqlx::query(sql.sqlite), |query, arg| bind!(query, arg)).$method(link).await.map(Either::Sqlite)
            }
            Link::Postgres(link) => {
                $args.iter().fold(sqlx::query(sql.postgres), |query, arg| bind!(query, arg)).$method(link).await.map(Either::Postgres)
            }
        };
        if result.is_ok() {
            $connection.unsettled = false;
        }
        result?
    }};
}

enum Either<S, P> {
    Sqlite(S),
    Postgres(P),
}

impl Connection {
    fn link(&mut self) -> Result<&mut Link, StoreError> {
        self.link.as_mut().ok_or_else(|| StoreError::Unavailable("the connection is gone".to_owned()))
    }

    /// Runs a statement; how many rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: &[Arg<'_>]) -> Result<u64, StoreError> {
        Ok(match run!(self, sql, args, execute) {
            Either::Sqlite(done) => done.rows_affected(),
            Either::Postgres(done) => done.rows_affected(),
        })
    }

    /// The rows of an answer.
    pub async fn rows(&mut self, sql: impl Into<Sql>, args: &[Arg<'_>]) -> Result<Vec<Row>, StoreError> {
        Ok(match run!(self, sql, args, fetch_all) {
            Either::Sqlite(rows) => rows.into_iter().map(Row::Sqlite).collect(),
            Either::Postgres(rows) => rows.into_iter().map(Row::Postgres).collect(),
        })
    }

    /// The only row of an answer, if it has one.
    pub async fn row(&mut self, sql: impl Into<Sql>, args: &[Arg<'_>]) -> Result<Option<Row>, StoreError> {
        Ok(match run!(self, sql, args, fetch_optional) {
            Either::Sqlite(row) => row.map(Row::Sqlite),
            Either::Postgres(row) => row.map(Row::Postgres),
        })
    }

    /// Begins a transaction that will write, and waits for those before it where only one may.
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        self.open(Sql { sqlite: "BEGIN IMMEDIATE", postgres: "BEGIN" }).await
    }

    /// Begins a transaction that reads from one snapshot.
    pub async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.open(Sql { sqlite: "BEGIN", postgres: "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" }).await
    }

    async fn open(&mut self, sql: Sql) -> Result<(), StoreError> {
        self.in_transaction = true;
        self.command(sql).await
    }

    /// Makes lasting what was done since the beginning.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.command("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Undoes it.
    pub async fn roll_back(mut self) -> Result<(), StoreError> {
        self.command("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn command(&mut self, sql: impl Into<Sql>) -> Result<(), StoreError> {
        let sql = sql.into();
        self.unsettled = true;
        let link = self.link()?;
        let command = if matches!(link, Link::Sqlite(_)) { sql.sqlite } else { sql.postgres };
        link.command(command).await?;
        self.unsettled = false;
        Ok(())
    }

    /// Holds the table of signing keys until the end of the transaction, where more than one may write at once.
    pub async fn lock_signing_keys(&mut self) -> Result<(), StoreError> {
        match self.link()? {
            Link::Sqlite(_) => Ok(()),
            Link::Postgres(_) => self.command("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE").await,
        }
    }

    /// Does not give it back: the server is not what it should be.
    pub fn throw_away(mut self) {
        self.link = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some(mut link), Some(permit)) = (self.link.take(), self.permit.take()) else { return };
        if !self.unsettled && !self.in_transaction {
            self.shared.put_back(link);
            return;
        }
        // Without a runtime the process ends, and its connections with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, in_transaction) = (self.shared.clone(), self.in_transaction);
        runtime.spawn(async move {
            if matches!(tokio::time::timeout(shared.timeout, link.settle(in_transaction)).await, Ok(Ok(()))) {
                shared.put_back(link);
            }
            // Held until here: a writer that is not settled is still the only one.
            drop(permit);
        });
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                let what = format!("{} {}", database.message(), database.constraint().unwrap_or_default());
                let code = what.contains("rooms.code") || what.contains("rooms_code");
                StoreError::Taken(if code { "the meeting code" } else { "the id" })
            }
            sqlx::Error::Database(database) if database.code().is_some_and(|code| is_passing(&code)) => {
                StoreError::Unavailable(error.to_string())
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed => {
                StoreError::Unavailable(error.to_string())
            }
            _ => StoreError::Failed(error.to_string()),
        }
    }
}

/// Whether an error's code tells of something that passes: out of reach, locked, out of room, going down, read only for now.
fn is_passing(code: &str) -> bool {
    // SQLite's are numbers; extended ones carry more in the higher bytes.
    if let (Ok(number), true) = (code.parse::<u32>(), code.len() < 5) {
        // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN
        return matches!(number & 0xff, 5 | 6 | 8 | 10 | 13 | 14);
    }
    // PostgreSQL's are five characters, the first two a class (its manual, appendix A): connection, resources, operator, system; and
    // read_only_sql_transaction, idle_in_transaction_session_timeout, serialization_failure, deadlock_detected, lock_not_available.
    matches!(code.get(..2), Some("08" | "53" | "57" | "58")) || matches!(code, "25006" | "25P03" | "40001" | "40P01" | "55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_worth_another_try() {
        let check = |code: &str, expected: bool| assert_eq!(is_passing(code), expected, "{code}");
        check("5", true); // busy
        check("517", true); // busy, the snapshot is old
        check("1032", true); // read only, the file was moved
        check("1", false); // an error in the SQL
        check("57P01", true); // going down
        check("57014", true); // the statement took too long
        check("08006", true);
        check("53300", true); // too many connections
        check("28P01", false); // the password
        check("3D000", false); // no such database
        check("42601", false); // an error in the SQL
        check("23503", false);
    }
}
