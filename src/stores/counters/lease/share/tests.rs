use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::super::{Answer, Call, Done, Ledger, Local, Reply};
use super::*;
use crate::domain::time::Period;

/// Each line: nodes and place, cap, what was seen, what is untold, and what this node may admit.
#[test]
fn a_node_may_admit_its_part_of_what_was_left() {
    let cases = "
        1/0   100  never     0  100   nobody else is there
        4/0    10  never     0    3   its part of the cap, and the remainder goes to the first
        4/3    10  never     0    2
        4/0   100    90      0    2   its part of what was left
        4/2   100    90      0    2
        4/0   100   100      0    0
        4/0   100    90      1    1   one was admitted that the store did not count
        4/0   100    90      5    0
        4/0   100    90     -4    6   four are counted that this node holds
        4/0   100   100     -4    4
        4/0   100   103     -4    1   the cap was lowered: first that is made up for
        4/0   100   110     -4    0
        4/0   100   110      4    0
        3/0     0     0      0    0
    ";
    for case in cases.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = case.split_whitespace().collect();
        let (all, place) = words[0].split_once('/').unwrap();
        let nodes = Nodes { count: all.parse().unwrap(), place: place.parse().unwrap() };
        let may = nodes.may(words[1].parse().unwrap(), words[2].parse().ok(), words[3].parse().unwrap());
        assert_eq!(may.to_string(), words[4], "{case}");
    }
}

#[test]
fn the_parts_of_all_nodes_are_the_whole() {
    for (n, all) in [(0, 1), (1, 1), (3, 8), (8, 8), (100, 7), (u64::MAX, 3)] {
        let parts = (0..all).map(|place| u128::from(Nodes { count: all, place }.part(n)));
        assert_eq!(parts.sum::<u128>(), u128::from(n), "{n} over {all}");
    }
}

const KEY: Option<KeyId> = Some(KeyId(Uuid::from_u128(7)));
/// What is reserved for a request.
const ESTIMATE: u64 = 5;

/// Limits of all kinds that do not roll over within the test.
#[derive(Clone, Copy, Debug)]
struct Limits {
    quotas: Quotas,
    key_limit: Option<SpendLimit>,
    org_limit: Option<SpendLimit>,
    caps: Caps,
}

impl Limits {
    fn claim(&self) -> Claim<'_> {
        Claim {
            key: KEY,
            caps: self.caps,
            quotas: self.quotas,
            key_limit: self.key_limit.as_ref(),
            org_limit: self.org_limit.as_ref(),
            estimate: Cost { credits: 1, microcents: ESTIMATE },
        }
    }

    /// The most requests that all of them allow.
    fn most(&self) -> u64 {
        let quotas = [self.quotas.total, self.quotas.daily, self.quotas.weekly, self.quotas.monthly];
        let spend = [self.key_limit, self.org_limit].into_iter().flatten();
        let spend = spend.flat_map(|limit| [limit.requests, limit.microcents.map(|cap| cap / ESTIMATE)]);
        let plan = [self.caps.per_minute];
        quotas.into_iter().chain(spend).chain(plan).flatten().min().unwrap_or(u64::MAX)
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let cap = || prop::option::weighted(0.4, 0..200_u64);
    let limit = || {
        let period = prop_oneof![Just(Period::Daily), Just(Period::Weekly), Just(Period::Monthly)];
        let limit = (cap(), cap(), period).prop_map(|(requests, budget, period)| SpendLimit {
            requests,
            microcents: budget.map(|budget| budget * ESTIMATE),
            period,
            enabled: true,
        });
        prop::option::weighted(0.3, limit)
    };
    (cap(), cap(), cap(), cap(), limit(), limit(), cap()).prop_map(
        |(total, daily, weekly, monthly, key_limit, org_limit, per_minute)| Limits {
            quotas: Quotas { total, daily, weekly, monthly },
            key_limit,
            org_limit,
            caps: Caps { per_minute, ..Caps::default() },
        },
    )
}

/// What happens before the outage.
#[derive(Clone, Debug)]
enum Before {
    /// So many requests at a node, which may be granted more than they are.
    Asks { node: usize, requests: u64, ahead: u64 },
    /// A node gives back what it has not spent.
    GivesBack { node: usize },
    /// One of its requests ends, with another cost than was reserved, or is undone.
    Ends { node: usize, released: bool },
}

fn before(nodes: usize) -> impl Strategy<Value = Before> {
    prop_oneof![
        4 => (0..nodes, 1..30_u64, 0..20_u64)
            .prop_map(|(node, requests, ahead)| Before::Asks { node, requests, ahead }),
        1 => (0..nodes).prop_map(|node| Before::GivesBack { node }),
        2 => (0..nodes, any::<bool>()).prop_map(|(node, released)| Before::Ends { node, released }),
    ]
}

/// Nodes, and a store that does what `claim.lua` does, without its cells.
struct Bed {
    limits: Limits,
    nodes: Vec<Ledger>,
    /// Requests in flight, by node.
    open: BTreeMap<usize, Vec<Claimed>>,
    counted: Untold,
    admitted: u64,
    now: Local,
}

const START: u64 = 1_795_262_400_000_000;

impl Bed {
    fn at(&self) -> Timestamp {
        Timestamp::from_micros(START + self.now.0)
    }

    /// Has a node call, and takes what it tells and asks for.
    fn call(&mut self, node: usize, ahead: u64) {
        self.now = self.now.plus(Duration::from_micros(10));
        let Some(call) = self.nodes[node].call(KEY, self.now) else { return };
        let done = self.carry_out(&call, ahead);
        let reply = Reply::Done(Box::new(done));
        self.nodes[node].answered(KEY, call.seq, &reply, self.now, self.now);
    }

    fn carry_out(&mut self, call: &Call, ahead: u64) -> Done {
        for (_, entry) in &call.entries {
            self.counted.add(entry.requests, entry.microcents);
        }
        let counted = u64::try_from(self.counted.requests).unwrap();
        let room = self.limits.most().saturating_sub(counted);
        let granted = if call.waiting > 0 { (call.waiting + ahead).min(room) } else { 0 };
        self.counted.add(granted as i64, (granted * ESTIMATE) as i64);
        let sum = u64::try_from(self.counted.requests).unwrap();
        let count = super::super::Count { sum, next_expiry: None };
        let microcents = u64::try_from(self.counted.microcents).unwrap();
        let spent = super::super::Spent { requests: sum, microcents };
        Done {
            epoch: 1,
            now: self.at(),
            // Nothing ends by itself.
            cell_end: self.at().plus(Duration::from_secs(3600)),
            granted,
            refused: None,
            elsewhere: 0,
            back_at: Timestamp::default(),
            slots: None,
            in_flight: 0,
            counts: [count; 6],
            spent: [[spent; 3]; 2],
        }
    }

    fn take(&mut self, step: &Before) {
        match *step {
            Before::Asks { node, requests, ahead } => {
                for _ in 0..requests {
                    self.ask(node, ahead);
                }
            }
            Before::GivesBack { node } => {
                self.nodes[node].close(self.now);
                self.call(node, 0);
            }
            Before::Ends { node, released } => self.end(node, released),
        }
    }

    fn ask(&mut self, node: usize, ahead: u64) {
        let limits = self.limits;
        for again in [false, true] {
            match self.nodes[node].claim(&limits.claim(), !again, self.now) {
                Answer::Granted { claimed, .. } => {
                    self.admitted += 1;
                    return self.open.entry(node).or_default().push(claimed);
                }
                Answer::Ask if !again => {
                    self.nodes[node].wait(KEY);
                    self.call(node, ahead);
                    self.nodes[node].leave(KEY);
                }
                _ => return,
            }
        }
    }

    /// A request ends as it was reserved for, or nothing came of it.
    fn end(&mut self, node: usize, released: bool) {
        let Some(claimed) = self.open.get_mut(&node).and_then(Vec::pop) else { return };
        if released {
            self.admitted -= 1;
            self.nodes[node].release(&claimed, self.now);
        } else {
            self.nodes[node].settle(&claimed, claimed.estimate, self.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nodes ask, hold, give back and release as they like; then each has seen the last state, and the store goes away.
    /// However much is asked for then, of each node, all together admit no more than every limit allows; and fewer by
    /// less than one a node.
    #[test]
    fn all_nodes_together_keep_to_the_limits_without_the_store(
        limits in limits(),
        history in prop::collection::vec(before(4), 0..20),
        asked in prop::collection::vec((0..4_usize, any::<bool>(), 0..10_u8), 0..400),
        all in 1..5_usize,
    ) {
        let nodes = vec![Ledger::default(); all];
        let now = Local(1_000_000);
        let mut bed =
            Bed { limits, nodes, open: BTreeMap::new(), counted: Untold::default(), admitted: 0, now };
        for step in history {
            bed.take(&match step {
                Before::Asks { node, requests, ahead } => {
                    Before::Asks { node: node % all, requests, ahead }
                }
                Before::GivesBack { node } => Before::GivesBack { node: node % all },
                Before::Ends { node, released } => Before::Ends { node: node % all, released },
            });
        }
        // Each tells what it owes, and then sees the last of it. Nothing is granted any more.
        for node in (0..all).chain(0..all) {
            bed.nodes[node].wait(KEY);
            let most = bed.limits;
            bed.limits.quotas.total = Some(0);
            bed.call(node, 0);
            bed.limits = most;
            bed.nodes[node].leave(KEY);
        }
        let claim = |bed: &mut Bed, node: usize, release: bool| {
            bed.now = bed.now.plus(Duration::from_micros(100));
            let nodes = Nodes { count: all as u64, place: node as u64 };
            let (at, now) = (bed.at(), bed.now);
            let admitted = bed.nodes[node].claim_share(&limits.claim(), nodes, at, now);
            if let Ok((claimed, _)) = admitted {
                bed.admitted += 1;
                bed.open.entry(node).or_default().push(claimed);
                if release {
                    bed.end(node, true);
                }
            }
            admitted.is_ok()
        };
        for (node, released, ends) in asked {
            claim(&mut bed, node % all, released);
            if ends == 0 {
                bed.end(node % all, released);
            }
            prop_assert!(bed.admitted <= limits.most(), "{} of {}", bed.admitted, limits.most());
        }
        if limits.most() < u64::MAX {
            for node in 0..all {
                while claim(&mut bed, node, false) {}
            }
            prop_assert!(bed.admitted <= limits.most(), "{} of {}", bed.admitted, limits.most());
            // A budget may leave each node less than one request costs, and a minute is no more than a part of its cap.
            let budgets = [limits.key_limit, limits.org_limit].into_iter().flatten();
            if limits.caps.per_minute.is_none() && budgets.flat_map(|limit| limit.microcents).count() == 0 {
                prop_assert!(bed.admitted + all as u64 > limits.most(), "{} of {}", bed.admitted, limits.most());
            }
        }
    }
}

/// What has rolled out of a window in the log binds nobody, as what has rolled out of one that the store told of: parts
/// of the cap are the cap, which parts of what was left need not be.
#[test]
fn a_window_of_which_the_log_has_nothing_is_shared_to_the_last() {
    let at = Timestamp::from_seconds(1_800_000_000);
    let key = KEY.unwrap();
    let mut logged = Account::default();
    // Counted by the calendar, and in the minute no more.
    logged.replay(KEY, at, 14, Cost::default(), at);
    logged.replay_total(key, 14);
    let caps = Caps { per_minute: Some(41), ..Caps::default() };
    let limits = Limits { quotas: Quotas::default(), key_limit: None, org_limit: None, caps };
    let mut admitted = 0;
    for place in 0..3 {
        let mut node = Ledger::default();
        node.learn(key, &logged.used(key, at), at);
        let nodes = Nodes { count: 3, place };
        while node.claim_share(&limits.claim(), nodes, at, Local(1)).is_ok() {
            admitted += 1;
        }
    }
    assert_eq!(admitted, 41);
}
