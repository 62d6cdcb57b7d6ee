//! What is rebuilt in Redis from the log is what memory counters rebuild from it.

use redis::Client;
use uuid::Uuid;

use super::redis_server::RedisServer;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::domain::time::Timestamp;
use crate::stores::counters::memory::MemoryCounters;
use crate::stores::counters::redis::rebuild::{Awaited, parts};
use crate::stores::counters::redis::script::{RESTORE, USED};
use crate::stores::counters::redis::{redis_key, used, wire};
use crate::stores::record::{OrgUsage, UsageCell};

#[test]
fn what_the_log_knows_counts_in_redis_as_in_memory() {
    let server = RedisServer::start();
    let mut connection = Client::open(server.url()).unwrap().get_connection().unwrap();
    let org = OrgId::parse("acme").unwrap();
    // Redis asks its own clock, so this is about now.
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut connection).unwrap();
    let now = Timestamp::from_micros(seconds * 1_000_000 + micros);
    let key = |number| KeyId(Uuid::from_u128(number));
    let minutes_ago = |minutes: u64| {
        let cell = 300_000_000;
        Timestamp::from_micros((now.micros() - minutes * 60_000_000) / cell * cell)
    };
    let cell = |number, minutes, admitted| UsageCell {
        organization: org.clone(),
        key: Some(key(number)),
        at: minutes_ago(minutes),
        admitted,
        cost: Cost { credits: 0, microcents: 7 * admitted },
    };
    let mut cells = vec![
        cell(1, 45_000, 1_000),
        cell(1, 40_000, 3),
        cell(2, 9_000, 5),
        cell(1, 2_000, 7),
        cell(2, 1_000, 11),
        cell(1, 30, 13),
        cell(3, 30, 15),
        cell(1, 10, 17),
    ];
    cells.extend((4..60).map(|number| cell(number, 8, number as u64)));
    let usage = OrgUsage {
        cells,
        totals: (1..80).map(|number| (key(number), 2_000 + number as u64)).collect(),
        shipped: Vec::new(),
        alive: Vec::new(),
        recent: (0..40).map(|n| Timestamp::from_micros(now.micros() - 58_000_000 + n * 900_000)).collect(),
    };
    let lock = redis_key(&org, "r");
    redis::cmd("SET").arg(&lock).arg("token").exec(&mut connection).unwrap();
    let parts = parts(&org, &usage, &Awaited::default());
    for (place, part) in parts.iter().enumerate() {
        let mut call = RESTORE.prepare_invoke();
        call.key(redis_key(&org, "o")).key(&lock).key(redis_key(&org, "b"));
        for name in &part.names {
            call.key(name);
        }
        call.arg(part.argument("token", 0, None)).arg("");
        let is_open = wire::decode_restored(&call.invoke(&mut connection).unwrap()).unwrap();
        assert_eq!(is_open.map(|(_, is_open)| is_open), (place + 1 == parts.len()).then_some(true));
    }

    let memory = MemoryCounters::new(100);
    let totals: Vec<_> = usage.totals.iter().map(|(key, total)| (org.clone(), *key, *total)).collect();
    let recent: Vec<_> = usage.recent.iter().map(|at| (org.clone(), None, *at)).collect();
    memory.restore(&usage.cells, &totals, &recent, now);
    for number in 1..80 {
        let of_key = format!("k:{}", key(number).0.as_simple());
        let mut call = USED.prepare_invoke();
        for what in ["o", &of_key, "s"] {
            call.key(redis_key(&org, what));
        }
        let answer: redis::Value =
            call.arg(wire::key_field(key(number))).arg("").invoke(&mut connection).unwrap();
        let found = used::decode(&answer).unwrap();
        // Asked a moment later, as that was the instant at which Redis was.
        let at: Vec<i64> = redis::from_redis_value(answer).unwrap();
        let expected = memory.used(&org, key(number), Timestamp::from_micros(at[0] as u64));
        assert_eq!(found, expected, "key {number}");
    }
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    for name in keys.iter().filter(|name| **name != lock) {
        let left: i64 = redis::cmd("TTL").arg(name).query(&mut connection).unwrap();
        assert!(left > 32 * 86_400, "{name} lives {left} s");
    }
}
