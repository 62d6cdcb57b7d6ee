//! The record that the configuration names.

use std::sync::Arc;

use super::postgres::PostgresRecord;
use super::sqlite::SqliteRecord;
use super::{RecordError, SharedRecord};
use crate::config::{Record, RecordUrl};

/// A record that is open, of whatever kind.
#[derive(Debug, Clone)]
pub enum Opened {
    /// In a file.
    Sqlite(SqliteRecord),
    /// On a server.
    Postgres(PostgresRecord),
}

/// Opens the record that `settings` name, and brings its tables up to date.
///
/// # Errors
/// As [`SqliteRecord::open`] and [`PostgresRecord::open`].
pub async fn open(settings: &Record) -> Result<Opened, RecordError> {
    Ok(match &settings.url {
        RecordUrl::Sqlite(path) => Opened::Sqlite(SqliteRecord::open(path).await?),
        RecordUrl::Postgres(url) => Opened::Postgres(PostgresRecord::open(url, settings).await?),
    })
}

/// As [`open`], for what can do without for a while: a server that is away is no error, and the record can be asked when
/// [`Opened::reach`] has succeeded. With the record comes why it cannot be asked yet.
///
/// # Errors
/// As [`open`], where trying again will not help.
pub async fn begin(settings: &Record) -> Result<(Opened, Option<RecordError>), RecordError> {
    let RecordUrl::Postgres(url) = &settings.url else { return Ok((open(settings).await?, None)) };
    let opened = Opened::Postgres(PostgresRecord::new(url, settings)?);
    match opened.reach().await {
        Ok(()) => Ok((opened, None)),
        Err(error) if error.is_away() => Ok((opened, Some(error))),
        Err(error) => Err(error),
    }
}

/// Where a record is, for people: a path, or a URL without what could be secret.
pub fn place(url: &RecordUrl) -> String {
    match url {
        RecordUrl::Sqlite(path) => path.display().to_string(),
        RecordUrl::Postgres(url) => {
            let place = url.0.split('?').next().unwrap_or_default();
            let host = place.rsplit('@').next().unwrap_or_default();
            format!("postgres://{}", host.split("//").last().unwrap_or_default())
        }
    }
}

impl Opened {
    /// The record as everything holds it.
    pub fn shared(&self) -> SharedRecord {
        match self {
            Self::Sqlite(record) => Arc::new(record.clone()),
            Self::Postgres(record) => Arc::new(record.clone()),
        }
    }

    /// Sees to it that the record can be asked, which one in a file can.
    ///
    /// # Errors
    /// As [`PostgresRecord::reach`].
    pub async fn reach(&self) -> Result<(), RecordError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(record) => record.reach().await,
        }
    }

    /// Ends every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(record) => record.close().await,
            Self::Postgres(record) => record.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Masked;

    #[test]
    fn a_place_shows_no_password() {
        for (url, shown) in [
            ("postgres://gate:hunter2@db:5432/gate?sslmode=require", "postgres://db:5432/gate"),
            ("postgres://gate:hunt@er2@db/gate", "postgres://db/gate"),
            ("postgresql://db/gate", "postgres://db/gate"),
            ("postgres:///gate?host=/run/postgresql", "postgres:///gate"),
        ] {
            assert_eq!(place(&RecordUrl::Postgres(Masked(url.to_owned()))), shown, "{url}");
        }
    }
}
