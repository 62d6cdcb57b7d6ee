//! What is refused, and how it is said.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Client, SOON, documented, wait_until};
use crate::{PASSWORD, crawler, gateway, invalid, key, login, no, user};

const KEYS: &str = "/private/projects/67d1aa/api-keys";

/// Every management route with a key, with nothing, and with what is neither.
#[tokio::test]
async fn only_a_session_manages_keys() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "ip_guard.failures = 0").await;
    let ann = login(&gateway, "ann@example.com").await;
    let (id, used) = key(&ann, "67d1aa", "ci").await;
    let one = format!("{KEYS}/{id}");
    let calls = [
        (format!("GET {KEYS}"), None),
        (format!("POST {KEYS}"), Some(json!({"name": "more"}))),
        (format!("PATCH {one}"), Some(json!({"name": "other"}))),
        (format!("DELETE {one}"), None),
    ];
    // These are all that the document at `/openapi.json` has.
    let asked: BTreeSet<_> = calls.iter().map(|(call, _)| call.clone()).collect();
    let documented = documented(gateway.control, "/private/").await;
    let these = |call: &String| call.replace("{project_id}", "67d1aa").replace("{id}", &id);
    assert_eq!(asked, documented.iter().map(these).collect());
    let forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.";
    for (call, body) in calls {
        let says = async |client: &Client| {
            let answer = client.raw(&call, body.clone()).await;
            (answer.status, answer.json())
        };
        let forbidden = (403, no("FORBIDDEN", "An API key cannot do this: log in"));
        assert_eq!(says(&used).await, forbidden, "{call}");
        let unknown = (401, no("UNAUTHORIZED", "Missing or invalid session token"));
        assert_eq!(says(&Client::nobody(gateway.data)).await, unknown, "{call}");
        assert_eq!(says(&Client::bearer(gateway.data, forged)).await, unknown, "{call}");
        let neither = says(&Client::bearer(gateway.data, "neither")).await;
        assert_eq!(neither, (401, no("UNAUTHORIZED", "Invalid API Key")), "{call}");
    }
    let (_, still) = ann.asks(&format!("GET {KEYS}")).await;
    assert_eq!(still["data"].as_array().unwrap().len(), 1);
    assert_eq!(still["data"][0]["name"], "ci");
}

#[tokio::test]
async fn roles_and_other_organizations() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    user(&gateway, "max@example.com", &["--org", "acme", "--role", "member"]).await;
    user(&gateway, "eve@example.com", &[]).await;
    let ann = login(&gateway, "ann@example.com").await;
    let (id, _) = key(&ann, "67d1aa", "ci").await;
    gateway.cli(&["project", "create", "other", "--org", "acme", "--id", "67d1bb"]).await;

    let max = login(&gateway, "max@example.com").await;
    assert_eq!(max.asks(&format!("GET {KEYS}")).await.0, 200, "a member reads");
    let needs = (403, no("FORBIDDEN", "This takes an admin of the organization"));
    for call in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}"), format!("DELETE {KEYS}/{id}")] {
        assert_eq!(max.tells(&call, json!({"name": "more"})).await, needs, "{call}");
    }
    for (email, more) in [
        ("olga@example.com", &["--org", "acme", "--role", "owner"][..]),
        ("root@example.com", &["--operator"]),
    ] {
        user(&gateway, email, more).await;
        let session = login(&gateway, email).await;
        let (made, _) = key(&session, "67d1aa", email).await;
        let (one, renamed) = (format!("{KEYS}/{made}"), json!({"name": format!("{email} again")}));
        assert_eq!(session.asks(&format!("GET {KEYS}")).await.0, 200, "{email}");
        assert_eq!(session.tells(&format!("PATCH {one}"), renamed).await.0, 200, "{email}");
        assert_eq!(session.asks(&format!("DELETE {one}")).await.0, 200, "{email}");
    }

    let eve = login(&gateway, "eve@example.com").await;
    let missing = (404, no("NOT_FOUND", "Project not found"));
    let one = format!("{KEYS}/{id}");
    for (method, path) in [("GET", KEYS), ("POST", KEYS), ("PATCH", &one), ("DELETE", &one)] {
        let call = format!("{method} {path}");
        assert_eq!(eve.tells(&call, json!({"name": "x"})).await, missing, "{call}");
    }
    // A key of another project is not there.
    let elsewhere = format!("/private/projects/67d1bb/api-keys/{id}");
    let missing = (404, no("NOT_FOUND", "Key not found"));
    assert_eq!(ann.tells(&format!("PATCH {elsewhere}"), json!({"name": "x"})).await, missing);
    assert_eq!(ann.asks(&format!("DELETE {elsewhere}")).await, missing);
    assert_eq!(ann.asks(&format!("DELETE {KEYS}/67e0")).await, missing);
    let nowhere = ann.asks("GET /private/projects/none/api-keys").await;
    assert_eq!(nowhere, (404, no("NOT_FOUND", "Project not found")));
}

#[tokio::test]
async fn fields_names_and_methods() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    let ann = login(&gateway, "ann@example.com").await;
    let (id, _) = key(&ann, "67d1aa", "ci").await;
    let chars = "give 1 to 100 characters, without line breaks and control characters";
    for (body, field, message) in [
        (json!({}), "name", "must be a string"),
        (json!({"name": 7}), "name", "must be a string"),
        (json!({"name": ""}), "name", "should not be empty"),
        (json!({"name": "  "}), "name", chars),
        (json!({"name": "a\nb"}), "name", chars),
        (json!({"name": "x".repeat(101)}), "name", chars),
    ] {
        for call in [format!("POST {KEYS}"), format!("PATCH {KEYS}/{id}")] {
            assert_eq!(ann.tells(&call, body.clone()).await, (400, invalid(field, message)), "{call} {body}");
        }
    }
    let no_object = no("VALIDATION_ERROR", "The body must be a JSON object");
    assert_eq!(ann.tells(&format!("POST {KEYS}"), json!([1])).await, (400, no_object));
    let login =
        |body: Value| async move { Client::nobody(gateway.data).tells("POST /auth/login", body).await };
    assert_eq!(
        login(json!({"email": "ann@example.com"})).await,
        (400, invalid("password", "must be a string"))
    );

    let (_, _) = key(&ann, "67d1aa", "other").await;
    let taken = (409, no("CONFLICT", "An API key with this name already exists"));
    assert_eq!(ann.tells(&format!("POST {KEYS}"), json!({"name": "ci"})).await, taken);
    assert_eq!(ann.tells(&format!("PATCH {KEYS}/{id}"), json!({"name": "other"})).await, taken);

    for (call, allow) in [
        (format!("PUT {KEYS}"), "GET,HEAD,POST"),
        (format!("GET {KEYS}/{id}"), "PATCH,DELETE"),
        ("GET /auth/login".to_owned(), "POST"),
        ("POST /health".to_owned(), "GET,HEAD"),
    ] {
        let answer = ann.raw(&call, None).await;
        assert_eq!(answer.status, 405, "{call}");
        assert_eq!(answer.json(), no("VALIDATION_ERROR", "Method not allowed"));
        let mut found: Vec<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
        let mut expected: Vec<_> = allow.split(',').collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{call}");
    }
    assert_eq!(upstream.count(), 0, "nothing of this is the upstream's");
    assert_eq!(
        ann.asks("GET /private/projects").await.0,
        401,
        "what is not owned is for the upstream, and its keys"
    );
}

#[tokio::test]
async fn who_guesses_a_password_waits() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    let nobody = Client::nobody(gateway.data);
    let wrong = json!({"email": "ann@example.com", "password": "wrong"});
    let mut answer = nobody.raw("POST /auth/login", Some(wrong.clone())).await;
    for _ in 0..10 {
        if answer.status == 429 {
            break;
        }
        assert_eq!(answer.json(), no("INVALID_CREDENTIALS", "Invalid credentials"));
        answer = nobody.raw("POST /auth/login", Some(wrong.clone())).await;
    }
    assert_eq!((answer.status, answer.json()), (429, no("RATE_LIMIT_EXCEEDED", "Too many failed logins")));
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // The right one, too, and only for so long.
    let right = json!({"email": "ann@example.com", "password": PASSWORD});
    wait_until("the wait is over", SOON * 2, async || {
        nobody.tells("POST /auth/login", right.clone()).await.0 == 200
    })
    .await;
}

/// A logged-out session, and one whose user is somebody else's by name.
#[tokio::test]
async fn a_token_that_was_changed_is_nobodys() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "ip_guard.failures = 0").await;
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    let token = Client::nobody(gateway.data).raw("POST /auth/login", Some(body)).await.json();
    let token = token["data"]["accessToken"].as_str().unwrap().to_owned();
    let parts: Vec<_> = token.split('.').collect();
    let other_signature = format!("{}.{}.{}", parts[0], parts[1], parts[2].chars().rev().collect::<String>());
    for forged in [other_signature, format!("{}.{}.", parts[0], parts[1]), format!("{token}A")] {
        let said = Client::bearer(gateway.data, &forged).asks(&format!("GET {KEYS}")).await;
        assert_eq!(said, (401, no("UNAUTHORIZED", "Missing or invalid session token")));
    }
    assert_eq!(Client::bearer(gateway.data, &token).asks(&format!("GET {KEYS}")).await.0, 200);
}
