//! Accounts against a model that keeps every admission and counts.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

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

/// One admission in the model's log.
#[derive(Clone, Copy, Debug)]
struct Past {
    claimed: Claimed,
    ended: bool,
    microcents: u64,
}

/// An account, the clock that it is told, and the log of what it admitted.
struct Trial {
    account: Account,
    limits: Limits,
    clock: u64,
    now: Timestamp,
    log: Vec<Past>,
}

impl Trial {
    fn new(limits: Limits) -> Self {
        let clock = 1_800_000_000_000_000;
        Self { account: Account::default(), limits, clock, now: Timestamp::default(), log: Vec::new() }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Wait(micros) => self.clock += micros,
            Step::Back(micros) => self.clock -= micros.min(self.clock),
            Step::Claim { key, estimate } => self.claim(key, estimate),
            Step::Settle { which, actual } => {
                if let Some(past) = self.in_flight(which) {
                    (past.ended, past.microcents) = (true, actual);
                    let claimed = past.claimed;
                    self.account.settle(&claimed, money(actual));
                }
            }
            Step::Release { which } => {
                if let Some(past) = self.in_flight(which) {
                    let claimed = past.claimed;
                    self.account.release(&claimed);
                    let place = self.log.iter().position(|past| !past.ended && past.claimed == claimed);
                    self.log.remove(place.unwrap());
                }
            }
            Step::Edit(limits) => self.limits = limits,
        }
    }

    /// Shows the account the clock: only what it has seen can hold it when the clock steps back.
    fn look_at_clock(&mut self) -> Timestamp {
        self.now = self.now.max(Timestamp::from_micros(self.clock));
        self.account.advance(self.now)
    }

    fn in_flight(&mut self, which: usize) -> Option<&mut Past> {
        let count = self.log.iter().filter(|past| !past.ended).count().max(1);
        self.log.iter_mut().filter(|past| !past.ended).nth(which % count)
    }

    fn claim(&mut self, number: u8, estimate: u64) {
        let limits = self.limits;
        let claim = limits.claim(number, estimate);
        self.look_at_clock();
        let bounds = self.bounds(number, estimate);
        let clock = Timestamp::from_micros(self.clock);
        let standing = self.account.standing(&claim, clock);
        self.spend_is_told(&standing, number);
        let before = self.account.clone();
        match self.account.claim(&claim, clock) {
            Ok((claimed, after)) => {
                assert_eq!((claimed.at, claimed.key), (self.now, key(number)));
                for (limit, least, _) in bounds {
                    assert!(!least, "{limit:?} is used up by the log, and yet it was admitted");
                }
                assert_eq!(after, self.account.standing(&claim, clock));
                assert_eq!(after.in_flight, standing.in_flight + 1);
                self.log.push(Past { claimed, ended: false, microcents: estimate });
            }
            Err(denial) => {
                assert_eq!(denial.standing, standing);
                assert_eq!(self.account, before, "a refused claim left a trace");
                for (limit, least, most) in bounds {
                    if limit == denial.limit {
                        assert!(most, "{limit:?} refused although the log has room");
                        break;
                    }
                    assert!(!least, "{limit:?} is used up and comes before {:?}", denial.limit);
                }
                self.retry(&claim, &denial);
            }
        }
    }

    /// What the denial says about when to come back is true of its limit.
    fn retry(&self, claim: &Claim<'_>, denial: &Denial) {
        let Some(at) = denial.retry_at else { return };
        let mut later = self.account.clone();
        let again =
            |account: &mut Account, at| account.claim(claim, at).map_or_else(|d| Some(d.limit), |_| None);
        assert_eq!(again(&mut later, Timestamp::from_micros(at.micros() - 1)), Some(denial.limit));
        let next = again(&mut later, at);
        let passed_by_time = next != Some(denial.limit);
        // A budget or request cap that a single request cannot meet stays shut in the next period too.
        let hopeless = match denial.limit {
            Limit::KeyRequests(_) | Limit::KeyBudget(_) => claim.key_limit,
            Limit::OrgRequests(_) | Limit::OrgBudget(_) => claim.org_limit,
            _ => None,
        }
        .is_some_and(|limit| {
            limit.requests == Some(0)
                || limit.microcents.is_some_and(|cap| cap == 0 || claim.estimate.microcents > cap)
        });
        assert!(passed_by_time || hopeless, "{denial:?} was no use waiting for");
    }

    /// Every limit in the order of asking: whether the log says it must, and whether it may, refuse.
    fn bounds(&self, number: u8, estimate: u64) -> Vec<(Limit, bool, bool)> {
        let Limits { caps, quotas, .. } = self.limits;
        let mut bounds = Vec::new();
        let mut exact = |limit, used: u64, cap: Option<u64>| {
            bounds.push((limit, cap.is_some_and(|cap| used >= cap), cap.is_some_and(|cap| used >= cap)));
        };
        let everyone = |_: &&Past| true;
        let mine = |past: &&Past| past.claimed.key == key(number);
        exact(
            Limit::Concurrency,
            self.log.iter().filter(|past| !past.ended).count() as u64,
            caps.concurrency,
        );
        bounds.push(self.window(Limit::Second, Window::SECOND, caps.per_second, everyone));
        bounds.push(self.window(Limit::Minute, Window::MINUTE, caps.per_minute, everyone));
        if number > 0 {
            let total = self.log.iter().filter(mine).count() as u64;
            let used_up = quotas.total.is_some_and(|cap| total >= cap);
            bounds.push((Limit::Total, used_up, used_up));
            bounds.push(self.window(Limit::Daily, Window::DAY, quotas.daily, mine));
            bounds.push(self.window(Limit::Weekly, Window::WEEK, quotas.weekly, mine));
            bounds.push(self.window(Limit::Monthly, Window::MONTH, quotas.monthly, mine));
            let names: [fn(Period) -> Limit; 2] = [Limit::KeyRequests, Limit::KeyBudget];
            bounds.extend(self.calendar(self.limits.key, estimate, names, mine));
        }
        let names: [fn(Period) -> Limit; 2] = [Limit::OrgRequests, Limit::OrgBudget];
        bounds.extend(self.calendar(self.limits.org, estimate, names, everyone));
        bounds
    }

    fn window(
        &self,
        limit: Limit,
        window: Window,
        cap: Option<u64>,
        whose: impl Fn(&&Past) -> bool,
    ) -> (Limit, bool, bool) {
        let within = |span: Duration| {
            self.log.iter().filter(&whose).filter(|past| self.now.since(past.claimed.at) < span).count()
                as u64
        };
        let (least, most) = (within(window.span()), within(window.span() + window.cell()));
        (limit, cap.is_some_and(|cap| least >= cap), cap.is_some_and(|cap| most >= cap))
    }

    /// Both caps of a spend limit, and what the log leaves of them.
    fn spend_is_told(&self, standing: &Standing, number: u8) {
        let left = |limit: Option<SpendLimit>, whose: &dyn Fn(&&Past) -> bool| {
            let Some(limit) = limit.filter(|limit| limit.enabled) else { return [None; 2] };
            let (first, next) = limit.period.bounds(self.now);
            let since = |past: &&Past| past.claimed.at >= first;
            let of_period: Vec<&Past> = self.log.iter().filter(whose).filter(since).collect();
            let microcents = of_period.iter().map(|past| past.microcents).sum();
            let gauge = |(cap, used): (Option<u64>, u64)| {
                Some(Gauge { cap: cap?, remaining: cap?.saturating_sub(used), resets_at: Some(next) })
            };
            [(limit.requests, of_period.len() as u64), (limit.microcents, microcents)].map(gauge)
        };
        let of_key = self.limits.key.filter(|_| number > 0);
        assert_eq!(standing.key_spend, left(of_key, &|past| past.claimed.key == key(number)));
        assert_eq!(standing.org_spend, left(self.limits.org, &|_| true));
    }

    fn calendar(
        &self,
        limit: Option<SpendLimit>,
        estimate: u64,
        [requests, budget]: [fn(Period) -> Limit; 2],
        whose: impl Fn(&&Past) -> bool,
    ) -> Vec<(Limit, bool, bool)> {
        let Some(limit) = limit.filter(|limit| limit.enabled) else { return Vec::new() };
        let (first, _) = limit.period.bounds(self.now);
        let of_period: Vec<&Past> =
            self.log.iter().filter(&whose).filter(|past| past.claimed.at >= first).collect();
        let spent: u64 = of_period.iter().map(|past| past.microcents).sum();
        let no_request = limit.requests.is_some_and(|cap| of_period.len() as u64 >= cap);
        let no_money = limit.microcents.is_some_and(|cap| spent >= cap || spent + estimate > cap);
        vec![(requests(limit.period), no_request, no_request), (budget(limit.period), no_money, no_money)]
    }

    /// The account as a new process builds it from the log.
    fn restarted(&mut self) -> Account {
        let mut account = Account::default();
        account.advance(self.look_at_clock());
        let cell = |past: &Past| past.claimed.at.seconds() / 300;
        // Oldest first, one call per key and cell of five minutes.
        let mut log = self.log.clone();
        log.sort_by_key(|past| (cell(past), past.claimed.key));
        for of_cell in log.chunk_by(|a, b| (cell(a), a.claimed.key) == (cell(b), b.claimed.key)) {
            let at = Timestamp::from_seconds(cell(&of_cell[0]) * 300);
            let cost = of_cell.iter().map(|past| past.microcents).sum();
            account.replay(of_cell[0].claimed.key, at, of_cell.len() as u64, money(cost), self.now);
        }
        for number in 1..=3 {
            let total = self.log.iter().filter(|past| past.claimed.key == key(number)).count() as u64;
            account.replay_total(key(number).unwrap(), total);
        }
        for past in self.log.iter().filter(|past| self.now.since(past.claimed.at) < Duration::from_secs(63)) {
            account.replay_recent(past.claimed.at, 1, self.now);
        }
        account
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

/// Keys counted in full, and keys of which only the total is left.
fn kept(account: &Account) -> (usize, usize) {
    let totals = account.keys.values().filter(|counted| matches!(counted, Counted::Total(_))).count();
    (account.keys() - totals, totals)
}

const OPEN: Limits = Limits {
    caps: Caps { per_second: None, per_minute: None, concurrency: None },
    quotas: Quotas { total: None, daily: None, weekly: None, monthly: None },
    key: None,
    org: None,
};

fn budget(microcents: u64) -> Option<SpendLimit> {
    Some(SpendLimit { requests: None, microcents: Some(microcents), period: Period::Daily, enabled: true })
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[test]
fn a_budget_admits_what_fits_beside_all_that_is_reserved() {
    // (budget, already reserved, estimate, admitted)
    for (cap, reserved, estimate, admitted) in [
        (0, 0, 0, false),
        (1, 0, 0, true),
        (1, 0, 1, true),
        (1, 0, 2, false),
        (10, 10, 0, false),
        (10, 9, 0, true),
        (10, 9, 1, true),
        (10, 9, 2, false),
        (10, 10, 1, false),
        (u64::MAX, u64::MAX - 1, u64::MAX, false),
        (u64::MAX, u64::MAX - 1, 1, true),
        (u64::MAX - 1, 1, u64::MAX, false),
    ] {
        for limits in [Limits { key: budget(cap), ..OPEN }, Limits { org: budget(cap), ..OPEN }] {
            let mut account = Account::default();
            let now = at("2026-11-21");
            if reserved > 0 {
                account.claim(&OPEN.claim(1, reserved), now).unwrap();
            }
            let answer = account.claim(&limits.claim(1, estimate), now);
            assert_eq!(answer.is_ok(), admitted, "{cap} {reserved} {estimate}");
        }
    }
}

#[test]
fn a_cost_belongs_to_the_day_on_which_it_was_admitted() {
    let limits = Limits { org: budget(10), key: budget(10), ..OPEN };
    let mut account = Account::default();
    let (late, _) = account.claim(&limits.claim(1, 10), at("2026-11-21T23:59:59Z")).unwrap();
    let denied = account.claim(&limits.claim(1, 1), at("2026-11-21T23:59:59.5Z")).unwrap_err();
    assert_eq!((denied.limit, denied.retry_at), (Limit::KeyBudget(Period::Daily), Some(at("2026-11-22"))));
    account.claim(&limits.claim(1, 9), at("2026-11-22")).unwrap();
    account.settle(&late, money(1_000));
    account.claim(&limits.claim(1, 1), at("2026-11-22T00:00:01Z")).unwrap();
}

#[test]
fn a_cost_above_its_estimate_counts_in_full() {
    let limits = Limits { org: budget(10), ..OPEN };
    let mut account = Account::default();
    let now = at("2026-11-21");
    let (first, _) = account.claim(&limits.claim(1, 1), now).unwrap();
    account.settle(&first, money(12));
    let denied = account.claim(&limits.claim(1, 0), now).unwrap_err();
    assert_eq!(denied.limit, Limit::OrgBudget(Period::Daily));
}

#[test]
fn nobody_knows_when_a_request_in_flight_ends() {
    let mut limits = OPEN;
    limits.caps.concurrency = Some(1);
    let mut account = Account::default();
    let now = at("2026-11-21");
    let (first, standing) = account.claim(&limits.claim(1, 0), now).unwrap();
    assert_eq!((standing.in_flight, standing.concurrency), (1, Some(1)));
    let denied = account.claim(&limits.claim(2, 0), now).unwrap_err();
    assert_eq!((denied.limit, denied.retry_at), (Limit::Concurrency, None));
    account.settle(&first, money(0));
    account.claim(&limits.claim(2, 0), now).unwrap();
}

#[test]
fn a_total_outlives_everything_else() {
    let mut limits = OPEN;
    limits.quotas.total = Some(2);
    let mut account = Account::default();
    for day in ["2026-01-01", "2026-06-01"] {
        let (claimed, _) = account.claim(&limits.claim(1, 0), at(day)).unwrap();
        account.settle(&claimed, money(5));
    }
    assert_eq!(account.sweep(0, at("2026-06-02")), None);
    assert_eq!(kept(&account), (1, 0), "still counted by week and month");
    assert_eq!(account.sweep(0, at("2027-01-01")), None);
    assert_eq!(kept(&account), (0, 1));
    let denied = account.claim(&limits.claim(1, 0), at("2027-01-01")).unwrap_err();
    assert_eq!((denied.limit, denied.retry_at), (Limit::Total, None));
    limits.quotas.total = Some(3);
    account.claim(&limits.claim(1, 0), at("2027-01-01")).unwrap();
    assert_eq!(kept(&account), (1, 0));
    account.claim(&limits.claim(1, 0), at("2027-01-01")).unwrap_err();
}

#[test]
fn a_sweep_of_many_keys_goes_in_steps_and_reaches_them_all() {
    let mut account = Account::default();
    for number in 0..5_000_u128 {
        let claim = Claim { key: Some(KeyId(Uuid::from_u128(number))), ..OPEN.claim(1, 0) };
        account.claim(&claim, at("2026-01-01")).unwrap();
    }
    let (mut next, mut steps) = (Some(0), 0);
    while let Some(from) = next {
        next = account.sweep(from, at("2026-06-01"));
        steps += 1;
    }
    assert_eq!(kept(&account), (0, 5_000));
    assert_eq!(steps, 5_000 / SWEEP_KEYS + 1);
}

#[test]
fn a_month_longer_than_its_quota_window_is_remembered_to_its_end() {
    let month = SpendLimit { requests: Some(1), microcents: None, period: Period::Monthly, enabled: true };
    let limits = Limits { key: Some(month), ..OPEN };
    let mut account = Account::default();
    let (claimed, _) = account.claim(&limits.claim(1, 0), at("2026-10-01")).unwrap();
    account.settle(&claimed, money(0));
    // The quota's 30 days have gone by, October has not.
    assert_eq!(account.sweep(0, at("2026-10-31T12:00:00Z")), None);
    let denied = account.claim(&limits.claim(1, 0), at("2026-10-31T12:00:00Z")).unwrap_err();
    assert_eq!(denied.limit, Limit::KeyRequests(Period::Monthly));
    assert_eq!(account.sweep(0, at("2026-11-01")), None);
    assert_eq!(kept(&account), (0, 1));
    account.claim(&limits.claim(1, 0), at("2026-11-01")).unwrap();
}

#[test]
fn what_the_log_dates_in_the_future_counts_from_now() {
    let mut limits = OPEN;
    (limits.quotas.daily, limits.caps.per_minute) = (Some(1), Some(1));
    let mut account = Account::default();
    let (now, future) = (at("2026-11-21T12:00:00Z"), at("2030-01-01"));
    account.replay(key(1), future, 1, money(0), now);
    account.replay_recent(future, 1, now);
    let denied = account.claim(&limits.claim(1, 0), now).unwrap_err();
    assert_eq!((denied.limit, denied.retry_at), (Limit::Minute, Some(at("2026-11-21T12:01:03Z"))));
    let denied = account.claim(&limits.claim(1, 0), at("2026-11-22T12:04:59Z")).unwrap_err();
    assert_eq!((denied.limit, denied.retry_at), (Limit::Daily, Some(at("2026-11-22T12:05:00Z"))));
    account.claim(&limits.claim(1, 0), at("2026-11-22T12:05:00Z")).unwrap();
}
