//! Address guards of all nodes tell each other, in one call now and then: see `script/blocks.lua`.
//!
//! | when | then |
//! |---|---|
//! | Redis is away | each node guards itself; what it has to tell waits, as far as there is room for it |
//! | Redis has lost what it was told | nodes tell again who is blocked; failures counted so far are lost |
//! | more than `ip_guard.addresses_max` are blocked | those whose block ends soonest are given up, and counted |

use std::net::IpAddr;

use redis::{FromRedisValue, Value};
use serde_json::json;

use super::script::BLOCKS;
use super::{LinkError, RedisCounters};
use crate::domain::id::OrgId;
use crate::stores::counters::blocks::{BlockRules, Heard, Told};

/// The hash tag of all keys, as one script does all.
const TAG: &str = "guard";
const KEYS: [&str; 2] = ["tollgate:{guard}:blocked", "tollgate:{guard}:news"];

/// Up to where on Redis's clock news are known, and when Redis's memory of them began.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Known {
    until: u64,
    began: u64,
}

impl RedisCounters {
    /// Tells what this node has to say, and hears what others have said since it was last asked.
    ///
    /// # Errors
    /// [`LinkError`]: whether it was heard is not known.
    pub async fn share_blocks(&self, told: &[(IpAddr, Told)], rules: BlockRules) -> Result<Heard, LinkError> {
        let inner = &self.0;
        // Whether Redis is back is for the heartbeat to find out.
        if OrgId::parse(TAG).is_ok_and(|tagged| inner.link.shard(&tagged).is_open()) {
            return Err(LinkError::Open);
        }
        let before = *inner.blocks.lock();
        let argument = json!([
            before.until,
            before.began,
            rules.failures,
            rules.within.as_micros() as u64,
            rules.block_for.as_micros() as u64,
            rules.addresses_max,
            told.iter().map(|(address, told)| entry(*address, *told)).collect::<Vec<_>>(),
        ]);
        let failures = told.iter().map(|(address, _)| format!("tollgate:{{guard}}:f:{address}"));
        let keys: Vec<String> = KEYS.map(str::to_owned).into_iter().chain(failures).collect();
        let answer = inner.link.try_run(&BLOCKS, &keys, &[&argument.to_string()]).await?;
        let (known, heard) = read(answer, before).ok_or(LinkError::Unreadable)?;
        *inner.blocks.lock() = known;
        Ok(heard)
    }
}

fn entry(address: IpAddr, told: Told) -> serde_json::Value {
    let address = address.to_string();
    match told {
        Told::Failed(times) => json!([address, times, 0]),
        Told::Blocked(left) => json!([address, 0, (left.as_micros() as u64).max(1)]),
        Told::Unblocked => json!([address, 0, -1]),
    }
}

fn read(answer: Value, before: Known) -> Option<(Known, Heard)> {
    let Value::Array(items) = answer else { return None };
    let mut items = items.into_iter();
    let mut number = || u64::from_redis_value(items.next()?).ok();
    let (until, began, evicted) = (number()?, number()?, number()?);
    let mut news = Vec::with_capacity(items.len() / 2);
    while let (Some(address), Some(left)) = (items.next(), items.next()) {
        let address: IpAddr = String::from_redis_value(address).ok()?.parse().ok()?;
        let left = u64::from_redis_value(left).ok()?;
        news.push((address, (left > 0).then(|| std::time::Duration::from_micros(left))));
    }
    // Of what was there before this node was, it has told nothing.
    let is_lost = before.began > 0 && before.began != began;
    Some((Known { until, began }, Heard { news, is_lost, evicted }))
}
