//! The headers that tell a client where its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-10 (structured fields,
//! RFC 9651): every policy that applies, `t` being the seconds until something of it becomes free again.
//! `X-RateLimit-*` is the per-minute plan cap with its reset in Unix seconds, as older clients read it.

use std::cell::RefCell;

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

/// What the policies of a caller say: their caps, in the order of the header.
type Caps = [Option<u64>; POLICIES];

const POLICIES: usize = 6;
const NAMES: [&str; POLICIES] =
    ["\"second\"", "\"minute\"", "\"total\"", "\"daily\"", "\"weekly\"", "\"monthly\""];
const WINDOWS: [&str; POLICIES] = [";w=1", ";w=60", "", ";w=86400", ";w=604800", ";w=2592000"];

thread_local! {
    /// The policies told last: callers of one plan with like quotas are told the same.
    static TOLD: RefCell<(Caps, Option<HeaderValue>)> = const { RefCell::new(([None; POLICIES], None)) };
}

/// Sets every header that `standing` gives rise to.
pub fn set(headers: &mut HeaderMap, standing: &Standing, now: Timestamp) {
    headers.reserve(HEADERS_MAX);
    let [total, daily, weekly, monthly] = &standing.quotas;
    let gauges = [&standing.second, &standing.minute, total, daily, weekly, monthly];
    let caps = gauges.map(|gauge| gauge.as_ref().map(|gauge| gauge.cap));
    let policies = TOLD.with_borrow_mut(|(told, text)| {
        if *told != caps {
            (*told, *text) = (caps, policies(&caps));
        }
        text.clone()
    });
    if let Some(policies) = policies {
        headers.insert(POLICY, policies);
        let mut state = String::with_capacity(TEXT_BYTES);
        for (name, gauge) in NAMES.into_iter().zip(gauges) {
            let Some(gauge) = gauge else { continue };
            begin(&mut state, name);
            push(&mut state, ";r=", gauge.remaining);
            if let Some(at) = gauge.resets_at {
                push(&mut state, ";t=", at.micros().saturating_sub(now.micros()).div_ceil(1_000_000));
            }
        }
        headers.extend(value(state).map(|state| (RATE_LIMIT, state)));
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

/// The policies as a header's value; `None` where there is none.
fn policies(caps: &Caps) -> Option<HeaderValue> {
    let mut text = String::with_capacity(TEXT_BYTES);
    for ((name, window), cap) in NAMES.into_iter().zip(WINDOWS).zip(caps) {
        let Some(cap) = cap else { continue };
        begin(&mut text, name);
        push(&mut text, ";q=", *cap);
        text.push_str(window);
    }
    if text.is_empty() { None } else { value(text) }
}

fn begin(list: &mut String, name: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push_str(name);
}

/// Formatting through `fmt` costs several times as much, on every answer.
fn push(text: &mut String, label: &str, number: u64) {
    text.push_str(label);
    text.push_str(itoa::Buffer::new().format(number));
}

fn value(text: String) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
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
