//! The client's credential stays here, and the upstream gets the operator's.

use base64::Engine as _;

use crate::bed::Setup;
use crate::support::{Answer, Upstream, send};

const SOURCES: &str = r#"
    [keys]
    sources = ["header:x-api-key", "header:x-other", "bearer", "basic", "query:api_key"]
"#;

type Headers = &'static [(&'static str, &'static str)];

/// Target and headers as the client sends them, and what of them the upstream gets: target, Authorization.
/// K is the key, B is `K:` and C `user:K` in Basic's encoding.
const TAKEN_OUT: &[(&str, Headers, &str, Option<&str>)] = &[
    ("/p?a=%2f&b", &[("x-api-key", "K")], "/p?a=%2f&b", None),
    ("/p", &[("X-Other", " K ")], "/p", None),
    ("/p", &[("authorization", "Bearer K")], "/p", None),
    ("/p", &[("authorization", "bEaReR   K")], "/p", None),
    ("/p", &[("authorization", "Basic B")], "/p", None),
    ("/p", &[("authorization", "Basic C")], "/p", None),
    // What is left of the query is left byte for byte.
    ("/p?api_key=K", &[], "/p", None),
    ("/p?api_key=K&", &[], "/p", None),
    ("/p?a=1&api_key=K&b=%2F+%20&&c", &[], "/p?a=1&b=%2F+%20&&c", None),
    ("/p?a&api_key=K", &[], "/p?a", None),
    ("/p?api_key=K&a=api_key&xapi_key=1", &[], "/p?a=api_key&xapi_key=1", None),
    ("/p?api%5Fkey=K&a", &[], "/p?a", None),
    ("/p?a=1&api_key=K&api_key=K&b=2", &[], "/p?a=1&b=2", None),
    ("/p?url=https%3A%2F%2Fe.x%2F%3Fq%3D1&api_key=K", &[], "/p?url=https%3A%2F%2Fe.x%2F%3Fq%3D1", None),
    // Everywhere at once.
    ("/p?api_key=K&a", &[("x-api-key", "K"), ("x-other", "K"), ("authorization", "Bearer K")], "/p?a", None),
    ("/p", &[("x-api-key", "K"), ("x-api-key", "K")], "/p", None),
    // What is no key of ours is the upstream's business.
    ("/p?api_key=mine", &[("x-api-key", "K")], "/p?api_key=mine", None),
    ("/p", &[("x-api-key", "K"), ("authorization", "Bearer mine")], "/p", Some("Bearer mine")),
    ("/p", &[("x-api-key", "K"), ("authorization", "Digest mine")], "/p", Some("Digest mine")),
];

#[tokio::test]
async fn the_key_never_reaches_the_upstream() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let bed = Setup { sections: SOURCES, ..Setup::default() }.start(&[&upstream]).await;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let basic = encode(format!("{}:", bed.key));
    let with_user = encode(format!("user:{}", bed.key));
    for (target, headers, passed, authorization) in TAKEN_OUT {
        upstream.forget();
        let filled: Vec<(&str, String)> = headers
            .iter()
            .map(|(name, value)| {
                let value = match *value {
                    "Basic B" => format!("Basic {basic}"),
                    "Basic C" => format!("Basic {with_user}"),
                    other => other.replace('K', &bed.key),
                };
                (*name, value)
            })
            .collect();
        let filled: Vec<(&str, &str)> = filled.iter().map(|(name, value)| (*name, &**value)).collect();
        let sent = target.replace("=K", &format!("={}", bed.key));
        let answer = send(bed.gateway.data, "GET", &sent, &filled, "").await;
        assert_eq!(answer.status, 200, "{target} {headers:?}");
        let seen = &upstream.seen()[0];
        assert_eq!((seen.target(), seen.header("authorization")), (*passed, *authorization), "{headers:?}");
        for secret in [&bed.key, &basic, &with_user] {
            assert!(!seen.head.contains(secret), "{target} {headers:?}: {}", seen.head);
        }
        assert!(seen.header("x-api-key").is_none() && seen.header("x-other").is_none(), "{}", seen.head);
    }
}

/// On a public page a key may be sent all the same.
#[tokio::test]
async fn a_key_on_a_public_route_stays_here_too() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let setup = Setup { sections: SOURCES, route: "auth = \"none\"", ..Setup::default() };
    let bed = setup.start(&[&upstream]).await;
    let target = format!("/p?a=1&api_key={}&b", bed.key);
    let bearer = format!("Bearer {}", bed.key);
    let answer = bed.send("GET", &target, &[("authorization", &bearer)], "").await;
    assert_eq!(answer.status, 200);
    let seen = &upstream.seen()[0];
    assert_eq!(seen.target(), "/p?a=1&b");
    assert!(!seen.head.contains(&bed.key), "{}", seen.head);
    assert!(seen.header_names().iter().all(|name| !name.contains("tollgate")), "nobody: {}", seen.head);
    assert_eq!(answer.header("ratelimit"), None);
}

#[tokio::test]
async fn the_upstream_gets_the_operators_credential() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let credential = "credential = { header = \"authorization\", value = \"Bearer of the operator\" }";
    let bed = Setup { upstream: credential, ..Setup::default() }.start(&[&upstream]).await;
    bed.get("/").await;
    bed.send("GET", "/", &[("authorization", "Bearer mine")], "").await;
    let key = format!("Bearer {}", bed.key);
    send(bed.gateway.data, "GET", "/", &[("authorization", &key)], "").await;
    for seen in upstream.seen() {
        assert_eq!(seen.headers("authorization"), ["Bearer of the operator"], "{}", seen.head);
    }
    // It would come back in the answer.
    let traced = send(bed.gateway.data, "TRACE", "/", &[("x-api-key", &bed.key)], "").await;
    assert_eq!((traced.status, traced.json()["code"].as_str()), (400, Some("bad_request")));
    assert!(upstream.seen().iter().all(|seen| seen.method() != "TRACE"));

    let credential = "credential = { query = \"api_token\", value = \"a&b/ü-_.~\" }";
    let sections = "[keys]\nsources = [\"header:x-api-key\", \"query:api_key\"]";
    let bed = Setup { upstream: credential, sections, ..Setup::default() }.start(&[&upstream]).await;
    for (sent, passed) in [
        ("/p", "/p?OWN"),
        ("/p?a=1&&b=%20", "/p?a=1&&b=%20&OWN"),
        ("/p?api_key=K", "/p?OWN"),
        ("/p?a&api_key=K&b", "/p?a&b&OWN"),
        // A client cannot name another one beside it, however it is spelled.
        ("/p?api_token=mine&a", "/p?a&OWN"),
        ("/p?%61pi_token=mine&a&api_token&api_tokens=2", "/p?a&api_tokens=2&OWN"),
    ] {
        upstream.forget();
        assert_eq!(bed.get(&sent.replace('K', &bed.key)).await.status, 200);
        assert_eq!(
            upstream.seen()[0].target(),
            passed.replace("OWN", "api_token=a%26b%2F%C3%BC-_.~"),
            "{sent}"
        );
    }
}
