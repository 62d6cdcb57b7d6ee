//! The conformance story: what every record does, told once and run over each.
//!
//! A chapter takes two handles on one store, as two processes would have, so that nothing it tells can rest on
//! what one of them remembers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use uuid::Uuid;

use super::*;
use crate::domain::cost::{CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::time::Period;

/// Two handles on one empty store.
pub(crate) type Handles = [SharedRecord; 2];

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + seconds)
}

fn actor() -> Actor {
    Actor { who: "cli".into(), from: String::new() }
}

fn slug(text: &str) -> OrgId {
    OrgId::parse(text).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn new_org(id: &str) -> NewOrganization {
    NewOrganization {
        id: slug(id),
        name: format!("{id} GmbH"),
        plan: "free".into(),
        default_project: ProjectId::parse(&format!("{id}-default")).unwrap(),
    }
}

fn new_key(org: &str, name: &str) -> NewKey {
    NewKey {
        id: KeyId(Uuid::new_v4()),
        digest: digest(name),
        organization: slug(org),
        project: None,
        name: name.into(),
        category: "production".into(),
        prefix: "sk_live_".into(),
        hint: "abcd".into(),
        scopes: Scopes { read: true, write: false },
        expires_at: Some(at(1_000)),
        allowed_ips: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        quotas: Quotas { total: Some(5), daily: Some(0), weekly: None, monthly: Some(7) },
        created_by: None,
    }
}

fn new_user(email: &str, org: &str) -> NewUser {
    NewUser {
        id: UserId(Uuid::new_v4()),
        email: email.into(),
        password: "$argon2id$phc".into(),
        operator: false,
        membership: None,
        personal: NewOrganization {
            name: email.into(),
            default_project: ProjectId::parse(&Uuid::new_v4().to_string()).unwrap(),
            ..new_org(org)
        },
        personal_otherwise: slug(&format!("{org}-x7")),
    }
}

fn row(n: u64, key: Option<KeyId>, admitted: bool, seconds: u64) -> Row<'static> {
    Row {
        id: RequestId(Uuid::from_u128(u128::from(n))),
        at: at(seconds),
        organization: Some("acme".into()),
        project: Some("acme-default".into()),
        key,
        admitted,
        method: "GET".into(),
        path: "/a".into(),
        status: if admitted { 200 } else { 429 },
        code: if admitted { "" } else { "rate_limited_second" }.into(),
        outcome: admitted.then_some(if n.is_multiple_of(2) { Outcome::Success } else { Outcome::Failure }),
        first_byte_micros: 1,
        total_micros: 2,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        cost: if admitted { Cost { credits: 2, microcents: 30 } } else { Cost::default() },
        cost_source: CostSource::Header,
        tier: Some("3.5".into()),
        domain: None,
        bytes_in: 0,
        bytes_out: 9,
        target: None,
        user_agent: Some("curl".into()),
    }
}

fn conflict<T: std::fmt::Debug>(result: Result<T, RecordError>, says: &str) {
    match result {
        Err(RecordError::Conflict(text)) => assert!(text.contains(says), "{text}"),
        other => panic!("not a conflict: {other:?}"),
    }
}

fn not_found<T: std::fmt::Debug>(result: Result<T, RecordError>, says: &str) {
    match result {
        Err(RecordError::NotFound(text)) => assert!(text.contains(says), "{text}"),
        other => panic!("found: {other:?}"),
    }
}

async fn subjects(record: &SharedRecord, after: i64) -> Vec<Changed> {
    let changes = record.changes_after(after, 1_000).await.unwrap();
    changes.into_iter().map(|change| change.subject).collect()
}

pub(crate) async fn an_organization_is_made_once_and_found_by_id_and_name([one, two]: Handles) {
    let made = one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    assert_eq!(made.plan, "free");
    assert_eq!(two.organization("acme").await.unwrap(), made);
    assert_eq!(two.organization("acme GmbH").await.unwrap(), made);
    not_found(two.organization("umbrella").await, "`umbrella`");
    conflict(two.create_organization(&new_org("acme"), &actor(), at(1)).await, "`acme` already");
    let same_name = NewOrganization { name: "acme GmbH".into(), ..new_org("other") };
    conflict(two.create_organization(&same_name, &actor(), at(1)).await, "`acme GmbH` already");
    // Nothing of the refused ones is left.
    assert_eq!(two.organizations().await.unwrap(), [made]);
    assert_eq!(two.projects(None).await.unwrap().len(), 1);
    assert_eq!(two.audit_before(None, 10).await.unwrap().len(), 1);
}

pub(crate) async fn plan_and_limit_of_an_organization_change_and_are_told([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let before = one.last_change().await.unwrap();
    let caps = Caps { per_second: Some(9), per_minute: None, concurrency: Some(0) };
    let limit = SpendLimit { requests: None, microcents: Some(100), period: Period::Weekly, enabled: false };
    one.set_plan(&slug("acme"), "pro", caps, &actor(), at(1)).await.unwrap();
    one.set_organization_limit(&slug("acme"), Some(limit), &actor(), at(2)).await.unwrap();
    let now = two.organization("acme").await.unwrap();
    assert_eq!((now.plan.as_str(), now.negotiated, now.limit), ("pro", caps, Some(limit)));
    assert_eq!(subjects(&two, before).await, vec![Changed::Organization(slug("acme")); 2]);
    // The same again is no change.
    one.set_plan(&slug("acme"), "pro", caps, &actor(), at(3)).await.unwrap();
    assert_eq!(subjects(&two, before).await.len(), 2);
    one.set_organization_limit(&slug("acme"), None, &actor(), at(4)).await.unwrap();
    assert_eq!(two.organization("acme").await.unwrap().limit, None);
    not_found(one.set_plan(&slug("umbrella"), "pro", caps, &actor(), at(5)).await, "`umbrella`");
}

pub(crate) async fn a_user_owns_a_personal_organization([one, two]: Handles) {
    one.create_organization(&new_org("ann"), &actor(), at(0)).await.unwrap();
    let new = NewUser {
        membership: Some((slug("ann"), Role::Admin)),
        operator: true,
        ..new_user("Ann@Example.com", "ann")
    };
    let user = one.create_user(&new, &actor(), at(1)).await.unwrap();
    assert_eq!(user.email, "ann@example.com");
    assert_eq!(user.memberships, [(slug("ann"), Role::Admin), (slug("ann-x7"), Role::Owner)]);
    assert_eq!(two.user("ANN@example.COM").await.unwrap(), user);
    assert_eq!(two.users().await.unwrap(), std::slice::from_ref(&user));
    conflict(two.create_user(&new_user("ann@example.com", "b"), &actor(), at(2)).await, "ann@example.com");
    let stranded = NewUser { membership: Some((slug("none"), Role::Member)), ..new_user("b@x.org", "b") };
    not_found(two.create_user(&stranded, &actor(), at(2)).await, "`none`");
    not_found(two.user("b@x.org").await, "b@x.org");
    not_found(two.organization("b").await, "`b`");
    let session = Session {
        id: Uuid::new_v4(),
        user: user.id,
        created_at: at(1),
        expires_at: at(60),
        revoked_at: None,
    };
    one.create_session(&session, &actor(), at(1)).await.unwrap();
    assert_eq!(two.session(session.id).await.unwrap(), Some(session));
    assert_eq!(two.session(Uuid::new_v4()).await.unwrap(), None);
    let trail = format!("{:?}", two.audit_before(None, 100).await.unwrap());
    assert!(trail.contains("user.create") && !trail.contains("argon2id"), "{trail}");
}

pub(crate) async fn a_project_belongs_to_one_organization([one, two]: Handles) {
    for org in ["acme", "other"] {
        one.create_organization(&new_org(org), &actor(), at(0)).await.unwrap();
    }
    let id = ProjectId::parse("p1").unwrap();
    let project = one.create_project(&id, &slug("acme"), "crawl", &actor(), at(1)).await.unwrap();
    let names: Vec<_> =
        two.projects(Some(&slug("acme"))).await.unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names, ["crawl", "default"]);
    conflict(two.create_project(&id, &slug("other"), "x", &actor(), at(1)).await, "`p1` already");
    let id = ProjectId::parse("p2").unwrap();
    conflict(two.create_project(&id, &slug("acme"), "crawl", &actor(), at(1)).await, "`crawl` already");
    not_found(two.create_project(&id, &slug("none"), "x", &actor(), at(1)).await, "`none`");
    let own = NewKey { project: Some(project.id.clone()), ..new_key("acme", "own") };
    assert_eq!(one.create_key(&own, &actor(), at(2)).await.unwrap().project, project.id);
    let foreign = NewKey { project: Some(project.id), ..new_key("other", "foreign") };
    not_found(one.create_key(&foreign, &actor(), at(2)).await, "`other` has no project `p1`");
}

pub(crate) async fn a_key_is_found_by_its_digest_whole([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let before = one.last_change().await.unwrap();
    let new = new_key("acme", "k");
    let key = one.create_key(&new, &actor(), at(1)).await.unwrap();
    assert_eq!(two.key(new.id).await.unwrap(), key);
    assert_eq!(key.project.as_str(), "acme-default");
    assert_eq!((key.quotas, key.expires_at, key.scopes), (new.quotas, new.expires_at, new.scopes));
    assert_eq!((key.allowed_ips, key.active, key.requests), (new.allowed_ips.clone(), true, 0));
    let grant = two.grant(&new.digest).await.unwrap().unwrap();
    let expected = Grant {
        id: new.id,
        organization: slug("acme"),
        project: key.project,
        scopes: new.scopes,
        active: true,
        expires_at: new.expires_at,
        secret_until: None,
        allowed_ips: new.allowed_ips.into(),
        quotas: new.quotas,
        limit: None,
    };
    assert_eq!(grant, expected);
    assert_eq!(two.grant(&digest("unknown")).await.unwrap(), None);
    // A cache may remember the digest as unknown.
    assert_eq!(subjects(&two, before).await, [Changed::Secret(new.digest)]);
    conflict(
        two.create_key(&NewKey { digest: new.digest, ..new_key("acme", "k2") }, &actor(), at(1)).await,
        "secret",
    );
    not_found(two.create_key(&new_key("none", "k"), &actor(), at(1)).await, "`none`");
    not_found(two.key(KeyId(Uuid::nil())).await, "00000000-");
}

pub(crate) async fn a_name_is_free_again_once_its_key_is_revoked([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let first = one.create_key(&new_key("acme", "k"), &actor(), at(1)).await.unwrap();
    let second = NewKey { digest: digest("k again"), ..new_key("acme", "k") };
    conflict(two.create_key(&second, &actor(), at(2)).await, "named `k` already");
    assert_eq!(two.key_named(&slug("acme"), "k").await.unwrap(), first);
    let other = one.create_key(&new_key("acme", "other"), &actor(), at(2)).await.unwrap();
    let rename = KeyEdit { name: Some("k".into()), ..KeyEdit::default() };
    conflict(two.edit_key(other.id, &rename, &actor(), at(2)).await, "named `k` already");
    let revoke = KeyEdit { revoke: true, ..KeyEdit::default() };
    let revoked = one.edit_key(first.id, &revoke, &actor(), at(3)).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(at(3)));
    not_found(two.key_named(&slug("acme"), "k").await, "no key named `k`");
    two.create_key(&second, &actor(), at(4)).await.unwrap();
    let filter = |revoked| KeyFilter { organization: Some(slug("acme")), revoked };
    assert_eq!(two.keys(&filter(false)).await.unwrap().len(), 2);
    assert_eq!(two.keys(&filter(true)).await.unwrap().len(), 3);
}

pub(crate) async fn every_edit_of_a_key_is_told_and_a_revoked_one_takes_none([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let key = one.create_key(&new_key("acme", "k"), &actor(), at(1)).await.unwrap();
    let limit = SpendLimit { requests: Some(3), microcents: None, period: Period::Daily, enabled: true };
    let none = KeyEdit::default;
    for (edit, what) in [
        (KeyEdit { name: Some("k2".into()), ..none() }, "key.rename"),
        (KeyEdit { active: Some(false), ..none() }, "key.disable"),
        (KeyEdit { active: Some(true), ..none() }, "key.enable"),
        (KeyEdit { quotas: Some(Quotas::default()), ..none() }, "key.set_quotas"),
        (KeyEdit { limit: Some(Some(limit)), ..none() }, "key.set_limit"),
        (KeyEdit { limit: Some(None), ..none() }, "key.set_limit"),
        (KeyEdit { revoke: true, ..none() }, "key.revoke"),
    ] {
        let before = one.last_change().await.unwrap();
        let edited = one.edit_key(key.id, &edit, &actor(), at(2)).await.unwrap();
        assert_eq!(two.key(key.id).await.unwrap(), edited, "{what}");
        assert_eq!(subjects(&two, before).await, [Changed::Secret(digest("k"))], "{what}");
        let told = two.audit_before(None, 1).await.unwrap().remove(0);
        assert_eq!((told.what.as_str(), told.subject.as_str()), (what, key.id.to_string().as_str()));
        assert!(told.before.is_some() && told.after.is_some() && told.before != told.after, "{what}");
        let grant = two.grant(&digest("k")).await.unwrap();
        assert_eq!(grant.map(|grant| grant.active), (!edit.revoke).then_some(edited.active), "{what}");
    }
    for edit in [KeyEdit { active: Some(true), ..none() }, KeyEdit { revoke: true, ..none() }, none()] {
        conflict(one.edit_key(key.id, &edit, &actor(), at(3)).await, "revoked");
    }
    let rotation = one.rotate_key(key.id, digest("new"), "1234", None, &actor(), at(3)).await;
    conflict(rotation, "revoked");
    assert_eq!(two.grant(&digest("new")).await.unwrap(), None);
}

pub(crate) async fn a_rotated_secret_works_until_its_grace_ends([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let key = one.create_key(&new_key("acme", "first"), &actor(), at(1)).await.unwrap();
    let before = one.last_change().await.unwrap();
    let rotated =
        one.rotate_key(key.id, digest("second"), "2222", Some(at(100)), &actor(), at(2)).await.unwrap();
    assert_eq!((rotated.id, rotated.hint.as_str()), (key.id, "2222"));
    let told = subjects(&two, before).await;
    for secret in ["first", "second"] {
        assert!(told.contains(&Changed::Secret(digest(secret))), "{secret}: {told:?}");
    }
    let until = |record: SharedRecord, secret: &'static str| async move {
        record.grant(&digest(secret)).await.unwrap().map(|grant| grant.secret_until)
    };
    assert_eq!(until(two.clone(), "first").await, Some(Some(at(100))));
    assert_eq!(until(two.clone(), "second").await, Some(None));
    // A second rotation never gives the first secret more time than it had.
    one.rotate_key(key.id, digest("third"), "3333", Some(at(200)), &actor(), at(3)).await.unwrap();
    assert_eq!(until(two.clone(), "first").await, Some(Some(at(100))));
    assert_eq!(until(two.clone(), "second").await, Some(Some(at(200))));
    // Without grace, every old secret is gone at once, and every cache is told of it.
    let before = one.last_change().await.unwrap();
    one.rotate_key(key.id, digest("fourth"), "4444", None, &actor(), at(4)).await.unwrap();
    let told = subjects(&two, before).await;
    for secret in ["first", "second", "third"] {
        assert_eq!(until(two.clone(), secret).await, None);
        assert!(told.contains(&Changed::Secret(digest(secret))), "{secret}: {told:?}");
    }
    assert_eq!(until(two, "fourth").await, Some(None));
    conflict(one.rotate_key(key.id, digest("fourth"), "4", None, &actor(), at(5)).await, "secret");
}

pub(crate) async fn only_a_key_never_used_is_deleted([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let unused = one.create_key(&new_key("acme", "unused"), &actor(), at(1)).await.unwrap();
    let used = one.create_key(&new_key("acme", "used"), &actor(), at(1)).await.unwrap();
    let open = one.create_key(&new_key("acme", "open"), &actor(), at(1)).await.unwrap();
    let admission = Admission {
        id: RequestId(Uuid::from_u128(9)),
        at: at(1),
        key: Some(open.id),
        organization: None,
        project: None,
        estimate: Cost::default(),
    };
    let shipment = Shipment {
        rows: vec![row(1, Some(used.id), false, 1)],
        carried: vec![admission],
        ..Shipment::default()
    };
    one.ship(&shipment).await.unwrap();
    let before = one.last_change().await.unwrap();
    two.delete_key(unused.id, &actor(), at(2)).await.unwrap();
    assert_eq!(subjects(&one, before).await, [Changed::Secret(digest("unused"))]);
    assert_eq!(one.grant(&digest("unused")).await.unwrap(), None);
    not_found(two.delete_key(unused.id, &actor(), at(2)).await, "no key");
    for key in [used, open] {
        conflict(two.delete_key(key.id, &actor(), at(2)).await, "revoke it instead");
        assert!(one.key(key.id).await.is_ok());
    }
}

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

pub(crate) async fn sixty_four_at_once_make_one_key_of_a_name(handles: Handles) {
    handles[0].create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let tries: Vec<_> = (0..64)
        .map(|n| {
            let record = Arc::clone(&handles[n % 2]);
            let new = NewKey { digest: digest(&format!("secret {n}")), ..new_key("acme", "one") };
            tokio::spawn(async move { record.create_key(&new, &actor(), at(1)).await })
        })
        .collect();
    let mut made = 0;
    for result in futures_util::future::join_all(tries).await {
        match result.unwrap() {
            Ok(_) => made += 1,
            lost => conflict(lost, "named `one` already"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(handles[1].keys(&KeyFilter::default()).await.unwrap().len(), 1);
}

pub(crate) async fn a_follower_misses_no_change_of_two_writers(handles: Handles) {
    const EACH: usize = 60;
    handles[0].create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let start = handles[0].last_change().await.unwrap();
    let writers: Vec<_> = handles
        .iter()
        .enumerate()
        .map(|(writer, record)| {
            let record = Arc::clone(record);
            tokio::spawn(async move {
                for n in 0..EACH {
                    record
                        .create_key(&new_key("acme", &format!("{writer}-{n}")), &actor(), at(1))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    // Reads as the keyring does: from the last number seen, never back.
    let (mut seen, mut last) = (Vec::new(), start);
    while seen.len() < 2 * EACH {
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let news = handles[1].changes_after(last, 7).await.unwrap();
        assert!(!(finished && news.is_empty()), "only {} of {} changes were seen", seen.len(), 2 * EACH);
        for change in news {
            assert!(change.sequence > last);
            last = change.sequence;
            seen.push(change.subject);
        }
    }
    assert_eq!(last, handles[0].last_change().await.unwrap());
    for writer in 0..2 {
        for n in 0..EACH {
            assert!(seen.contains(&Changed::Secret(digest(&format!("{writer}-{n}")))));
        }
    }
}
