//! An account beside the log of what it admitted, which says what every answer may be.

use super::*;

/// One admission in the model's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) claimed: Claimed,
    pub(super) ended: bool,
    pub(super) microcents: u64,
}

/// An account, the clock that it is told, and the log of what it admitted.
pub(super) struct Trial {
    pub(super) account: Account,
    pub(super) limits: Limits,
    pub(super) clock: u64,
    pub(super) now: Timestamp,
    pub(super) log: Vec<Past>,
}

impl Trial {
    pub(super) fn new(limits: Limits) -> Self {
        let clock = 1_800_000_000_000_000;
        Self { account: Account::default(), limits, clock, now: Timestamp::default(), log: Vec::new() }
    }

    pub(super) fn apply(&mut self, step: Step) {
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
    pub(super) fn look_at_clock(&mut self) -> Timestamp {
        self.now = self.now.max(Timestamp::from_micros(self.clock));
        self.account.advance(self.now)
    }

    pub(super) fn in_flight(&mut self, which: usize) -> Option<&mut Past> {
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
    pub(super) fn restarted(&mut self) -> Account {
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
