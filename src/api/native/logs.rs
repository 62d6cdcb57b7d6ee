//! `/v1/logs`: requests, one by one.

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::body::{Asked, instant};
use super::call::Call;
use super::page::{self, Part};
use super::usage::scope;
use crate::domain::row::Row;
use crate::stores::record::reports::{LogFilter, LoggedRow, Place, StatusFilter};

/// Which requests.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The organization, by id or name; without it, the caller's own; `*` is everything, for operators.
    organization: Option<String>,
    /// One key's alone, by its id.
    key: Option<String>,
    /// RFC 3339: arrived then or later.
    since: Option<String>,
    /// RFC 3339: arrived before.
    until: Option<String>,
    /// `success`, `failed`, a status such as `429`, or a class such as `5xx`.
    status: Option<String>,
    /// With exactly this tier.
    tier: Option<String>,
    /// With this text anywhere in the target's domain.
    domain: Option<String>,
    /// The `next` of the part before.
    after: Option<String>,
    /// Most entries of the part; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// One request, answered or refused.
#[derive(Serialize, ToSchema)]
pub(super) struct LogRow {
    id: String,
    at: String,
    organization: Option<String>,
    project: Option<String>,
    key: Option<String>,
    /// Whether the limits admitted it: what quotas count.
    admitted: bool,
    method: String,
    /// Without the query.
    path: String,
    /// What the client was sent; 0 for nothing.
    status: u16,
    /// The refusal's code; empty for an upstream's answer.
    code: String,
    /// How it ended; null for a refusal.
    outcome: Option<String>,
    first_byte_micros: u64,
    total_micros: u64,
    address: String,
    credits: u64,
    microcents: u64,
    /// Who named the cost: `header`, `json`, `status`, `unknown`, `free`.
    cost_source: String,
    tier: Option<String>,
    domain: Option<String>,
    bytes_in: u64,
    bytes_out: u64,
    /// The upstream target that answered; told to operators.
    target: Option<String>,
    user_agent: Option<String>,
}

/// Read the request log, newest first. A part can be short, even empty, and have a next one.
#[utoipa::path(get, path = "/v1/logs", tag = "usage", params(Query),
    extensions(("x-tollgate-deed" = json!("read-usage"))),
    responses((status = 200, description = "A part of the log", body = Part<LogRow>)))]
pub(super) async fn list(call: Call, Asked(query): Asked<Query>) -> Result<Json<Part<LogRow>>, Problem> {
    let scope = scope(&call, query.organization.as_deref(), query.key.as_deref()).await?;
    let at = |field: &str, text: &Option<String>| text.as_deref().map(|at| instant(field, at)).transpose();
    let status = |text: &str| {
        let advice = "give success, failed, a status such as 429, or a class such as 5xx";
        StatusFilter::parse(text).ok_or_else(|| Problem::invalid("status", advice))
    };
    let filter = LogFilter {
        since: at("since", &query.since)?,
        until: at("until", &query.until)?,
        status: query.status.as_deref().map(status).transpose()?,
        tier: query.tier,
        domain: query.domain,
        ..LogFilter::all(scope)
    };
    let page = page::asked(query.after.as_deref(), query.limit, Place::parse)?;
    let read = call.record().log_page(&filter, page.after, page.most - 1).await?;
    let operator = call.caller.person().is_some_and(|user| user.operator);
    let items = read.rows.iter().map(|LoggedRow { row, .. }| LogRow::new(row, operator)).collect();
    Ok(Json(Part::until(items, read.next.map(|place| place.to_string()))))
}

impl LogRow {
    /// Where upstreams are is the operator's to know.
    fn new(row: &Row<'_>, operator: bool) -> Self {
        let own = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            id: row.id.to_string(),
            at: row.at.to_string(),
            organization: own(&row.organization),
            project: own(&row.project),
            key: row.key.map(|key| key.to_string()),
            admitted: row.admitted,
            method: row.method.to_string(),
            path: row.path.to_string(),
            status: row.status,
            code: row.code.to_string(),
            outcome: row.outcome.map(|outcome| outcome.name().to_owned()),
            first_byte_micros: row.first_byte_micros,
            total_micros: row.total_micros,
            address: row.address.to_string(),
            credits: row.cost.credits,
            microcents: row.cost.microcents,
            cost_source: row.cost_source.name().to_owned(),
            tier: own(&row.tier),
            domain: own(&row.domain),
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
            target: own(&row.target).filter(|_| operator),
            user_agent: own(&row.user_agent),
        }
    }
}
