//! Nothing that was sent or told in confidence is found anywhere afterwards.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{Client, SOON, get, wait_until};
use crate::{PASSWORD, create, scrape, scraper, text, user};

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Where the canaries are in what was written to `directory`, and in `texts`.
fn found(directory: &Path, texts: &[(&str, Vec<u8>)], canaries: &[&str]) -> Vec<String> {
    let written = files(directory).into_iter().filter_map(|file| {
        // One may be deleted while it is looked for.
        let bytes = std::fs::read(&file).ok()?;
        Some((file.display().to_string(), bytes))
    });
    let texts = texts.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    written
        .chain(texts)
        .flat_map(|(place, bytes)| {
            let here = canaries
                .iter()
                .filter(move |canary| memchr::memmem::find(&bytes, canary.as_bytes()).is_some());
            here.map(move |canary| format!("{canary} in {place}")).collect::<Vec<_>>()
        })
        .collect()
}

#[tokio::test]
async fn no_key_password_or_token_is_left_behind_anywhere() {
    let upstream = scraper();
    let mut gateway = crate::Gateway::start_with(
        &crate::config(
            upstream.address,
            &format!("keys.reveal_key = \"{}\"\nsystems.azscraper = \"on\"", crate::REVEAL_KEY),
        ),
        &[("TOLLGATE_LOG", "trace")],
    )
    .await;
    let (_, token) = user(&gateway, "ann@example.com", &[]).await;
    let ann = Client::bearer(gateway.data, &token);
    let (id, first) = create(&ann, "ci").await;
    let path = format!("/api/v1/api-keys/{id}");
    scrape(&gateway, &first, &format!("x_api_key={first}")).await;
    let second = text(&ann.raw(&format!("POST {path}/regenerate"), None).await.json()["key"]);
    assert_eq!(text(&ann.raw(&format!("GET {path}/decrypt"), None).await.json()["key"]), second);
    scrape(&gateway, &second, "").await;
    scrape(&gateway, &first, "").await;
    ann.asks(&format!("GET {path}/usage?x_api_key={second}&token={token}")).await;
    // Logins, right and wrong, and bodies that cannot be read.
    let login = |email: &str, password: &str| json!({"email": email, "password": password});
    let nobody = Client::nobody(gateway.data);
    let logged_in = nobody.raw("POST /auth/login", Some(login("ann@example.com", PASSWORD))).await;
    let access = text(&logged_in.json()["data"]["accessToken"]);
    nobody.tells("POST /auth/login", login("ann@example.com", "canary-wrong-password")).await;
    nobody
        .tells("POST /auth/login", login("canary-email-of-nobody@example.com", "canary-wrong-password"))
        .await;
    nobody.tells("POST /auth/register", login("new@example.com", "canary-new-password")).await;
    nobody.tells("POST /auth/login", json!({"email": ["canary-email"], "password": PASSWORD})).await;
    let forged = format!("{}canaryforged", &token[..token.len() - 12]);
    Client::bearer(gateway.data, &forged).asks("GET /api/v1/api-keys").await;
    Client::key(gateway.data, "sk_live_canaryunknowncanaryunknowncana").asks("GET /api/v1/usage").await;
    Client::bearer(gateway.control, &access).asks("GET /api/v1/api-keys").await;

    let canaries = [
        &*first,
        &second,
        &token,
        &access,
        &forged,
        PASSWORD,
        "canary-wrong-password",
        "canary-new-password",
        "canary-email",
        "canaryforged",
        "sk_live_canaryunknowncanaryunknowncana",
        crate::REVEAL_KEY,
    ];
    let metrics = get(gateway.control, "/metrics", &[]).await.body.to_vec();
    let texts = [("metrics", metrics)];
    // Killed, so that the spool is there as it was; then shipped. The operator's own file holds the operator's secret.
    gateway.kill().await;
    let in_confidence = |places: Vec<String>| {
        places.into_iter().filter(|place| !place.contains("gateway.toml")).collect::<Vec<_>>()
    };
    assert_eq!(in_confidence(found(gateway.directory(), &texts, &canaries)), Vec::<String>::new());
    gateway.start_again().await;
    wait_until("the log is in the record", SOON, async || {
        !found(gateway.directory(), &[], &["/api/v1/scrape"]).is_empty()
    })
    .await;
    assert_eq!(in_confidence(found(gateway.directory(), &texts, &canaries)), Vec::<String>::new());
    // The scan does find what is there.
    assert!(!found(gateway.directory(), &texts, &["tollgate_requests_total"]).is_empty());
}
