//! What is used of every limit, over all nodes: for showing it to people.

use redis::Value;

use super::super::lease::Ledger;
use super::script::USED;
use super::{Inner, local, redis_key, wire};
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::{Period, Timestamp};
use crate::domain::used::{InPeriod, InUse, KeyUsed, Used};

impl Inner {
    /// As far as this node knows.
    pub(super) fn used_as_known(&self, org: &OrgId, key: KeyId) -> InUse {
        let at = self.link.shard(org).known.now(local());
        match self.orgs_with(org).lock().get(org) {
            Some(org) => org.ledger.in_use(key, at),
            None => Ledger::default().in_use(key, at),
        }
    }

    /// `None` where Redis cannot be asked, or does not know.
    pub(super) async fn used(&self, org: &OrgId, key: KeyId) -> Option<InUse> {
        if self.link.shard(org).is_open() {
            return None;
        }
        let of_key = format!("k:{}", key.0.as_simple());
        let keys = ["o", &of_key, "s"].map(|what| redis_key(org, what));
        decode(&self.link.run(&USED, &keys, &[&wire::key_field(key)]).await.ok()?)
    }
}

pub(super) fn decode(value: &Value) -> Option<InUse> {
    let Value::Array(items) = value else { return None };
    let number =
        |item: &Value| if let Value::Int(number) = item { u64::try_from(*number).ok() } else { None };
    let numbers: Vec<u64> = items.iter().map(number).collect::<Option<_>>()?;
    let &[now, in_flight, second, s, minute, m, total, day, d, week, w, month, o, ref spent @ ..] = &*numbers
    else {
        return None;
    };
    let now = Timestamp::from_micros(now);
    let used = |count, at| Used { count, resets_at: (at > 0).then(|| Timestamp::from_micros(at)) };
    let periods = |spent: &[u64]| {
        let &[dr, dm, wr, wm, mr, mm] = spent else { return None };
        let of = |period: Period, requests, microcents| {
            let (starts_at, ends_at) = period.bounds(now);
            InPeriod { starts_at, ends_at, requests, microcents }
        };
        Some([of(Period::Daily, dr, dm), of(Period::Weekly, wr, wm), of(Period::Monthly, mr, mm)])
    };
    let (of_key, of_organization) = spent.split_at_checked(6)?;
    Some(InUse {
        in_flight,
        second: used(second, s),
        minute: used(minute, m),
        key: KeyUsed {
            total,
            daily: used(day, d),
            weekly: used(week, w),
            monthly: used(month, o),
            spent: periods(of_key)?,
        },
        organization: periods(of_organization)?,
    })
}
