//! What AlterLab's clients may send: bodies and queries, read without asking anybody. Mistakes are 422, and name the
//! field.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::fields::{Fields, one_of, whole};
use crate::api::json;
use crate::api::no::No;
use crate::domain::limit::SpendLimit;
use crate::domain::time::Period;
use crate::stores::record::reports::{PAGE_ROWS_MAX, StatusFilter};

/// Days of usage that are asked for at once, at most.
const DAYS_MAX: u64 = 365;
/// Rows per page where nobody says.
const PAGE_SIZE: u64 = 50;
/// The last page that can be asked for.
const PAGE_MAX: u64 = 1_000_000;
/// The largest cap: what every reader of JSON holds exactly.
const CAP_MAX: u64 = (1 << 53) - 1;

/// The body of create and rename.
#[derive(Debug, Deserialize, ToSchema)]
#[allow(dead_code, reason = "the document says what is read by hand, so that every mistake can be named")]
#[schema(as = alterlab::Named)]
pub(super) struct Named {
    /// Display name; unique among the organization's keys.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// The body of `PUT …/limits`.
#[derive(Debug, Deserialize, ToSchema)]
#[allow(dead_code, reason = "as of `Named`")]
#[schema(as = alterlab::SetLimits)]
pub(super) struct SetLimits {
    /// Microcents per period. A limit of neither kind counts, and refuses nothing.
    #[schema(maximum = 9_007_199_254_740_991_i64)]
    budget_limit_microcents: Option<u64>,
    /// Requests per period.
    #[schema(maximum = 9_007_199_254_740_991_i64)]
    request_limit: Option<u64>,
    /// `daily`, `weekly` or `monthly`, in UTC.
    #[schema(default = "monthly")]
    reset_period: Option<String>,
    /// Whether it refuses, or only counts.
    #[schema(default = true)]
    enabled: Option<bool>,
}

/// The `name` of a body.
pub(super) fn name(body: &[u8]) -> Result<String, No> {
    let body = object(body)?;
    match body.get("name") {
        Some(Value::String(name)) => Ok(name.clone()),
        None => Err(invalid("name", "is required")),
        Some(_) => Err(invalid("name", "must be a text")),
    }
}

/// The limit of a body. What it leaves out, or sets to null, is the default: no limit, monthly, on.
pub(super) fn limit(body: &[u8]) -> Result<SpendLimit, No> {
    let body = object(body)?;
    let cap = |name: &'static str| match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match json::whole(value).filter(|cap| *cap <= CAP_MAX) {
            Some(cap) => Ok(Some(cap)),
            None => Err(invalid(name, &format!("must be a whole number from 0 to {CAP_MAX}"))),
        },
    };
    let microcents = cap("budget_limit_microcents")?;
    let requests = cap("request_limit")?;
    let period = match body.get("reset_period") {
        None | Some(Value::Null) => Period::Monthly,
        Some(value) => value
            .as_str()
            .and_then(Period::named)
            .ok_or_else(|| invalid("reset_period", "must be daily, weekly or monthly"))?,
    };
    let enabled = match body.get("enabled") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(enabled)) => *enabled,
        Some(_) => return Err(invalid("enabled", "must be true or false")),
    };
    Ok(SpendLimit { requests, microcents, period, enabled })
}

/// `days` of a query.
pub(super) fn days(query: Option<&str>) -> Result<u32, No> {
    let days = whole(&Fields::read(query), "days", 1..=DAYS_MAX, 30)?;
    Ok(u32::try_from(days).unwrap_or(u32::MAX))
}

/// Which rows a query asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Rows {
    pub days: u32,
    /// Counted from 1.
    pub page: u64,
    pub page_size: u64,
    pub status: Option<StatusFilter>,
    pub tier: Option<String>,
    pub domain: Option<String>,
}

/// The query of `…/usage/requests`.
pub(super) fn rows(query: Option<&str>) -> Result<Rows, No> {
    let fields = Fields::read(query);
    let text = |name| Ok::<_, No>(fields.one(name)?.filter(|text| !text.is_empty()).map(str::to_owned));
    Ok(Rows {
        days: days(query)?,
        page: whole(&fields, "page", 1..=PAGE_MAX, 1)?,
        page_size: whole(&fields, "page_size", 1..=PAGE_ROWS_MAX as u64, PAGE_SIZE)?,
        status: one_of(
            &fields,
            "status",
            &[("success", StatusFilter::Success), ("failed", StatusFilter::Failed)],
        )?,
        tier: text("tier")?,
        domain: text("domain")?,
    })
}

fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, No> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("", "The body must be a JSON object")),
        Err(_) => Err(invalid("", "The body is not JSON")),
    }
}

fn invalid(field: &str, advice: &str) -> No {
    No::Invalid { field: field.to_owned(), advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each line is what is read, the input, and what comes of it.
    const CASES: &str = include_str!("input.txt");

    fn shown<T: std::fmt::Debug>(read: Result<T, No>) -> String {
        match read {
            Ok(read) => format!("{read:?}"),
            Err(No::Invalid { field, advice }) if field.is_empty() => format!("! {advice}"),
            Err(No::Invalid { field, advice }) => format!("! {field}: {advice}"),
            Err(other) => format!("{other:?}"),
        }
    }

    fn short(limit: SpendLimit) -> String {
        let cap = |cap: Option<u64>| cap.map_or_else(|| "-".to_owned(), |cap| cap.to_string());
        let state = if limit.enabled { "on" } else { "off" };
        format!("{} {} {} {state}", cap(limit.microcents), cap(limit.requests), limit.period.name())
    }

    #[test]
    fn every_case_is_read_as_its_line_says() {
        let mut cases = 0;
        for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (asked, expected) = line.split_once(" => ").unwrap();
            let (kind, input) = asked.split_once(' ').unwrap_or((asked, ""));
            let query = (!input.is_empty()).then_some(input);
            let found = match kind {
                "name" => shown(name(input.as_bytes())),
                "limit" => shown(limit(input.as_bytes()).map(short)).replace('"', ""),
                "days" => shown(days(query)),
                "rows" => shown(rows(query)),
                other => panic!("{other}"),
            };
            assert_eq!(found, expected, "{asked}");
            cases += 1;
        }
        assert!(cases > 40, "{cases}");
    }
}
