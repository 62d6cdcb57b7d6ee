//! Chapters on what people ask of the log. What is expected is computed from the rows, one by one.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::stores::record::reports::{
    Arrived, Failures, LogFilter, PARTS_MAX, Place, Point, Scope, Share, Span, StatusFilter, Step, Totals,
};

const KEYS: u64 = 3;
const DAY: u64 = 86_400;

fn key_id(n: u64) -> KeyId {
    KeyId(Uuid::from_u128(u128::from(n) + 100))
}

/// Row `n` of a made-up log of five days: two organizations, three keys, sessions, strangers, refusals.
pub(crate) fn made_up(n: u64) -> Row<'static> {
    let seconds = n * 613;
    let mut row = row(n, None, true, seconds);
    row.organization = (!n.is_multiple_of(11)).then(|| if n % KEYS == 2 { "globex" } else { "acme" }.into());
    row.key = (row.organization.is_some() && !n.is_multiple_of(7)).then(|| key_id(n % KEYS));
    row.project = row.key.map(|_| "p".into());
    row.cost = Cost { credits: n % 5, microcents: n * 10 };
    (row.first_byte_micros, row.total_micros) = (n, n * 2);
    (row.bytes_in, row.bytes_out) = (n % 17, n * 3);
    row.tier = (!n.is_multiple_of(4)).then(|| format!("{}.5", n % 4).into());
    row.domain = (!n.is_multiple_of(3)).then(|| format!("www{}.Example.org", n % 10).into());
    if row.organization.is_none() || n.is_multiple_of(5) {
        row.admitted = false;
        row.outcome = None;
        let (status, code) =
            if n.is_multiple_of(2) { (429, "rate_limited_second") } else { (401, "invalid_api_key") };
        (row.status, row.code) = (status, code.into());
        row.cost = Cost::default();
    } else if row.outcome == Some(Outcome::Failure) {
        row.status = 500 + (n % 3) as u16;
    }
    row
}

/// Moves rows in, in batches that are not in their order.
async fn moved_in(record: &SharedRecord, rows: &[Row<'static>]) {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.id.0.as_u128() % 97);
    for batch in rows.chunks(150) {
        record.ship(&Shipment { rows: batch.to_vec().into(), ..Shipment::default() }).await.unwrap();
    }
}

fn is_of(scope: &Scope, row: &Row<'_>) -> bool {
    match scope {
        Scope::Key(key) => row.key == Some(*key),
        Scope::Organization(organization) => row.organization.as_deref() == Some(organization.as_str()),
        Scope::Everything => true,
    }
}

fn totals_of<'a>(rows: impl Iterator<Item = &'a Row<'static>>) -> Totals {
    let mut totals = Totals::default();
    for row in rows {
        let admitted = u64::from(row.admitted);
        totals.add(&Totals {
            admitted,
            refused: 1 - admitted,
            success: u64::from(row.outcome == Some(Outcome::Success)),
            cost: row.cost,
            first_byte_micros: row.first_byte_micros * admitted,
            total_micros: row.total_micros * admitted,
            bytes_in: row.bytes_in,
            bytes_out: row.bytes_out,
        });
    }
    totals
}

/// Rows by what `of` says of them, most first.
fn shares<'a>(rows: &[&'a Row<'static>], of: impl Fn(&'a Row<'static>) -> Option<&'a str>) -> Vec<Share> {
    let mut shares = BTreeMap::<&str, Share>::new();
    for row in rows {
        let Some(name) = of(row) else { continue };
        let share = shares.entry(name).or_insert(Share {
            name: Some(name.to_owned()),
            requests: 0,
            success: 0,
            cost: Cost::default(),
        });
        share.requests += 1;
        share.success += u64::from(row.outcome == Some(Outcome::Success));
        share.cost.credits += row.cost.credits;
        share.cost.microcents += row.cost.microcents;
    }
    in_order(shares.into_values().collect())
}

/// The record may order what is equally frequent as it likes.
fn in_order(mut shares: Vec<Share>) -> Vec<Share> {
    assert!(shares.is_sorted_by_key(|share| std::cmp::Reverse(share.requests)) || shares.len() > 1);
    shares.sort_by(|one, other| (other.requests, &one.name).cmp(&(one.requests, &other.name)));
    shares
}

fn scopes() -> [Scope; 6] {
    [
        Scope::Key(key_id(0)),
        Scope::Key(key_id(2)),
        Scope::Key(KeyId(Uuid::nil())),
        Scope::Organization(slug("acme")),
        Scope::Organization(slug("globex")),
        Scope::Everything,
    ]
}

pub(crate) async fn sums_are_those_of_the_rows([one, two]: Handles) {
    let rows: Vec<_> = (0..700).map(made_up).collect();
    moved_in(&one, &rows).await;
    moved_in(&one, &rows).await;
    for (since, until) in
        [(0, 5 * DAY), (0, 300), (900, 1_500), (DAY - 600, 2 * DAY + 900), (DAY / 2, 4 * DAY + 300)]
    {
        let span = Span { since: at(since), until: at(until) };
        for scope in scopes() {
            let of_span =
                |row: &&Row<'static>| is_of(&scope, row) && (span.since..span.until).contains(&row.at);
            let rows: Vec<_> = rows.iter().filter(of_span).collect();
            let about = format!("{scope:?} {since} {until}");
            assert_eq!(two.totals(&scope, span).await.unwrap(), totals_of(rows.iter().copied()), "{about}");
            let tiers = in_order(two.by_tier(&scope, span).await.unwrap());
            assert_eq!(tiers, shares(&rows, |row| row.tier.as_deref()), "{about}");
            let domains = in_order(two.top_domains(&scope, span, 100).await.unwrap());
            assert_eq!(domains, shares(&rows, |row| row.domain.as_deref()), "{about}");
            let mut errors = BTreeMap::<_, u64>::new();
            for row in rows.iter().filter(|row| row.outcome != Some(Outcome::Success)) {
                *errors.entry((row.status, row.code.clone().into_owned())).or_default() += 1;
            }
            let mut seen = two.errors(&scope, span).await.unwrap();
            assert!(seen.is_sorted_by_key(|failures| std::cmp::Reverse(failures.requests)), "{about}");
            seen.sort_by(|one, other| (one.status, &one.code).cmp(&(other.status, &other.code)));
            let expected: Vec<_> = errors
                .into_iter()
                .map(|((status, code), requests)| Failures { status, code, requests })
                .collect();
            assert_eq!(seen, expected, "{about}");
            for step in [Step::FiveMinutes, Step::Hour, Step::Day] {
                let width = step.width().as_secs();
                let mut points = BTreeMap::<_, Vec<_>>::new();
                for row in &rows {
                    points.entry(row.at.seconds() / width * width).or_default().push(*row);
                }
                let expected: Vec<_> = points
                    .into_iter()
                    .map(|(at, rows)| Point {
                        at: Timestamp::from_seconds(at),
                        totals: totals_of(rows.into_iter()),
                    })
                    .collect();
                assert_eq!(two.series(&scope, span, step).await.unwrap(), expected, "{about} {step:?}");
            }
        }
    }
    let top =
        two.top_domains(&Scope::Everything, Span { since: at(0), until: at(5 * DAY) }, 2).await.unwrap();
    assert_eq!(top.len(), 3);
    assert_eq!(top[2].name, None, "what is not on the list is the rest");
    assert_eq!(
        top.iter().map(|share| share.requests).sum::<u64>(),
        rows.iter().filter(|row| row.domain.is_some()).count() as u64
    );
}

/// A client that makes up a domain, a path, a tier and an agent for every request, long ones too.
pub(crate) async fn made_up_names_make_no_sum_larger_and_every_row_is_kept([one, two]: Handles) {
    const REQUESTS: u64 = 3_000;
    let key = key_id(0);
    let hostile = |n: u64| {
        let long = "x".repeat(if n.is_multiple_of(10) { 200 } else { 1 });
        Row {
            domain: Some(if n.is_multiple_of(3) {
                "often.example".into()
            } else {
                format!("{n}{long}.example").into()
            }),
            path: format!("/{n}/{long}").into(),
            tier: Some(format!("t{n}").into()),
            user_agent: Some(format!("agent \r\n\u{1b}[31m {n}{long}").into()),
            ..row(n, Some(key), true, n / 10)
        }
    };
    let rows: Vec<_> = (0..REQUESTS).map(hostile).collect();
    moved_in(&one, &rows).await;
    let span = Span { since: at(0), until: at(DAY) };
    for scope in [Scope::Key(key), Scope::Organization(slug("acme")), Scope::Everything] {
        assert_eq!(two.totals(&scope, span).await.unwrap().admitted, REQUESTS);
        for shares in [
            two.top_domains(&scope, span, 1_000_000).await.unwrap(),
            two.by_tier(&scope, span).await.unwrap(),
        ] {
            assert!(shares.len() <= PARTS_MAX + 1, "{}", shares.len());
            assert_eq!(shares.iter().map(|share| share.requests).sum::<u64>(), REQUESTS);
            assert_eq!(shares.iter().map(|share| share.cost.credits).sum::<u64>(), 2 * REQUESTS);
            assert_eq!(shares.last().unwrap().name, None);
        }
        let top = two.top_domains(&scope, span, 1).await.unwrap();
        assert_eq!((top[0].name.as_deref(), top[0].requests), (Some("often.example"), REQUESTS / 3));
        // What has no name of its own in a sum is found in the rows all the same.
        let filter = LogFilter { domain: Some("2970XX".into()), ..LogFilter::all(scope.clone()) };
        let found = two.log_numbered(&filter, 1, 10).await.unwrap();
        assert_eq!((found.total, found.rows.len()), (0, 0), "it went to `often.example`");
        let filter =
            LogFilter { domain: Some("2980XX".into()), tier: Some("t2980".into()), ..LogFilter::all(scope) };
        let found = two.log_numbered(&filter, 1, 10).await.unwrap();
        assert_eq!(found.total, 1);
        assert_eq!(found.rows[0].row, hostile(2_980));
        assert_eq!(two.log_page(&filter, None, 10).await.unwrap().rows, found.rows);
    }
    for row in rows.iter().step_by(37) {
        assert_eq!(two.log_row(row.id).await.unwrap().unwrap().row, *row);
    }
}

pub(crate) async fn pages_are_the_rows_in_the_order_of_arrival([one, two]: Handles) {
    assert_eq!(two.log_page(&LogFilter::all(Scope::Everything), None, 5).await.unwrap().rows, []);
    let mut rows: Vec<_> = (0..1_500).map(made_up).collect();
    moved_in(&one, &rows).await;
    rows.sort_by_key(|row| std::cmp::Reverse(row.id));
    for scope in scopes() {
        let all = || LogFilter::all(scope.clone());
        for filter in [
            all(),
            LogFilter { since: Some(at(DAY)), until: Some(at(3 * DAY)), ..all() },
            LogFilter { status: Some(StatusFilter::Success), ..all() },
            LogFilter { status: Some(StatusFilter::Failed), until: Some(at(613 * 700)), ..all() },
            LogFilter { status: Some(StatusFilter::Exactly(429)), ..all() },
            LogFilter { status: Some(StatusFilter::Class(5)), tier: Some("3.5".into()), ..all() },
            LogFilter { tier: Some("9.5".into()), ..all() },
            LogFilter { domain: Some("www7.".into()), since: Some(at(DAY)), ..all() },
            LogFilter { domain: Some("eXAMPLE".into()), status: Some(StatusFilter::Failed), ..all() },
            LogFilter { domain: Some("%".into()), ..all() },
        ] {
            let expected: Vec<_> =
                rows.iter().filter(|row| is_of(&scope, row) && filter.lets_through(row, row.at)).collect();
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let page = two.log_page(&filter, before, 70).await.unwrap();
                assert!(page.rows.len() <= 70);
                seen.extend(page.rows);
                // As a cursor goes through a client.
                before = page.next.map(|place| Place::parse(&place.to_string()).unwrap());
                if before.is_none() {
                    break;
                }
            }
            assert!(seen.iter().map(|found| &found.row).eq(expected.iter().copied()), "{filter:?}");
            for page in [1, 2, 3, 1 + expected.len() as u64 / 40, 1_000, u64::MAX] {
                let found = two.log_numbered(&filter, page, 40).await.unwrap();
                assert_eq!(found.total, expected.len() as u64, "{filter:?}");
                let skipped = (page - 1).saturating_mul(40).min(10_000) as usize;
                let of_page = expected.iter().skip(skipped).take(40).copied();
                assert!(found.rows.iter().map(|found| &found.row).eq(of_page), "page {page} of {filter:?}");
            }
        }
    }
    // Rows that come in while pages are turned are on none of those behind.
    let filter = LogFilter::all(Scope::Organization(slug("acme")));
    let first = two.log_page(&filter, None, 10).await.unwrap();
    let behind = two.log_page(&filter, first.next, 10).await.unwrap();
    moved_in(&one, &[made_up(2_000), made_up(2_001)]).await;
    assert_eq!(two.log_page(&filter, first.next, 10).await.unwrap(), behind);
    assert_ne!(two.log_page(&filter, None, 10).await.unwrap(), first);
}

pub(crate) async fn who_follows_the_log_sees_each_row_once_also_late_ones([one, two]: Handles) {
    moved_in(&one, &[made_up(1), made_up(2)]).await;
    let end = two.log_end().await.unwrap();
    let everything = LogFilter::all(Scope::Everything);
    let none = two.log_news(&everything, end, 10).await.unwrap();
    assert_eq!((none.rows.len(), none.more), (0, false));
    // The second of these took long: it arrived before what has been seen.
    for n in [5, 3, 6] {
        one.ship(&Shipment { rows: vec![made_up(n)].into(), ..Shipment::default() }).await.unwrap();
    }
    one.ship(&Shipment { rows: vec![made_up(3), made_up(8), made_up(9)].into(), ..Shipment::default() })
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), end);
    loop {
        let news = two.log_news(&everything, after, 2).await.unwrap();
        assert!(news.rows.len() <= 2 && news.next >= after);
        seen.extend(news.rows.into_iter().map(|found| found.row));
        after = news.next;
        if !news.more {
            break;
        }
    }
    assert_eq!(seen, [5, 3, 6, 8, 9].map(made_up));
    assert_eq!(two.log_news(&everything, after, 2).await.unwrap().rows, []);
    let of_globex = LogFilter {
        status: Some(StatusFilter::Failed),
        ..LogFilter::all(Scope::Organization(slug("globex")))
    };
    let news = two.log_news(&of_globex, Arrived::default(), 100).await.unwrap();
    assert_eq!(news.rows.into_iter().map(|found| found.row).collect::<Vec<_>>(), [5].map(made_up));
    moved_in(&one, &[made_up(10)]).await;
    assert_eq!(two.log_news(&everything, news.next, 2).await.unwrap().rows.len(), 1);
}
