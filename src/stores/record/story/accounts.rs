//! Chapters on organizations, people and projects.

use uuid::Uuid;

use super::*;

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
    assert_eq!(told(&two, 10).await.len(), 1);
}

pub(crate) async fn plan_and_limit_of_an_organization_change_and_are_told([one, two]: Handles) {
    one.create_organization(&new_org("acme"), &actor(), at(0)).await.unwrap();
    let before = one.last_change().await.unwrap();
    let caps = Caps { per_second: Some(9), per_minute: None, concurrency: Some(0) };
    let limit = SpendLimit { requests: None, microcents: Some(100), period: Period::Weekly, enabled: false };
    let none = OrganizationEdit::default;
    let to_pro = OrganizationEdit { plan: Some("pro".into()), negotiated: Some(caps), ..none() };
    let limited = OrganizationEdit { limit: Some(Some(limit)), ..none() };
    one.edit_organization(&slug("acme"), &to_pro, &actor(), at(1)).await.unwrap();
    one.edit_organization(&slug("acme"), &limited, &actor(), at(2)).await.unwrap();
    let now = two.organization("acme").await.unwrap();
    assert_eq!((now.plan.as_str(), now.negotiated, now.limit), ("pro", caps, Some(limit)));
    assert_eq!(subjects(&two, before).await, vec![Changed::Organization(slug("acme")); 2]);
    // The same again is no change.
    one.edit_organization(&slug("acme"), &to_pro, &actor(), at(3)).await.unwrap();
    assert_eq!(subjects(&two, before).await.len(), 2);
    let unlimited = OrganizationEdit { limit: Some(None), ..none() };
    one.edit_organization(&slug("acme"), &unlimited, &actor(), at(4)).await.unwrap();
    assert_eq!(two.organization("acme").await.unwrap().limit, None);
    not_found(one.edit_organization(&slug("umbrella"), &to_pro, &actor(), at(5)).await, "`umbrella`");
    // A name is an organization's own; its id stays. Who has seen something else changes nothing.
    one.create_organization(&new_org("other"), &actor(), at(5)).await.unwrap();
    let taken = OrganizationEdit { name: Some("other GmbH".into()), ..none() };
    conflict(one.edit_organization(&slug("acme"), &taken, &actor(), at(6)).await, "`other GmbH` already");
    let renamed =
        OrganizationEdit { name: Some("Acme Inc".into()), seen: Some(seen_organization(&now)), ..none() };
    stale(one.edit_organization(&slug("acme"), &renamed, &actor(), at(6)).await);
    let seen = Some(seen_organization(&two.organization("acme").await.unwrap()));
    let renamed = OrganizationEdit { seen, ..renamed };
    one.edit_organization(&slug("acme"), &renamed, &actor(), at(7)).await.unwrap();
    assert_eq!(two.organization("Acme Inc").await.unwrap().id, slug("acme"));
    let whats: Vec<_> = told(&two, 5).await.into_iter().map(|entry| entry.what).collect();
    let rest = ["organization.rename", "organization.create", "organization.set_limit"];
    assert_eq!(whats[..3], rest);
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
    assert_eq!(user.home, slug("ann"), "the one it was made for");
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
    assert_eq!(two.session(session.id).await.unwrap(), Some((session, user)));
    assert_eq!(two.session(Uuid::new_v4()).await.unwrap(), None);
    // Who was made for nobody is at home in its own organization, whatever it joins; who has left, too.
    let bob = one.create_user(&new_user("bob@x.org", "bob"), &actor(), at(3)).await.unwrap();
    one.add_member(&slug("ann"), bob.id, Role::Owner, &actor(), at(4)).await.unwrap();
    assert_eq!(two.user("bob@x.org").await.unwrap().home, slug("bob"));
    let ann = two.user("ann@example.com").await.unwrap();
    one.remove_member(&slug("ann"), ann.id, &actor(), at(5)).await.unwrap();
    assert_eq!(two.user("ann@example.com").await.unwrap().home, slug("ann-x7"));
    let trail = format!("{:?}", told(&two, 100).await);
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
    let seen = seen_project(&project);
    let renamed = one.rename_project(&project.id, "crawler", Some(&seen), &actor(), at(2)).await.unwrap();
    assert_eq!(renamed.name, "crawler");
    assert_eq!(two.project(&project.id).await.unwrap().name, "crawler");
    stale(two.rename_project(&project.id, "x", Some(&seen), &actor(), at(3)).await);
    conflict(two.rename_project(&project.id, "default", None, &actor(), at(3)).await, "`default` already");
    not_found(two.project(&id).await, "`p2`");
    let ids = async |after: Option<&str>, most| {
        let page = Page { after: after.map(|id| ProjectId::parse(id).unwrap()), most };
        let page = two.projects_page(&slug("acme"), &page).await.unwrap();
        page.into_iter().map(|project| project.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 9).await, ["acme-default", "p1"]);
    assert_eq!(
        (ids(None, 1).await, ids(Some("acme-default"), 1).await),
        (vec!["acme-default".into()], vec!["p1".into()])
    );
    let foreign = NewKey { project: Some(project.id), ..new_key("other", "foreign") };
    not_found(one.create_key(&foreign, &actor(), at(2)).await, "`other` has no project `p1`");
}
