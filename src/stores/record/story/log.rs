//! Chapters on the request log.

use uuid::Uuid;

use super::*;

pub(crate) async fn a_batch_moved_twice_counts_once([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let key = one.create_key(&new_key("acme", "k"), &actor(), at(1)).await.unwrap().id;
    let unknown = KeyId(Uuid::from_u128(77));
    // 1,800,000,000 s is the first instant of a five-minute cell.
    let rows = || {
        let mut rows: Vec<_> = (1..=450).map(|n| row(n, Some(key), n > 50, n)).collect();
        rows.push(row(1_000, None, true, 10));
        rows.push(row(1_001, Some(unknown), true, 10));
        rows.push(Row { organization: None, ..row(1_002, None, false, 10) });
        rows.push(row(450, Some(key), true, 450));
        rows
    };
    for _ in 0..2 {
        let cursor = Some(("a".to_owned(), 4_096));
        one.ship(&Shipment { rows: rows().into(), cursor, ..Shipment::default() }).await.unwrap();
    }
    // A batch that overlaps counts what is new in it.
    one.ship(&Shipment {
        rows: vec![row(450, Some(key), true, 450), row(451, Some(key), true, 451)].into(),
        ..Shipment::default()
    })
    .await
    .unwrap();
    let seen = two.key(key).await.unwrap();
    assert_eq!((seen.requests, seen.last_used_at), (401, Some(at(451))));
    let (cells, totals) = two.usage_since(at(0)).await.unwrap();
    let cell = |key, at, admitted| UsageCell {
        organization: slug("acme"),
        key,
        at,
        admitted,
        cost: Cost { credits: 2 * admitted, microcents: 30 * admitted },
    };
    assert_eq!(cells.len(), 4);
    for expected in [
        cell(Some(key), at(0), 249),
        cell(Some(key), at(300), 152),
        cell(None, at(0), 1),
        cell(Some(unknown), at(0), 1),
    ] {
        assert!(cells.contains(&expected), "{expected:?} is not in {cells:?}");
    }
    assert_eq!(cells.last().map(|cell| cell.at), Some(at(300)), "oldest first");
    assert_eq!(two.usage_since(at(599)).await.unwrap().0.len(), 1, "the cell that `since` lies in counts");
    assert_eq!(totals.len(), 2);
    assert!(totals.contains(&(slug("acme"), key, 401)) && totals.contains(&(slug("acme"), unknown, 1)));
    let singly = two.admitted_since(at(449)).await.unwrap();
    let expected: Vec<_> = (449..=451).map(|n| (slug("acme"), Some(key), at(n))).collect();
    assert_eq!(singly, expected);
    let of_acme = two.usage_of(&slug("acme"), at(300), at(449)).await.unwrap();
    assert_eq!(of_acme.cells, [cell(Some(key), at(300), 152)]);
    assert_eq!(of_acme.totals, [(key, 401)], "of keys that exist");
    assert_eq!(of_acme.recent, [at(449), at(450), at(451)]);
    let of_other = two.usage_of(&slug("other"), at(0), at(0)).await.unwrap();
    assert_eq!(of_other, OrgUsage { alive: vec![Uuid::nil()], ..OrgUsage::default() });
    assert_eq!(two.cursors().await.unwrap(), [("a".to_owned(), 4_096)]);
}

pub(crate) async fn usage_says_up_to_which_batch_of_each_spool_it_goes([one, two]: Handles) {
    let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let of = async |n: u64| {
        let usage = two.usage_of(&slug("acme"), at(0), at(0)).await.unwrap();
        assert_eq!(usage.recent.len() as u64, n, "rows and numbers are of one instant");
        usage.shipped.into_iter().collect::<std::collections::BTreeMap<_, _>>()
    };
    // Which gateway has nothing to move in says only that it lives.
    one.ship(&Shipment { spool: other, ..Shipment::default() }).await.unwrap();
    assert_eq!(of(0).await, [].into());
    let alive = two.usage_of(&slug("acme"), at(0), at(0)).await.unwrap().alive;
    assert_eq!(alive, [other], "it has shipped nothing, and is there");
    for (n, spool, number) in [(1, own, Some(70)), (2, own, Some(71)), (3, other, Some(9)), (4, own, None)] {
        let rows = vec![row(n, None, true, n)];
        one.ship(&Shipment { spool, rows: rows.into(), number, ..Shipment::default() }).await.unwrap();
    }
    assert_eq!(of(4).await, [(own, 71), (other, 9)].into(), "a part of a batch is none");
    two.carried(own).await.unwrap();
    // The next process counts from elsewhere.
    one.ship(&Shipment { spool: own, number: Some(5), ..Shipment::default() }).await.unwrap();
    assert_eq!(of(4).await, [(own, 5), (other, 9)].into());
}

pub(crate) async fn gateways_beside_are_those_heard_of_lately([one, two]: Handles) {
    let [own, other, new] = [1, 2, 3].map(Uuid::from_u128);
    let lately = std::time::Duration::from_secs(120);
    assert_eq!(one.gateways_beside(own, lately).await.unwrap(), 0);
    one.ship(&Shipment { spool: own, ..Shipment::default() }).await.unwrap();
    two.ship(&Shipment { spool: other, ..Shipment::default() }).await.unwrap();
    assert_eq!(one.gateways_beside(own, lately).await.unwrap(), 1);
    assert_eq!(two.gateways_beside(other, lately).await.unwrap(), 1);
    assert_eq!(two.gateways_beside(new, lately).await.unwrap(), 2);
    assert_eq!(
        two.gateways_beside(new, std::time::Duration::ZERO).await.unwrap(),
        0,
        "none is heard of later"
    );
}

pub(crate) async fn cursors_only_advance_and_are_forgotten([one, two]: Handles) {
    for (segment, bytes) in [("a", 10), ("b", 5), ("a", 30), ("a", 20)] {
        let cursor = Some((segment.to_owned(), bytes));
        one.ship(&Shipment { cursor, ..Shipment::default() }).await.unwrap();
    }
    assert_eq!(two.cursors().await.unwrap(), [("a".to_owned(), 30), ("b".to_owned(), 5)]);
    one.ship(&Shipment { forgotten: vec!["a".into()], ..Shipment::default() }).await.unwrap();
    assert_eq!(two.cursors().await.unwrap(), [("b".to_owned(), 5)]);
}

pub(crate) async fn a_carried_admission_stays_until_its_row_arrives([one, two]: Handles) {
    let admission = |n: u64| Admission {
        id: id(n, at(n)),
        at: at(n),
        key: Some(KeyId(Uuid::from_u128(5))),
        organization: Some("acme".into()),
        project: None,
        estimate: Cost { credits: 1, microcents: 2 },
    };
    let carry = Shipment { carried: vec![admission(1), admission(2)], ..Shipment::default() };
    one.ship(&carry).await.unwrap();
    assert_eq!(two.carried(Uuid::nil()).await.unwrap(), [admission(1), admission(2)]);
    let end = Shipment {
        rows: vec![row(1, None, true, 1)].into(),
        finished: vec![id(1, at(1)).0],
        ..Shipment::default()
    };
    one.ship(&end).await.unwrap();
    // The first batch again must not bring the ended one back.
    one.ship(&carry).await.unwrap();
    assert_eq!(two.carried(Uuid::nil()).await.unwrap(), [admission(2)]);
}

pub(crate) async fn an_admission_is_ended_by_the_spool_that_left_it_open([one, two]: Handles) {
    let admission = |n: u64| Admission {
        id: id(n, at(n)),
        at: at(n),
        key: None,
        organization: Some("acme".into()),
        project: None,
        estimate: Cost::default(),
    };
    let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    for (record, spool, n) in [(&one, own, 1), (&two, other, 2)] {
        let shipment = Shipment { spool, carried: vec![admission(n)], ..Shipment::default() };
        record.ship(&shipment).await.unwrap();
    }
    // Whoever asks: one that lives keeps its own, also while the other one starts again and again.
    for record in [&one, &two, &one] {
        assert_eq!(record.carried(own).await.unwrap(), [admission(1)]);
        assert_eq!(record.carried(other).await.unwrap(), [admission(2)]);
    }
}

/// Ids share their milliseconds, and what a store may have shortened them to.
pub(crate) async fn rows_of_one_instant_are_told_apart([one, two]: Handles) {
    // The numbers differ in their 30th bit and above only.
    let same = |n: u64| Row { id: id(n << 30 | 7, at(1)), ..row(0, None, true, 1) };
    let batch = |numbers: &[u64]| Shipment {
        rows: numbers.iter().copied().map(same).collect(),
        ..Shipment::default()
    };
    for numbers in [&[0, 1, 2][..], &[2, 1, 3], &[4, 4, 0], &[1]] {
        one.ship(&batch(numbers)).await.unwrap();
    }
    assert_eq!(two.admitted_since(at(1)).await.unwrap().len(), 5);
    let cells = two.usage_since(at(1)).await.unwrap().0;
    assert_eq!(cells.iter().map(|cell| cell.admitted).sum::<u64>(), 5);
    // Rows are known among the others of their instant, and what is not among them is not known.
    let carried = |n: u64| Admission {
        id: same(n).id,
        at: at(1),
        key: None,
        organization: Some("acme".into()),
        project: None,
        estimate: Cost::default(),
    };
    one.ship(&Shipment { carried: (3..=5).map(carried).collect(), ..Shipment::default() }).await.unwrap();
    assert_eq!(two.carried(Uuid::nil()).await.unwrap(), [carried(5)]);
}

pub(crate) async fn a_request_counts_when_it_was_admitted([one, two]: Handles) {
    // It came before, or a clock says so; ids of other kinds say nothing of time.
    let waited = Row { id: id(1, at(5)), ..row(1, None, true, 60) };
    let ahead = Row { id: id(2, at(90)), ..row(2, None, true, 61) };
    let before = Row { id: id(3, at(60)), ..row(3, None, true, 59) };
    let refused = row(4, None, false, 60);
    one.ship(&Shipment { rows: vec![ahead, waited, before, refused].into(), ..Shipment::default() })
        .await
        .unwrap();
    let seen: Vec<_> = two.admitted_since(at(60)).await.unwrap().into_iter().map(|(.., at)| at).collect();
    assert_eq!(seen, [at(60), at(61)]);
}

/// Every column, at the ends of its range, and both kinds of address.
pub(crate) async fn a_row_of_any_shape_is_taken([one, two]: Handles) {
    let bare = Row {
        organization: None,
        project: None,
        method: "-".into(),
        path: "".into(),
        status: 0,
        outcome: Some(Outcome::Crashed),
        address: IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        cost_source: CostSource::Free,
        tier: None,
        user_agent: None,
        ..row(1, None, true, 1)
    };
    let full = Row {
        at: at(2),
        path: "/ä\u{0}'\"\u{1F600}".into(),
        first_byte_micros: u64::MAX,
        total_micros: u64::MAX,
        bytes_in: u64::MAX,
        bytes_out: u64::MAX,
        domain: Some("".into()),
        target: Some("[::1]:1".into()),
        ..row(2, Some(KeyId(Uuid::max())), true, 2)
    };
    let any = Row { id: RequestId(Uuid::max()), ..row(3, None, true, 3) };
    let nil = Row { id: RequestId(Uuid::nil()), ..row(4, None, true, 4) };
    for _ in 0..2 {
        let rows = vec![bare.clone(), full.clone(), any.clone(), nil.clone()];
        one.ship(&Shipment { rows: rows.into(), ..Shipment::default() }).await.unwrap();
    }
    let (cells, totals) = two.usage_since(at(0)).await.unwrap();
    assert_eq!(cells.iter().map(|cell| cell.admitted).sum::<u64>(), 3, "{cells:?}");
    assert_eq!(totals, [(slug("acme"), KeyId(Uuid::max()), 1)]);
}
