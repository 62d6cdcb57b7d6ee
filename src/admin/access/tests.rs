//! The table, against a table of what comes of it.

use uuid::Uuid;

use super::*;
use crate::domain::id::{KeyId, ProjectId, UserId};
use crate::domain::key::Scopes;
use crate::domain::limit::Quotas;
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn org(id: &str) -> OrgId {
    OrgId::parse(id).unwrap()
}

fn person(operator: bool, role: Option<Role>) -> Caller {
    let user = User {
        id: UserId(Uuid::nil()),
        email: "ann@example.com".into(),
        operator,
        home: org("ann"),
        memberships: role
            .map(|role| (org("acme"), role))
            .into_iter()
            .chain([(org("ann"), Role::Owner)])
            .collect(),
        created_at: NOW,
    };
    let session =
        Session { id: Uuid::nil(), user: user.id, created_at: NOW, expires_at: NOW, revoked_at: None };
    Caller::Person { user, session }
}

fn key(of: &str, scopes: Scopes) -> Caller {
    Caller::Key(Box::new(Key {
        id: KeyId(Uuid::nil()),
        organization: org(of),
        project: ProjectId::parse("p").unwrap(),
        name: "k".into(),
        category: "production".into(),
        prefix: "sk_live_".into(),
        hint: "abcd".into(),
        scopes,
        active: true,
        expires_at: None,
        revoked_at: None,
        allowed_ips: Vec::new(),
        quotas: Quotas::default(),
        limit: None,
        created_by: None,
        created_at: NOW,
        last_used_at: None,
        requests: 0,
    }))
}

fn told(answer: Result<(), Denied>) -> &'static str {
    match answer {
        Ok(()) => "+",
        Err(Denied::Unseen) => "404",
        Err(Denied::Keys | Denied::Scope | Denied::Needs(_)) => "403",
    }
}

#[test]
fn the_table_says_what_its_cases_say() {
    let cases = include_str!("cases.txt");
    let lines: Vec<&str> = cases.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), RULES.len());
    let callers = [
        person(true, None),
        person(false, Some(Role::Owner)),
        person(false, Some(Role::Admin)),
        person(false, Some(Role::Member)),
        key("acme", Scopes::ALL),
        key("acme", Scopes { read: false, write: true }),
    ];
    for (line, rule) in lines.iter().zip(&RULES) {
        let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "|").collect();
        let (name, expected) = words.split_first().unwrap();
        assert_eq!(
            (*name, rule.deed.rule().name),
            (rule.name, rule.name),
            "the table is in the order of deeds"
        );
        let (outsider, own) = expected.split_last().unwrap();
        let about = (*outsider != "-").then(|| org("acme"));
        let answers: Vec<_> =
            callers.iter().map(|caller| told(may(caller, rule.deed, about.as_ref()))).collect();
        assert_eq!(answers, own, "{line}");
        if about.is_some() {
            assert_eq!(told(may(&person(false, None), rule.deed, about.as_ref())), *outsider, "{line}");
            // A key says what a key may, before it says where it belongs.
            let stranger = may(&key("other", Scopes::ALL), rule.deed, about.as_ref());
            assert_eq!(told(stranger), if rule.keys { "404" } else { "403" }, "{line}");
        }
    }
}

#[test]
fn a_caller_that_names_no_organization_means_its_own() {
    assert_eq!(person(false, None).home(), &org("ann"));
    assert_eq!(key("acme", Scopes::ALL).home(), &org("acme"));
}

#[test]
fn the_audit_trail_tells_people_from_keys() {
    let from = "192.0.2.1".parse().unwrap();
    let nobody = Uuid::nil();
    assert_eq!(person(false, None).actor(from).who, nobody.to_string());
    let actor = key("acme", Scopes::ALL).actor(from);
    assert_eq!((actor.who, actor.from), (format!("key:{nobody}"), "192.0.2.1".to_owned()));
}
