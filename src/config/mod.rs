//! Configuration: the checked form that the rest of the gateway reads.
//!
//! Raw text and checked configuration are two things. [`load`](load::load) reads the compiled-in
//! `gateway.toml`, the operator's file, the environment and flags, collects *every* problem, and only where
//! there is none is there a [`Config`]. Nothing behind this floor parses, defaults or validates a setting.
//!
//! ```text
//! gateway.toml, the operator's file, environment, flags
//!   tree, settings       one tree of raw values, each with the place where it was written
//!   field, expand, read  every setting read as what it should be, or noted as a problem
//!   Config               or all Problems
//! ```
//!
//! Deliberately absent: serde (it stops at the first mistake), a watch on the file (SIGHUP asks for a reload),
//! and defaults in code (`gateway.toml` has them all, and so documents them all).

mod callers;
pub mod changes;
mod expand;
mod field;
mod listeners;
pub mod load;
mod masked;
pub mod problem;
mod read;
mod route;
mod settings;
mod stores;
#[cfg(test)]
mod tests;
mod tree;
mod upstream;

use std::sync::Arc;

pub use self::callers::{IpGuard, Issuer, IssuerAlgorithm, KeySet, Keys, Session, Source};
pub use self::listeners::{Control, Data, Tls};
pub use self::masked::{Masked, RedisUrl, SealKey};
pub use self::route::{Auth, Dialect, Finder, Route};
pub use self::stores::{
    Counters, CountersEngine, Export, ExportTo, Logs, OnOutage, Record, RecordUrl, WhenFull,
};
pub use self::upstream::{Health, Target, Upstream, UpstreamCredential};
use crate::domain::limit::Caps;

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    /// The clients' side.
    pub data: Data,
    /// The operators' side.
    pub control: Control,
    /// Where keys, people and the request log live.
    pub record: Record,
    /// Where limits are counted.
    pub counters: Counters,
    /// The request log's spool.
    pub logs: Logs,
    /// Built-in logins.
    pub session: Session,
    /// What keys look like and where they are found.
    pub keys: Keys,
    /// Blocking of addresses that guess keys.
    pub ip_guard: IpGuard,
    /// The published key systems whose paths are answered here.
    pub systems: Systems,
    /// Money.
    pub billing: Billing,
    /// Plans by name, in the order of the file; never empty.
    pub plans: Vec<Plan>,
    /// Upstreams, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Routes; the first that matches is taken.
    pub routes: Vec<Arc<Route>>,
}

/// `[systems]`: where each is answered, whatever the file said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Systems {
    /// AlterLab's.
    pub alterlab: Answered,
    /// AzScraper's.
    pub azscraper: Answered,
    /// Piloterr's.
    pub piloterr: Answered,
    /// Jobs kept in memory, of those that routes remember.
    pub jobs_max: usize,
    /// Whether AzScraper's `POST /auth/register` makes accounts.
    pub register: bool,
}

/// On which listeners a system is answered. In this order: what is answered to clients is to operators, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// On none.
    Nowhere,
    /// On the operators' alone: on the clients' its paths are the upstream's.
    Control,
    /// On both.
    Everywhere,
}

/// `[billing]`
#[derive(Debug)]
pub struct Billing {
    /// What a microcent is, for people and reports; nothing is computed with it.
    pub microcents_per_dollar: u64,
    /// What a credit costs where only credits are known, and the other way round.
    pub microcents_per_credit: u64,
}

/// `[plans.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Its caps.
    pub caps: Caps,
}

impl Config {
    /// How refusals are spelled before a route is known: as all routes do, or natively where they differ.
    pub fn common_dialect(&self) -> Dialect {
        match self.routes.split_first() {
            Some((first, rest)) if rest.iter().all(|route| route.dialect == first.dialect) => first.dialect,
            _ => Dialect::Native,
        }
    }

    /// The caps of the plan called `name`; of no plan known any more, the strictest of all plans, as a limit
    /// must never become unlimited by an edit.
    pub fn caps(&self, name: &str) -> Caps {
        self.plans.iter().find(|plan| plan.name == name).map_or_else(
            || self.plans.iter().fold(Caps::default(), |caps, plan| caps.strictest(plan.caps)),
            |plan| plan.caps,
        )
    }
}
