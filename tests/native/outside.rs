//! People of an outside issuer: its tokens are believed, under the configured algorithm and with its keys alone.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::bed::{Bed, email};
use super::support::{Answer, Upstream};

/// Somebody who signs.
struct Signer {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    /// The uncompressed point: 4, x, y.
    fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        let [x, y] = [&self.public()[1..33], &self.public()[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }

    fn token(&self, kid: &str, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": kid });
        let text = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims(subject: &str, email: &str) -> Value {
    json!({
        "iss": "https://id.example", "aud": ["tollgate", "other"], "sub": subject, "exp": 4_000_000_000_u64,
        "email": email, "email_verified": true,
    })
}

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

#[tokio::test]
async fn its_people_are_known_and_nobody_elses() {
    let (issuer, next, stranger) = (Signer::new("one"), Signer::new("two"), Signer::new("one"));
    let set = json!({ "keys": [issuer.jwk(), { "kty": "oct", "kid": "two", "k": "c2VjcmV0" }] }).to_string();
    let keys = Upstream::start(move |_| Answer::new(200).body(set.clone()));
    let bed = Bed::new(&format!(
        "[session]
jwks_url = \"http://{}/jwks\"
issuer = \"https://id.example\"
audience = \"tollgate\"
algorithm = \"ES256\"
[ip_guard]
failures = 0",
        keys.address
    ))
    .await;
    let who = async |token: &str| bed.call(token, "GET", "/v1/session", Value::Null).await;
    let good = claims("s-owner", &email("owner"));
    let token = issuer.token("one", &good);
    let me = who(&token).await;
    assert_eq!((me.status, &me.json()["user"]["email"]), (200, &json!(email("owner"))), "{}", me.text());
    bed.does(&token, "POST", "/v1/keys?organization=acme", json!({ "name": "k" }), 201).await;
    // From now on the subject decides, not the email.
    assert_eq!(who(&issuer.token("one", &with(&good, "email", json!("new@example.com")))).await.status, 200);
    assert_eq!(who(&issuer.token("one", &claims("somebody-else", &email("owner")))).await.status, 401);
    // A login of one's own works beside it.
    assert_eq!(who("operator").await.status, 200);

    let text = token.rsplit_once('.').unwrap().0;
    let mac = |secret: &[u8]| {
        let text = format!("{}.{}", encoded(&json!({ "alg": "HS256", "kid": "one" })), encoded(&good));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let member = claims("s-member", &email("member"));
    for (why, token) in [
        ("another signer under its name", stranger.token("one", &good)),
        ("a key that is not in the set", next.token("two", &good)),
        ("the public key as a secret", mac(issuer.public())),
        ("the key set as a secret", mac(issuer.jwk().to_string().as_bytes())),
        ("a part of the key as a secret", mac(issuer.jwk()["x"].as_str().unwrap().as_bytes())),
        ("no algorithm", format!("{}.{}.", encoded(&json!({ "alg": "none" })), encoded(&good))),
        ("no signature", format!("{text}.")),
        ("another issuer", issuer.token("one", &with(&good, "iss", json!("https://evil.example")))),
        ("another audience", issuer.token("one", &with(&good, "aud", json!("other")))),
        ("no audience", issuer.token("one", &with(&good, "aud", Value::Null))),
        ("ended", issuer.token("one", &with(&good, "exp", json!(1_700_000_000)))),
        ("no end", issuer.token("one", &with(&good, "exp", Value::Null))),
        ("not begun", issuer.token("one", &with(&good, "nbf", json!(3_999_999_999_u64)))),
        ("no subject", issuer.token("one", &with(&good, "sub", Value::Null))),
        ("an email nobody vouches for", issuer.token("one", &with(&member, "email_verified", json!(false)))),
        (
            "an email nobody says is vouched for",
            issuer.token("one", &with(&member, "email_verified", Value::Null)),
        ),
        ("an unknown email", issuer.token("one", &claims("s-x", "x@example.com"))),
    ] {
        assert_eq!(who(&token).await.status, 401, "{why}");
    }
    assert_eq!(who(&issuer.token("one", &member)).await.status, 200);

    // The set was fetched a moment ago: a flood of unknown keys fetches nothing.
    let fetched = keys.count();
    for _ in 0..50 {
        assert_eq!(who(&next.token("two", &good)).await.status, 401);
    }
    assert_eq!(keys.count(), fetched, "fetched again");

    // Logged out, the token is no longer believed; written another way it is the same token.
    bed.does(&token, "DELETE", "/v1/session", Value::Null, 204).await;
    assert_eq!(who(&token).await.status, 401);
    let resigned = issuer.token("one", &good);
    assert_ne!(resigned, token, "signatures are random");
    assert_eq!(who(&resigned).await.status, 401);
}
