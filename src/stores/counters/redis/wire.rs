//! Calls as the scripts read them, and their answers as the scripts write them. The two sides are
//! `script/claim.lua` and `script/report.lua`, which name the places, and this file.

use redis::Value;
use serde_json::json;

use super::super::lease::{Call, Count, Done, Joining, Reply, Said, SlotsReply, Spent};
use super::redis_key;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::limit::{Limit, SpendLimit};
use crate::domain::time::{Period, Timestamp};

/// The largest number that the script counts with exactly; what is more is as good as no cap.
pub(super) const WHOLE_MAX: u64 = 1 << 52;

/// The field under which an organization knows a key.
pub(super) fn key_field(key: KeyId) -> String {
    format!("t{}", key.0.as_simple())
}

/// The script's keys: the organization, the key or again the organization, this node's calls, and where slots are asked
/// for, these. Of an organization in use all of them are there, so that a cluster can move it without a pause: it
/// answers by one that is missing only when the whole slot has moved.
pub(super) fn keys(org: &OrgId, call: &Call, node: &str) -> Vec<String> {
    let of_key = call.key.map_or_else(|| "o".to_owned(), |key| format!("k:{}", key.0.as_simple()));
    let slots = call.slots.map(|_| "s".to_owned());
    let names = ["o".to_owned(), of_key, format!("n:{node}")].into_iter().chain(slots);
    names.map(|name| redis_key(org, &name)).collect()
}

/// A call, as the script's one argument. `now` is a time to replay at; `None` asks the store's clock.
pub(super) fn encode(call: &Call, node: &str, nodes: u64, now: Option<Timestamp>) -> String {
    let terms = &call.terms;
    let (caps, quotas) = (terms.caps, terms.quotas);
    let all = [
        caps.concurrency,
        caps.per_second,
        caps.per_minute,
        quotas.total,
        quotas.daily,
        quotas.weekly,
        quotas.monthly,
    ];
    let slots = call.slots.map(|slots| [slots.seq, slots.wanted, slots.used, slots.waiting]);
    let entries: Vec<_> = call
        .entries
        .iter()
        .map(|(seq, entry)| (seq, entry.at.micros(), entry.requests, entry.microcents))
        .collect();
    // Written as it is: a tree of values would cost more than the call's other work here.
    let written = serde_json::to_string(&(
        now.map_or(0, Timestamp::micros),
        node,
        call.epoch,
        call.seq,
        call.acked,
        nodes.max(1),
        call.waiting,
        call.rate,
        call.left,
        terms.estimate.min(WHOLE_MAX),
        all.map(cap),
        OrFalse::from(limit(terms.key_limit)),
        OrFalse::from(limit(terms.org_limit)),
        OrFalse::from(slots),
        call.key.map(key_field).unwrap_or_default(),
        entries,
    ));
    // Numbers and text can always be written.
    written.unwrap_or_default()
}

/// What the script reads as `false` where it is nothing.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum OrFalse<T> {
    Something(T),
    Nothing(bool),
}

impl<T> From<Option<T>> for OrFalse<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing(false), Self::Something)
    }
}

fn cap(cap: Option<u64>) -> i64 {
    cap.map_or(-1, |cap| cap.min(WHOLE_MAX) as i64)
}

fn limit(limit: Option<SpendLimit>) -> Option<(usize, i64, i64)> {
    let limit = limit.filter(|limit| limit.enabled)?;
    Some((limit.period.index(), cap(limit.requests), cap(limit.microcents)))
}

/// The script's answer to `call`. `None` where it cannot be read.
pub(super) fn decode(value: &Value, call: &Call) -> Option<Reply> {
    let Value::Array(items) = value else { return None };
    let numbers: Vec<u64> = items
        .iter()
        .map(|item| match item {
            // The only number below zero says that nothing is said about slots.
            Value::Int(number) => Some(u64::try_from(*number).unwrap_or(u64::MAX)),
            _ => None,
        })
        .collect::<Option<_>>()?;
    match *numbers {
        [1] => Some(Reply::Missing),
        [2] => Some(Reply::OtherEpoch),
        [3] => Some(Reply::Stale),
        [
            0,
            epoch,
            now,
            cell_end,
            granted,
            refused,
            retry_at,
            elsewhere,
            back_at,
            held,
            free,
            in_flight,
            ref counts @ ..,
        ] => {
            let now = Timestamp::from_micros(now);
            Some(Reply::Done(Box::new(Done {
                epoch,
                now,
                cell_end: Timestamp::from_micros(cell_end),
                granted,
                refused: refusal(refused, known(retry_at), now, call)?,
                elsewhere,
                back_at: Timestamp::from_micros(back_at),
                slots: (held != u64::MAX).then_some(SlotsReply { held, free }),
                in_flight,
                counts: read_counts(counts.get(..11)?)?,
                spent: read_spent(counts.get(11..)?)?,
            })))
        }
        _ => None,
    }
}

/// A node's report, or its question, as the script's one argument. `build`: the only counts that it is meant for, by the
/// token of who builds them. `now` as in [`encode`].
pub(super) fn encode_joining(
    joining: &Joining,
    node: &str,
    spool: &str,
    build: Option<&str>,
    now: Option<Timestamp>,
) -> String {
    let key = |(key, cells): &(Option<KeyId>, Vec<_>)| {
        let cell = |(at, sum): &(Timestamp, super::super::lease::Sum)| {
            json!([at.micros(), sum.requests, sum.microcents.min(WHOLE_MAX)])
        };
        json!([key.map(key_field).unwrap_or_default(), cells.iter().map(cell).collect::<Vec<_>>()])
    };
    let recent = joining.part.recent.iter().map(|(at, count)| json!([at.micros(), count]));
    json!([
        now.map_or(0, Timestamp::micros),
        node,
        spool,
        joining.epoch,
        joining.number,
        joining.is_last,
        recent.collect::<Vec<_>>(),
        joining.part.keys.iter().map(key).collect::<Vec<_>>(),
        [joining.slots.0, joining.slots.1],
        build.unwrap_or_default(),
    ])
    .to_string()
}

/// The script's answer to a report. `None` where it cannot be read.
pub(super) fn decode_said(value: &Value) -> Option<Said> {
    let Value::Array(items) = value else { return None };
    let number = |item: &Value| if let Value::Int(number) = item { Some(*number) } else { None };
    let numbers: Vec<i64> = items.iter().map(number).collect::<Option<_>>()?;
    match *numbers {
        [1] => Some(Said::Missing),
        [2] => Some(Said::OtherEpoch),
        [0, epoch, is_open, shipped, counted, is_whole, is_awaited] => Some(Said::Known {
            epoch: u64::try_from(epoch).ok()?,
            is_open: is_open == 1,
            shipped: u64::try_from(shipped).ok(),
            counted: usize::try_from(counted).ok()?,
            is_whole: is_whole == 1,
            is_awaited: is_awaited == 1,
        }),
        _ => None,
    }
}

/// The answer to a part of a rebuild: at its end the epoch, and whether anybody may claim by it. `None` where it was not
/// done.
#[allow(clippy::option_option, reason = "not done, or not at its end")]
pub(super) fn decode_restored(value: &Value) -> Option<Option<(u64, bool)>> {
    match value {
        Value::Int(1) => Some(None),
        Value::Array(items) => match items[..] {
            [Value::Int(epoch), Value::Int(is_open)] => {
                Some(Some((u64::try_from(epoch).ok()?, is_open == 1)))
            }
            _ => None,
        },
        _ => None,
    }
}

fn read_counts(numbers: &[u64]) -> Option<[Count; 6]> {
    let &[second, s, minute, m, total, day, d, week, w, month, o] = numbers else { return None };
    let count = |sum, at| Count { sum, next_expiry: known(at) };
    Some([
        count(second, s),
        count(minute, m),
        count(total, 0),
        count(day, d),
        count(week, w),
        count(month, o),
    ])
}

fn read_spent(numbers: &[u64]) -> Option<[[Spent; 3]; 2]> {
    let mut numbers = numbers.iter().copied();
    let mut spent = [[Spent::default(); 3]; 2];
    for spent in spent.as_flattened_mut() {
        *spent = Spent { requests: numbers.next()?, microcents: numbers.next()? };
    }
    numbers.next().is_none().then_some(spent)
}

fn known(at: u64) -> Option<Timestamp> {
    (at > 0).then(|| Timestamp::from_micros(at))
}

/// The limit of this number, and when it has room again: the calendar's limits at the end of their period.
#[allow(clippy::option_option, reason = "unreadable, or no refusal")]
fn refusal(
    number: u64,
    retry_at: Option<Timestamp>,
    now: Timestamp,
    call: &Call,
) -> Option<Option<(Limit, Option<Timestamp>)>> {
    let spend = |limit: Option<SpendLimit>, named: fn(Period) -> Limit| {
        let period = limit?.period;
        Some((named(period), Some(period.bounds(now).1)))
    };
    Some(Some(match number {
        0 => return Some(None),
        1 => (Limit::Concurrency, None),
        2 => (Limit::Second, retry_at),
        3 => (Limit::Minute, retry_at),
        4 => (Limit::Total, None),
        5 => (Limit::Daily, retry_at),
        6 => (Limit::Weekly, retry_at),
        7 => (Limit::Monthly, retry_at),
        8 => spend(call.terms.key_limit, Limit::KeyRequests)?,
        9 => spend(call.terms.key_limit, Limit::KeyBudget)?,
        10 => spend(call.terms.org_limit, Limit::OrgRequests)?,
        11 => spend(call.terms.org_limit, Limit::OrgBudget)?,
        _ => return None,
    }))
}
