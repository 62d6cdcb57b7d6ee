//! # Tollgate: architecture
//!
//! Tollgate is an authenticating reverse proxy that stands in front of an existing scraping service. It checks
//! the API key of each request, applies the plan's rate limits and the key's quotas, logs the request, and
//! forwards it. This page is the map: what lives where, what a request passes on its way, and what is
//! deliberately not there.
//!
//! ## Floors
//!
//! Imports point down. Neighbours on one floor never see each other. `tests/floors.rs` reads every `crate::`
//! path and fails on one that points up.
//!
//! | floor | modules | what it may know |
//! |---|---|---|
//! | 7 | [`app`], [`cli`], `main` | everything; the only user of `anyhow` |
//! | 6 | [`proxy`] | sockets and hyper; nobody else does |
//! | 5 | [`api`] | HTTP dialects, the native API and its document, the operators' endpoints |
//! | 4 | [`pipeline`], [`admin`] | what a request may do; what a person may do. They meet only in the stores |
//! | 3 | [`logs`] | the durable spool and its way into the record |
//! | 2 | [`stores`] | record (SQLite, PostgreSQL), counters (memory, Redis), keyring |
//! | 1 | [`config`], [`metrics`], [`clock`] | settings, what operators watch, the time |
//! | 0 | [`domain`] | values and rules: no async, no IO, no serde, no clock |
//!
//! ## A request on its way
//!
//! 1. [`proxy::server`] accepts on one of several listeners on the same port (`SO_REUSEPORT`): one thread per
//!    core, each with its own single-threaded runtime, upstream connections and log writer. No request waits
//!    for another thread, and none is handed to one.
//! 2. [`proxy::http1`] reads the head by the rules of [`proxy::strict`], which let it through only where it can be
//!    read in one way (RFC 9112 section 11). What is forwarded is always serialised anew. HTTP/2 is hyper's.
//! 3. [`pipeline::admit`] is the page with every check in its order. It sees
//!    [`Facts`](pipeline::facts::Facts), not an engine, and answers with a
//!    [`Permit`](pipeline::permit::Permit) or a [`Refused`](pipeline::permit::Refused). The key comes from the
//!    [`keyring`](stores::keyring), the limits from the [`counters`](stores::counters).
//!    A path that a [`System`](api::system::System) owns never comes that far: [`proxy::local`] hands it to the
//!    second runtime, where the gateway answers it itself.
//! 4. [`proxy::exchange`] takes the permit, writes the admission into the [`logs`] spool, and from then on owes
//!    exactly one settlement and one row.
//! 5. [`proxy::forward`] removes the client's credential, sets the upstream's own and the identity headers, and
//!    sends; only a request of which no byte reached a target is tried at another one.
//! 6. [`proxy::relay`] hands the answer back piece by piece. The row is in the spool before the last piece is.
//!
//! ## How knowledge flows
//!
//! - **Keys.** Every change is written to the record together with a row of `changes`. Each gateway reads what
//!   is new several times a second ([`stores::keyring::follow`]) and forgets what it had cached. A fill that
//!   was under way while its key changed is not kept.
//! - **Limits.** One mechanism: [`domain::ring`]. Checked and committed for all limits of a request or for none
//!   ([`domain::account`]). After a restart they are rebuilt from the log.
//! - **The log.** Memory-mapped segments, one writer per thread; a shipper moves rows to the record in
//!   idempotent batches, with rollups and cursor in the same transaction. An admission without a row after a
//!   crash becomes a row of its own, so that received = admitted = logged.
//! - **People.** Who a caller is and what it may do is one table ([`admin::access`]); every way in asks it. A change
//!   is in the record with its row of the audit trail, and in force in this process, before the call returns.
//! - **No.** [`domain::refusal::Refusal`] is the one vocabulary; [`api::dialect`] respells it.
//!
//! ## Invariants, and what is deliberately absent
//!
//! - A refused request spends nothing, so a client that retries too early does not push its recovery away.
//! - Nothing is registered or reordered by configuration: there is no plug-in chain and no middleware stack.
//! - There is no lock, queue or system call of our own between threads on the request path.
//! - Every cache, queue, map, body and retry has a bound in `gateway.toml`, and reaching one is counted.
//! - No secret has a `Display`; digests, not keys, are what every store knows.

pub mod admin;
pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod logs;
pub mod metrics;
pub mod pipeline;
pub mod proxy;
pub mod stores;
