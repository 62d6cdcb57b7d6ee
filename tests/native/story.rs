//! A whole story, told call by call.

use serde_json::{Value, json};

use super::bed::{Bed, email, password, text};
use super::support::{SOON, wait_until};

#[tokio::test]
async fn from_a_login_to_the_audit_trail() {
    let bed = Bed::new("[keys]\nreveal_key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"").await;
    let login = json!({ "email": email("operator"), "password": password("operator") });
    let login = bed.does("", "POST", "/v1/session", login, 201).await;
    let operator = text(&login["token"]);
    assert_eq!(login["user"]["operator"], json!(true));

    // An organization and its owner.
    let new = json!({ "name": "Umbrella Inc", "plan": "wide" });
    bed.does(&operator, "POST", "/v1/organizations", new, 201).await;
    let patch = json!({ "negotiated": { "per_minute": 900 } });
    let org = bed.does(&operator, "PATCH", "/v1/organizations/Umbrella-Inc", patch, 200).await;
    assert_eq!((&org["id"], &org["caps"]["per_minute"]), (&json!("Umbrella-Inc"), &json!(900)));
    let invitation = json!({ "email": "jill@example.com", "role": "owner", "ttl": "1h" });
    let path = "/v1/organizations/Umbrella-Inc/invitations";
    let invited = bed.does(&operator, "POST", path, invitation, 201).await;
    let accept = json!({ "token": invited["token"], "password": "jill's password" });
    bed.does("", "POST", "/v1/invitations/accept", accept.clone(), 200).await;
    bed.does("", "POST", "/v1/invitations/accept", accept, 404).await;
    let login = json!({ "email": "Jill@example.com", "password": "jill's password" });
    let jill = text(&bed.does("", "POST", "/v1/session", login, 201).await["token"]);
    let me = bed.does(&jill, "GET", "/v1/session", Value::Null, 200).await;
    assert_eq!(me["organization"], json!("Umbrella-Inc"), "the one that invited her");

    // A project and a key of it.
    let project = json!({ "name": "crawl" });
    let at = |path: &str| format!("{path}?organization=Umbrella-Inc");
    let project = bed.does(&jill, "POST", "/v1/projects", project, 201).await;
    let new = json!({
        "name": "ci", "project": "crawl", "category": "staging", "scopes": ["read"],
        "allowed_ips": ["127.0.0.1", "10.0.0.0/8"], "quotas": { "daily": 5 },
        "limits": { "requests": 100, "period": "monthly" }, "expires_at": "2100-01-01",
    });
    let key = bed.does(&jill, "POST", &at("/v1/keys"), new, 201).await;
    let (id, secret) = (text(&key["id"]), text(&key["key"]));
    assert_eq!((&key["project"], &key["organization"]), (&project["id"], &json!("Umbrella-Inc")));
    assert_eq!(key["quotas"], json!({ "total": null, "daily": 5, "weekly": null, "monthly": null }));
    assert_eq!(key["created_by"], me["user"]["id"]);
    assert!(secret.ends_with(&text(&key["hint"])), "{key}");

    // Used, and seen to be used.
    for _ in 0..3 {
        assert_eq!(bed.scrape(&secret).await, 200);
    }
    assert_eq!(bed.upstream.seen()[0].header("x-tollgate-organization"), Some("Umbrella-Inc"));
    let of_key = format!("/v1/keys/{id}");
    wait_until("its use is in the record", SOON, async || {
        bed.does(&jill, "GET", &of_key, Value::Null, 200).await["requests"] == json!(3)
    })
    .await;
    let limits = bed.does(&jill, "GET", &format!("{of_key}/limits"), Value::Null, 200).await;
    assert_eq!(limits["used"]["requests"], json!(3));

    let usage = bed.does(&jill, "GET", &at("/v1/usage"), Value::Null, 200).await;
    assert_eq!(
        (&usage["totals"]["admitted"], &usage["totals"]["success"]),
        (&json!(3), &json!(3)),
        "{usage}"
    );
    let logs = bed.does(&jill, "GET", &format!("/v1/logs?key={id}&limit=2"), Value::Null, 200).await;
    assert_eq!((logs["items"].as_array().unwrap().len(), &logs["items"][0]["path"]), (2, &json!("/page")));
    let rest = format!("/v1/logs?key={id}&limit=2&after={}", text(&logs["next"]));
    let rest = bed.does(&jill, "GET", &rest, Value::Null, 200).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    // The key itself may read what was used, and nothing else.
    bed.does(&secret, "GET", &at("/v1/usage"), Value::Null, 200).await;
    bed.does(&secret, "GET", &of_key, Value::Null, 403).await;

    // Changed: what is not named stays.
    let patch = json!({ "name": "build", "expires_at": null, "quotas": { "total": 4 }, "limits": null });
    let edited = bed.does(&jill, "PATCH", &of_key, patch, 200).await;
    assert_eq!((&edited["name"], &edited["category"]), (&json!("build"), &json!("staging")));
    assert_eq!((&edited["expires_at"], &edited["limits"]), (&Value::Null, &Value::Null));
    assert!(edited.get("key").is_none());
    assert_eq!((bed.scrape(&secret).await, bed.scrape(&secret).await), (200, 401));
    bed.does(&jill, "PATCH", &of_key, json!({ "quotas": {} }), 200).await;
    assert_eq!(bed.scrape(&secret).await, 200);

    and_ends_in_the_trail(&bed, &jill, &id, &secret).await;
    no_secret_was_written(&bed, &[&secret, &jill, &operator, "jill's password"]);
}

/// From the first disabling of the key to the logout.
async fn and_ends_in_the_trail(bed: &Bed, jill: &str, id: &str, secret: &str) {
    let of_key = format!("/v1/keys/{id}");
    // Disabled, enabled, rotated with grace, revealed, revoked: each at once.
    bed.does(jill, "POST", &format!("{of_key}/disable"), Value::Null, 200).await;
    assert_eq!(bed.scrape(secret).await, 401);
    bed.does(jill, "POST", &format!("{of_key}/enable"), Value::Null, 200).await;
    assert_eq!(bed.scrape(secret).await, 200);
    let rotated = bed.does(jill, "POST", &format!("{of_key}/rotate"), json!({ "grace": "1h" }), 200).await;
    let second = text(&rotated["key"]);
    assert_eq!((bed.scrape(secret).await, bed.scrape(&second).await), (200, 200));
    let revealed = bed.does(jill, "POST", &format!("{of_key}/reveal"), Value::Null, 200).await;
    assert_eq!(revealed["key"], json!(second));
    bed.does(jill, "DELETE", &of_key, Value::Null, 409).await;
    bed.does(jill, "POST", &format!("{of_key}/revoke"), Value::Null, 200).await;
    assert_eq!((bed.scrape(secret).await, bed.scrape(&second).await), (401, 401));
    bed.does(jill, "PATCH", &of_key, json!({ "name": "again" }), 409).await;

    // Who did what, without a secret.
    let me = bed.does(jill, "GET", "/v1/session", Value::Null, 200).await;
    let trail = bed.does(jill, "GET", "/v1/audit?organization=Umbrella-Inc", Value::Null, 200).await;
    let whats: Vec<_> = trail["items"].as_array().unwrap().iter().map(|entry| text(&entry["what"])).collect();
    for what in
        ["key.revoke", "key.reveal", "key.rotate", "key.enable", "key.disable", "key.edit", "key.create"]
    {
        assert!(whats.contains(&what.to_owned()), "{what} is not in {whats:?}");
    }
    assert_eq!((whats[0].as_str(), whats.last().unwrap().as_str()), ("key.revoke", "organization.create"));
    let newest = &trail["items"][0];
    assert_eq!((&newest["who"], &newest["from"]), (&me["user"]["id"], &json!("127.0.0.1")));
    assert_eq!(
        (&newest["before"]["revoked_at"], newest["after"]["revoked_at"].is_string()),
        (&Value::Null, true)
    );
    let all = trail.to_string();
    assert!(!all.contains(secret) && !all.contains(&second) && !all.contains("argon2"), "{all}");

    // Logged out, the token is worth nothing.
    bed.does(jill, "DELETE", "/v1/session", Value::Null, 204).await;
    bed.does(jill, "GET", "/v1/session", Value::Null, 401).await;
    no_secret_was_written(bed, &[&second]);
}

/// No secret is in anything that the gateway wrote: the record, the spool, its log.
fn no_secret_was_written(bed: &Bed, secrets: &[&str]) {
    let mut files = vec![bed.gateway.directory().join("stderr.log")];
    let mut directories = vec![bed.gateway.directory().join("data")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        for secret in secrets {
            let found = memchr::memmem::find(&bytes, secret.as_bytes());
            assert!(found.is_none(), "{} holds {secret}", file.display());
        }
    }
}
