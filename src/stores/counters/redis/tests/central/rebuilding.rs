//! How an organization is lost and rebuilt, and what nodes report to it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Base, Central, SLOTS_FOR, Slots};
use crate::domain::cost::Cost;
use crate::domain::id::KeyId;
use crate::domain::time::Timestamp;
use crate::stores::counters::lease::{Joining, Said};

impl Central {
    /// Redis is emptied.
    pub fn lose(&mut self) {
        self.epoch = 0;
    }

    /// See `script/forget.lua`.
    pub fn forget(&mut self, epoch: u64) {
        if self.epoch == epoch {
            self.epoch = 0;
        }
    }

    /// Whether counts may be written where there are none, or nobody may claim yet by those of `instead`.
    pub fn has_place(&mut self, instead: u64, now: Timestamp) -> bool {
        self.clock = self.clock.max(now);
        self.epoch == 0 || self.epoch == instead && !self.is_open()
    }

    /// Who still has to report.
    pub const fn silent(&self) -> &BTreeSet<usize> {
        &self.awaited
    }

    /// See `script/restore.lua`.
    pub fn restore(&mut self, base: &Base, awaited: BTreeSet<usize>, wait: Duration, now: Timestamp) {
        *self = Self::new(now);
        (self.shipped, self.awaited) = (base.shipped.clone(), awaited);
        self.opens.1 = now.plus(wait);
        let mut rows = base.rows.clone();
        rows.sort_by_key(|(_, at, _)| *at);
        for (key, at, microcents) in rows {
            self.replay(Some(key), at, 1, microcents);
            self.account.replay_recent(at, 1, now);
        }
    }

    fn replay(&mut self, key: Option<KeyId>, at: Timestamp, n: u64, microcents: u64) {
        let total = key.map(|key| (key, self.total(key) + n));
        self.account.replay(key, at, n, Cost { credits: 0, microcents }, self.clock);
        if let Some((key, total)) = total {
            self.account.replay_total(key, total);
        }
    }

    /// See `script/report.lua`. A node's log has its name.
    pub fn join(&mut self, node: usize, joining: &Joining, now: Timestamp) -> Said {
        if self.epoch == 0 {
            return Said::Missing;
        }
        if joining.epoch != 0 && joining.epoch != self.epoch {
            return Said::OtherEpoch;
        }
        self.clock = self.clock.max(now);
        self.turn(None);
        let counted = self.counted.get(&node).copied().unwrap_or(0);
        if joining.number == 0 && joining.is_last {
            self.awaited.remove(&node);
        }
        if joining.number > 0 && joining.number == counted + 1 {
            self.counted.insert(node, joining.number);
            for (at, count) in &joining.part.recent {
                self.account.replay_recent(*at, *count, self.clock);
            }
            for (key, cells) in &joining.part.keys {
                for (at, sum) in cells {
                    self.replay(*key, *at, sum.requests, sum.microcents);
                }
            }
            if joining.is_last {
                self.whole.insert(node);
                self.awaited.remove(&node);
                let (seq, used) = joining.slots;
                if used > 0 {
                    let until = self.clock.plus(SLOTS_FOR);
                    self.slots.insert(node, Slots { seq, held: used, used, until });
                }
            }
        }
        Said::Known {
            epoch: self.epoch,
            is_open: self.is_open(),
            shipped: self.shipped.get(&node).copied(),
            counted: self.counted.get(&node).copied().unwrap_or(0),
            is_whole: self.whole.contains(&node),
            is_awaited: self.awaited.contains(&node),
        }
    }

    /// Whether `node` still has to report.
    pub fn awaits(&self, node: usize) -> bool {
        self.epoch != 0 && self.awaited.contains(&node)
    }
}
