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
        one.ship(&Shipment { rows: rows(), cursor, ..Shipment::default() }).await.unwrap();
    }
    // A batch that overlaps counts what is new in it.
    one.ship(&Shipment {
        rows: vec![row(450, Some(key), true, 450), row(451, Some(key), true, 451)],
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
    assert_eq!(two.cursors().await.unwrap(), [("a".to_owned(), 4_096)]);
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
        id: RequestId(Uuid::from_u128(u128::from(n))),
        at: at(n),
        key: Some(KeyId(Uuid::from_u128(5))),
        organization: Some("acme".into()),
        project: None,
        estimate: Cost { credits: 1, microcents: 2 },
    };
    let carry = Shipment { carried: vec![admission(1), admission(2)], ..Shipment::default() };
    one.ship(&carry).await.unwrap();
    assert_eq!(two.carried().await.unwrap(), [admission(1), admission(2)]);
    let end = Shipment {
        rows: vec![row(1, None, true, 1)],
        finished: vec![Uuid::from_u128(1)],
        ..Shipment::default()
    };
    one.ship(&end).await.unwrap();
    // The first batch again must not bring the ended one back.
    one.ship(&carry).await.unwrap();
    assert_eq!(two.carried().await.unwrap(), [admission(2)]);
}
