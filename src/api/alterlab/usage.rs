//! What a key has used: sums, breakdowns, pages and series, from the log.

use axum::Json;
use axum::extract::{Path, State};

use super::answer::{Refusals, Refused};
use super::input;
use super::wire::{ByTier, DataPoint, Errors, Requests, Sums, Timeseries, Usage};
use crate::admin::access::Deed;
use crate::api::desk::{Desk, Visit};
use crate::api::no::{No, What};
use crate::domain::key::Key;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{LogFilter, Point, Scope, Span, Step, Totals};

/// The longest span that is told by the hour.
const HOURLY_DAYS_MAX: u32 = 2;

/// Sums over the last days.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/usage", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("days" = Option<u32>, Query, description = "1 to 365; 30 where left out", minimum = 1, maximum = 365),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = Usage), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn total(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Usage>, Refused> {
    let (key, _, span) = asked(&desk, &visit, &id).await?;
    let totals = desk.totals(&Scope::Key(key.id), span).await?;
    Ok(Json(Usage { api_key_id: key.id.to_string(), api_key_name: key.name, sums: Sums::from(&totals) }))
}

/// Sums by the tier that the upstream named.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/usage/by-tier", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("days" = Option<u32>, Query, description = "1 to 365; 30 where left out", minimum = 1, maximum = 365),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = ByTier), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn by_tier(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<ByTier>, Refused> {
    let (key, days, span) = asked(&desk, &visit, &id).await?;
    let tiers = desk.record.by_tier(&Scope::Key(key.id), span).await.map_err(failed)?;
    let tiers = tiers.into_iter().map(Into::into).collect();
    Ok(Json(ByTier { api_key_id: key.id.to_string(), days, tiers }))
}

/// What failed, by status and reason.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/usage/errors", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("days" = Option<u32>, Query, description = "1 to 365; 30 where left out", minimum = 1, maximum = 365),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = Errors), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn errors(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Errors>, Refused> {
    let (key, days, span) = asked(&desk, &visit, &id).await?;
    let failures = desk.record.errors(&Scope::Key(key.id), span).await.map_err(failed)?;
    let total_errors = failures.iter().map(|failures| failures.requests).sum();
    let errors = failures.into_iter().map(Into::into).collect();
    Ok(Json(Errors { api_key_id: key.id.to_string(), days, total_errors, errors }))
}

/// The requests themselves, by page and filter, the newest first.
///
/// `tier` and `domain` are looked for among the newest million requests of the days: `total` and `total_pages` are then a
/// lower bound. Without them every request is counted and has its page.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/usage/requests", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("days" = Option<u32>, Query, description = "1 to 365; 30 where left out", minimum = 1, maximum = 365),
        ("page" = Option<u64>, Query, description = "Counted from 1", minimum = 1, maximum = 1_000_000),
        ("page_size" = Option<u64>, Query, description = "50 where left out", minimum = 1, maximum = 1000),
        ("status" = inline(Option<Outcome>), Query, description = "How they ended"),
        ("tier" = Option<String>, Query, description = "Exactly this tier"),
        ("domain" = Option<String>, Query, description = "This text anywhere in the domain"),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = Requests), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn requests(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Requests>, Refused> {
    let (_, key) = desk.reach_key(&visit, Deed::ReadUsage, &id).await?;
    let rows = input::rows(visit.query())?;
    let span = Span::last_days(rows.days, visit.now());
    let filter = LogFilter {
        since: Some(span.since),
        until: Some(span.until),
        status: rows.status,
        tier: rows.tier,
        domain: rows.domain,
        ..LogFilter::all(Scope::Key(key.id))
    };
    let size = usize::try_from(rows.page_size).unwrap_or(usize::MAX);
    let found = desk.record.log_numbered(&filter, rows.page, size).await.map_err(failed)?;
    Ok(Json(Requests {
        api_key_id: key.id.to_string(),
        total: found.total,
        page: rows.page,
        page_size: rows.page_size,
        total_pages: found.total.div_ceil(rows.page_size),
        items: found.rows.into_iter().map(Into::into).collect(),
    }))
}

/// How a request ended.
#[derive(utoipa::ToSchema)]
#[schema(as = alterlab::Outcome, rename_all = "lowercase")]
#[allow(dead_code, reason = "for the document")]
pub(super) enum Outcome {
    Success,
    Failed,
}

/// Sums by hour or day.
#[utoipa::path(
    get, path = "/api/v1/api-keys/{key_id}/usage/timeseries", tag = "AlterLab",
    params(
        ("key_id" = String, Path, description = "The key's id, a UUID"),
        ("days" = Option<u32>, Query, description = "1 to 365; 30 where left out", minimum = 1, maximum = 365),
        ("X-Organization-Id" = Option<String>, Header, description = "The key's organization"),
    ),
    responses((status = 200, body = Timeseries), Refusals), security(("session" = []), ("key" = [])),
)]
pub(super) async fn timeseries(
    State(desk): State<Desk>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Json<Timeseries>, Refused> {
    let (key, days, span) = asked(&desk, &visit, &id).await?;
    let step = if days <= HOURLY_DAYS_MAX { Step::Hour } else { Step::Day };
    let points = desk.record.series(&Scope::Key(key.id), span, step).await.map_err(failed)?;
    let data = without_gaps(&points, span, step).map(DataPoint::from).collect();
    Ok(Json(Timeseries { api_key_id: key.id.to_string(), days, granularity: step.name(), data }))
}

/// Every point of a span, also those without a request.
fn without_gaps(points: &[Point], span: Span, step: Step) -> impl Iterator<Item = Point> {
    let width = step.width().as_micros() as u64;
    let first = span.since.micros() / width;
    let last = span.until.micros().saturating_sub(1) / width;
    (first..=last).map(move |index| {
        let at = Timestamp::from_micros(index * width);
        let totals = match points.binary_search_by_key(&at, |point| point.at) {
            Ok(found) => points.get(found).map(|point| point.totals),
            Err(_) => None,
        };
        Point { at, totals: totals.unwrap_or_else(Totals::default) }
    })
}

/// The key, the days, and the span that a question is about.
async fn asked(desk: &Desk, visit: &Visit, id: &str) -> Result<(Key, u32, Span), No> {
    let (_, key) = desk.reach_key(visit, Deed::ReadUsage, id).await?;
    let days = input::days(visit.query())?;
    Ok((key, days, Span::last_days(days, visit.now())))
}

fn failed(error: RecordError) -> No {
    No::of(error.into(), What::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_has_a_point_for_every_hour_that_its_span_touches() {
        let at = |text: &str| Timestamp::parse(text).unwrap();
        let span = Span { since: at("2026-11-21T09:30:00Z"), until: at("2026-11-21T12:00:00.000001Z") };
        let ten =
            Point { at: at("2026-11-21T10:00:00Z"), totals: Totals { admitted: 3, ..Totals::default() } };
        let found: Vec<_> = without_gaps(&[ten], span, Step::Hour)
            .map(|point| (point.at.to_string(), point.totals.admitted))
            .collect();
        let expected = [("09", 0), ("10", 3), ("11", 0), ("12", 0)];
        let expected = expected.map(|(hour, admitted)| (format!("2026-11-21T{hour}:00:00Z"), admitted));
        assert_eq!(found, expected);
    }
}
