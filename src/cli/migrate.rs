//! `tollgate migrate-record`

use std::path::Path;

use serde_json::{Value, json};

use super::context::configuration_with;
use super::failure::Failure;
use super::output::Output;
use crate::config::{Record, RecordUrl};
use crate::stores::record::migrate::{Moved, migrate};
use crate::stores::record::open::place;

#[derive(Debug, clap::Args)]
pub(super) struct MigrateRecord {
    /// The SQLite record, as `sqlite://data/tollgate.db`.
    #[arg(long, value_name = "URL")]
    from: String,
    /// The PostgreSQL database, empty, as `postgres://…`; without it, `record.url` of the configuration. `${NAME}` reads the
    /// environment, so that a password need not be on the command line.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

/// Moves the record.
pub(super) async fn run(command: MigrateRecord, config: Option<&Path>) -> Result<Output, Failure> {
    let from = match record(config, Some(command.from))?.url {
        RecordUrl::Sqlite(path) => path,
        RecordUrl::Postgres(_) => return Err(Failure::wrong("--from is no SQLite record").advice(USAGE)),
    };
    let settings = record(config, command.to)?;
    let RecordUrl::Postgres(url) = &settings.url else {
        return Err(Failure::wrong("the record to move to is no PostgreSQL database").advice(USAGE));
    };
    let tell = |moved: &Moved| {
        tracing::info!(table = moved.table, rows = moved.rows, earlier = moved.earlier, "moved and verified");
    };
    let all = migrate(&from, url, &settings, tell).await?;
    let lines = all
        .iter()
        .map(|moved| format!("{:<16} {:>12} rows, the same on both sides", moved.table, moved.rows));
    let text = format!(
        "{}\nThe record is now in {}: name it in `record.url`, and keep `logs.dir`.",
        lines.collect::<Vec<_>>().join("\n"),
        place(&settings.url)
    );
    let tables: Vec<Value> = all
        .iter()
        .map(|moved| json!({"table": moved.table, "rows": moved.rows, "checksum": moved.checksum, "earlier": moved.earlier}))
        .collect();
    Ok(Output::new(text, &json!({"from": from, "to": place(&settings.url), "tables": tables})))
}

const USAGE: &str = "write it as: tollgate migrate-record --from sqlite://data/tollgate.db --to postgres://user@host/database";

/// The settings of `[record]`, with another URL where one is given.
fn record(config: Option<&Path>, url: Option<String>) -> Result<Record, Failure> {
    let flags: Vec<_> = url.into_iter().map(|url| ("record.url".to_owned(), url)).collect();
    Ok(configuration_with(config, &flags)?.record)
}
