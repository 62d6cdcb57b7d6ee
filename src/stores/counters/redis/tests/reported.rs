//! What nodes report beside the record, by the scripts in a real Redis.

use std::time::Duration;

use redis::{Client, Connection, Script};
use uuid::Uuid;

use super::redis_server::RedisServer;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::domain::used::InUse;
use crate::stores::counters::lease::{Joining, Part, Said, Sum};
use crate::stores::counters::redis::rebuild::{AWAITED, Awaited, joining_keys, parts, spool_name};
use crate::stores::counters::redis::script::{REPORT, RESTORE, USED};
use crate::stores::counters::redis::{redis_key, used, wire};
use crate::stores::record::{OrgUsage, UsageCell};

/// Of the node `one`, as the record names it.
const SHIPPED: u64 = 1_795_262_400_000_123;

struct Bed {
    _server: RedisServer,
    connection: Connection,
    org: OrgId,
    now: Timestamp,
    /// What the record holds.
    usage: OrgUsage,
    /// What the server calls itself, and others themselves.
    servers: &'static str,
}

fn key(number: u128) -> KeyId {
    KeyId(Uuid::from_u128(number))
}

impl Bed {
    /// Five requests of key 1 are in the record; the nodes `one` and `two` are there.
    fn new() -> Self {
        let server = RedisServer::start();
        let mut connection = Client::open(server.url()).unwrap().get_connection().unwrap();
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut connection).unwrap();
        let (org, now) = (OrgId::parse("acme").unwrap(), Timestamp::from_seconds(seconds));
        let mut bed =
            Self { _server: server, connection, org, now, usage: OrgUsage::default(), servers: "one" };
        let cell = UsageCell {
            organization: bed.org.clone(),
            key: Some(key(1)),
            at: bed.cell(),
            admitted: 5,
            cost: Cost { credits: 0, microcents: 50 },
        };
        bed.usage = OrgUsage {
            cells: vec![cell],
            totals: vec![(key(1), 105)],
            recent: vec![now.minus(Duration::from_millis(400)); 5],
            shipped: vec![(Uuid::from_u128(1), SHIPPED)],
            alive: Vec::new(),
        };
        let built = bed.build(&["one", "two"], 0);
        assert!(matches!(built, Some((_, false))), "both are waited for: {built:?}");
        bed
    }

    /// Writes what the record holds in the place of `instead`: the epoch, and whether anybody may claim. `None` where that
    /// was not done.
    fn build(&mut self, nodes: &[&str], instead: u64) -> Option<(u64, bool)> {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        let awaited = Awaited { nodes, at_least: Duration::ZERO, at_most: Duration::from_secs(600) };
        redis::cmd("SET").arg(self.name("r")).arg("token").exec(&mut self.connection).unwrap();
        let [part] = &parts(&self.org, &self.usage, &awaited)[..] else { panic!("one part") };
        let names = ["o", "r", "b"].map(|what| self.name(what)).into_iter().chain(part.names.clone());
        let done = self.run(&RESTORE, names.collect(), part.argument("token", instead, None));
        wire::decode_restored(&done).flatten()
    }

    fn name(&self, what: &str) -> String {
        redis_key(&self.org, what)
    }

    /// The five minutes that it is.
    fn cell(&self) -> Timestamp {
        Timestamp::from_micros(self.now.micros() / 300_000_000 * 300_000_000)
    }

    fn run<T: redis::FromRedisValue>(&mut self, script: &Script, keys: Vec<String>, argument: String) -> T {
        let mut call = script.prepare_invoke();
        call.key(keys).arg(argument).arg(self.servers);
        call.invoke(&mut self.connection).unwrap()
    }

    fn tell(&mut self, joining: &Joining, node: &str, spool: u128) -> Said {
        self.tell_of(joining, node, spool, None)
    }

    fn tell_of(&mut self, joining: &Joining, node: &str, spool: u128, build: Option<&str>) -> Said {
        let spool = spool_name(Uuid::from_u128(spool));
        let argument = wire::encode_joining(joining, node, &spool, build, None);
        let keys = joining_keys(&self.org, joining);
        wire::decode_said(&self.run(&REPORT, keys, argument)).unwrap()
    }

    /// A part about these keys, in this five minutes and at this instant.
    fn part(&self, number: usize, is_last: bool, keys: &[(Option<KeyId>, u64, u64)], recent: u64) -> Joining {
        let of = |(key, requests, microcents): &(_, u64, u64)| {
            (*key, vec![(self.cell(), Sum { requests: *requests, microcents: *microcents })])
        };
        let recent = if recent > 0 { vec![(self.now, recent)] } else { Vec::new() };
        let part = Part { keys: keys.iter().map(of).collect(), recent };
        Joining { epoch: 0, number, is_last, part, slots: (7, 3) }
    }

    fn used(&mut self, number: u128) -> InUse {
        let of_key = format!("k:{}", key(number).0.as_simple());
        let names = ["o", &of_key, "s"].map(|what| self.name(what)).to_vec();
        used::decode(&self.run(&USED, names, wire::key_field(key(number)))).unwrap()
    }
}

#[test]
fn what_nodes_report_is_counted_once_and_by_all_before_anybody_claims() {
    let mut bed = Bed::new();
    let said = bed.tell(&Joining::default(), "one", 1);
    let Said::Known { epoch, .. } = said else { panic!("{said:?}") };
    let shipped = Some(SHIPPED);
    let built = Said::Known { epoch, is_open: false, shipped, counted: 0, is_whole: false, is_awaited: true };
    assert_eq!(said, built);
    let known = |is_open, counted, is_whole: bool| {
        let is_awaited = !is_whole;
        Said::Known { epoch, is_open, shipped: None, counted, is_whole, is_awaited }
    };
    let first = Joining { epoch, ..bed.part(1, false, &[(Some(key(1)), 2, 20), (None, 1, 1)], 4) };
    let last = Joining { epoch, ..bed.part(2, true, &[(Some(key(9)), 1, 9)], 0) };
    // Of a spool that is not known; the last before its turn; each twice.
    for (joining, expected) in [
        (&last, known(false, 0, false)),
        (&first, known(false, 1, false)),
        (&first, known(false, 1, false)),
        (&last, known(false, 2, true)),
        (&last, known(false, 2, true)),
    ] {
        assert_eq!(bed.tell(joining, "one", 99), expected, "{joining:?}");
    }
    assert_eq!(bed.tell(&Joining { epoch: epoch + 1, ..first }, "two", 99), Said::OtherEpoch);
    let nothing = Joining { epoch, ..bed.part(1, true, &[], 0) };
    assert_eq!(bed.tell(&nothing, "two", 99), known(true, 1, true), "nobody is missing");
    // Who comes late is counted all the same.
    let late = Joining { epoch, ..bed.part(1, true, &[(Some(key(1)), 1, 4)], 1) };
    assert_eq!(bed.tell(&late, "three", 99), known(true, 1, true));

    let (one, nine) = (bed.used(1), bed.used(9));
    assert_eq!((one.key.total, one.key.daily.count, one.key.monthly.count), (108, 8, 8));
    assert_eq!((nine.key.total, nine.key.weekly.count), (1, 1));
    assert_eq!(one.minute.count, 10);
    assert_eq!(one.key.spent.map(|spent| spent.microcents), [74; 3]);
    assert_eq!(one.organization.map(|spent| (spent.requests, spent.microcents)), [(10, 84); 3]);
    assert_eq!(one.in_flight, 9, "three at each node");
    for name in redis::cmd("KEYS").arg("*").query::<Vec<String>>(&mut bed.connection).unwrap() {
        let left: i64 = redis::cmd("TTL").arg(&name).query(&mut bed.connection).unwrap();
        assert!(name.ends_with(":r") || left > 32 * 86_400, "{name} lives {left} s");
    }
}

#[test]
fn a_node_that_knows_nothing_of_it_is_no_longer_waited_for_and_may_still_come_to_tell() {
    let mut bed = Bed::new();
    let heard = |said| match said {
        Said::Known { is_open, counted, is_whole, is_awaited, .. } => {
            (is_open, counted, is_whole, is_awaited)
        }
        other => panic!("{other:?}"),
    };
    let other = bed.tell_of(&Joining::of_nothing(0), "one", 1, Some("another token"));
    assert_eq!(heard(other), (false, 0, false, true), "it was said of other counts");
    let said = bed.tell_of(&Joining::of_nothing(0), "one", 1, Some("token"));
    assert_eq!(heard(said), (false, 0, false, false));
    // Twice, and from one that nobody waits for.
    for node in ["one", "three"] {
        assert_eq!(heard(bed.tell(&Joining::of_nothing(0), node, 1)), (false, 0, false, false), "{node}");
    }
    assert_eq!(heard(bed.tell(&Joining::of_nothing(0), "two", 2)), (true, 0, false, false));
    let Said::Known { epoch, .. } = bed.tell(&Joining::default(), "one", 1) else { panic!() };
    let late = Joining { epoch, ..bed.part(1, true, &[(Some(key(1)), 2, 20)], 2) };
    assert_eq!(heard(bed.tell(&late, "one", 1)), (true, 1, true, false));
    assert_eq!(bed.used(1).key.total, 107);
}

#[test]
fn counts_are_made_anew_without_who_says_nothing_as_long_as_nobody_may_claim_by_them() {
    let mut bed = Bed::new();
    let Said::Known { epoch, .. } = bed.tell(&Joining::default(), "one", 1) else { panic!() };
    let of_one = bed.part(1, true, &[(Some(key(1)), 2, 20)], 2);
    bed.tell(&Joining { epoch, ..of_one.clone() }, "one", 1);
    let silent: Vec<String> = bed.run(&AWAITED, vec![bed.name("b")], String::new());
    assert_eq!(silent, ["two"]);
    // What `two` had shipped when it died is in the record by now.
    bed.usage.cells[0].admitted += 3;
    bed.usage.totals[0].1 += 3;
    assert_eq!(bed.build(&["one"], epoch + 1), None, "counts of which nothing was said");
    let Some((anew, false)) = bed.build(&["one"], epoch) else { panic!("`one` has to report to these, too") };
    assert_eq!(bed.tell(&Joining { epoch, ..of_one.clone() }, "one", 1), Said::OtherEpoch);
    let said = bed.tell(&Joining { epoch: anew, ..of_one }, "one", 1);
    assert!(matches!(said, Said::Known { is_open: true, .. }), "{said:?}");
    assert_eq!((bed.used(1).key.total, bed.used(1).key.daily.count), (110, 10));
    assert_eq!(bed.build(&[], anew), None, "they may have been claimed by");
}

#[test]
fn what_another_server_had_counted_is_not_known_but_where_it_lives() {
    let mut bed = Bed::new();
    for (servers, is_known) in [
        ("one", true),
        // It was a replica, or was started again from a file.
        ("two", false),
        ("two three", false),
        // It has the organization from another master.
        ("two three one", true),
        // Who may not ask believes it.
        ("", true),
    ] {
        bed.servers = servers;
        let said = bed.tell(&Joining::default(), "one", 1);
        assert_eq!(said != Said::Missing, is_known, "{servers}: {said:?}");
    }
}
