//! SIGHUP: a valid file takes effect in one step, an invalid one changes nothing and says why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::support::{Answer, Kept, SOON, Upstream, metrics, wait_until};
use super::{config, start};

#[tokio::test]
async fn a_valid_file_adds_a_plan_an_upstream_and_a_route_while_requests_go_on() {
    let first = Upstream::start(|_| Answer::new(200).body("first"));
    let second = Upstream::start(|_| Answer::new(200).body("second"));
    let (gateway, key) = start(&config(first.address, ""), &[]).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        let (data, key, stop, asked) = (gateway.data, key.clone(), Arc::clone(&stop), Arc::clone(&asked));
        clients.spawn(async move {
            let mut kept = Kept::new();
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(kept.get(data, "/a", &key).await.unwrap().body, b"first");
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    let mut kept = Kept::new();
    assert_eq!(kept.get(gateway.data, "/new/a", &key).await.unwrap().body, b"first");

    let own = config(first.address, "");
    let (settings, routes) = own.split_at(own.find("[[routes]]").unwrap());
    let more = format!(
        "[plans.tiny]\nper_minute = 3\n[[upstreams]]\nname = \"other\"\ntargets = [\"{}\"]\n[[routes]]\npath = \"/new/*\"\nupstream = \"other\"\n",
        second.address
    );
    let text = format!("{settings}{more}{routes}");
    gateway.reload(&text);
    wait_until("the new route is there", SOON, async || {
        kept.get(gateway.data, "/new/a", &key).await.unwrap().body == b"second"
    })
    .await;
    let samples = metrics(gateway.control).await;
    assert!(
        samples
            .keys()
            .any(|sample| sample.starts_with("tollgate_upstream_healthy") && sample.contains("other"))
    );
    // Again and again, with the same file.
    for number in 1..=5 {
        let before = asked.load(Ordering::Relaxed);
        wait_until("requests go on", SOON, async || asked.load(Ordering::Relaxed) > before + 20).await;
        gateway.reload(&text);
        wait_until("it was reloaded", SOON, async || {
            gateway.stderr().matches("the configuration was reloaded").count() > number
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;

    // The plan counts what was used before, and can be edited in the file.
    gateway.cli(&["org", "set-plan", "acme", "tiny"]).await;
    wait_until("the plan is in force", SOON, async || {
        kept.get(gateway.data, "/a", &key).await.unwrap().code() == "rate_limited_minute"
    })
    .await;
    gateway.reload(&text.replace("per_minute = 3", "per_minute = 1000000"));
    wait_until("the plan's cap is raised", SOON, async || {
        kept.get(gateway.data, "/a", &key).await.unwrap().status == 200
    })
    .await;
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_is_explained() {
    let upstream = Upstream::start(|_| Answer::new(200).body("page"));
    let own = config(upstream.address, "");
    let (gateway, key) = start(&own, &[]).await;
    let mut kept = Kept::new();
    for (from, to, parts) in [
        ("upstream = \"scraper\"", "upstraem = \"scraper\"", &["upstraem", "did you mean `upstream`"][..]),
        ("failures = 0", "failures = \"many\"", &["ip_guard.failures", "write a number"]),
        ("[plans.wide]", "[plans.wide", &[]),
        ("path = \"/*\"", "path = \"new/*\"", &["routes[0].path"]),
    ] {
        let line = own.lines().position(|line| line == from).unwrap() + 1;
        let broken = own.replace(from, to);
        assert_ne!(broken, own);
        let before = gateway.stderr().len();
        gateway.reload(&broken);
        wait_until("it says something", SOON, async || {
            gateway.stderr()[before..].contains("was not reloaded")
        })
        .await;
        let said = gateway.stderr()[before..].to_owned();
        let at = format!("gateway.toml:{line}:");
        for part in parts.iter().chain([&&*at]) {
            assert!(said.contains(part), "no {part} in {said}");
        }
        let reply = kept.get(gateway.data, "/a", &key).await.unwrap();
        assert_eq!((reply.status, &*reply.body), (200, &b"page"[..]));
    }
    // What takes effect at the next start only is said.
    let before = gateway.stderr().len();
    gateway.reload(&own.replace("threads = 2", "threads = 1"));
    wait_until("it is reloaded", SOON, async || {
        gateway.stderr()[before..].contains("the configuration was reloaded")
    })
    .await;
    assert!(gateway.stderr()[before..].contains("data.threads"), "{}", gateway.stderr());
}

/// A new name for the product is no reason to give every customer a new key.
#[tokio::test]
async fn keys_of_another_prefix_go_on_working() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let own = config(upstream.address, "");
    let (gateway, key) = start(&own, &[]).await;
    gateway.reload(&format!("keys.prefix = \"acme_\"\n{own}"));
    wait_until("it was reloaded", SOON, async || gateway.stderr().contains("the configuration was reloaded"))
        .await;
    let (_, other) = gateway.key("acme", "after", &[]).await;
    assert!(key.starts_with("sk_live_") && other.starts_with("acme_"), "{other}");
    for key in [&key, &other] {
        assert_eq!(Kept::new().get(gateway.data, "/a", key).await.unwrap().status, 200);
    }
}
