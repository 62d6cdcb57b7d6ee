//! The headers that tell a client where its limits stand.
//!
//! `RateLimit-Policy` and `RateLimit` after draft-ietf-httpapi-ratelimit-headers-10 (structured fields,
//! RFC 9651): every policy that applies, `t` being the seconds until something of it becomes free again.
//! `X-RateLimit-*` is the per-minute plan cap with its reset in Unix seconds, as older clients read it. A spend
//! limit is told by the refusal that it gives rise to, as what is left of it is not looked up before: when its period
//! ends stands nowhere else.

use std::cell::RefCell;

use crate::domain::account::Standing;
use crate::domain::limit::{Limit, SpendLimit};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;

use super::permit::Known;

const POLICY: &str = "ratelimit-policy";
const RATE_LIMIT: &str = "ratelimit";
const LIMIT: &str = "x-ratelimit-limit";
const REMAINING: &str = "x-ratelimit-remaining";
const RESET: &str = "x-ratelimit-reset";
const CONCURRENCY_LIMIT: &str = "x-concurrency-limit";
const CONCURRENCY_CURRENT: &str = "x-concurrency-current";

/// What the policies of a caller say: their caps, in the order of the header.
type Caps = [Option<u64>; POLICIES];

const POLICIES: usize = 6;
const NAMES: [&str; POLICIES] =
    ["\"second\"", "\"minute\"", "\"total\"", "\"daily\"", "\"weekly\"", "\"monthly\""];
const WINDOWS: [&str; POLICIES] = [";w=1", ";w=60", "", ";w=86400", ";w=604800", ";w=2592000"];

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

/// A spend limit that has refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    name: &'static str,
    cap: u64,
    /// Of what the cap is, where that is not requests.
    unit: &'static str,
    ends_at: Option<Timestamp>,
}

impl Spent {
    /// The spend limit that `refusal` is of, whose request is `known`.
    pub fn of(refusal: Refusal, known: &Known) -> Option<Self> {
        let Refusal::Limited(limit, ends_at) = refusal else { return None };
        let caller = known.caller.as_ref()?;
        let key = || caller.key.grant.limit.as_deref();
        let organization = || caller.organization.limit.as_ref();
        let requests = |limit: &SpendLimit| limit.requests;
        let budget = |limit: &SpendLimit| limit.microcents;
        let (name, cap, unit) = match limit {
            Limit::KeyRequests(_) => ("\"key-requests\"", key().and_then(requests), ""),
            Limit::KeyBudget(_) => ("\"key-budget\"", key().and_then(budget), MICROCENTS),
            Limit::OrgRequests(_) => ("\"organization-requests\"", organization().and_then(requests), ""),
            Limit::OrgBudget(_) => ("\"organization-budget\"", organization().and_then(budget), MICROCENTS),
            _ => return None,
        };
        Some(Self { name, cap: cap?, unit, ends_at })
    }
}

const MICROCENTS: &str = ";qu=\"microcents\"";

/// Hands every header that `standing`, and what has refused, give rise to, name in lower case and value, to `tell`.
pub fn headers(
    standing: &Standing,
    spent: Option<&Spent>,
    now: Timestamp,
    mut tell: impl FnMut(&'static str, &str),
) {
    let [total, daily, weekly, monthly] = &standing.quotas;
    let gauges = [&standing.second, &standing.minute, total, daily, weekly, monthly];
    let caps = gauges.map(|gauge| gauge.as_ref().map(|gauge| gauge.cap));
    TEXTS.with_borrow_mut(|Texts { caps: told, policies, state }| {
        if *told != caps {
            *told = caps;
            put_policies(policies, &caps);
        }
        state.clear();
        match spent {
            None if policies.is_empty() => return,
            None => tell(POLICY, policies),
            Some(spent) => {
                // Not kept: the next answer has nothing to do with it.
                state.push_str(policies);
                begin(state, spent.name);
                push(state, ";q=", spent.cap);
                state.push_str(spent.unit);
                tell(POLICY, state);
                state.clear();
            }
        }
        for (name, gauge) in NAMES.into_iter().zip(gauges) {
            let Some(gauge) = gauge else { continue };
            begin(state, name);
            push(state, ";r=", gauge.remaining);
            put_reset(state, gauge.resets_at, now);
        }
        if let Some(spent) = spent {
            begin(state, spent.name);
            push(state, ";r=", 0);
            put_reset(state, spent.ends_at, now);
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
    for ((name, window), cap) in NAMES.into_iter().zip(WINDOWS).zip(caps) {
        let Some(cap) = cap else { continue };
        begin(text, name);
        push(text, ";q=", *cap);
        text.push_str(window);
    }
}

fn put_reset(state: &mut String, at: Option<Timestamp>, now: Timestamp) {
    if let Some(at) = at {
        push(state, ";t=", at.micros().saturating_sub(now.micros()).div_ceil(1_000_000));
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
        };
        let mut told = Vec::new();
        headers(&standing, None, now, |name, value| told.push((name, value.to_owned())));
        let expected = [
            ("ratelimit-policy", r#""second";q=2;w=1, "minute";q=30;w=60, "total";q=9"#),
            ("ratelimit", r#""second";r=1;t=1, "minute";r=29;t=60, "total";r=8"#),
            ("x-ratelimit-limit", "30"),
            ("x-ratelimit-remaining", "29"),
            ("x-ratelimit-reset", "1060"),
            ("x-concurrency-limit", "3"),
            ("x-concurrency-current", "2"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
        headers(&Standing::default(), None, now, |name, value| panic!("{name}: {value}"));

        // What a spend limit has refused says so beside the rest, and only there.
        let ends_at = Some(Timestamp::from_seconds(90_000));
        let spent = Spent { name: "\"key-budget\"", cap: 500, unit: MICROCENTS, ends_at };
        let in_front = |rest: &str| [told[0].1.clone() + rest, told[1].1.clone()];
        let expected = [
            (Standing::default(), [r#""key-budget";q=500;qu="microcents""#.to_owned(), String::new()]),
            (standing, in_front(r#", "key-budget";q=500;qu="microcents""#)),
        ];
        for (standing, [policies, state]) in expected {
            let comma = if state.is_empty() { "" } else { ", " };
            let state = format!(r#"{state}{comma}"key-budget";r=0;t=89000"#);
            let mut refused = Vec::new();
            headers(&standing, Some(&spent), now, |name, value| refused.push((name, value.to_owned())));
            assert_eq!(refused[..2], [("ratelimit-policy", policies), ("ratelimit", state)]);
            assert_eq!(
                refused.get(2..).unwrap(),
                if standing == Standing::default() { &[] } else { &told[2..] }
            );
        }
        let mut next = Vec::new();
        headers(&standing, None, now, |name, value| next.push((name, value.to_owned())));
        assert_eq!(next, told);
    }
}
