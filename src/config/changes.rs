//! What a reload cannot change.

use super::Config;

/// The settings that differ and take effect at the next start only, by their dotted keys.
///
/// These are what is built once: sockets, threads, stores, the spool, and whatever is sized when it is made.
pub fn diff_needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = [
        ("data.listen", old.data.listen != new.data.listen),
        ("data.tls", old.data.tls != new.data.tls),
        ("data.own_requests_max", old.data.own_requests_max != new.data.own_requests_max),
        ("data.own_timeout", old.data.own_timeout != new.data.own_timeout),
        ("data.threads", old.data.threads != new.data.threads),
        ("control.listen", old.control.listen != new.control.listen),
        ("record.url", old.record.url != new.record.url),
        ("record.connections_max", old.record.connections_max != new.record.connections_max),
        ("record.connect_timeout", old.record.connect_timeout != new.record.connect_timeout),
        ("record.answer_timeout", old.record.answer_timeout != new.record.answer_timeout),
        ("control.connections_max", old.control.connections_max != new.control.connections_max),
        ("control.requests_max", old.control.requests_max != new.control.requests_max),
        ("control.body_max", old.control.body_bytes_max != new.control.body_bytes_max),
        ("control.timeout", old.control.timeout != new.control.timeout),
        ("session.hashes_max", old.session.hashes_max != new.session.hashes_max),
        ("session.hashes_waiting_max", old.session.hashes_waiting_max != new.session.hashes_waiting_max),
        ("session.failing_max", old.session.failing_max != new.session.failing_max),
        // With the other settings of the issuer, which mean nothing without its keys.
        ("session.jwks_url", old.session.outside != new.session.outside),
        ("counters.url", old.counters.engine != new.counters.engine),
        ("counters.on_outage", old.counters.on_outage != new.counters.on_outage),
        ("counters.keys_max", old.counters.keys_max != new.counters.keys_max),
        ("counters.timeout", old.counters.timeout != new.counters.timeout),
        ("logs.dir", old.logs.dir != new.logs.dir),
        ("logs.spool_bytes_max", old.logs.spool_bytes_max != new.logs.spool_bytes_max),
        ("logs.segment_bytes", old.logs.segment_bytes != new.logs.segment_bytes),
        ("logs.when_full", old.logs.when_full != new.logs.when_full),
        ("logs.sync_every", old.logs.sync_every != new.logs.sync_every),
        ("logs.ship_every", old.logs.ship_every != new.logs.ship_every),
        ("logs.batch_rows_max", old.logs.batch_rows_max != new.logs.batch_rows_max),
        ("logs.export.to", old.logs.export.to != new.logs.export.to),
        ("logs.export.rotate_bytes", old.logs.export.rotate_bytes != new.logs.export.rotate_bytes),
        ("logs.export.files_max", old.logs.export.files_max != new.logs.export.files_max),
        ("keys.cache_max", old.keys.cache_max != new.keys.cache_max),
        ("keys.cache_absent_max", old.keys.cache_absent_max != new.keys.cache_absent_max),
        ("keys.cache_absent_for", old.keys.cache_absent_for != new.keys.cache_absent_for),
        ("keys.follow_every", old.keys.follow_every != new.keys.follow_every),
        ("keys.index_for", old.keys.index_for != new.keys.index_for),
        ("keys.remember_for", old.keys.remember_for != new.keys.remember_for),
        ("systems.alterlab", old.systems.alterlab != new.systems.alterlab),
        ("systems.azscraper", old.systems.azscraper != new.systems.azscraper),
        ("systems.piloterr", old.systems.piloterr != new.systems.piloterr),
        ("systems.jobs_max", old.systems.jobs_max != new.systems.jobs_max),
        ("ip_guard.addresses_max", old.ip_guard.addresses_max != new.ip_guard.addresses_max),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}
