//! Every row of the contract's table of checks (section 4), over a real socket, in every dialect; bodies are
//! compared whole.
//!
//! `table` has the words of every refusal as the contract has them, and the one place where an answer is held
//! against them. `heads` makes those that need no key (checks 1 to 4), `admission` those that do (checks 3 to 13),
//! from one file of cases; `order` has which check comes first and that a refused request spends nothing;
//! `outage` takes the record away and fills the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

#[path = "refusals/admission.rs"]
mod admission;
#[path = "../src/proxy/strict/tests/escapes.rs"]
mod escapes;
#[path = "refusals/heads.rs"]
mod heads;
#[path = "refusals/order.rs"]
mod order;
#[path = "refusals/outage.rs"]
mod outage;
#[path = "refusals/secrets.rs"]
mod secrets;
#[path = "refusals/table.rs"]
mod table;
