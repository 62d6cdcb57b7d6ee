//! Single stories of an account, each told in full.

use super::*;

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
