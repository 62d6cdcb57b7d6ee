//! Chapters on keys.

use uuid::Uuid;

use super::*;

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
        (KeyEdit { category: Some("staging".into()), ..none() }, "key.edit"),
        (KeyEdit { scopes: Some(Scopes::ALL), ..none() }, "key.edit"),
        (KeyEdit { expires_at: Some(None), ..none() }, "key.edit"),
        (KeyEdit { allowed_ips: Some(Vec::new()), ..none() }, "key.edit"),
        (KeyEdit { revoke: true, ..none() }, "key.revoke"),
    ] {
        let before = one.last_change().await.unwrap();
        let edited = one.edit_key(key.id, &edit, &actor(), at(2)).await.unwrap();
        assert_eq!(two.key(key.id).await.unwrap(), edited, "{what}");
        assert_eq!(subjects(&two, before).await, [Changed::Secret(digest("k"))], "{what}");
        let told = told(&two, 1).await.remove(0);
        assert_eq!((told.what.as_str(), told.subject.as_str()), (what, key.id.to_string().as_str()));
        assert!(told.before.is_some() && told.after.is_some() && told.before != told.after, "{what}");
        let grant = two.grant(&digest("k")).await.unwrap();
        assert_eq!(grant.map(|grant| grant.active), (!edit.revoke).then_some(edited.active), "{what}");
    }
    for edit in [KeyEdit { active: Some(true), ..none() }, KeyEdit { revoke: true, ..none() }, none()] {
        conflict(one.edit_key(key.id, &edit, &actor(), at(3)).await, "revoked");
    }
    let rotation = one.rotate_key(key.id, &secret("new", "1234", None), &actor(), at(3)).await;
    conflict(rotation, "revoked");
    assert_eq!(two.grant(&digest("new")).await.unwrap(), None);
}

pub(crate) async fn a_rotated_secret_works_until_its_grace_ends([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let key = one.create_key(&new_key("acme", "first"), &actor(), at(1)).await.unwrap();
    let before = one.last_change().await.unwrap();
    let rotated =
        one.rotate_key(key.id, &secret("second", "2222", Some(at(100))), &actor(), at(2)).await.unwrap();
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
    one.rotate_key(key.id, &secret("third", "3333", Some(at(200))), &actor(), at(3)).await.unwrap();
    assert_eq!(until(two.clone(), "first").await, Some(Some(at(100))));
    assert_eq!(until(two.clone(), "second").await, Some(Some(at(200))));
    // Without grace, every old secret is gone at once, and every cache is told of it.
    let before = one.last_change().await.unwrap();
    one.rotate_key(key.id, &secret("fourth", "4444", None), &actor(), at(4)).await.unwrap();
    let told = subjects(&two, before).await;
    for secret in ["first", "second", "third"] {
        assert_eq!(until(two.clone(), secret).await, None);
        assert!(told.contains(&Changed::Secret(digest(secret))), "{secret}: {told:?}");
    }
    assert_eq!(until(two, "fourth").await, Some(None));
    conflict(one.rotate_key(key.id, &secret("fourth", "4", None), &actor(), at(5)).await, "secret");
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
        rows: vec![row(1, Some(used.id), false, 1)].into(),
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

pub(crate) async fn a_key_is_changed_only_as_it_was_seen([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let key = one.create_key(&new_key("acme", "k"), &actor(), at(1)).await.unwrap();
    let seen = Some(seen_key(&key));
    let renamed = KeyEdit { name: Some("k2".into()), seen: seen.clone(), ..KeyEdit::default() };
    let after = two.edit_key(key.id, &renamed, &actor(), at(2)).await.unwrap();
    assert_ne!(seen_key(&after), seen_key(&key));
    let late = KeyEdit { active: Some(false), seen, ..KeyEdit::default() };
    stale(one.edit_key(key.id, &late, &actor(), at(3)).await);
    assert!(one.key(key.id).await.unwrap().active);
    // Another project of the same organization, and no other's.
    one.create_organization(&new_org("other"), &actor(), at(3)).await.unwrap();
    let id = ProjectId::parse("p1").unwrap();
    one.create_project(&id, &slug("acme"), "crawl", &actor(), at(3)).await.unwrap();
    let moved = |project: &str| KeyEdit { project: ProjectId::parse(project).ok(), ..KeyEdit::default() };
    assert_eq!(one.edit_key(key.id, &moved("p1"), &actor(), at(4)).await.unwrap().project, id);
    let foreign = one.edit_key(key.id, &moved("other-default"), &actor(), at(4)).await;
    not_found(foreign, "`acme` has no project `other-default`");
    assert_eq!(two.grant(&digest("k")).await.unwrap().unwrap().project, id);
}

pub(crate) async fn keys_are_listed_part_by_part_in_the_order_of_their_making([one, two]: Handles) {
    for org in ["acme", "other"] {
        one.create_organization(&new_org(org), &actor(), at(0)).await.unwrap();
    }
    let mut made = Vec::new();
    for n in 0..7 {
        // Several at one instant: then the id decides.
        made.push(one.create_key(&new_key("acme", &format!("k{n}")), &actor(), at(n / 3)).await.unwrap());
        one.create_key(&new_key("other", &format!("o{n}")), &actor(), at(1)).await.unwrap();
    }
    made.sort_by_key(|key| (key.created_at, key.id));
    let revoke = KeyEdit { revoke: true, ..KeyEdit::default() };
    made[2] = one.edit_key(made[2].id, &revoke, &actor(), at(9)).await.unwrap();
    for revoked in [true, false] {
        let expected: Vec<_> =
            made.iter().filter(|key| revoked || key.revoked_at.is_none()).cloned().collect();
        for most in [1, 3, 100] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = two.keys_page(&slug("acme"), revoked, &Page { after, most }).await.unwrap();
                assert!(page.len() <= most);
                let Some(last) = page.last() else { break };
                after = Some((last.created_at, last.id));
                seen.extend(page);
            }
            assert_eq!(seen, expected, "{revoked} {most}");
        }
    }
}

pub(crate) async fn keys_are_imported_all_or_none([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    one.create_key(&new_key("acme", "taken"), &actor(), at(1)).await.unwrap();
    assert!(!two.has_imported_keys().await.unwrap());
    let before = one.last_change().await.unwrap();
    let same_secret = NewKey { digest: digest("taken"), ..new_key("acme", "c") };
    let rows = [new_key("acme", "a"), new_key("acme", "taken"), new_key("none", "b"), same_secret];
    let wrong = one.import_keys(&rows, false, &actor(), at(2)).await.unwrap_err();
    assert_eq!(wrong.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2, 3], "{wrong:?}");
    assert_eq!(two.keys(&KeyFilter::default()).await.unwrap().len(), 1);
    assert!(!two.has_imported_keys().await.unwrap() && subjects(&two, before).await.is_empty());
    let disabled = NewKey { active: false, ..new_key("acme", "b") };
    let fine = [new_key("acme", "a"), disabled];
    let dry = one.import_keys(&rows, true, &actor(), at(2)).await.unwrap_err();
    assert_eq!(format!("{dry:?}"), format!("{wrong:?}"));
    assert_eq!(one.import_keys(&fine, true, &actor(), at(2)).await.unwrap(), []);
    assert!(!two.has_imported_keys().await.unwrap() && subjects(&two, before).await.is_empty());
    let made = one.import_keys(&fine, false, &actor(), at(2)).await.unwrap();
    assert_eq!(made.iter().map(|key| key.active).collect::<Vec<_>>(), [true, false]);
    assert_eq!(two.grant(&digest("a")).await.unwrap().map(|grant| grant.id), Some(made[0].id));
    assert_eq!(subjects(&two, before).await, [Changed::Secret(digest("a")), Changed::Secret(digest("b"))]);
    assert_eq!(told(&two, 1).await[0].what, "key.import");
    assert!(two.has_imported_keys().await.unwrap());
    // The last of them revoked, the shape of keys says something again.
    for key in made {
        let revoke = KeyEdit { revoke: true, ..KeyEdit::default() };
        one.edit_key(key.id, &revoke, &actor(), at(3)).await.unwrap();
    }
    assert!(!two.has_imported_keys().await.unwrap());
}

pub(crate) async fn a_sealed_copy_is_of_the_present_secret([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let sealed = NewKey { sealed: Some(vec![1, 2, 3]), ..new_key("acme", "sealed") };
    let key = one.create_key(&sealed, &actor(), at(1)).await.unwrap();
    let bare = one.create_key(&new_key("acme", "bare"), &actor(), at(1)).await.unwrap();
    assert_eq!(two.unsealed_keys(&slug("acme")).await.unwrap(), 1);
    assert_eq!(two.reveal_key(key.id, &actor(), at(2)).await.unwrap(), Some(vec![1, 2, 3]));
    let entry = told(&one, 1).await.remove(0);
    assert_eq!((entry.what.as_str(), entry.subject), ("key.reveal", key.id.to_string()));
    assert_eq!(two.reveal_key(bare.id, &actor(), at(2)).await.unwrap(), None);
    let again = NewSecret { sealed: Some(vec![4]), ..secret("again", "2222", Some(at(50))) };
    one.rotate_key(key.id, &again, &actor(), at(3)).await.unwrap();
    assert_eq!(two.reveal_key(key.id, &actor(), at(4)).await.unwrap(), Some(vec![4]));
    one.rotate_key(key.id, &secret("bare again", "3333", None), &actor(), at(5)).await.unwrap();
    assert_eq!(two.reveal_key(key.id, &actor(), at(6)).await.unwrap(), None);
    assert_eq!(two.unsealed_keys(&slug("acme")).await.unwrap(), 2);
    not_found(two.reveal_key(KeyId(Uuid::nil()), &actor(), at(6)).await, "00000000-");
}
