//! The way to the server, shut until what is there was found to be a record of this version: a gateway may start while
//! its server is away, and nothing is asked of a server, or written to it, that nobody has looked at.
//!
//! | when | then |
//! |---|---|
//! | it is shut | every question fails at once with [`RecordError::Unavailable`] and says why |
//! | it is knocked at ([`Door::try_open`]) and the server is away, refuses, or its tables are of a newer version | it stays shut; [`RecordError::is_away`] tells which |
//! | the tables are those of this version, or could be made so | it is open, for good: what fails later fails where it is asked |

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, Row as _};

use super::{MIGRATIONS, connect, hanging};
use crate::stores::record::{RecordError, unmigrated};

/// How the server is reached, and whether it was.
pub(super) struct Door {
    options: PgConnectOptions,
    connect_timeout: Duration,
    answer_timeout: Duration,
    is_open: AtomicBool,
    /// Why it is shut.
    why: Mutex<String>,
}

impl Door {
    pub fn new(options: PgConnectOptions, connect_timeout: Duration, answer_timeout: Duration) -> Self {
        let why = Mutex::new("nobody has asked yet".to_owned());
        Self { options, connect_timeout, answer_timeout, is_open: AtomicBool::new(false), why }
    }

    /// # Errors
    /// [`RecordError::Unavailable`] where it is shut.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(());
        }
        let text = format!("not reached since the start: {}", self.why.lock());
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::NotConnected, text)).into())
    }

    /// A connection of its own, where it is open.
    pub async fn connect(&self) -> Result<PgConnection, RecordError> {
        self.check()?;
        Ok(connect(&self.options, self.connect_timeout).await?)
    }

    /// Looks at the server, makes its tables where they are not there, and opens. A server that is starting up is waited
    /// for, as long as a connection may take.
    ///
    /// # Errors
    /// As [`PostgresRecord::open`](super::PostgresRecord::open).
    pub async fn open(&self) -> Result<(), RecordError> {
        make_tables(&self.options, self.connect_timeout).await?;
        let mut connection = connect(&self.options, self.connect_timeout).await?;
        self.look(&mut connection).await?;
        connection.close().await?;
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    /// As [`Door::open`], but waits for nothing that need not be: for trying again and again.
    ///
    /// # Errors
    /// As [`Door::open`].
    pub async fn try_open(&self) -> Result<(), RecordError> {
        let opened = self.knock().await;
        if let Err(error) = &opened {
            *self.why.lock() = match error {
                RecordError::Unavailable(sqlx::Error::Io(cause)) => cause.to_string(),
                RecordError::Unavailable(cause) => cause.to_string(),
                other => other.to_string(),
            };
        }
        opened
    }

    async fn knock(&self) -> Result<(), RecordError> {
        let mut connection = connect(&self.options, self.connect_timeout).await?;
        let looking = async {
            let is_up_to_date = is_up_to_date(&mut connection).await?;
            if is_up_to_date {
                self.look(&mut connection).await?;
            }
            connection.close().await?;
            Ok::<_, RecordError>(is_up_to_date)
        };
        let looked = tokio::time::timeout(self.answer_timeout, looking).await;
        if looked.unwrap_or_else(|_| Err(hanging(self.answer_timeout).into()))? {
            self.is_open.store(true, Ordering::Release);
            return Ok(());
        }
        self.open().await
    }

    /// What is to be known of the server before it is used.
    async fn look(&self, connection: &mut PgConnection) -> Result<(), RecordError> {
        let fsync = sqlx::query("SHOW fsync").fetch_one(&mut *connection).await?;
        if fsync.try_get::<String, _>(0)? == "off" {
            tracing::warn!(
                "the PostgreSQL server has fsync = off: a power cut would cost what it has confirmed"
            );
        }
        let half =
            sqlx::query("SELECT 1 FROM migration WHERE NOT whole").fetch_optional(&mut *connection).await?;
        if half.is_some() {
            return Err(RecordError::Corrupt(
                "a migration into it has not ended: run `tollgate migrate-record` again, which goes on where it was"
                    .into(),
            ));
        }
        Ok(())
    }
}

/// Brings the tables up to date, where there are none from nothing.
pub(super) async fn make_tables(
    options: &PgConnectOptions,
    connect_timeout: Duration,
) -> Result<(), RecordError> {
    // Without the bounds of other connections: sqlx lets one of all gateways do it at a time, and the others wait for
    // that as long as it takes.
    let making = PgPoolOptions::new()
        .acquire_timeout(connect_timeout)
        .max_connections(1)
        .connect_with(options.clone())
        .await?;
    MIGRATIONS.run(&making).await.map_err(unmigrated)?;
    making.close().await;
    Ok(())
}

/// Whether the tables are those of this version already, as they nearly always are: then nobody has to wait for a turn to
/// make them.
async fn is_up_to_date(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let made = sqlx::query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
    if !made.fetch_one(&mut *connection).await?.try_get::<bool, _>(0)? {
        return Ok(false);
    }
    let rows = sqlx::query("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(connection)
        .await?;
    let mut there = Vec::with_capacity(rows.len());
    for row in &rows {
        there.push((row.try_get::<i64, _>(0)?, row.try_get::<Vec<u8>, _>(1)?, row.try_get::<bool, _>(2)?));
    }
    let ours = MIGRATIONS.iter().map(|ours| (ours.version, &*ours.checksum, true));
    Ok(there.iter().map(|(version, checksum, whole)| (*version, checksum.as_slice(), *whole)).eq(ours))
}

/// Without how the server is reached: the password is in it.
impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}
