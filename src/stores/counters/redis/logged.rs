//! What was counted of a key that this process never saw counted, when Redis is away: what the log says was admitted.
//!
//! | when | then |
//! |---|---|
//! | Redis is away, and this process never saw the key counted | the first claim asks the record, for all of the organization's keys, and waits for up to [`WITHIN`] |
//! | the record is away, or slow | the key has this node's part of its whole caps until Redis is back, less what the node's own spool told; nobody asks again for [`AGAIN_AFTER`] |
//! | many ask for one organization | one question |
//! | others admitted something in the last moments, or had leased it | it is in no log yet: of that, each node that reads it may admit its part too much |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Inner, local};
use crate::config::OnOutage;
use crate::domain::account::Account;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::stores::counters::memory::{HISTORY, RECENT};
use crate::stores::record::OrgUsage;

/// How long a claim waits for what the record says.
const WITHIN: Duration = Duration::from_millis(250);
/// How much sooner than this one other nodes may have noticed that Redis is away: what they have admitted since is of
/// their own shares.
const NOTICED_WITHIN: Duration = Duration::from_secs(1);
/// How long nobody asks a record that did not answer in time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Inner {
    /// Whether the record may be asked before this node's share of a key is fixed.
    pub(super) fn may_hear_of(&self, key: Option<KeyId>) -> bool {
        self.on_outage == OnOutage::Local
            && key.is_some()
            && local().0 >= self.unasked_until.load(Ordering::Relaxed)
    }

    /// Whether it is to be.
    fn is_unheard_of(&self, id: &OrgId, key: Option<KeyId>) -> bool {
        self.may_hear_of(key) && self.with(id, |org| !org.ledger.knows_used(key))
    }

    /// Asks the record what it has of an organization, where that is to be done, as far as it answers in time.
    pub(super) async fn hear_of(self: &Arc<Self>, id: &OrgId, key: Option<KeyId>) {
        if !self.is_unheard_of(id, key) {
            return;
        }
        let (inner, org) = (Arc::clone(self), id.clone());
        // Not on an I/O thread: there may be a month of it.
        let asking = self.runtime.spawn(async move {
            let turn = inner.with(&org, |org| Arc::clone(&org.hearing));
            let _turn = turn.lock().await;
            if inner.is_unheard_of(&org, key) {
                let now = inner.link.shard(&org).known.now(local());
                let asked = inner.record.usage_of(&org, now.minus(HISTORY), now.minus(RECENT));
                return asked.await.map(|usage| inner.learn(&org, &usage, now)).is_ok();
            }
            true
        });
        if !matches!(tokio::time::timeout(WITHIN, asking).await, Ok(Ok(true))) {
            self.unasked_until.store(local().plus(AGAIN_AFTER).0, Ordering::Relaxed);
        }
    }

    /// Takes what the log says for what Redis would have, of every key that Redis never told of. Of the last minute that is
    /// what was admitted before Redis went away; of quotas and calendars what was admitted since, too, as it is counted
    /// in fives of minutes: then there is less left to share, never more.
    fn learn(&self, id: &OrgId, usage: &OrgUsage, now: Timestamp) {
        let mut account = Account::default();
        for cell in &usage.cells {
            account.replay(cell.key, cell.at, cell.admitted, cell.cost, now);
        }
        usage.totals.iter().for_each(|(key, total)| account.replay_total(*key, *total));
        let gone = now.minus(self.link.shard(id).open_for() + NOTICED_WITHIN);
        usage.recent.iter().filter(|at| **at < gone).for_each(|at| account.replay_recent(*at, 1, now));
        let keys: BTreeSet<KeyId> = usage.totals.iter().map(|(key, _)| *key).collect();
        self.with(id, |org| {
            for key in keys {
                if org.ledger.knows(Some(key)) || self.has_room() {
                    org.ledger.learn(key, &account.used(key, now), now);
                }
            }
        });
    }
}
