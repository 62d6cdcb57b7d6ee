//! The headers that tell a client where its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-10 (structured fields,
//! RFC 9651): every policy that applies, `t` being the seconds until something of it becomes free again.
//! `X-RateLimit-*` is the per-minute plan cap with its reset in Unix seconds, as older clients read it. Of a spend
//! limit both caps are told, of requests and of microcents (`qu`), what is reserved being used; `w` is left out, as
//! calendar periods are no spans.

use std::cell::RefCell;

use crate::domain::account::Standing;
use crate::domain::time::Timestamp;

const POLICY: &str = "ratelimit-policy";
const RATE_LIMIT: &str = "ratelimit";
const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const CONCURRENCY_LIMIT: &str = "x-concurrency-limit";
const CONCURRENCY_CURRENT: &str = "x-concurrency-current";

/// What the policies of a caller say: their caps, in the order of the header.
type Caps = [Option<u64>; POLICIES];

const POLICIES: usize = Standing::GAUGES;
/// What is in front of a policy's numbers, and behind them: in the order of [`Standing::gauges`].
const NAMES: [&str; POLICIES] = [
    "\"second\"",
    "\"minute\"",
    "\"total\"",
    "\"daily\"",
    "\"weekly\"",
    "\"monthly\"",
    "\"key-requests\"",
    "\"key-budget\"",
    "\"organization-requests\"",
    "\"organization-budget\"",
];
const UNITS: [&str; POLICIES] =
    [";w=1", ";w=60", "", ";w=86400", ";w=604800", ";w=2592000", "", MICROCENTS, "", MICROCENTS];
const MICROCENTS: &str = ";qu=\"microcents\"";

/// Texts in the making, used again by every answer of a thread.
struct Texts {
    /// The policies told last: callers of one plan with like quotas are told the same.
    caps: Caps,
    policies: String,
    state: String,
}

thread_local! {
    static TEXTS: RefCell<Texts> =
        const { RefCell::new(Texts { caps: [None; POLICIES], policies: String::new(), state: String::new() }) };
}

/// Hands every header that `standing` gives rise to, name in lower case and value, to `tell`.
pub fn headers(standing: &Standing, now: Timestamp, mut tell: impl FnMut(&'static str, &str)) {
    let gauges = standing.gauges();
    let caps = gauges.map(|gauge| gauge.map(|gauge| gauge.cap));
    TEXTS.with_borrow_mut(|Texts { caps: told, policies, state }| {
        if *told != caps {
            *told = caps;
            put_policies(policies, &caps);
        }
        if policies.is_empty() {
            return;
        }
        tell(POLICY, policies);
        state.clear();
        for (name, gauge) in NAMES.into_iter().zip(gauges) {
            let Some(gauge) = gauge else { continue };
            begin(state, name);
            push(state, ";r=", gauge.remaining);
            if let Some(at) = gauge.resets_at {
                push(state, ";t=", at.micros().saturating_sub(now.micros()).div_ceil(1_000_000));
            }
        }
        tell(RATE_LIMIT, state);
    });
    let mut digits = itoa::Buffer::new();
    if let Some(minute) = &standing.minute {
        tell(LIMIT, digits.format(minute.cap));
        tell(REMAINING, digits.format(minute.remaining));
        let reset = minute.resets_at.unwrap_or(now).micros().div_ceil(1_000_000);
        tell(RESET, digits.format(reset));
    }
    if let Some(cap) = standing.concurrency {
        tell(CONCURRENCY_LIMIT, digits.format(cap));
        tell(CONCURRENCY_CURRENT, digits.format(standing.in_flight));
    }
}

/// The policies as a header's value; empty where there is none.
fn put_policies(text: &mut String, caps: &Caps) {
    text.clear();
    for ((name, unit), cap) in NAMES.into_iter().zip(UNITS).zip(caps) {
        let Some(cap) = cap else { continue };
        begin(text, name);
        push(text, ";q=", *cap);
        text.push_str(unit);
    }
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
            key_spend: [None, Some(gauge(5_000, 4_000, 60))],
            org_spend: [Some(gauge(70, 0, 86_400)), None],
        };
        let mut told = Vec::new();
        headers(&standing, now, |name, value| told.push((name, value.to_owned())));
        let policies = concat!(
            r#""second";q=2;w=1, "minute";q=30;w=60, "total";q=9, "#,
            r#""key-budget";q=5000;qu="microcents", "organization-requests";q=70"#,
        );
        let state = concat!(
            r#""second";r=1;t=1, "minute";r=29;t=60, "total";r=8, "#,
            r#""key-budget";r=4000;t=60, "organization-requests";r=0;t=86400"#,
        );
        let expected = [
            ("ratelimit-policy", policies),
            ("ratelimit", state),
            ("x-ratelimit-limit", "30"),
            ("x-ratelimit-remaining", "29"),
            ("x-ratelimit-reset", "1060"),
            ("x-concurrency-limit", "3"),
            ("x-concurrency-current", "2"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
        headers(&Standing::default(), now, |name, value| panic!("{name}: {value}"));
    }
}
