//! Accounts against a model that keeps every admission and counts.

mod cases;
mod trial;

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use self::trial::Trial;
use super::*;
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::ring::Window;
use crate::domain::time::Period;

/// The caps of the moment: the same for every key.
#[derive(Clone, Copy, Debug)]
struct Limits {
    caps: Caps,
    quotas: Quotas,
    key: Option<SpendLimit>,
    org: Option<SpendLimit>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Back(u64),
    Claim { key: u8, estimate: u64 },
    Settle { which: usize, actual: u64 },
    Release { which: usize },
    Edit(Limits),
}

/// Key 0 is a session.
fn key(number: u8) -> Option<KeyId> {
    (number > 0).then(|| KeyId(Uuid::from_u128(number.into())))
}

fn money(microcents: u64) -> Cost {
    Cost { credits: microcents, microcents }
}

impl Limits {
    fn claim(&self, number: u8, estimate: u64) -> Claim<'_> {
        Claim {
            key: key(number),
            caps: self.caps,
            quotas: self.quotas,
            key_limit: self.key.as_ref().filter(|_| number > 0),
            org_limit: self.org.as_ref(),
            estimate: money(estimate),
        }
    }
}

fn cap() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.4, 0..15_u64)
}

fn spend_limit() -> impl Strategy<Value = Option<SpendLimit>> {
    let limit = (cap(), option::weighted(0.6, 0..60_u64), 0..3_usize, prop::bool::weighted(0.9));
    let limit = limit.prop_map(|(requests, microcents, period, enabled)| SpendLimit {
        requests,
        microcents,
        period: Period::ALL[period],
        enabled,
    });
    option::weighted(0.5, limit)
}

fn limits() -> impl Strategy<Value = Limits> {
    let quotas = (option::weighted(0.3, 0..60_u64), cap(), cap(), cap());
    ((cap(), cap(), cap()), quotas, spend_limit(), spend_limit()).prop_map(|(caps, quotas, key, org)| {
        let (per_second, per_minute, concurrency) = caps;
        let (total, daily, weekly, monthly) = quotas;
        let caps = Caps { per_second, per_minute, concurrency };
        Limits { caps, quotas: Quotas { total, daily, weekly, monthly }, key, org }
    })
}

fn step() -> impl Strategy<Value = Step> {
    const SECOND: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND;
    let wait = prop_oneof![
        Just(1),
        0..100_000_u64,
        0..2 * SECOND,
        0..90 * SECOND,
        0..HOUR,
        0..30 * HOUR,
        0..8 * 24 * HOUR,
        0..40 * 24 * HOUR,
    ];
    prop_oneof![
        12 => (0..4_u8, 0..12_u64).prop_map(|(key, estimate)| Step::Claim { key, estimate }),
        6 => (any::<usize>(), 0..12_u64).prop_map(|(which, actual)| Step::Settle { which, actual }),
        2 => any::<usize>().prop_map(|which| Step::Release { which }),
        6 => wait.clone().prop_map(Step::Wait),
        1 => wait.prop_map(Step::Back),
        1 => limits().prop_map(Step::Edit),
    ]
}

proptest! {
    #[test]
    fn an_account_agrees_with_the_log(limits in limits(), steps in vec(step(), 1..250)) {
        let mut trial = Trial::new(limits);
        steps.into_iter().for_each(|step| trial.apply(step));
    }

    #[test]
    fn what_is_given_back_leaves_nothing(limits in limits(), steps in vec(step(), 1..100)) {
        let mut trial = Trial::new(limits);
        let kept = |step: &Step| !matches!(step, Step::Settle { .. });
        steps.into_iter().filter(kept).for_each(|step| trial.apply(step));
        trial.log.iter().for_each(|past| trial.account.release(&past.claimed));
        prop_assert_eq!(trial.account.sweep(0, trial.now), None);
        prop_assert!(trial.account.is_idle(trial.now), "{:?}", trial.account);
    }

    #[test]
    fn a_restart_changes_no_answer(
        limits in limits(),
        before in vec(step(), 1..150),
        after in vec(step(), 1..50),
    ) {
        let mut trial = Trial::new(limits);
        before.into_iter().for_each(|step| trial.apply(step));
        // A process that ends has nothing in flight; what it had is in the log, at what was reserved.
        while trial.in_flight(0).is_some() {
            let actual = trial.in_flight(0).map_or(0, |past| past.microcents);
            trial.apply(Step::Settle { which: 0, actual });
        }
        let mut restarted = trial.restarted();
        // The log dates nothing after the restart, so a clock that is behind has caught up by then.
        trial.clock = trial.clock.max(trial.now.micros());
        for step in after {
            if let Step::Claim { key, estimate } = step {
                let limits = trial.limits;
                let claim = limits.claim(key, estimate);
                let clock = Timestamp::from_micros(trial.clock);
                prop_assert_eq!(restarted.claim(&claim, clock), trial.account.clone().claim(&claim, clock));
            }
            let known = trial.log.len();
            match step {
                // The model numbers what is in flight as the account does; both end the same one.
                Step::Settle { which, actual } => {
                    if let Some(past) = trial.in_flight(which) {
                        let claimed = past.claimed;
                        restarted.settle(&claimed, money(actual));
                    }
                }
                Step::Release { which } => {
                    if let Some(past) = trial.in_flight(which) {
                        let claimed = past.claimed;
                        restarted.release(&claimed);
                    }
                }
                _ => {}
            }
            trial.apply(step);
            prop_assert!(trial.log.len() <= known + 1);
        }
    }

    #[test]
    fn a_swept_account_gives_the_same_answers(limits in limits(), steps in vec(step(), 1..200)) {
        let mut trial = Trial::new(limits);
        for step in steps {
            trial.apply(step);
            let now = trial.look_at_clock();
            prop_assert_eq!(trial.account.sweep(0, now), None);
        }
    }
}
