//! Chapters on keeping the record in order.

use uuid::Uuid;

use super::reports::made_up;
use super::*;
use crate::stores::record::reports::{Arrived, LogFilter, Scope, Span};
use crate::stores::record::upkeep::{Keep, Pruned, Verified};

const DAY: u64 = 86_400;

pub(crate) fn keep_from(rows: u64) -> Keep {
    Keep {
        rows_since: at(rows),
        news_since: at(0),
        news_read: None,
        cells_since: at(0),
        changes_since: at(0),
        ended_since: at(0),
    }
}

async fn pruned(record: &SharedRecord, keep: &Keep) -> Pruned {
    let mut sum = Pruned::default();
    loop {
        let step = record.prune(keep).await.unwrap();
        sum.rows += step.rows;
        sum.news += step.news;
        sum.cells += step.cells;
        sum.changes += step.changes;
        sum.ended += step.ended;
        if !step.more {
            return sum;
        }
    }
}

pub(crate) async fn old_rows_go_and_their_sums_stay([one, two]: Handles) {
    let rows: Vec<_> = (0..3_000).map(made_up).collect();
    for batch in rows.chunks(500) {
        one.ship(&Shipment { rows: batch.to_vec().into(), ..Shipment::default() }).await.unwrap();
    }
    let span = Span { since: at(0), until: at(30 * DAY) };
    let organization = Scope::Organization(slug("acme"));
    let before = two.totals(&organization, span).await.unwrap();
    let domains = two.top_domains(&organization, span, 5).await.unwrap();
    let usage = two.usage_since(at(0)).await.unwrap();
    let old = rows.iter().filter(|row| row.at < at(10 * DAY)).count();
    assert_eq!(pruned(&one, &keep_from(10 * DAY)).await.rows, old as u64);
    assert_eq!(pruned(&one, &keep_from(10 * DAY)).await, Pruned::default(), "once is enough");
    let left: Vec<_> = rows[old..].iter().rev().collect();
    for scope in [Scope::Everything, organization.clone(), Scope::Key(KeyId(Uuid::from_u128(101)))] {
        let filter = LogFilter::all(scope.clone());
        let left: Vec<_> = left
            .iter()
            .filter(|row| match &scope {
                Scope::Key(key) => row.key == Some(*key),
                Scope::Organization(of) => row.organization.as_deref() == Some(of.as_str()),
                Scope::Everything => true,
            })
            .collect();
        let page = two.log_numbered(&filter, 1, 1_000).await.unwrap();
        assert_eq!(page.total, left.len() as u64, "{scope:?}");
        assert!(page.rows.iter().map(|found| &found.row).eq(left.iter().take(1_000).map(|row| **row)));
        let last = two.log_numbered(&filter, left.len() as u64, 1).await.unwrap();
        assert_eq!(last.rows.first().map(|found| &found.row), left.last().map(|row| **row));
    }
    assert_eq!(two.log_row(rows[old - 1].id).await.unwrap(), None);
    assert_eq!(two.totals(&organization, span).await.unwrap(), before);
    assert_eq!(two.top_domains(&organization, span, 5).await.unwrap(), domains);
    assert_eq!(two.usage_since(at(0)).await.unwrap(), usage);
    // What is left is known, and not counted again.
    one.ship(&Shipment { rows: rows[old..].to_vec().into(), ..Shipment::default() }).await.unwrap();
    assert_eq!(two.totals(&organization, span).await.unwrap(), before);
    let verified = two.verify(false).await.unwrap();
    assert_eq!((verified.drifted, verified.rows > 0), (0, true), "{verified:?}");
    // Sums of five minutes go too, those of days never.
    let keep = Keep { cells_since: at(12 * DAY), ..keep_from(12 * DAY) };
    assert!(pruned(&one, &keep).await.cells > 0);
    assert_eq!(pruned(&one, &keep).await, Pruned::default());
    assert!(two.usage_since(at(0)).await.unwrap().0.iter().all(|cell| cell.at >= at(12 * DAY)));
    // A thousand days before and after the made-up log is a span of whole days.
    let midnight = |at: Timestamp| Timestamp::from_seconds(at.seconds() / DAY * DAY);
    let days = Span { since: midnight(at(0)), until: midnight(at(40 * DAY)) };
    assert_eq!(two.totals(&organization, days).await.unwrap(), before);
    assert_eq!(two.verify(false).await.unwrap().drifted, 0);
    // Followers are told of what is still there, in its order; an export that has yet to read is waited for.
    let all = LogFilter::all(Scope::Everything);
    let unread = Keep { news_since: at(15 * DAY), ..keep };
    let nothing = Keep { news_read: Some(Arrived::default()), ..unread };
    assert_eq!(pruned(&one, &nothing).await.news, 0);
    let read = two.log_news(&all, Arrived::default(), 1).await.unwrap().next;
    let next = two.log_news(&all, read, 10).await.unwrap();
    pruned(&one, &Keep { news_read: Some(read), ..unread }).await;
    assert_eq!(two.log_news(&all, read, 10).await.unwrap(), next);
    pruned(&one, &unread).await;
    let news = two.log_news(&all, Arrived::default(), 10).await.unwrap();
    assert!(news.rows.first().is_some_and(|found| found.row.at >= at(12 * DAY)));
}

pub(crate) async fn what_has_ended_is_dropped_and_nothing_else([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let user = one.create_user(&new_user("a@x.org", "a"), &actor(), at(0)).await.unwrap();
    let session = |expires| Session {
        id: Uuid::new_v4(),
        user: user.id,
        created_at: at(0),
        expires_at: at(expires),
        revoked_at: None,
    };
    let (ended, living) = (session(10), session(100));
    for session in [&ended, &living] {
        one.create_session(session, &actor(), at(0)).await.unwrap();
    }
    let key = one.create_key(&new_key("acme", "first"), &actor(), at(1)).await.unwrap();
    one.rotate_key(key.id, &secret("second", "2222", Some(at(10))), &actor(), at(2)).await.unwrap();
    one.rotate_key(key.id, &secret("third", "3333", Some(at(100))), &actor(), at(3)).await.unwrap();
    let last = two.last_change().await.unwrap();
    let keep = Keep { ended_since: at(50), changes_since: at(3), ..keep_from(0) };
    let dropped = pruned(&one, &keep).await;
    assert_eq!(dropped.ended, 2, "a session and a secret");
    assert!(dropped.changes > 0);
    assert_eq!(two.session(ended.id).await.unwrap(), None);
    assert!(two.session(living.id).await.unwrap().is_some());
    for (secret, is_there) in [("first", false), ("second", true), ("third", true)] {
        assert_eq!(two.grant(&digest(secret)).await.unwrap().is_some(), is_there, "{secret}");
    }
    assert_eq!(two.last_change().await.unwrap(), last, "numbers go on");
    assert!(two.changes_after(0, 100).await.unwrap().iter().all(|change| change.at >= at(3)));
    assert_eq!(pruned(&one, &Keep { changes_since: at(60), ..keep }).await.ended, 0);
    assert_eq!((two.changes_after(0, 100).await.unwrap().len(), two.last_change().await.unwrap()), (0, last));
    let edit = OrganizationEdit { plan: Some("pro".into()), ..OrganizationEdit::default() };
    one.edit_organization(&slug("acme"), &edit, &actor(), at(70)).await.unwrap();
    assert_eq!(two.changes_after(last, 100).await.unwrap().len(), 1);
}

pub(crate) async fn sums_are_verified_against_rows([one, two]: Handles) {
    assert_eq!(two.verify(false).await.unwrap(), Verified::default());
    for batch in (0..1_000).map(made_up).collect::<Vec<_>>().chunks(300) {
        one.ship(&Shipment { rows: batch.to_vec().into(), ..Shipment::default() }).await.unwrap();
    }
    for repair in [false, true] {
        let verified = two.verify(repair).await.unwrap();
        assert_eq!((verified.rows, verified.drifted, verified.repaired), (1_000, 0, 0));
        assert!(verified.sums > 1_000, "{}", verified.sums);
    }
}
