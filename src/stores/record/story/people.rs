//! Chapters on members, invitations, logins and requests that name themselves.

use uuid::Uuid;

use super::*;

async fn a_user(record: &SharedRecord, name: &str) -> UserId {
    let new = new_user(&format!("{name}@example.com"), name);
    record.create_user(&new, &actor(), at(0)).await.unwrap().id
}

pub(crate) async fn an_organization_keeps_an_owner([one, two]: Handles) {
    let (ann, bob) = (a_user(&one, "ann").await, a_user(&one, "bob").await);
    let org = slug("ann");
    let joined = one.add_member(&org, bob, Role::Member, &actor(), at(5)).await.unwrap();
    assert_eq!((joined.email.as_str(), joined.role, joined.since), ("bob@example.com", Role::Member, at(5)));
    conflict(two.add_member(&org, bob, Role::Admin, &actor(), at(6)).await, "bob@example.com");
    let mut members = two.members(&org, &Page::first(9)).await.unwrap();
    members.sort_by_key(|member| member.since);
    assert_eq!(members.iter().map(|member| member.user).collect::<Vec<_>>(), [ann, bob]);
    let first = two.members(&org, &Page::first(1)).await.unwrap();
    let rest = two.members(&org, &Page { after: Some(first[0].user), most: 9 }).await.unwrap();
    assert_eq!((rest.len(), rest[0].user != first[0].user), (1, true));
    // The last owner neither leaves nor becomes less; of two, either may.
    conflict(two.remove_member(&org, ann, &actor(), at(6)).await, "last owner");
    conflict(two.set_role(&org, ann, Role::Admin, &actor(), at(6)).await, "last owner");
    assert_eq!(one.set_role(&org, bob, Role::Owner, &actor(), at(7)).await.unwrap().role, Role::Owner);
    let entry = told(&two, 1).await.remove(0);
    assert_eq!((entry.what.as_str(), entry.organization), ("member.set_role", Some(org.clone())));
    assert_eq!(entry.subject, bob.to_string());
    one.remove_member(&org, ann, &actor(), at(8)).await.unwrap();
    assert_eq!(two.user_by_id(ann).await.unwrap().role_in(&org), None);
    not_found(two.remove_member(&org, ann, &actor(), at(9)).await, "has no member");
    not_found(two.set_role(&org, ann, Role::Owner, &actor(), at(9)).await, "has no member");
    not_found(two.add_member(&org, UserId(Uuid::nil()), Role::Owner, &actor(), at(9)).await, "no user");
    not_found(two.add_member(&slug("none"), bob, Role::Owner, &actor(), at(9)).await, "`none`");
    // The organizations of a user, part by part.
    let of_bob = async |after: Option<&str>| {
        let page = Page { after: after.map(slug), most: 1 };
        two.organizations_page(Some(bob), &page).await.unwrap().first().map(|org| org.id.to_string())
    };
    assert_eq!(of_bob(None).await.as_deref(), Some("ann"));
    assert_eq!(of_bob(Some("ann")).await.as_deref(), Some("bob"));
    assert_eq!(of_bob(Some("bob")).await, None);
    assert_eq!(two.organizations_page(None, &Page::first(9)).await.unwrap().len(), 2);
    let users = async |after: Option<&str>, most| {
        let page = Page { after: after.map(str::to_owned), most };
        let users = two.users_page(&page).await.unwrap();
        users.into_iter().map(|user| (user.id, user.memberships.len())).collect::<Vec<_>>()
    };
    assert_eq!(users(None, 9).await, [(ann, 0), (bob, 2)]);
    assert_eq!(
        (users(None, 1).await, users(Some("ann@example.com"), 1).await),
        (vec![(ann, 0)], vec![(bob, 2)])
    );
}

pub(crate) async fn an_invitation_is_accepted_once_by_whom_it_is_for([one, two]: Handles) {
    let (ann, bob) = (a_user(&one, "ann").await, a_user(&one, "bob").await);
    let invite = |email: &str, token: &str, until| NewInvitation {
        id: Uuid::new_v4(),
        digest: digest(token),
        organization: slug("ann"),
        email: email.into(),
        role: Role::Admin,
        invited_by: Some(ann),
        expires_at: until,
    };
    let for_bob = invite("Bob@example.com", "t1", at(100));
    let made = one.create_invitation(&for_bob, &actor(), at(1)).await.unwrap();
    assert_eq!((made.email.as_str(), made.created_at), ("bob@example.com", at(1)));
    assert_eq!(two.invitation(&digest("t1")).await.unwrap(), Some(made.clone()));
    assert_eq!(two.invitations(&slug("ann"), &Page::first(9)).await.unwrap(), std::slice::from_ref(&made));
    let again = invite("bob@example.com", "t2", at(100));
    conflict(two.create_invitation(&again, &actor(), at(2)).await, "invited already");
    let to_ann = invite("ann@example.com", "t3", at(100));
    conflict(two.create_invitation(&to_ann, &actor(), at(2)).await, "a member");
    // It is bob's, it ends, and it is there once.
    let accept = async |token: &str, joining: Joining, when| {
        two.accept_invitation(&digest(token), &joining, &actor(), at(when)).await
    };
    conflict(accept("t1", Joining::User(ann), 3).await, "another email");
    let stranger = Joining::New(Box::new(new_user("eve@example.com", "eve")));
    conflict(accept("t1", stranger, 3).await, "another email");
    not_found(two.user("eve@example.com").await, "eve@example.com");
    not_found(accept("t1", Joining::User(bob), 100).await, "ended");
    not_found(accept("t9", Joining::User(bob), 3).await, "no such invitation");
    let joined = accept("t1", Joining::User(bob), 99).await.unwrap();
    assert_eq!(joined.role_in(&slug("ann")), Some(Role::Admin));
    not_found(accept("t1", Joining::User(bob), 99).await, "no such invitation");
    // One that has ended makes room; a new user comes with the organization of its own.
    one.create_invitation(&invite("cy@example.com", "t4", at(10)), &actor(), at(5)).await.unwrap();
    let second =
        one.create_invitation(&invite("cy@example.com", "t5", at(60)), &actor(), at(10)).await.unwrap();
    let newcomer = Joining::New(Box::new(new_user("cy@example.com", "cy")));
    let cy = accept("t5", newcomer, 20).await.unwrap();
    assert_eq!(cy.memberships, [(slug("ann"), Role::Admin), (slug("cy"), Role::Owner)]);
    not_found(two.withdraw_invitation(&slug("ann"), second.id, &actor(), at(30)).await, "no invitation");
    let third =
        one.create_invitation(&invite("dee@example.com", "t6", at(60)), &actor(), at(30)).await.unwrap();
    not_found(two.withdraw_invitation(&slug("bob"), third.id, &actor(), at(30)).await, "`bob` has no");
    two.withdraw_invitation(&slug("ann"), third.id, &actor(), at(30)).await.unwrap();
    assert_eq!(one.invitation(&digest("t6")).await.unwrap(), None);
    let trail = format!("{:?}", told(&two, 100).await);
    assert!(
        ["create", "accept", "withdraw"].iter().all(|what| trail.contains(&format!("invitation.{what}")))
    );
}

pub(crate) async fn a_session_ends_by_hand_and_by_a_new_password([one, two]: Handles) {
    let ann = a_user(&one, "ann").await;
    let session = |until| Session {
        id: Uuid::new_v4(),
        user: ann,
        created_at: at(1),
        expires_at: at(until),
        revoked_at: None,
    };
    let (first, second, outside) = (session(60), session(60), session(60));
    for session in [&first, &second] {
        one.create_session(session, &actor(), at(1)).await.unwrap();
    }
    let revoked_at = async |session: &Session| {
        two.session(session.id).await.unwrap().map(|(session, _)| session.revoked_at)
    };
    one.revoke_session(&first, &actor(), at(2)).await.unwrap();
    one.revoke_session(&first, &actor(), at(3)).await.unwrap();
    assert_eq!((revoked_at(&first).await, revoked_at(&second).await), (Some(Some(at(2))), Some(None)));
    // One that was never written down is ended all the same.
    one.revoke_session(&outside, &actor(), at(4)).await.unwrap();
    assert_eq!(revoked_at(&outside).await, Some(Some(at(4))));
    let third = session(60);
    one.create_session(&third, &actor(), at(5)).await.unwrap();
    assert_eq!(two.password("ANN@example.com").await.unwrap(), Some((ann, Some("$argon2id$phc".into()))));
    one.set_password(ann, "$argon2id$new", Some(third.id), &actor(), at(6)).await.unwrap();
    assert_eq!(two.password("ann@example.com").await.unwrap(), Some((ann, Some("$argon2id$new".into()))));
    assert_eq!((revoked_at(&second).await, revoked_at(&third).await), (Some(Some(at(6))), Some(None)));
    assert_eq!(two.password("nobody@example.com").await.unwrap(), None);
    let trail = format!("{:?}", told(&two, 100).await);
    assert!(trail.contains("user.set_password") && !trail.contains("argon2id"), "{trail}");
}

pub(crate) async fn an_outside_subject_is_one_user([one, two]: Handles) {
    let (ann, bob) = (a_user(&one, "ann").await, a_user(&one, "bob").await);
    assert_eq!(two.user_of_subject("s1").await.unwrap(), None);
    assert_eq!(one.link_subject(ann, "s1", &actor(), at(1)).await.unwrap().id, ann);
    assert_eq!(two.user_of_subject("s1").await.unwrap().map(|user| user.id), Some(ann));
    conflict(two.link_subject(ann, "s2", &actor(), at(2)).await, "somebody else");
    conflict(two.link_subject(bob, "s1", &actor(), at(2)).await, "somebody else");
    not_found(two.link_subject(UserId(Uuid::nil()), "s3", &actor(), at(2)).await, "no user");
}

pub(crate) async fn a_named_request_is_done_once([one, two]: Handles) {
    let attempt = |caller, name, request| Attempt { caller, name: digest(name), request: digest(request) };
    let first = attempt("ann", "n1", "r1");
    assert_eq!(one.attempt(&first, at(30), 2, at(0)).await.unwrap(), Attempted::First);
    assert_eq!(two.attempt(&first, at(30), 2, at(1)).await.unwrap(), Attempted::UnderWay);
    assert_eq!(two.attempt(&attempt("ann", "n1", "r2"), at(30), 2, at(1)).await.unwrap(), Attempted::Another);
    one.answered(&first, Some((b"sealed", at(100)))).await.unwrap();
    assert_eq!(
        two.attempt(&first, at(130), 2, at(99)).await.unwrap(),
        Attempted::Answered(b"sealed".to_vec())
    );
    // Names are a caller's own, and bounded.
    assert_eq!(two.attempt(&attempt("bob", "n1", "r2"), at(30), 2, at(1)).await.unwrap(), Attempted::First);
    assert_eq!(two.attempt(&attempt("ann", "n2", "r1"), at(30), 2, at(1)).await.unwrap(), Attempted::First);
    assert_eq!(two.attempt(&attempt("ann", "n3", "r1"), at(30), 2, at(1)).await.unwrap(), Attempted::TooMany);
    // What was given up may be tried again, and so may what nobody has answered in its time.
    two.answered(&attempt("ann", "n2", "r1"), None).await.unwrap();
    assert_eq!(two.attempt(&attempt("ann", "n3", "r1"), at(30), 2, at(1)).await.unwrap(), Attempted::First);
    assert_eq!(one.attempt(&attempt("ann", "n3", "r9"), at(60), 2, at(30)).await.unwrap(), Attempted::First);
    assert_eq!(one.attempt(&first, at(130), 2, at(100)).await.unwrap(), Attempted::First);
}

pub(crate) async fn the_audit_trail_is_walked_by_organization([one, two]: Handles) {
    for org in ["acme", "other"] {
        one.create_organization(&new_org(org), &actor(), at(0)).await.unwrap();
        for n in 0..3 {
            one.create_key(&new_key(org, &format!("{org}{n}")), &actor(), at(n)).await.unwrap();
        }
    }
    let filter = AuditFilter { organization: Some(slug("acme")), subject: None };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = two.audit(&filter, &Page { after, most: 3 }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page);
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|entry| entry.organization == Some(slug("acme"))));
    assert!(seen.is_sorted_by(|newer, older| newer.id > older.id));
    let of_one = AuditFilter { subject: Some(seen[0].subject.clone()), ..filter };
    assert_eq!(two.audit(&of_one, &Page::first(9)).await.unwrap(), seen[..1]);
    let all = two.audit(&AuditFilter::default(), &Page::first(100)).await.unwrap();
    assert_eq!(all.len(), 8);
}
