//! The headers that tell a client where its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-10 (structured fields,
//! RFC 9651): every policy that applies, `t` being the seconds until something of it becomes free again.
//! `X-RateLimit-*` is the per-minute plan cap with its reset in Unix seconds, as older clients read it.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::account::Standing;
use crate::domain::time::Timestamp;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const CONCURRENCY_LIMIT: HeaderName = HeaderName::from_static("x-concurrency-limit");
const CONCURRENCY_CURRENT: HeaderName = HeaderName::from_static("x-concurrency-current");

/// As many are set at most: room is made for them at once.
const HEADERS_MAX: usize = 8;

/// Room for the longest list of policies with everyday numbers.
const TEXT_BYTES: usize = 160;

/// Sets every header that `standing` gives rise to.
pub fn set(headers: &mut HeaderMap, standing: &Standing, now: Timestamp) {
    headers.reserve(HEADERS_MAX);
    let mut policy = String::with_capacity(TEXT_BYTES);
    let mut state = String::with_capacity(TEXT_BYTES);
    let [total, daily, weekly, monthly] = &standing.quotas;
    for (gauge, begins, window) in [
        (&standing.second, "\"second\"", ";w=1"),
        (&standing.minute, "\"minute\"", ";w=60"),
        (total, "\"total\"", ""),
        (daily, "\"daily\"", ";w=86400"),
        (weekly, "\"weekly\"", ";w=604800"),
        (monthly, "\"monthly\"", ";w=2592000"),
    ] {
        let Some(gauge) = gauge else { continue };
        if !policy.is_empty() {
            policy.push_str(", ");
            state.push_str(", ");
        }
        policy.push_str(begins);
        push(&mut policy, ";q=", gauge.cap);
        policy.push_str(window);
        state.push_str(begins);
        push(&mut state, ";r=", gauge.remaining);
        if let Some(at) = gauge.resets_at {
            push(&mut state, ";t=", at.micros().saturating_sub(now.micros()).div_ceil(1_000_000));
        }
    }
    if !policy.is_empty() {
        insert(headers, POLICY, policy);
        insert(headers, RATE_LIMIT, state);
    }
    if let Some(minute) = &standing.minute {
        headers.insert(LIMIT, minute.cap.into());
        headers.insert(REMAINING, minute.remaining.into());
        let reset = minute.resets_at.unwrap_or(now).micros().div_ceil(1_000_000);
        headers.insert(RESET, reset.into());
    }
    if let Some(cap) = standing.concurrency {
        headers.insert(CONCURRENCY_LIMIT, cap.into());
        headers.insert(CONCURRENCY_CURRENT, standing.in_flight.into());
    }
}

/// Formatting through `fmt` costs several times as much, on every answer.
fn push(text: &mut String, label: &str, number: u64) {
    text.push_str(label);
    text.push_str(itoa::Buffer::new().format(number));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, text: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Gauge;

    #[test]
    fn every_policy_that_applies_is_told() {
        let now = Timestamp::from_seconds(1_000);
        let gauge = |cap, remaining, seconds: u64| Gauge {
            cap,
            remaining,
            resets_at: Some(Timestamp::from_millis((1_000 + seconds) * 1_000 - 500)),
        };
        let standing = Standing {
            in_flight: 2,
            concurrency: Some(3),
            second: Some(gauge(2, 1, 1)),
            minute: Some(gauge(30, 29, 60)),
            quotas: [Some(Gauge { cap: 9, remaining: 8, resets_at: None }), None, None, None],
        };
        let mut headers = HeaderMap::new();
        set(&mut headers, &standing, now);
        for (name, value) in [
            ("ratelimit-policy", r#""second";q=2;w=1, "minute";q=30;w=60, "total";q=9"#),
            ("ratelimit", r#""second";r=1;t=1, "minute";r=29;t=60, "total";r=8"#),
            ("x-ratelimit-limit", "30"),
            ("x-ratelimit-remaining", "29"),
            ("x-ratelimit-reset", "1060"),
            ("x-concurrency-limit", "3"),
            ("x-concurrency-current", "2"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let mut none = HeaderMap::new();
        set(&mut none, &Standing::default(), now);
        assert!(none.is_empty());
    }
}
