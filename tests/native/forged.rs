//! A thousand tokens that nobody issued, or that are no longer valid: none is believed.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::bed::Bed;
use super::support::get;

/// What the gateway under test signs with: the attacker of these tests knows it, and still has no session.
const SECRET: &str = "integration-tests-integration-tests";

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encoded(header), encoded(claims));
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn hs256(header: &Value, claims: &Value) -> String {
    signed(hmac::HMAC_SHA256, SECRET.as_bytes(), header, claims)
}

/// What a token says of itself and of its bearer.
fn read(token: &str) -> [Value; 2] {
    let mut parts = token.split('.');
    std::array::from_fn(|_| {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap()
    })
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Tokens made of a good one by somebody who has not the secret, or has it and no session.
fn forged(good: &str, member: &str) -> Vec<String> {
    let mut all = of_other_algorithms(good);
    all.extend(under_other_secrets(good));
    all.extend(saying_other_things(good, member));
    all.extend(not_whole(good));
    with_characters_changed(good, &mut all);
    all
}

/// No algorithm, and others than ours.
fn of_other_algorithms(good: &str) -> Vec<String> {
    let [header, claims] = read(good);
    let payload = good.split('.').nth(1).unwrap();
    let signature = good.split('.').nth(2).unwrap();
    let mut all = Vec::new();
    for name in [
        "none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA",
        "PS256",
    ] {
        let head = encoded(&json!({ "alg": name, "typ": "JWT" }));
        for tail in ["", signature, "AA"] {
            all.push(format!("{head}.{payload}.{tail}"));
        }
        all.push(hs256(&json!({ "alg": name }), &claims));
    }
    let plain = json!({ "typ": "JWT", "alg": "HS384" });
    all.push(signed(hmac::HMAC_SHA384, SECRET.as_bytes(), &plain, &claims));
    all.push(signed(hmac::HMAC_SHA512, SECRET.as_bytes(), &json!({ "alg": "HS512" }), &claims));
    all.push(signed(hmac::HMAC_SHA384, SECRET.as_bytes(), &header, &claims));
    all
}

/// Secrets that somebody might guess, and keys that a token brings along or points to.
fn under_other_secrets(good: &str) -> Vec<String> {
    let [header, claims] = read(good);
    let mut all = Vec::new();
    for secret in
        ["", "secret", "tollgate", "integration-tests", "password", "null", "\0", "sk_live_", "changeme"]
    {
        all.push(signed(hmac::HMAC_SHA256, secret.as_bytes(), &header, &claims));
    }
    for kid in [
        "",
        "../../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "'; DROP TABLE sessions; --",
        "0",
        "tollgate",
        "\0",
        "..\\..\\nul",
    ] {
        for more in
            [json!({}), json!({ "jku": "http://127.0.0.1/jwks" }), json!({ "x5u": "file:///etc/passwd" })]
        {
            let mut head = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
            head.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all.push(signed(hmac::HMAC_SHA256, b"", &head, &claims));
            all.push(signed(hmac::HMAC_SHA256, kid.as_bytes(), &head, &claims));
        }
    }
    let jwk = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine") });
    all.push(signed(hmac::HMAC_SHA256, b"mine", &json!({ "alg": "HS256", "jwk": jwk }), &claims));
    all
}

/// Rightly signed, and saying what no session of ours says.
fn saying_other_things(good: &str, member: &str) -> Vec<String> {
    let [header, claims] = read(good);
    let [_, others] = read(member);
    let mut all = Vec::new();
    for name in ["sub", "jti", "exp", "iss", "iat"] {
        all.push(hs256(&header, &without(&claims, name)));
        for value in
            [json!(null), json!(""), json!("x"), json!(0), json!(-1), json!([]), json!({}), json!(true)]
        {
            if name != "iat" {
                all.push(hs256(&header, &with(&claims, name, value)));
            }
        }
    }
    for issuer in ["Tollgate", "tollgate ", "https://tollgate", "other"] {
        all.push(hs256(&header, &with(&claims, "iss", json!(issuer))));
    }
    for id in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"] {
        all.push(hs256(&header, &with(&claims, "jti", json!(id))));
        all.push(hs256(&header, &with(&claims, "sub", json!(id))));
    }
    all.push(hs256(&header, &with(&claims, "sub", others["sub"].clone())));
    all.push(hs256(&header, &with(&claims, "jti", others["jti"].clone())));
    all.push(hs256(&header, &with(&claims, "exp", json!(1))));
    all
}

/// Not whole, or not a token.
fn not_whole(good: &str) -> Vec<String> {
    let signature = good.split('.').nth(2).unwrap();
    let mut all = Vec::new();
    for cut in [1, 2, 10, good.len() / 2, good.len() - 1] {
        all.push(good[..cut].to_owned());
        all.push(good[cut..].to_owned());
    }
    for odd in ["", ".", "..", "...", "a.b", "a.b.c.d", "null", "[]", "undefined"] {
        all.push(odd.to_owned());
    }
    all.push(format!("{good}."));
    all.push(format!("{good}.{signature}"));
    all.push(good.replace('.', ".."));
    all.push("A".repeat(9_000));
    all
}

/// Every character another one, until there are a thousand.
fn with_characters_changed(good: &str, all: &mut Vec<String>) {
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=+/ %";
    let mut n = 0;
    while all.len() < 1_000 {
        // The last character is left alone: some of its bits mean nothing.
        for at in 0..good.len() - 1 {
            n += 1;
            let other = letters.as_bytes()[(n * 7 + at) % letters.len()];
            if good.as_bytes()[at] == other {
                continue;
            }
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = other;
            all.push(String::from_utf8(bytes).unwrap());
        }
    }
}

#[tokio::test]
async fn none_of_a_thousand_forged_tokens_is_believed() {
    let bed = Bed::new("[ip_guard]\nfailures = 0").await;
    let good = bed.token("owner").to_owned();
    let who = |token: String| {
        let control = bed.gateway.control;
        async move { get(control, "/v1/session", &[("authorization", &format!("Bearer {token}"))]).await.status }
    };
    assert_eq!(who(good.clone()).await, 200);
    let forged = forged(&good, bed.token("member"));
    assert!(forged.len() >= 1_000, "{}", forged.len());
    for token in &forged {
        assert_eq!(who(token.clone()).await, 401, "{token}");
    }
    // After a logout, after a new password, and signed again by who has the secret.
    let [header, claims] = read(&good);
    bed.does("owner", "DELETE", "/v1/session", Value::Null, 204).await;
    for token in
        [good, hs256(&header, &claims), hs256(&header, &with(&claims, "exp", json!(9_999_999_999_u64)))]
    {
        assert_eq!(who(token.clone()).await, 401, "{token}");
    }
    let (first, second) = (bed.session("member", "1h").await, bed.session("member", "1h").await);
    let change = json!({ "password": super::bed::password("member"), "new_password": "a new password" });
    bed.does(&second, "PUT", "/v1/session/password", change, 204).await;
    assert_eq!((who(first).await, who(second).await), (401, 200));
}
