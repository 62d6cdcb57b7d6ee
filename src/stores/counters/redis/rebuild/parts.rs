//! What the record holds of an organization, as the script that writes it in Redis takes it: in calls of a bounded size.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::wire;
use super::spool_name;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::ring::Window;
use crate::domain::time::{Period, Timestamp};
use crate::stores::record::{OrgUsage, UsageCell};

/// Keys that go into one call: each is a thousand numbers at most.
const KEYS_PER_CALL: usize = 16;

/// Who has to report, and how long that is waited for.
#[derive(Clone, Debug, Default)]
pub(in crate::stores::counters::redis) struct Awaited {
    pub nodes: Vec<String>,
    pub at_least: Duration,
    pub at_most: Duration,
}

/// One call's worth of an organization.
pub(in crate::stores::counters::redis) struct Part {
    pub names: Vec<String>,
    is_first: bool,
    keys: Vec<Json>,
    organization: Json,
}

impl Part {
    /// The script's argument. `instead`: the epoch of counts that it takes the place of; 0 where there are to be none. `now`
    /// is a time to replay at; `None` asks the store's clock.
    pub fn argument(&self, token: &str, instead: u64, now: Option<Timestamp>) -> String {
        let now = now.map_or(0, Timestamp::micros);
        json!([token, now, self.is_first, self.keys, self.organization, instead]).to_string()
    }
}

/// The calls that rebuild an organization, that which makes it known at the end.
pub(in crate::stores::counters::redis) fn parts(
    id: &OrgId,
    usage: &OrgUsage,
    awaited: &Awaited,
) -> Vec<Part> {
    let totals: BTreeMap<KeyId, u64> = usage.totals.iter().copied().collect();
    let mut used: BTreeMap<KeyId, Vec<&UsageCell>> = BTreeMap::new();
    for cell in &usage.cells {
        if let Some(key) = cell.key {
            used.entry(key).or_default().push(cell);
        }
    }
    let of_key = |(key, cells): (&KeyId, &Vec<&UsageCell>)| {
        let admitted: u64 = cells.iter().map(|cell| cell.admitted).sum();
        let total = totals.get(key).copied().unwrap_or(admitted);
        let last = cells.last().map_or(0, |cell| cell.at.micros());
        let ring = |window| counts(window, cells.iter().map(|cell| (cell.at, cell.admitted)));
        let rings = [Window::DAY, Window::WEEK, Window::MONTH].map(ring);
        let [day, week, month] = rings;
        let part =
            json!([wire::key_field(*key), total, last, day, week, month, costs(cells.iter().copied())]);
        (super::key(id, Some(*key)), part)
    };
    let all: Vec<(String, Json)> = used.iter().map(of_key).collect();
    let mut parts: Vec<Part> = all
        .chunks(KEYS_PER_CALL)
        .map(|keys| {
            let (names, keys) = keys.iter().cloned().unzip();
            Part { names, is_first: false, keys, organization: json!(false) }
        })
        .collect();
    let idle: Vec<Json> = totals
        .iter()
        .filter(|(key, _)| !used.contains_key(key))
        .map(|(key, total)| json!([wire::key_field(*key), total]))
        .collect();
    let recent = counts(Window::SECOND, usage.recent.iter().map(|at| (*at, 1)));
    let spools: Vec<Json> =
        usage.shipped.iter().map(|(spool, last)| json!([spool_name(*spool), last])).collect();
    let wait = [awaited.at_least, awaited.at_most].map(|wait| wait.as_micros() as u64);
    let organization = json!([recent, costs(usage.cells.iter()), idle, spools, awaited.nodes, wait]);
    match parts.last_mut() {
        Some(last) => last.organization = organization,
        None => parts.push(Part { names: Vec::new(), is_first: false, keys: Vec::new(), organization }),
    }
    if let Some(first) = parts.first_mut() {
        first.is_first = true;
    }
    parts
}

/// Admissions by the first instant of their cell.
fn counts(window: Window, admitted: impl Iterator<Item = (Timestamp, u64)>) -> Vec<[u64; 2]> {
    let width = window.cell().as_micros() as u64;
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (at, admitted) in admitted {
        *counts.entry(at.micros() / width * width).or_default() += admitted;
    }
    counts.into_iter().map(|(at, count)| [at, count]).collect()
}

/// What each day has cost: the calendar's counts are made of days.
fn costs<'a>(cells: impl Iterator<Item = &'a UsageCell>) -> Vec<[u64; 3]> {
    let mut days: BTreeMap<Timestamp, [u64; 2]> = BTreeMap::new();
    for cell in cells {
        let [requests, microcents] = days.entry(Period::Daily.bounds(cell.at).0).or_default();
        *requests += cell.admitted;
        *microcents = microcents.saturating_add(cell.cost.microcents);
    }
    days.into_iter().map(|(day, [requests, microcents])| [day.micros(), requests, microcents]).collect()
}
