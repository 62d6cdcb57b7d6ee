//! What a person may do, over a real record.

use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier as _, phc::PasswordHash};
use tempfile::TempDir;

use super::*;
use crate::domain::people::Role;
use crate::domain::secret::{Digest, is_well_formed};
use crate::domain::time::Timestamp;
use crate::stores::record::sqlite::SqliteRecord;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn admin(dir: &TempDir) -> Admin {
    let record = SqliteRecord::open(&dir.path().join("tollgate.db")).await.unwrap();
    let settings = Settings {
        plans: vec!["free".into(), "pro".into()],
        prefix: "sk_live_".into(),
        session_secret: Some(Masked("0123456789abcdef0123456789abcdef".into())),
        session_ttl: Duration::from_secs(3_600),
        reveal_key: None,
        hashes_max: 1,
        hashes_waiting_max: 1,
        failing_max: 100,
    };
    Admin::new(Arc::new(record), settings)
}

fn actor() -> Actor {
    Actor { who: "cli".into(), from: String::new() }
}

fn says<T>(result: Result<T, AdminError>, text: &str) {
    match result {
        Err(error) => assert!(error.to_string().contains(text), "{error}"),
        Ok(_) => panic!("done, instead of: {text}"),
    }
}

#[tokio::test]
async fn a_plan_must_be_in_the_configuration() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    says(admin.create_organization("acme", "gold", &actor(), NOW).await, "use one of free, pro");
    let org = admin.create_organization("Acme Inc", "pro", &actor(), NOW).await.unwrap();
    assert_eq!((org.id.as_str(), org.name.as_str(), org.plan.as_str()), ("Acme-Inc", "Acme Inc", "pro"));
    let set = admin.set_plan("Acme Inc", "gold", Default::default(), &actor(), NOW).await;
    says(set, "use one of free, pro");
}

#[tokio::test]
async fn a_made_secret_leads_to_its_key_and_a_rotated_one_to_the_same() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    admin.create_organization("acme", "free", &actor(), NOW).await.unwrap();
    let order = KeyOrder { organization: "acme".into(), name: " ci ".into(), ..KeyOrder::default() };
    let (key, secret) = admin.create_key(&order, &actor(), NOW).await.unwrap();
    assert!(is_well_formed(secret.expose().as_bytes()));
    assert_eq!((key.name.as_str(), key.category.as_str()), ("ci", "production"));
    assert_eq!(key.hint, secret.hint());
    let (rotated, new) = admin.rotate_key(key.id, Duration::ZERO, &actor(), NOW).await.unwrap();
    assert_eq!(rotated.id, key.id);
    assert_ne!(new.expose(), secret.expose());
    let lead = |text: String| {
        let record = admin.record().clone();
        async move { record.grant(&Digest::of(text.as_bytes())).await.unwrap().map(|grant| grant.id) }
    };
    assert_eq!(lead(secret.expose().to_owned()).await, None);
    assert_eq!(lead(new.expose().to_owned()).await, Some(key.id));
    says(admin.rotate_key(key.id, Duration::from_secs(31 * 86_400), &actor(), NOW).await, "grace: ");
}

#[tokio::test]
async fn a_key_is_found_by_id_and_in_its_organization_by_name() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    for org in ["acme", "other"] {
        admin.create_organization(org, "free", &actor(), NOW).await.unwrap();
    }
    let order = KeyOrder { organization: "acme".into(), name: "ci".into(), ..KeyOrder::default() };
    let (key, _) = admin.create_key(&order, &actor(), NOW).await.unwrap();
    let id = key.id.to_string();
    for (text, org) in [(id.as_str(), None), (&id, Some("acme")), ("ci", Some("acme"))] {
        assert_eq!(admin.key(text, org).await.unwrap(), key, "{text} {org:?}");
    }
    says(admin.key("ci", None).await, "give the organization too");
    says(admin.key("ci", Some("other")).await, "`other` has no key named `ci`");
    says(admin.key(&id, Some("other")).await, "`other` has no key");
    says(admin.key(&id, Some("none")).await, "no organization `none`");
}

#[tokio::test]
async fn a_key_that_could_never_work_is_not_made() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    admin.create_organization("acme", "free", &actor(), NOW).await.unwrap();
    let order = || KeyOrder { organization: "acme".into(), name: "ci".into(), ..KeyOrder::default() };
    for (order, text) in [
        (KeyOrder { expires_at: Some(NOW), ..order() }, "expires_at: "),
        (KeyOrder { name: "".into(), ..order() }, "name: "),
        (KeyOrder { category: Some(" ".into()), ..order() }, "category: "),
        (KeyOrder { scopes: vec!["all".into()], ..order() }, "scopes: "),
        (KeyOrder { allowed_ips: vec!["x".into()], ..order() }, "allowed_ips: "),
        (KeyOrder { project: Some("x".into()), ..order() }, "`acme` has no project `x`"),
        (KeyOrder { organization: "x".into(), ..order() }, "no organization `x`"),
    ] {
        says(admin.create_key(&order, &actor(), NOW).await, text);
    }
    assert!(admin.record().keys(&Default::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_password_is_kept_as_argon2id_and_a_short_one_refused() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    let order = |email: &str, password: &str| UserOrder {
        email: email.into(),
        password: password.into(),
        operator: true,
        membership: None,
    };
    says(admin.create_user(&order("a@x.org", "sevench"), &actor(), NOW).await, "at least 8 characters");
    let long = "x".repeat(1_025);
    says(admin.create_user(&order("a@x.org", &long), &actor(), NOW).await, "at most 1024 bytes");
    let hash = admin.hash("password", "twelve chars").await.unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let parsed = PasswordHash::new(&hash).unwrap();
    assert!(Argon2::default().verify_password(b"twelve chars", &parsed).is_ok());
    assert!(Argon2::default().verify_password(b"twelve char5", &parsed).is_err());
    let user = admin.create_user(&order("Ann@x.org", "twelve chars"), &actor(), NOW).await.unwrap();
    assert_eq!(user.memberships.len(), 1);
    assert_eq!(user.memberships[0].1, Role::Owner);
    assert_eq!(admin.record().organization("ann").await.unwrap().plan, "free");
    says(admin.create_user(&order("ann@X.org", "twelve chars"), &actor(), NOW).await, "already");
    let elsewhere =
        UserOrder { membership: Some(("none".into(), Role::Member)), ..order("b@x.org", "twelve chars") };
    says(admin.create_user(&elsewhere, &actor(), NOW).await, "no organization `none`");
}

#[tokio::test]
async fn a_token_names_its_session_until_it_ends() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    let order = UserOrder {
        email: "ann@x.org".into(),
        password: "twelve chars".into(),
        operator: false,
        membership: None,
    };
    let user = admin.create_user(&order, &actor(), NOW).await.unwrap();
    let hour = Duration::from_secs(3_600);
    let login = admin.create_session("ANN@x.org", hour, &actor(), NOW).await.unwrap();
    assert_eq!(admin.record().session(login.session.id).await.unwrap(), Some((login.session, user.clone())));
    let tokens = Tokens::new(admin.settings.load().session_secret.as_ref().unwrap());
    let signed = Signed { session: login.session.id, user: user.id, expires_at: NOW.plus(hour) };
    assert_eq!(tokens.read(&login.token), Some(signed));
    assert_eq!(Tokens::new(&Masked("another secret".into())).read(&login.token), None);
    // `alg: none`, and a signature that is not there.
    let payload = login.token.split('.').nth(1).unwrap();
    assert_eq!(tokens.read(&format!("eyJhbGciOiJub25lIn0.{payload}.")), None);
    says(admin.create_session("b@x.org", hour, &actor(), NOW).await, "no user");
    says(admin.create_session("ann@x.org", Duration::ZERO, &actor(), NOW).await, "ttl: ");
    let settings = Settings::clone(&admin.settings.load());
    admin.reconfigure(Settings { session_secret: None, ..settings });
    says(admin.create_session("ann@x.org", hour, &actor(), NOW).await, "session.secret: ");
}

const HERE: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

async fn with_ann(dir: &TempDir) -> Admin {
    let admin = admin(dir).await;
    let order = UserOrder {
        email: "ann@x.org".into(),
        password: "twelve chars".into(),
        operator: false,
        membership: None,
    };
    admin.create_user(&order, &actor(), NOW).await.unwrap();
    admin
}

#[tokio::test]
async fn who_logs_in_when_as_many_wait_as_may_is_told_to_try_again_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let admin = admin(&dir).await;
    let try_one = || admin.login("nobody@x.org", "twelve chars", HERE, NOW);
    // One at work and one that waits, as it is set here; whoever comes last finds no place.
    let (one, two, three) = tokio::join!(try_one(), try_one(), try_one());
    let mut said = [one, two, three].map(|tried| tried.err().map(|error| error.to_string()));
    said.sort_unstable();
    let (busy, wrong) = (AdminError::Busy.to_string(), AdminError::WrongLogin.to_string());
    assert_eq!(said, [busy, wrong.clone(), wrong].map(Some));
    assert_eq!(admin.overflows(), [("logins_waiting", 1), ("logins_failing", 0)]);
    assert!(matches!(try_one().await, Err(AdminError::WrongLogin)), "and there is room again");
}

#[tokio::test]
async fn a_login_leads_to_its_user_until_it_is_ended() {
    let dir = TempDir::new().unwrap();
    let admin = with_ann(&dir).await;
    let (login, user) = admin.login(" Ann@X.org ", "twelve chars", HERE, NOW).await.unwrap();
    let who = async |token: &str, now| admin.identify(Credential::Either(token), HERE, now).await;
    let caller = who(&login.token, NOW).await.unwrap();
    assert_eq!((caller.person(), caller.home().as_str()), (Some(&user), "ann"));
    let hour = NOW.plus(Duration::from_secs(3_600));
    let last = NOW.plus(Duration::from_secs(3_599));
    assert!(who(&login.token, last).await.is_ok(), "up to its last second");
    assert!(matches!(who(&login.token, hour).await, Err(AdminError::SessionEnded)));
    admin.logout(&login.session, &actor(), NOW).await.unwrap();
    assert!(matches!(who(&login.token, NOW).await, Err(AdminError::SessionEnded)));
    assert!(matches!(who("a.b.c", NOW).await, Err(AdminError::InvalidToken)));
    for wrong in ["", "x", "a.b.c", "sk_live_x"] {
        assert!(who(wrong, NOW).await.is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_wrong_login_says_nothing_and_waits() {
    let dir = TempDir::new().unwrap();
    let admin = with_ann(&dir).await;
    for email in ["ann@x.org", "nobody@x.org", ""] {
        for _ in 0..5 {
            let wrong = admin.login(email, "another password", HERE, NOW).await.err().unwrap();
            assert!(matches!(wrong, AdminError::WrongLogin), "{wrong}");
        }
        let wait = admin.login(email, "twelve chars", HERE, NOW).await.err().unwrap();
        assert!(matches!(wait, AdminError::Wait(wait) if wait == Duration::from_secs(1)), "{wait}");
    }
    // Fifteen failures: five more, and the address waits too, whoever it says it is.
    for n in 0..5 {
        let wrong = admin.login(&format!("{n}@x.org"), &"x".repeat(5_000), HERE, NOW).await.err().unwrap();
        assert!(matches!(wrong, AdminError::WrongLogin), "{wrong}");
    }
    let wait = admin.login("new@x.org", "twelve chars", HERE, NOW).await.err().unwrap();
    assert!(matches!(wait, AdminError::Wait(_)), "{wait}");
    let elsewhere = "192.0.2.1".parse().unwrap();
    let later = NOW.plus(Duration::from_secs(1));
    assert!(admin.login("ann@x.org", "twelve chars", elsewhere, later).await.is_ok());
}

#[tokio::test]
async fn a_sealed_secret_is_shown_again_and_only_where_it_was_sealed() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    admin.create_organization("acme", "free", &actor(), NOW).await.unwrap();
    let order =
        |name: &str| KeyOrder { organization: "acme".into(), name: name.into(), ..KeyOrder::default() };
    let (bare, _) = admin.create_key(&order("bare"), &actor(), NOW).await.unwrap();
    says(admin.reveal_key(bare.id, &actor(), NOW).await, "keeps no sealed copies");
    let settings = Settings::clone(&admin.settings.load());
    let with = |byte| Settings { reveal_key: Some(SealKey([byte; 32])), ..settings.clone() };
    admin.reconfigure(with(1));
    says(admin.reveal_key(bare.id, &actor(), NOW).await, "no sealed copy of this key");
    let (key, secret) = admin.create_key(&order("sealed"), &actor(), NOW).await.unwrap();
    assert_eq!(admin.reveal_key(key.id, &actor(), NOW).await.unwrap(), secret);
    let (_, second) = admin.rotate_key(key.id, Duration::ZERO, &actor(), NOW).await.unwrap();
    assert_eq!(admin.reveal_key(key.id, &actor(), NOW).await.unwrap(), second);
    admin.reconfigure(with(2));
    says(admin.reveal_key(key.id, &actor(), NOW).await, "another keys.reveal_key");
}

#[tokio::test]
async fn a_key_is_a_caller_while_it_may_be_used() {
    let dir = TempDir::new().unwrap();
    let admin = admin(&dir).await;
    admin.create_organization("acme", "free", &actor(), NOW).await.unwrap();
    let order = KeyOrder {
        organization: "acme".into(),
        name: "ci".into(),
        allowed_ips: vec!["127.0.0.0/8".into()],
        expires_at: Some(NOW.plus(Duration::from_secs(60))),
        ..KeyOrder::default()
    };
    let (key, secret) = admin.create_key(&order, &actor(), NOW).await.unwrap();
    let who = async |from: &str, now| {
        let told = admin.identify(Credential::Key(secret.expose()), from.parse().unwrap(), now).await;
        told.map(|caller| caller.home().to_string()).map_err(|error| error.to_string())
    };
    assert_eq!(who("127.0.0.1", NOW).await.as_deref(), Ok("acme"));
    assert_eq!(who("192.0.2.1", NOW).await.unwrap_err(), "This API key may not be used from your address");
    assert_eq!(who("127.0.0.1", NOW.plus(Duration::from_secs(60))).await.unwrap_err(), "Expired API Key");
    admin.set_key_active(key.id, false, &actor(), NOW).await.unwrap();
    assert_eq!(who("127.0.0.1", NOW).await.unwrap_err(), "Inactive API Key");
    admin.revoke_key(key.id, &actor(), NOW).await.unwrap();
    assert_eq!(who("127.0.0.1", NOW).await.unwrap_err(), "Invalid API Key");
}
