//! A row of the log as one line of JSON: what is exported, and what `tollgate logs --json` prints.
//!
//! Names are those of the contract's section 10. Whatever a client sent is inside a JSON text, so a line is a
//! line: control characters are escaped (RFC 8259 section 7).

use serde::Serialize;

use crate::domain::cost::Outcome;
use crate::domain::row::Row;

/// A row, as it is written.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    id: String,
    at: String,
    organization: Option<&'a str>,
    project: Option<&'a str>,
    key: Option<String>,
    admitted: bool,
    method: &'a str,
    path: &'a str,
    status: u16,
    code: &'a str,
    outcome: Option<&'static str>,
    first_byte_micros: u64,
    total_micros: u64,
    address: String,
    credits: u64,
    microcents: u64,
    cost_source: &'static str,
    tier: Option<&'a str>,
    domain: Option<&'a str>,
    bytes_in: u64,
    bytes_out: u64,
    target: Option<&'a str>,
    user_agent: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// The line of `row`.
    pub fn of(row: &'a Row<'_>) -> Self {
        Self {
            id: row.id.to_string(),
            at: row.at.to_string(),
            organization: row.organization.as_deref(),
            project: row.project.as_deref(),
            key: row.key.map(|key| key.to_string()),
            admitted: row.admitted,
            method: &row.method,
            path: &row.path,
            status: row.status,
            code: &row.code,
            outcome: row.outcome.map(Outcome::name),
            first_byte_micros: row.first_byte_micros,
            total_micros: row.total_micros,
            address: row.address.to_string(),
            credits: row.cost.credits,
            microcents: row.cost.microcents,
            cost_source: row.cost_source.name(),
            tier: row.tier.as_deref(),
            domain: row.domain.as_deref(),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            target: row.target.as_deref(),
            user_agent: row.user_agent.as_deref(),
        }
    }
}
