//! The headers that tell a client where its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-10 (structured fields,
//! RFC 9651): every policy that applies, `t` being the seconds until something of it becomes free again.
//! `X-RateLimit-*` is the per-minute plan cap with its reset in Unix seconds, as older clients read it.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::account::{Gauge, Standing};
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

/// Sets every header that `standing` gives rise to.
pub fn set(headers: &mut HeaderMap, standing: &Standing, now: Timestamp) {
    headers.reserve(HEADERS_MAX);
    let mut policy = String::with_capacity(128);
    let mut state = String::with_capacity(128);
    let [total, daily, weekly, monthly] = standing.quotas;
    for (name, gauge, span) in [
        ("second", standing.second, Some(1)),
        ("minute", standing.minute, Some(60)),
        ("total", total, None),
        ("daily", daily, Some(86_400)),
        ("weekly", weekly, Some(604_800)),
        ("monthly", monthly, Some(2_592_000)),
    ] {
        if let Some(gauge) = gauge {
            write(&mut policy, &mut state, name, &gauge, span, now);
        }
    }
    if !policy.is_empty() {
        insert(headers, POLICY, policy);
        insert(headers, RATE_LIMIT, state);
    }
    if let Some(minute) = standing.minute {
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

fn write(policy: &mut String, state: &mut String, name: &str, gauge: &Gauge, span: Option<u64>, now: Timestamp) {
    for text in [&mut *policy, &mut *state] {
        text.push_str(if text.is_empty() { "\"" } else { ", \"" });
        text.push_str(name);
    }
    push(policy, "\";q=", gauge.cap);
    if let Some(span) = span {
        push(policy, ";w=", span);
    }
    push(state, "\";r=", gauge.remaining);
    if let Some(at) = gauge.resets_at {
        push(state, ";t=", at.since(now).as_micros().div_ceil(1_000_000) as u64);
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
