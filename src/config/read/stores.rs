//! `[record]`, `[counters]` and `[logs]`: what is remembered, and where.

use std::path::PathBuf;
use std::time::Duration;

use super::units::{DAY, GIB, HOUR, INSTANT, KIB, MIB, duration, path, size, timeout};
use crate::config::field::{Field, Section};
use crate::config::{
    Counters, CountersEngine, Export, ExportTo, Logs, Masked, OnOutage, Record, RecordUrl, RedisUrl, WhenFull,
};

/// What stands in the query of a PostgreSQL URL, of what PostgreSQL's own library reads there.
const POSTGRES_PARAMETERS: [&str; 6] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "host", "application_name"];
const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Two calls in a row that fail open the breaker, which must be open within a second.
const CALL_MAX: Duration = Duration::from_millis(400);

/// Reads `[record]`.
pub(super) fn record(section: &Section<'_>) -> Record {
    let connections = section.need("connections_max", |field| field.count(1..=1_000));
    Record {
        url: section.need("url", record_url).unwrap_or_else(|| RecordUrl::Sqlite(PathBuf::new())),
        connections_max: connections.and_then(|count| u32::try_from(count).ok()).unwrap_or_default(),
        connect_timeout: section.need("connect_timeout", timeout).unwrap_or_default(),
        answer_timeout: section.need("answer_timeout", timeout).unwrap_or_default(),
    }
}

fn record_url(field: &Field<'_>) -> Option<RecordUrl> {
    let url = field.filled_text()?;
    if let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
        return postgres_url(field, rest).map(|()| RecordUrl::Postgres(Masked(url)));
    }
    let Some(file) = url.strip_prefix("sqlite://") else {
        return field.wrong("is not a URL of a record", "write it as sqlite://data/tollgate.db");
    };
    if file.is_empty() || file.ends_with('/') || file.contains([':', '?', '#']) {
        return field.wrong(
            "does not name a file behind sqlite://",
            "write it as sqlite://data/tollgate.db, or sqlite:///var/lib/tollgate.db for an absolute path",
        );
    }
    Some(RecordUrl::Sqlite(PathBuf::from(file)))
}

/// Checks what stands behind `postgres://`; none of it is quoted, as it may hold a password.
fn postgres_url(field: &Field<'_>, rest: &str) -> Option<()> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.split_once('/').is_none_or(|(_, database)| database.is_empty() || database.contains('/')) {
        return field.wrong(
            "does not name a database",
            "write it as postgres://user:password@host:5432/database?sslmode=verify-full",
        );
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !POSTGRES_PARAMETERS.contains(&name) {
            return field.wrong(
                "has a parameter behind `?` that is not known",
                format!("known are {}", POSTGRES_PARAMETERS.join(", ")),
            );
        }
        if name == "sslmode" && !SSL_MODES.contains(&value) {
            let advice = format!("use one of {}; verify-full is the safe one", SSL_MODES.join(", "));
            return field.wrong("has an sslmode that is not known", advice);
        }
    }
    Some(())
}

/// Reads `[counters]`.
pub(super) fn counters(section: &Section<'_>) -> Counters {
    let on_outage = [("local", OnOutage::Local), ("closed", OnOutage::Closed)];
    Counters {
        engine: section.need("url", counters_url).unwrap_or(CountersEngine::Memory),
        on_outage: section.need("on_outage", |field| field.choice(&on_outage)).unwrap_or(OnOutage::Local),
        keys_max: section.need("keys_max", |field| field.count(1..=1_000_000_000)).unwrap_or_default(),
        timeout: section.need("timeout", |field| duration(field, INSTANT..=CALL_MAX)).unwrap_or_default(),
    }
}

fn counters_url(field: &Field<'_>) -> Option<CountersEngine> {
    let url = field.filled_text()?;
    if url == "memory" {
        return Some(CountersEngine::Memory);
    }
    let cluster = ["redis+cluster://", "rediss+cluster://"];
    if let Some(named) = cluster.iter().find_map(|scheme| url.strip_prefix(scheme)) {
        return cluster_nodes(field, named).map(|()| CountersEngine::Redis(RedisUrl(url)));
    }
    if let Some(named) = url.strip_prefix("redis+sentinel://") {
        let advice = "write it as redis+sentinel://:PASSWORD@HOST:26379,HOST:26379/MASTER";
        let Some((before, master)) = named.rsplit_once('/').filter(|(_, master)| !master.is_empty()) else {
            return field.wrong("does not name a master behind its Sentinels", advice);
        };
        let hosts = before.rsplit_once('@').map_or(before, |(_, hosts)| hosts);
        let is_login = before.rsplit_once('@').is_none_or(|(login, _)| login.starts_with(':'));
        let is_host =
            |host: &str| !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace());
        if !is_login || !hosts.split(',').all(is_host) || master.contains(char::is_whitespace) {
            return field.wrong("does not name Sentinels", advice);
        }
        return Some(CountersEngine::Redis(RedisUrl(url)));
    }
    let advice = "write it as redis://:PASSWORD@HOST:6379/0, or use \"memory\"";
    let Some(host) = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://")) else {
        return field.wrong("is not a URL of counters", advice);
    };
    if host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace) {
        return field.wrong("does not name a host behind redis://", advice);
    }
    Some(CountersEngine::Redis(RedisUrl(url)))
}

/// Checks what stands behind `redis+cluster://`; none of it is quoted, as it may hold a password.
fn cluster_nodes(field: &Field<'_>, named: &str) -> Option<()> {
    let advice = "write it as redis+cluster://USER:PASSWORD@HOST:6379,HOST:6379";
    let (login, hosts) = named.rsplit_once('@').unwrap_or((":", named));
    if !login.contains(':') || login.contains(['/', '?', '#']) || login.contains(char::is_whitespace) {
        return field.wrong(
            "has a login that cannot be read; `/`, `?`, `#` and `@` in it are percent-encoded",
            advice,
        );
    }
    if hosts.contains('/') {
        return field
            .wrong("names a database, and a Redis cluster has but one", "leave out `/` and what follows");
    }
    let is_node = |node: &str| {
        let (host, port) = node.rsplit_once(':').unwrap_or((node, "6379"));
        let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "?#".contains(c));
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if hosts.split(',').all(is_node) {
        return Some(());
    }
    field.wrong("does not name nodes of a Redis cluster", advice)
}

/// Reads `[logs]`; each of `threads` I/O threads needs two segments at a time.
pub(super) fn logs(section: &Section<'_>, threads: usize) -> Logs {
    let when_full = [("refuse", WhenFull::Refuse), ("drop", WhenFull::Drop)];
    let spool_bytes_max =
        section.need("spool_bytes_max", |field| size(field, 128 * KIB..=(GIB << 10))).unwrap_or_default();
    let segment_bytes = section.need("segment_bytes", |field| {
        let segment = size(field, 64 * KIB..=GIB)?;
        let most = spool_bytes_max / (2 * threads as u64);
        if spool_bytes_max > 0 && segment > most {
            return field.wrong(
                format!(
                    "{segment} bytes are too many: two segments for each of {threads} threads must fit into \
                     logs.spool_bytes_max"
                ),
                format!("make it at most {most}, or the spool larger"),
            );
        }
        Some(segment)
    });
    Logs {
        dir: section.need("dir", path).unwrap_or_default(),
        retention: section.need("retention", |field| duration(field, HOUR..=DAY * 3_660)).unwrap_or_default(),
        spool_bytes_max,
        segment_bytes: segment_bytes.unwrap_or_default(),
        when_full: section.need("when_full", |field| field.choice(&when_full)).unwrap_or(WhenFull::Refuse),
        sync_every: section.need("sync_every", often).unwrap_or_default(),
        ship_every: section.need("ship_every", often).unwrap_or_default(),
        batch_rows_max: section
            .need("batch_rows_max", |field| field.count(1..=1_000_000))
            .unwrap_or_default(),
        export: section.need("export", |field| field.section(export)).unwrap_or_default(),
    }
}

fn export(section: &Section<'_>) -> Export {
    Export {
        to: section.need("to", export_to).flatten(),
        rotate_bytes: section
            .need("rotate_bytes", |field| size(field, MIB..=(GIB << 10)))
            .unwrap_or_default(),
        files_max: section.need("files_max", |field| field.count(1..=10_000)).unwrap_or_default(),
    }
}

/// Empty is off.
fn export_to(field: &Field<'_>) -> Option<Option<ExportTo>> {
    let text = field.text()?;
    Some(match text.as_str() {
        "" => None,
        "stdout" => Some(ExportTo::Stdout),
        name if name.ends_with('/') => {
            return field.wrong("names a directory", "write it as data/export/requests.jsonl");
        }
        name => Some(ExportTo::File(PathBuf::from(name))),
    })
}

/// Work that repeats: seldom enough to cost nothing, often enough to matter.
fn often(field: &Field<'_>) -> Option<Duration> {
    duration(field, INSTANT..=Duration::from_secs(60))
}
