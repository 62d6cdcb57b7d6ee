//! From a tree to a [`Config`]: one file per group of sections, one function per section.
//!
//! A reader puts a placeholder where a setting cannot be read, and goes on; see the invariant of
//! [`field`](super::field). Ranges are where they are read; defaults are in `gateway.toml` alone.

mod finders;
mod headers;
mod keys;
mod listeners;
mod plans;
mod routes;
mod shadow;
mod stores;
mod systems;
mod units;
mod upstreams;

use super::field::{Field, Section};
use super::{Answered, Config};

/// Reads everything; what comes out is only good where no problem was noted.
pub(super) fn config(tree: &Field<'_>) -> Option<Config> {
    tree.section(sections)?
}

fn sections(top: &Section<'_>) -> Option<Config> {
    // No `?` before all have been read: every section's mistakes are wanted.
    let data = top.need("data", |field| field.section(listeners::data));
    let listen = data.as_ref().map(|data| data.listen);
    let control = top.need("control", |field| field.section(|section| listeners::control(section, listen)));
    let record = top.need("record", |field| field.section(stores::record));
    let counters = top.need("counters", |field| field.section(stores::counters));
    let threads = data.as_ref().map_or(1, |data| data.threads);
    let logs = top.need("logs", |field| field.section(|section| stores::logs(section, threads)));
    let session = top.need("session", |field| field.section(keys::session));
    let mut keys = top.need("keys", |field| field.section(keys::keys));
    let ip_guard = top.need("ip_guard", |field| field.section(keys::ip_guard));
    let billing = top.need("billing", |field| field.section(plans::billing));
    let plans = top.need("plans", |field| field.section(plans::plans));
    let upstreams = top.need("upstreams", |field| {
        upstreams::check_names(field);
        upstreams::upstreams(field)
    });
    let names = upstream_names(top);
    let routes = top.need("routes", |field| routes::routes(field, &names));
    let all = routes.as_deref().unwrap_or_default();
    let systems = top.need("systems", |field| field.section(|section| systems::systems(section, all)));
    if let (Some(keys), Some(Answered::Everywhere)) = (&mut keys, systems.map(|systems| systems.piloterr)) {
        keys::add_source_of_piloterr(top, &mut keys.sources);
    }
    Some(Config {
        data: data?,
        control: control?,
        record: record?,
        counters: counters?,
        logs: logs?,
        session: session?,
        keys: keys?,
        ip_guard: ip_guard?,
        systems: systems?,
        billing: billing?,
        plans: plans?,
        upstreams: upstreams?,
        routes: routes?,
    })
}

/// The upstreams' names as written: a route's upstream is looked for also where another setting is wrong.
fn upstream_names(top: &Section<'_>) -> Vec<String> {
    let names = top.field("upstreams").map(|field| field.each("name")).unwrap_or_default();
    names.into_iter().map(|name| name.and_then(|name| name.peek()).unwrap_or_default()).collect()
}
