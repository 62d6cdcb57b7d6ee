//! `[systems]`: the published key systems that are answered here.

use std::sync::Arc;

use crate::config::field::Section;
use crate::config::{Dialect, Route, Systems};

/// When a system is answered here.
#[derive(Clone, Copy)]
enum Answered {
    /// Where a route speaks its dialect.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Which dialects `routes` speak; of the rest it says nothing.
pub(super) fn spoken(routes: &[Arc<Route>]) -> Systems {
    let speaks = |dialect| routes.iter().any(|route| route.dialect == dialect);
    Systems {
        alterlab: speaks(Dialect::AlterLab),
        azscraper: speaks(Dialect::AzScraper),
        piloterr: speaks(Dialect::Piloterr),
        jobs_max: 0,
        register: false,
    }
}

/// Reads `[systems]`, where the routes speak `spoken`.
pub(super) fn systems(section: &Section<'_>, spoken: Systems) -> Systems {
    let words = [("auto", Answered::Auto), ("on", Answered::On), ("off", Answered::Off)];
    let answered = |key, spoken| match section.need(key, |field| field.choice(&words)) {
        Some(Answered::On) => true,
        Some(Answered::Off) => false,
        Some(Answered::Auto) | None => spoken,
    };
    Systems {
        alterlab: answered("alterlab", spoken.alterlab),
        azscraper: answered("azscraper", spoken.azscraper),
        piloterr: answered("piloterr", spoken.piloterr),
        jobs_max: section.need("jobs_max", |field| field.count(2..=100_000_000)).unwrap_or_default(),
        register: section.need("register", crate::config::field::Field::flag).unwrap_or_default(),
    }
}
