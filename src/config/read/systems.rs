//! `[systems]`: the published key systems that are answered here.

use std::sync::Arc;

use crate::config::field::{Field, Section};
use crate::config::{Answered, Dialect, Route, Systems};

/// What the file may say of a system.
#[derive(Clone, Copy)]
enum Word {
    Auto,
    On,
    Off,
}

/// Reads `[systems]`, where there are these routes.
pub(super) fn systems(section: &Section<'_>, routes: &[Arc<Route>]) -> Systems {
    let words = [("auto", Word::Auto), ("on", Word::On), ("off", Word::Off)];
    let answered = |key, dialect| match section.need(key, |field| field.choice(&words)) {
        Some(Word::On) => Answered::Everywhere,
        Some(Word::Off) => Answered::Nowhere,
        Some(Word::Auto) | None if is_spoken(routes, dialect) => Answered::Everywhere,
        Some(Word::Auto) | None => Answered::Control,
    };
    Systems {
        alterlab: answered("alterlab", Dialect::AlterLab),
        azscraper: answered("azscraper", Dialect::AzScraper),
        piloterr: answered("piloterr", Dialect::Piloterr),
        jobs_max: section.need("jobs_max", |field| field.count(2..=100_000_000)).unwrap_or_default(),
        register: section.need("register", Field::flag).unwrap_or_default(),
    }
}

/// Whether one of these routes speaks `dialect`.
fn is_spoken(routes: &[Arc<Route>], dialect: Dialect) -> bool {
    routes.iter().any(|route| route.dialect == dialect)
}
