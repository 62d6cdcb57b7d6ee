//! The record on a PostgreSQL server, for several gateways at once. What it is asked in the same words as SQLite stands
//! once, in [`sql`]; what differs, here in the order of [`sqlite`](super::sqlite).
//!
//! **Writers take turns.** Every change of people, organizations and keys begins with [`WRITERS`], an advisory lock
//! that ends with its transaction, when what it wrote is visible. So what it read is still true when it writes,
//! and `changes` are numbered in the order in which they become visible: whoever reads on from the last number
//! misses none. The request log takes no part in this; it has a turn of its own ([`log`]).
//!
//! | what fails | what happens |
//! |---|---|
//! | the server cannot be reached, or refuses | `open` fails with [`RecordError::Unavailable`]; the password is in no message |
//! | it cannot be reached when a gateway starts | the gateway starts, and goes on trying: [`door`] |
//! | several gateways make the tables at once | one does, the others wait and find them made |
//! | the tables were made by a newer version | `open` fails with [`RecordError::Corrupt`]; nothing is changed |
//! | the server dies or is restarted | what was under way fails with `Unavailable` and never happened, or had been committed and not yet said so; dead connections are found when they are next needed, and replaced |
//! | the way to the server is lost while the log is written | found out by asking the server over another connection: [`log_watch`] |
//! | the server hangs, or the way to it | `Unavailable` after [`Record::answer_timeout`](config::Record::answer_timeout); the connection is given up |
//! | every connection is in use | a caller waits up to [`Record::connect_timeout`](config::Record::connect_timeout), then `Unavailable` |
//! | this process dies or hangs inside a change | it never happened; the server ends its turn, after [`IDLE_TIMEOUT`] at the latest |
//! | disk full | `Unavailable`; the transaction is rolled back |
//! | a server that forgets what it confirmed | said at the start where it is set up so (`fsync = off`); `synchronous_commit` is turned on where it is off |
//! | a column holds what this program never wrote | [`RecordError::Corrupt`], naming it |
//!
//! **Deliberately absent:** reading from replicas. One that lags would bring back a key that was just revoked.

mod columns;
mod door;
mod engine;
mod jobs;
mod log;
mod log_copy;
mod log_read;
mod log_sums;
mod log_watch;
mod partitions;
mod reports;
mod scopes;
#[path = "../sql/mod.rs"]
#[allow(clippy::duplicate_mod, reason = "one text, compiled for each engine")]
mod sql;
#[cfg(test)]
mod tests;
mod together;
mod upkeep;
mod usage;

use std::collections::BTreeSet;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgTransaction};

use self::door::Door;
use self::log::LogWriter;
use self::together::Together;
use super::RecordError;
use crate::config;

static MIGRATIONS: Migrator = sqlx::migrate!("src/stores/record/migrations/postgres");

/// The advisory lock of whoever changes people, organizations or keys: "tollgate" in ASCII.
const WRITERS: i64 = 0x746f_6c6c_6761_7465;

/// After how long the server ends a transaction whose client asks nothing more.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection that is about to be used, or has been, may take to answer that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// The record on a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresRecord {
    /// Asked behind the door only: within [`Self::within`] and by [`Self::write`].
    pool: PgPool,
    door: Arc<Door>,
    answer_timeout: Duration,
    log: Arc<LogWriter>,
    together: Arc<Together>,
}

impl PostgresRecord {
    /// The record on the server at `url`, which nobody has asked yet: until it is [reached](Self::reach), every question
    /// fails with [`RecordError::Unavailable`]. Must run on a runtime.
    ///
    /// # Errors
    /// Where the URL cannot be read.
    pub fn new(url: &config::Masked, settings: &config::Record) -> Result<Self, RecordError> {
        let options = connect_options(url)?;
        let answer_timeout = settings.answer_timeout;
        let pool = PgPoolOptions::new()
            .acquire_timeout(settings.connect_timeout)
            .max_connections(settings.connections_max)
            .test_before_acquire(false)
            .after_connect(move |connection, _| Box::pin(set_up(connection, answer_timeout)))
            .before_acquire(|connection, _| Box::pin(alive(connection)))
            .after_release(|connection, _| Box::pin(alive(connection)))
            .connect_lazy_with(options.clone());
        let door = Arc::new(Door::new(options, settings.connect_timeout, answer_timeout));
        let log = Arc::new(LogWriter::new(Arc::clone(&door)));
        Ok(Self { pool, door, answer_timeout, log, together: Arc::new(Together::new()) })
    }

    /// Connects to the server at `url` and brings its tables up to date.
    ///
    /// # Errors
    /// [`RecordError::Unavailable`] or [`RecordError::Corrupt`]; see the module.
    pub async fn open(url: &config::Masked, settings: &config::Record) -> Result<Self, RecordError> {
        let record = Self::new(url, settings)?;
        record.door.open().await?;
        Ok(record)
    }

    /// Connects to the server and brings its tables up to date, from when on it can be asked. A server that is away is not
    /// waited for: try again.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn reach(&self) -> Result<(), RecordError> {
        self.door.try_open().await
    }

    /// Brings the tables of the server at `url` up to date, where it is empty from nothing.
    pub(super) async fn make_tables(
        url: &config::Masked,
        settings: &config::Record,
    ) -> Result<(), RecordError> {
        door::make_tables(&connect_options(url)?, settings.connect_timeout).await
    }

    /// A connection for what takes its time: without a bound on statements.
    pub(super) async fn unbounded(
        url: &config::Masked,
        settings: &config::Record,
    ) -> Result<PgConnection, RecordError> {
        let mut connection = connect(&connect_options(url)?, settings.connect_timeout).await?;
        set_up(&mut connection, Duration::ZERO).await?;
        Ok(connection)
    }

    /// The day whose partition a row's place lies in.
    pub(super) const fn day_of(place: i64) -> i64 {
        partitions::day_of(place)
    }

    /// Makes the partitions of some days, where they are not there.
    pub(super) async fn make_partitions(
        connection: &mut PgConnection,
        days: &BTreeSet<i64>,
    ) -> Result<(), RecordError> {
        partitions::make(connection, days, &mut BTreeSet::new()).await
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.log.close().await;
        // One that hangs is not waited for.
        let _ = tokio::time::timeout(PING_TIMEOUT, self.pool.close()).await;
    }

    /// A transaction that has its turn to write.
    async fn write(&self) -> Result<PgTransaction<'static>, RecordError> {
        self.door.check()?;
        let mut tx = self.pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITERS).execute(&mut *tx).await?;
        Ok(tx)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, RecordError>>,
) -> Result<T, RecordError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(hanging(limit).into()))
}

fn hanging(after: Duration) -> sqlx::Error {
    let text = format!("PostgreSQL has not answered for {after:?}");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text))
}

fn connect_options(url: &config::Masked) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(&url.0)?.application_name("tollgate"))
}

async fn connect(options: &PgConnectOptions, within: Duration) -> Result<PgConnection, sqlx::Error> {
    let connecting = tokio::time::timeout(within, PgConnection::connect_with(options));
    connecting.await.map_err(|_| hanging(within))?
}

/// Has the server end what hangs on our side, and confirm nothing that it has not on disk. And plan each statement for the
/// tables as they are: plans that a connection made while they were empty, and kept, read all of them for each row once
/// they are not, until somebody analyzes them.
async fn set_up(connection: &mut PgConnection, statement_timeout: Duration) -> Result<(), sqlx::Error> {
    let milliseconds = |time: Duration| time.as_millis().to_string();
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false),
                set_config('idle_in_transaction_session_timeout', $2, false),
                set_config('client_min_messages', 'warning', false),
                set_config('plan_cache_mode', 'force_custom_plan', false),
                CASE current_setting('synchronous_commit')
                    WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END",
    )
    .bind(milliseconds(statement_timeout))
    .bind(milliseconds(IDLE_TIMEOUT))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a connection still answers. One that does not is closed, and takes no place in the pool.
async fn alive(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    tokio::time::timeout(PING_TIMEOUT, connection.ping()).await.map_err(|_| hanging(PING_TIMEOUT))??;
    Ok(true)
}
