//! `/v1/usage`: what was used, in sums.

use std::time::Duration;

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::body::{Asked, instant};
use super::call::Call;
use crate::admin::access::Deed;
use crate::domain::cost::Cost;
use crate::stores::record::reports::{Failures, POINTS_MAX, Point, Scope, Share, Span, Step, Totals};

/// Days that are summed where nothing is said.
const DAYS: u32 = 30;
/// The longest span.
const SPAN_MAX: Duration = Duration::from_secs(3_660 * 86_400);
/// Domains that are told apart.
const DOMAINS: usize = 20;

/// Whose, and when.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The organization, by id or name; without it, the caller's own.
    organization: Option<String>,
    /// One key's alone, by its id.
    key: Option<String>,
    /// RFC 3339; 30 days before `until` where nothing is said.
    since: Option<String>,
    /// RFC 3339; now where nothing is said.
    until: Option<String>,
    /// How wide the points of the series are; `day` where nothing is said.
    #[param(inline)]
    step: Option<StepName>,
}

/// How wide a point is.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[schema(as = Step)]
enum StepName {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "hour")]
    Hour,
    #[serde(rename = "day")]
    Day,
}

/// What was used. Sums of spans that end longer ago than 92 days are of whole days.
#[derive(Serialize, ToSchema)]
pub(super) struct Usage {
    since: String,
    until: String,
    totals: Sums,
    /// Oldest first; points without a request are left out.
    series: Vec<SeriesPoint>,
    /// The most frequent first; a name of null is the rest.
    tiers: Vec<Part>,
    /// As tiers.
    domains: Vec<Part>,
    /// Requests that did not succeed.
    errors: Vec<ErrorCount>,
}

/// Sums over requests.
#[derive(Serialize, ToSchema)]
struct Sums {
    /// All, refused ones too.
    requests: u64,
    /// Those that the limits admitted: what quotas count.
    admitted: u64,
    refused: u64,
    success: u64,
    /// Those without success, refused ones too.
    failed: u64,
    credits: u64,
    microcents: u64,
    /// Over the admitted ones.
    first_byte_micros_mean: u64,
    /// Over the admitted ones.
    total_micros_mean: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// One point of a series.
#[derive(Serialize, ToSchema)]
struct SeriesPoint {
    /// Its first instant.
    at: String,
    #[serde(flatten)]
    sums: Sums,
}

/// The requests of one tier or domain.
#[derive(Serialize, ToSchema)]
#[schema(as = UsagePart)]
struct Part {
    name: Option<String>,
    requests: u64,
    success: u64,
    credits: u64,
    microcents: u64,
}

/// Requests that did not succeed, of one kind.
#[derive(Serialize, ToSchema)]
struct ErrorCount {
    /// What the client was sent; 0 for none.
    status: u16,
    /// The refusal's code; empty where an upstream answered.
    code: String,
    requests: u64,
}

/// Read what was used: sums, a series, by tier, domain and kind of error.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", params(Query),
    extensions(("x-tollgate-deed" = json!("read-usage"))),
    responses((status = 200, description = "What was used", body = Usage)))]
pub(super) async fn read(call: Call, Asked(query): Asked<Query>) -> Result<Json<Usage>, Problem> {
    let scope = scope(&call, query.organization.as_deref(), query.key.as_deref()).await?;
    let step = query.step.map_or(Step::Day, StepName::step);
    let until = query.until.as_deref().map(|at| instant("until", at)).transpose()?;
    // What arrives this very instant belongs to now.
    let until = until.unwrap_or_else(|| call.now().plus(Duration::from_micros(1)));
    let before = Duration::from_secs(u64::from(DAYS) * 86_400);
    let since = query.since.as_deref().map(|at| instant("since", at)).transpose()?;
    let since = since.unwrap_or_else(|| until.minus(before));
    let long = until.since(since);
    if since >= until || long > SPAN_MAX {
        return Err(Problem::invalid("since", "give a time before `until`, and at most ten years before it"));
    }
    if long.as_secs() / step.width().as_secs() > POINTS_MAX as u64 {
        let advice = format!(
            "the series would have more than {POINTS_MAX} points: take a wider step or a shorter span"
        );
        return Err(Problem::invalid("step", advice));
    }
    let span = Span { since, until };
    let record = call.record();
    let totals = record.totals(&scope, span).await?;
    let series = record.series(&scope, span, step).await?;
    let tiers = record.by_tier(&scope, span).await?;
    let domains = record.top_domains(&scope, span, DOMAINS).await?;
    let errors = record.errors(&scope, span).await?;
    Ok(Json(Usage {
        since: since.to_string(),
        until: until.to_string(),
        totals: (&totals).into(),
        series: series.iter().map(Into::into).collect(),
        tiers: tiers.into_iter().map(Into::into).collect(),
        domains: domains.into_iter().map(Into::into).collect(),
        errors: errors.into_iter().map(Into::into).collect(),
    }))
}

/// Whose requests: one key's, one organization's, or for an operator who says `*` all.
pub(super) async fn scope(call: &Call, org: Option<&str>, key: Option<&str>) -> Result<Scope, Problem> {
    if let Some(id) = key {
        let key = call.key(Deed::ReadUsage, id).await?;
        if let Some(named) = org
            && call.enter(Deed::ReadUsage, Some(named)).await?.id != key.organization
        {
            return Err(Problem::invalid("key", "is of another organization"));
        }
        return Ok(Scope::Key(key.id));
    }
    if org == Some("*") {
        call.may(Deed::ManageUsers)?;
        return Ok(Scope::Everything);
    }
    Ok(Scope::Organization(call.enter(Deed::ReadUsage, org).await?.id))
}

impl StepName {
    const fn step(self) -> Step {
        match self {
            Self::FiveMinutes => Step::FiveMinutes,
            Self::Hour => Step::Hour,
            Self::Day => Step::Day,
        }
    }
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Self {
        let mean = |sum: u64| sum.checked_div(totals.admitted).unwrap_or(0);
        let Cost { credits, microcents } = totals.cost;
        Self {
            requests: totals.requests(),
            admitted: totals.admitted,
            refused: totals.refused,
            success: totals.success,
            failed: totals.failed(),
            credits,
            microcents,
            first_byte_micros_mean: mean(totals.first_byte_micros),
            total_micros_mean: mean(totals.total_micros),
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
        }
    }
}

impl From<&Point> for SeriesPoint {
    fn from(point: &Point) -> Self {
        Self { at: point.at.to_string(), sums: (&point.totals).into() }
    }
}

impl From<Share> for Part {
    fn from(Share { name, requests, success, cost: Cost { credits, microcents } }: Share) -> Self {
        Self { name, requests, success, credits, microcents }
    }
}

impl From<Failures> for ErrorCount {
    fn from(Failures { status, code, requests }: Failures) -> Self {
        Self { status, code, requests }
    }
}
