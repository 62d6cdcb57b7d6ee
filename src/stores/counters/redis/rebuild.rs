//! What Redis does not know is rebuilt from the request log, before anybody is admitted by it.
//!
//! Redis does not know an organization that nobody has used for long, or ever, or that it has lost. One node at a time
//! rebuilds one: it takes a lock, waits until the log of what was admitted shortly before has moved to the record, and
//! writes the keys, then the organization. Until the organization is written, nobody can claim by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value};
use serde_json::{Value as Json, json};

use super::script::RESTORE;
use super::{Inner, local, redis_key, wire};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::ring::Window;
use crate::domain::time::{Period, Timestamp};
use crate::stores::counters::memory::{HISTORY, RECENT};
use crate::stores::record::{OrgUsage, UsageCell};

/// Takes the lock, which ends by itself.
static LOCK: LazyLock<Script> = LazyLock::new(|| {
    Script::new("return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0")
});
/// Longer than a rebuild takes; the loser of a lock looks again much sooner.
const LOCK_FOR: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long the log of what was admitted before may take to get into the record.
const LOG_LAG: Duration = Duration::from_millis(600);
/// Keys that go into one call: each is a thousand numbers at most.
const KEYS_PER_CALL: usize = 16;

impl Inner {
    /// Rebuilds `org`, or leaves it to whoever is at it. Whether it worked is seen by asking again.
    pub(super) async fn rebuild(self: &Arc<Self>, id: &OrgId) {
        let was_known = self.with(id, |org| org.ledger.is_known());
        if was_known {
            self.with(id, |org| {
                org.rebuilding = true;
                // Nobody waits for so long: meanwhile this node's share serves.
                org.flights.values().for_each(|notify| notify.notify_waiters());
            });
        }
        if was_known || self.link.shard(id).known.was_emptied_within(LOG_LAG) {
            tokio::time::sleep(LOG_LAG).await;
        }
        match self.try_rebuild(id).await {
            Ok(true) if was_known => {
                tracing::warn!(organization = %id, "Redis had lost an organization: rebuilt from the log");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(organization = %id, %error, "an organization cannot be rebuilt in Redis");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        self.with(id, |org| org.rebuilding = false);
    }

    async fn try_rebuild(&self, id: &OrgId) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let lock = [redis_key(id, "r")];
        let token = format!("{}-{}", self.node, local().0);
        let lock_for = LOCK_FOR.as_millis().to_string();
        if self.link.run(&LOCK, &lock, &[&token, &lock_for]).await? != Value::Int(1) {
            tokio::time::sleep(LOOK_AGAIN).await;
            return Ok(false);
        }
        let now = self.link.shard(id).known.now(local());
        let usage = self.record.usage_of(id, now.minus(HISTORY), now.minus(RECENT)).await?;
        for part in parts(id, &usage) {
            let argument = part.argument(&token, None);
            let mut keys = vec![redis_key(id, "o"), redis_key(id, "r")];
            keys.extend(part.names);
            if self.link.run(&RESTORE, &keys, &[&argument]).await? != Value::Int(1) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// One call's worth of an organization.
pub(super) struct Part {
    pub names: Vec<String>,
    keys: Vec<Json>,
    organization: Json,
}

impl Part {
    /// The script's argument. `now` is a time to replay at; `None` asks the store's clock.
    pub fn argument(&self, token: &str, now: Option<Timestamp>) -> String {
        json!([token, now.map_or(0, Timestamp::micros), self.keys, self.organization]).to_string()
    }
}

/// The calls that rebuild an organization, that which makes it known at the end.
pub(super) fn parts(id: &OrgId, usage: &OrgUsage) -> Vec<Part> {
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
        (redis_key(id, &format!("k:{}", key.0.as_simple())), part)
    };
    let all: Vec<(String, Json)> = used.iter().map(of_key).collect();
    let mut parts: Vec<Part> = all
        .chunks(KEYS_PER_CALL)
        .map(|keys| {
            let (names, keys) = keys.iter().cloned().unzip();
            Part { names, keys, organization: json!(false) }
        })
        .collect();
    let idle: Vec<Json> = totals
        .iter()
        .filter(|(key, _)| !used.contains_key(key))
        .map(|(key, total)| json!([wire::key_field(*key), total]))
        .collect();
    let recent = counts(Window::SECOND, usage.recent.iter().map(|at| (*at, 1)));
    let organization = json!([recent, costs(usage.cells.iter()), idle]);
    parts.push(Part { names: Vec::new(), keys: Vec::new(), organization });
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
