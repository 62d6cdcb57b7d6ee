use super::*;

fn settings(failures: u32, addresses_max: usize) -> IpGuard {
    IpGuard { failures, within: Duration::from_secs(60), block_for: Duration::from_secs(900), addresses_max }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_000_000 + seconds)
}

#[test]
fn the_nth_failure_within_the_time_blocks_and_the_block_ends() {
    for (failures, spacing, blocked_after) in [
        (20, 0, Some(20)),
        (20, 3, Some(20)),
        (20, 4, None),
        (1, 0, Some(1)),
        (2, 59, Some(2)),
        (2, 64, None),
        (0, 0, None),
    ] {
        let guard = Guard::new(&settings(failures, 100));
        let client = ip("203.0.113.7");
        let mut now = at(0);
        let mut blocked_at = None;
        for n in 1..=200 {
            guard.failed(client, now);
            if guard.check(client, now).is_err() {
                blocked_at = Some(n);
                break;
            }
            now = now.plus(Duration::from_secs(spacing));
        }
        assert_eq!(blocked_at, blocked_after, "{failures} failures, one every {spacing} s");
        let end = now.plus(Duration::from_secs(900));
        if blocked_at.is_some() {
            assert_eq!(guard.check(client, end.minus(Duration::from_micros(1))), Err(Refusal::IpBlocked));
        }
        assert_eq!(guard.check(client, end), Ok(()));
    }
}

#[test]
fn a_block_is_not_prolonged_and_starts_over_when_it_ends() {
    let guard = Guard::new(&settings(3, 100));
    let client = ip("203.0.113.7");
    (0..3).for_each(|_| guard.failed(client, at(0)));
    (0..50).for_each(|n| guard.failed(client, at(n * 17)));
    assert_eq!(guard.blocked(at(899)), [(client, at(900))]);
    guard.failed(client, at(900));
    guard.failed(client, at(900));
    assert_eq!(guard.check(client, at(900)), Ok(()));
    guard.failed(client, at(900));
    assert_eq!(guard.check(client, at(900)), Err(Refusal::IpBlocked));
    assert_eq!(guard.blocks(), 2);
}

#[test]
fn neighbours_are_blocked_by_subscriber() {
    let guard = Guard::new(&settings(2, 100));
    guard.failed(ip("2001:db8:1:2::1"), at(0));
    guard.failed(ip("2001:db8:1:2:ffff::9"), at(0));
    guard.failed(ip("::ffff:192.0.2.7"), at(0));
    guard.failed(ip("192.0.2.7"), at(0));
    for (client, refused) in [
        ("2001:db8:1:2::77", true),
        ("2001:db8:1:3::1", false),
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("192.0.2.8", false),
    ] {
        assert_eq!(guard.check(ip(client), at(1)).is_err(), refused, "{client}");
    }
}

#[test]
fn memory_is_bounded_and_the_blocked_go_last() {
    let guard = Guard::new(&settings(2, 8));
    let blocked = ip("203.0.113.7");
    guard.failed(blocked, at(0));
    guard.failed(blocked, at(0));
    for n in 0..100 {
        guard.failed(ip(&format!("198.51.100.{n}")), at(1));
    }
    assert_eq!(guard.len(), 8);
    assert_eq!(guard.evicted(), 93, "seven of a hundred had room");
    assert_eq!(guard.check(blocked, at(1)), Err(Refusal::IpBlocked));

    // A minute later their time is over: room without an eviction.
    guard.failed(ip("192.0.2.1"), at(100));
    assert_eq!(guard.evicted(), 93);
    (0..10).for_each(|_| guard.failed(ip("192.0.2.1"), at(100)));
    assert_eq!(guard.len(), 2);
}

#[test]
fn many_shards_hold_no_more_than_the_bound() {
    let guard = Guard::new(&settings(20, 2_000));
    for n in 0..20_000_u32 {
        guard.failed(IpAddr::V4(n.into()), at(0));
    }
    assert!(guard.len() <= 2_000, "{}", guard.len());
    assert_eq!(guard.len() as u64 + guard.evicted(), 20_000);
}

#[test]
fn a_reload_frees_nobody_and_zero_switches_off() {
    let guard = Guard::new(&settings(2, 100));
    let client = ip("203.0.113.7");
    guard.failed(client, at(0));
    guard.failed(client, at(0));
    let longer = IpGuard { within: Duration::from_secs(600), ..settings(5, 100) };
    guard.reconfigure(&longer);
    assert_eq!(guard.check(client, at(1)), Err(Refusal::IpBlocked));
    guard.reconfigure(&settings(0, 100));
    assert_eq!(guard.check(client, at(1)), Ok(()));
    guard.reconfigure(&longer);
    assert_eq!(guard.check(client, at(1)), Err(Refusal::IpBlocked));

    let other = ip("203.0.113.8");
    (0..4).for_each(|n| guard.failed(other, at(n * 100)));
    assert_eq!(guard.check(other, at(400)), Ok(()));
    guard.failed(other, at(400));
    assert_eq!(guard.check(other, at(400)), Err(Refusal::IpBlocked));
}

#[test]
fn an_operator_can_unblock() {
    let guard = Guard::new(&settings(2, 100));
    let client = ip("203.0.113.7");
    assert!(!guard.unblock(client, at(0)));
    guard.failed(client, at(0));
    guard.failed(client, at(0));
    assert!(guard.unblock(client, at(1)));
    assert_eq!(guard.check(client, at(1)), Ok(()));
    assert_eq!(guard.blocked(at(1)), []);
    guard.failed(client, at(1));
    assert_eq!(guard.check(client, at(1)), Ok(()), "its earlier failures are forgotten");
    guard.failed(client, at(1));
    assert_eq!(guard.check(client, at(1)), Err(Refusal::IpBlocked));
}

#[test]
fn what_others_are_told_adds_up_and_is_bounded() {
    let guard = Guard::new(&settings(3, 100_000));
    let (one, two) = (ip("203.0.113.7"), ip("203.0.113.8"));
    guard.failed(one, at(0));
    let told = |guard: &Guard| {
        let mut told = guard.share().unwrap().0;
        told.sort_unstable_by_key(|(address, _)| *address);
        told
    };
    assert_eq!(told(&guard), [], "nobody came for it until now");
    guard.failed(one, at(0));
    guard.failed(two, at(0));
    guard.failed(two, at(0));
    let failed = [(one, Told::Failed(1)), (two, Told::Failed(2))];
    assert_eq!(told(&guard), failed);
    guard.put_back(failed.to_vec());
    guard.failed(one, at(0));
    let blocked = (one, Told::Blocked(Duration::from_secs(900)));
    assert_eq!(told(&guard), [blocked, (two, Told::Failed(2))]);
    assert!(guard.unblock(one, at(1)));
    assert!(!guard.unblock(two, at(1)));
    assert_eq!(told(&guard), [(one, Told::Unblocked)]);
    (0..10_000_u32).for_each(|n| guard.failed(IpAddr::V4(n.into()), at(2)));
    assert_eq!((told(&guard).len(), guard.untold()), (256, 10_000 - 8_192));
    assert!(Guard::new(&settings(0, 100)).share().is_none());
}

#[test]
fn what_others_tell_is_in_force_and_not_told_on() {
    let guard = Guard::new(&settings(2, 100));
    let (one, two) = (ip("203.0.113.7"), ip("203.0.113.8"));
    guard.share();
    let left = |seconds| Some(Duration::from_secs(seconds));
    guard.failed(two, at(0));
    guard.failed(two, at(0));
    guard.share();
    guard.learn(&[(one, left(10)), (two, left(5_000))], at(0));
    assert_eq!(guard.check(one, at(9)), Err(Refusal::IpBlocked));
    assert_eq!(guard.check(one, at(10)), Ok(()));
    assert_eq!(guard.blocked(at(0)), [(one, at(10)), (two, at(900))], "what is known here stays as it is");
    guard.learn(&[(two, None), (ip("203.0.113.9"), None)], at(1));
    assert_eq!(guard.check(two, at(1)), Ok(()));
    assert_eq!(guard.share().unwrap().0, []);
    guard.tell_again(at(1));
    assert_eq!(guard.share().unwrap().0, [(one, Told::Blocked(Duration::from_secs(9)))]);
}
