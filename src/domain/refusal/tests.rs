//! The vocabulary word for word: what clients, dashboards and alerts rely on (contract, section 4).

use std::collections::BTreeSet;

use super::*;

/// Status, code and text of every refusal, in the order of [`next`].
const TABLE: &str = "\
408 head_timeout: Request head was not complete in time
431 head_too_large: Request head is too large
414 uri_too_long: Request target is too long
400 bad_request: Bad Request
403 ip_blocked: IP temporarily blocked
404 no_route: No such route
413 body_too_large: Request body is too large
401 missing_api_key: Invalid API Key
401 invalid_api_key: Invalid API Key
400 ambiguous_credentials: More than one API key was sent
401 inactive_api_key: Inactive API Key
401 expired_api_key: Expired API Key
403 ip_not_allowed: This API key may not be used from your address
403 scope_missing: This API key lacks the scope for this request
403 project_locked: This API key belongs to another project
429 concurrency_limited: You have exceeded the concurrency limit on your subscription
429 rate_limited_second: You have exceeded the per-second rate limit on your subscription
429 rate_limited_minute: You have exceeded the per-minute rate limit on your subscription
401 quota_total: Rate limit exceeded: quota total
401 quota_daily: Rate limit exceeded: quota daily
401 quota_weekly: Rate limit exceeded: quota weekly
401 quota_monthly: Rate limit exceeded: quota monthly
429 spend_requests: Spend limit exceeded: daily requests of this key
429 spend_requests: Spend limit exceeded: weekly requests of this key
429 spend_requests: Spend limit exceeded: monthly requests of this key
429 spend_budget: Spend limit exceeded: daily budget of this key
429 spend_budget: Spend limit exceeded: weekly budget of this key
429 spend_budget: Spend limit exceeded: monthly budget of this key
429 spend_requests: Spend limit exceeded: daily requests of this organization
429 spend_requests: Spend limit exceeded: weekly requests of this organization
429 spend_requests: Spend limit exceeded: monthly requests of this organization
429 spend_budget: Spend limit exceeded: daily budget of this organization
429 spend_budget: Spend limit exceeded: weekly budget of this organization
429 spend_budget: Spend limit exceeded: monthly budget of this organization
502 upstream_unreachable: The upstream could not be reached
503 no_healthy_upstream: No healthy upstream
504 upstream_timeout: The upstream did not answer in time
408 body_timeout: Request body did not arrive in time
503 store_unavailable: Key service unavailable
503 overloaded: The gateway is overloaded
";

/// The refusal behind this one, so that the compiler asks for a place for every new one.
fn next(refusal: Refusal) -> Option<Refusal> {
    Some(match refusal {
        Refusal::HeadTimeout => Refusal::HeadTooLarge,
        Refusal::HeadTooLarge => Refusal::UriTooLong,
        Refusal::UriTooLong => Refusal::BadRequest,
        Refusal::BadRequest => Refusal::IpBlocked,
        Refusal::IpBlocked => Refusal::NoRoute,
        Refusal::NoRoute => Refusal::BodyTooLarge,
        Refusal::BodyTooLarge => Refusal::MissingApiKey,
        Refusal::MissingApiKey => Refusal::InvalidApiKey,
        Refusal::InvalidApiKey => Refusal::AmbiguousCredentials,
        Refusal::AmbiguousCredentials => Refusal::InactiveApiKey,
        Refusal::InactiveApiKey => Refusal::ExpiredApiKey,
        Refusal::ExpiredApiKey => Refusal::IpNotAllowed,
        Refusal::IpNotAllowed => Refusal::ScopeMissing,
        Refusal::ScopeMissing => Refusal::ProjectLocked,
        Refusal::ProjectLocked => Refusal::Limited(Limit::Concurrency, None),
        Refusal::Limited(limit, at) => match next_limit(limit) {
            Some(limit) => Refusal::Limited(limit, at),
            None => Refusal::UpstreamUnreachable,
        },
        Refusal::UpstreamUnreachable => Refusal::NoHealthyUpstream,
        Refusal::NoHealthyUpstream => Refusal::UpstreamTimeout,
        Refusal::UpstreamTimeout => Refusal::BodyTimeout,
        Refusal::BodyTimeout => Refusal::StoreUnavailable,
        Refusal::StoreUnavailable => Refusal::Overloaded,
        Refusal::Overloaded => return None,
    })
}

fn next_limit(limit: Limit) -> Option<Limit> {
    use Limit::{KeyBudget, KeyRequests, OrgBudget, OrgRequests};
    let after = |period: Period| Period::ALL.get(period.index() + 1).copied();
    Some(match limit {
        Limit::Concurrency => Limit::Second,
        Limit::Second => Limit::Minute,
        Limit::Minute => Limit::Total,
        Limit::Total => Limit::Daily,
        Limit::Daily => Limit::Weekly,
        Limit::Weekly => Limit::Monthly,
        Limit::Monthly => KeyRequests(Period::Daily),
        KeyRequests(period) => after(period).map_or(KeyBudget(Period::Daily), KeyRequests),
        KeyBudget(period) => after(period).map_or(OrgRequests(Period::Daily), KeyBudget),
        OrgRequests(period) => after(period).map_or(OrgBudget(Period::Daily), OrgRequests),
        OrgBudget(period) => return after(period).map(OrgBudget),
    })
}

fn every() -> impl Iterator<Item = Refusal> {
    std::iter::successors(Some(Refusal::HeadTimeout), |refusal| next(*refusal))
}

#[test]
fn status_code_and_text_are_the_contract_s() {
    let said: String = every().map(|no| format!("{} {}: {}\n", no.status(), no.code(), no.text())).collect();
    assert_eq!(said, TABLE);
}

#[test]
fn every_code_is_listed_once() {
    let codes: BTreeSet<_> = every().map(Refusal::code).collect();
    assert_eq!(Refusal::CODES.into_iter().collect::<BTreeSet<_>>(), codes);
    assert_eq!(Refusal::CODES.len(), codes.len());
}

/// The status, text and codes of each row of the table in the README.
fn readme() -> Vec<(u16, &'static str, Vec<&'static str>)> {
    let readme = include_str!("../../../README.md");
    let (_, behind) =
        readme.split_once("## What a client is told").expect("the README says what a client is told");
    let (section, _) = behind.split_once("\n## ").unwrap_or((behind, ""));
    let rows = section.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let status = cells.next()?.parse().ok()?;
        Some((status, cells.next()?, cells.next()?.split('`').skip(1).step_by(2).collect()))
    });
    rows.collect()
}

#[test]
fn the_readme_lists_every_refusal_as_it_is_said() {
    let rows = readme();
    for refusal in every() {
        // A row of several texts ends in an ellipsis where they part.
        let is_said = rows.iter().any(|(status, text, codes)| {
            let text = match text.strip_suffix('\u{2026}') {
                Some(start) => refusal.text().starts_with(start),
                None => refusal.text() == *text,
            };
            text && *status == refusal.status() && codes.contains(&refusal.code())
        });
        assert!(is_said, "{refusal:?} is not in the README's table with this status and text");
    }
    for code in rows.iter().flat_map(|(_, _, codes)| codes) {
        assert!(every().any(|refusal| refusal.code() == *code), "the README promises `{code}`");
    }
}

#[test]
fn only_429_and_503_say_when_to_come_back() {
    for refusal in every() {
        let says = refusal.retry_after(Timestamp::default()).is_some();
        assert_eq!(says, matches!(refusal.status(), 429 | 503), "{refusal:?}");
    }
}

#[test]
fn a_client_is_told_to_wait_a_second_to_a_minute_or_nothing() {
    let now = Timestamp::from_seconds(1_000_000);
    let in_millis = |millis: u64| Some(Timestamp::from_micros(now.micros() + millis * 1_000));
    for (refusal, seconds) in [
        (Refusal::Limited(Limit::Concurrency, None), Some(1)),
        (Refusal::Limited(Limit::Second, in_millis(0)), Some(1)),
        (Refusal::Limited(Limit::Second, in_millis(1_000)), Some(1)),
        (Refusal::Limited(Limit::Minute, in_millis(1_001)), Some(2)),
        (Refusal::Limited(Limit::Minute, in_millis(63_000)), Some(60)),
        (Refusal::Limited(Limit::Minute, None), Some(60)),
        (Refusal::Limited(Limit::OrgBudget(Period::Monthly), in_millis(86_400_000)), Some(60)),
        (Refusal::Limited(Limit::Daily, in_millis(1_000)), None),
        (Refusal::Limited(Limit::Total, None), None),
        (Refusal::Overloaded, Some(1)),
        (Refusal::InvalidApiKey, None),
    ] {
        assert_eq!(refusal.retry_after(now), seconds, "{refusal:?}");
    }
}
