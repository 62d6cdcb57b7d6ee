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
