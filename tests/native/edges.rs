//! What holds at the edges: many at once, repetitions, changes that have been overtaken, lists, floods.

use serde_json::{Value, json};

use super::bed::{Bed, email, password, text};
use super::support::{SOON, Wire, get, send, wait_until};

#[tokio::test]
async fn of_64_creations_of_one_name_one_is_done() {
    let bed = Bed::new("").await;
    let tries =
        (0..64).map(|_| bed.call("admin", "POST", "/v1/keys?organization=acme", json!({ "name": "one" })));
    let answers = futures_util::future::join_all(tries).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(409)), (1, 63));
    let listed = bed.does("member", "GET", "/v1/keys?organization=acme", Value::Null, 200).await;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    // The same request under one name is one request, however many come at once.
    let body = json!({ "name": "two" });
    let named = [("idempotency-key", "order-7")];
    let path = "/v1/keys?organization=acme";
    let tries = (0..16).map(|_| bed.call_with("admin", "POST", path, &named, body.clone()));
    let answers = futures_util::future::join_all(tries).await;
    assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status)));
    let made: Vec<_> =
        answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.text()).collect();
    assert!(!made.is_empty() && made.iter().all(|one| *one == made[0]), "{made:?}");
}

#[tokio::test]
async fn a_revoked_key_is_refused_by_the_next_request() {
    let bed = Bed::new("[ip_guard]\nfailures = 0").await;
    for n in 0..20 {
        let (id, secret) = bed.key("acme", &format!("k{n}")).await;
        assert_eq!(bed.scrape(&secret).await, 200);
        bed.does("admin", "POST", &format!("/v1/keys/{id}/revoke"), Value::Null, 200).await;
        assert_eq!(bed.scrape(&secret).await, 401, "round {n}");
    }
    // A plan, too.
    let (_, secret) = bed.key("acme", "k").await;
    let patch = json!({ "negotiated": { "concurrency": 0 } });
    bed.does("operator", "PATCH", "/v1/organizations/acme", patch, 200).await;
    assert_eq!(bed.scrape(&secret).await, 429);
}

#[tokio::test]
async fn a_repeated_creation_is_answered_as_the_first() {
    let bed = Bed::new("").await;
    let path = "/v1/keys?organization=acme";
    let create = async |who: &str, name: &str, body: Value| {
        bed.call_with(who, "POST", path, &[("idempotency-key", name)], body).await
    };
    let first = create("admin", "a", json!({ "name": "k" })).await;
    let again = create("admin", "a", json!({ "name": "k" })).await;
    assert_eq!((first.status, again.status, again.header("idempotency-replayed")), (201, 201, Some("true")));
    assert_eq!((first.json(), first.header("etag")), (again.json(), again.header("etag")));
    assert!(again.json()["key"].is_string());
    // Another request under this name, another's request, and one that was refused the first time.
    let other = create("admin", "a", json!({ "name": "other" })).await;
    assert_eq!((other.status, &other.json()["code"]), (422, &json!("name_of_another_request")));
    assert_eq!(create("owner", "a", json!({ "name": "k" })).await.status, 409);
    assert_eq!(create("admin", "b", json!({ "name": "" })).await.status, 422);
    assert_eq!(create("admin", "b", json!({ "name": "fine" })).await.status, 201);
    assert_eq!(create("admin", &"x".repeat(256), json!({ "name": "y" })).await.status, 422);
    // What is kept is no secret to who reads the record.
    let secret = text(&first.json()["key"]);
    let file = bed.gateway.directory().join("data/tollgate.db-wal");
    assert!(memchr::memmem::find(&std::fs::read(file).unwrap(), secret.as_bytes()).is_none());
}

#[tokio::test]
async fn who_has_seen_an_older_state_changes_nothing() {
    let bed = Bed::new("").await;
    let (key, _) = bed.key("acme", "k").await;
    let project =
        bed.does("admin", "POST", "/v1/projects?organization=acme", json!({ "name": "p" }), 201).await;
    for (path, who) in [
        (format!("/v1/keys/{key}"), "admin"),
        (format!("/v1/projects/{}", text(&project["id"])), "admin"),
        ("/v1/organizations/acme".to_owned(), "owner"),
    ] {
        let tag = bed.call(who, "GET", &path, Value::Null).await.header("etag").unwrap().to_owned();
        let edit = async |tag: &str, name: &str| {
            bed.call_with(who, "PATCH", &path, &[("if-match", tag)], json!({ "name": name })).await
        };
        let first = edit(&tag, "first").await;
        assert_eq!(first.status, 200, "{}", first.text());
        let late = edit(&tag, "late").await;
        assert_eq!((late.status, &late.json()["code"]), (412, &json!("stale")));
        let weak = format!("W/{}", first.header("etag").unwrap());
        assert_eq!(edit(&weak, "weak").await.status, 412);
        let several = format!("\"x\", {}", first.header("etag").unwrap());
        assert_eq!(edit(&several, "second").await.status, 200);
        assert_eq!(edit("*", "third").await.status, 200);
    }
    // Of many at once that have seen the same, one is done.
    let path = format!("/v1/keys/{key}");
    let tag = bed.call("admin", "GET", &path, Value::Null).await.header("etag").unwrap().to_owned();
    let headers = [("if-match", tag.as_str())];
    let edits = (0..16)
        .map(|n| bed.call_with("admin", "PATCH", &path, &headers, json!({ "category": format!("c{n}") })));
    let answers = futures_util::future::join_all(edits).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 412).count(), 15);
}

#[tokio::test]
async fn lists_are_walked_to_their_end_while_they_grow() {
    let bed = Bed::new("").await;
    for n in 0..7 {
        bed.key("acme", &format!("k{n}")).await;
        bed.does("admin", "POST", "/v1/projects?organization=acme", json!({ "name": format!("p{n}") }), 201)
            .await;
    }
    for (path, who, count) in [
        ("/v1/keys?organization=acme", "member", 7),
        ("/v1/projects?organization=acme", "member", 8),
        ("/v1/organizations?x", "operator", 7),
        ("/v1/organizations/acme/members?x", "member", 3),
        ("/v1/users?x", "operator", 5),
        ("/v1/audit?organization=acme", "admin", 16),
    ] {
        let path = path.trim_end_matches('x');
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let part = bed.does(who, "GET", &format!("{path}&limit=2{after}"), Value::Null, 200).await;
            let items = part["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(ToString::to_string));
            let Some(next) = part["next"].as_str() else { break };
            after = format!("&after={next}");
            // What comes in behind one's back moves nothing.
            if path.contains("keys") && seen.len() == 2 {
                let (id, _) = bed.key("acme", "late").await;
                bed.does("admin", "DELETE", &format!("/v1/keys/{id}"), Value::Null, 204).await;
            }
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), all), (all, all), "{path}: something came twice");
        assert!(all >= count, "{path}: {all}");
    }
    let whole = bed.does("member", "GET", "/v1/keys?organization=acme&after=", Value::Null, 200).await;
    assert!(!whole["items"].as_array().unwrap().is_empty(), "from the beginning");
    for wrong in ["limit=0", "limit=201", "limit=x", "after=%21", "after=eA", "nonsense=1"] {
        let problem =
            bed.does("member", "GET", &format!("/v1/keys?organization=acme&{wrong}"), Value::Null, 422).await;
        assert_eq!(problem["field"], json!(wrong.split('=').next().unwrap()), "{problem}");
    }
}

/// JSON Schema, by which the served document speaks, has 5.0 for an integer.
#[tokio::test]
async fn a_whole_number_may_be_written_with_a_fraction() {
    let bed = Bed::new("").await;
    let path = "/v1/organizations/acme/limits";
    let limit = |requests: &str| -> Value {
        serde_json::from_str(&format!(r#"{{"requests":{requests},"period":"daily"}}"#)).unwrap()
    };
    let set = bed.does("operator", "PUT", path, limit("5.0"), 200).await;
    assert_eq!(set["limits"]["requests"], json!(5));
    let problem = bed.does("operator", "PUT", path, limit("5.5"), 422).await;
    assert_eq!(problem["field"], json!("requests"));
    assert!(problem["detail"].as_str().unwrap().contains("expected a whole number"), "{problem}");
}

#[tokio::test]
async fn keys_of_any_shape_work_once_they_are_imported() {
    let bed = Bed::new("").await;
    let (key, digest) = ("legacy-0001", "7c1ad7a1a5e8ff2ae0ea9f3db9bd4c8fda0e8d3d0d3a9c5b0f8a3c8a5c9b0c1d");
    let real: String = {
        use sha2::{Digest as _, Sha256};
        Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(bed.scrape(key).await, 401);
    let row = |name: &str, sha256: &str| json!({ "organization": "acme", "name": name, "sha256": sha256 });
    let rows = json!({ "keys": [row("a", &real), row("a", digest), row("b", "x"), row("c", &real), { "organization": "none", "name": "d", "sha256": digest }] });
    let problem = bed.does("operator", "POST", "/v1/keys/import", rows, 422).await;
    let wrong: Vec<_> =
        problem["rows"].as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(wrong, [1, 2, 3, 4], "everything that is wrong at once: {problem}");
    assert_eq!(bed.scrape(key).await, 401);
    let rows = json!({ "keys": [row("a", &real)] });
    bed.does("operator", "POST", "/v1/keys/import", rows, 201).await;
    assert_eq!(bed.scrape(key).await, 200);
    assert_eq!(bed.does(key, "GET", "/v1/session", Value::Null, 200).await["organization"], json!("acme"));
    bed.does("operator", "POST", "/v1/keys/import", json!({ "keys": [row("b", &real)] }), 422).await;
}

#[tokio::test]
async fn logins_slow_down_and_tell_nothing() {
    let bed = Bed::new("").await;
    let login = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password });
        bed.call("", "POST", "/v1/session", body).await
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        known.push(login(&email("member"), "wrong password").await);
        unknown.push(login("nobody@example.com", "wrong password").await);
    }
    for (known, unknown) in known.iter().zip(&unknown) {
        assert_eq!(
            (known.status, known.json()["code"].clone()),
            (unknown.status, unknown.json()["code"].clone())
        );
    }
    assert_eq!(
        known.iter().map(|answer| answer.status).collect::<Vec<_>>()[..6],
        [401, 401, 401, 401, 401, 429]
    );
    assert!(known[6].header("retry-after").is_some_and(|after| after.parse::<u64>().unwrap() >= 1));
    // Whoever waits gets in; others were not held up.
    assert_eq!(login(&email("owner"), &password("owner")).await.status, 201);
    wait_until("the account may try again", SOON, async || {
        login(&email("member"), &password("member")).await.status == 201
    })
    .await;
}

#[tokio::test]
async fn a_blocked_address_is_seen_and_let_go() {
    let bed = Bed::new("[ip_guard]\nfailures = 3").await;
    // Behind a proxy that is believed, an address is what the proxy says.
    let from = async |address: &str, key: &str| {
        send(bed.gateway.data, "GET", "/", &[("x-api-key", key), ("x-forwarded-for", address)], "")
            .await
            .status
    };
    let (_, key) = bed.key("acme", "k").await;
    for _ in 0..3 {
        assert_eq!(from("192.0.2.7", "wrong").await, 401);
    }
    assert_eq!((from("192.0.2.7", &key).await, from("192.0.2.8", &key).await), (403, 200));
    let blocked = bed.does("operator", "GET", "/v1/blocked", Value::Null, 200).await;
    assert_eq!(blocked["items"][0]["address"], json!("192.0.2.7"), "{blocked}");
    bed.does("operator", "DELETE", "/v1/blocked/192.0.2.7", Value::Null, 204).await;
    bed.does("operator", "DELETE", "/v1/blocked/192.0.2.7", Value::Null, 404).await;
    bed.does("operator", "DELETE", "/v1/blocked/nonsense", Value::Null, 404).await;
    assert_eq!(from("192.0.2.7", &key).await, 200);
    // Whoever guesses keys on this listener is not listened to either.
    for _ in 0..3 {
        bed.call("sk_live_0000000000000000000000000000000000", "GET", "/v1/session", Value::Null).await;
    }
    assert_eq!(bed.call("operator", "GET", "/v1/blocked", Value::Null).await.status, 403);
}

#[tokio::test]
async fn the_control_listener_bears_what_comes() {
    let bed = Bed::new("[control]\nbody_max = \"4KiB\"\ntimeout = \"1s\"\n").await;
    let large = json!({ "name": "x".repeat(5_000) });
    let answer = bed.call("admin", "POST", "/v1/keys?organization=acme", large).await;
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!("body_too_large")));
    for (body, kind, status, code) in [
        ("{", "application/json", 400, "malformed_json"),
        ("{\"name\":\"a\"} {}", "application/json", 400, "malformed_json"),
        ("{\"name\":\"a\",\"name\":\"b\"}", "application/json", 422, "invalid_field"),
        ("{\"nam\":\"a\"}", "application/json", 422, "invalid_field"),
        ("[]", "application/json", 422, "invalid_field"),
        ("name=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ] {
        let bearer = format!("Bearer {}", bed.token("admin"));
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        let answer = send(bed.gateway.control, "POST", "/v1/keys?organization=acme", &headers, body).await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{body}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    let path = "/v1/keys?organization=acme";
    let wrong = json!({ "name": "k", "quotas": { "daily": -1 } });
    assert_eq!(bed.does("admin", "POST", path, wrong, 422).await["field"], json!("quotas.daily"));
    // What browsers are told.
    for path in ["/v1/session", "/docs", "/openapi.json", "/healthz", "/nothing"] {
        let answer = get(bed.gateway.control, path, &[("origin", "https://evil.example")]).await;
        for name in
            ["x-content-type-options", "x-frame-options", "content-security-policy", "referrer-policy"]
        {
            assert!(answer.header(name).is_some(), "{path} has no {name}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    assert_eq!(get(bed.gateway.control, "/v1/nothing", &[]).await.json()["code"], json!("no_route"));
    assert_eq!(bed.call("admin", "PUT", "/v1/keys", json!({})).await.status, 405);
    // A head that does not come to its end, and a connection on which nothing comes.
    for start in ["GET /healthz HTTP/1.1\r\nHost: x\r\nX: ", ""] {
        let mut wire = Wire::connect(bed.gateway.control).await;
        wire.send(start).await;
        wire.rest(SOON).await;
    }
    let mut wire = Wire::connect(bed.gateway.control).await;
    wire.send(format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(64 << 10))).await;
    assert!(wire.head().await.is_none_or(|head| head.contains(" 431 ")), "a large head was taken");
}

/// Where no route speaks a published system, its clients' paths are the upstream's, and operators have it all the same.
#[tokio::test]
async fn the_published_systems_are_on_the_control_listener_also_where_no_route_speaks_them() {
    let bed = Bed::new("").await;
    let (_, key) = bed.key("acme", "k").await;
    let documented = get(bed.gateway.control, "/openapi.json", &[]).await.json();
    let headers = [("x-api-key", key.as_str())];
    for path in ["/api/v1/usage", "/v2/usage", "/health"] {
        assert!(documented["paths"][path].is_object(), "{path} is not documented");
        let answer = get(bed.gateway.control, path, &headers).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}");
        let passed = get(bed.gateway.data, path, &headers).await;
        assert_eq!((passed.status, passed.text().as_str()), (200, "page"), "{path}");
    }
    let listed =
        bed.call_with("owner", "GET", "/api/v1/api-keys", &[("x-organization-id", "acme")], Value::Null);
    assert_eq!(listed.await.json()[0]["name"], "k");
}
