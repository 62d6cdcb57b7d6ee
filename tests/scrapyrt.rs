//! Tollgate in front of a real scraper: ScrapyRT, crawling a site of 300 pages.
//!
//! What a client gets through the gateway is what ScrapyRT answers to anyone who asks it directly; the key stays
//! with the gateway; and what a quota counted is what ScrapyRT says it was asked.
//!
//! `make test` installs ScrapyRT (tests/scrapyrt/requirements.txt) into target/scrapyrt; so does `.ci/deps test`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the report")]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{Answer, Gateway, Recorder, Response, SOON, Seen, Upstream, get, post, wait_until};
use tempfile::TempDir;

/// Pages of the site.
const PAGES: usize = 300;
/// What the key may be used for in all.
const QUOTA: usize = 20;

#[tokio::test]
async fn scrapyrt_behind_the_gateway_answers_as_it_does_directly() {
    let site = Upstream::start(page);
    let scraper = Scraper::start().await;
    let wire = Recorder::in_front_of(scraper.address).await;
    let gateway = Gateway::start(&config(wire.address)).await;
    gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
    let quota = QUOTA.to_string();
    let key = gateway.cli(&["key", "create", "--org", "acme", "--name", "k", "--total", &quota]).await;
    let secret = key["key"].as_str().unwrap();

    // Each request is made directly and through the gateway, and the answers are compared whole.
    let requests = requests(site.address);
    assert_eq!(requests.len(), QUOTA);
    for (number, request) in requests.iter().enumerate() {
        let direct = request.send(scraper.address, None).await;
        let through = request.send(gateway.data, Some((secret, number))).await;
        assert_eq!(through.status, direct.status, "{request:?}: {}", through.text());
        assert_eq!(through.header("content-type"), direct.header("content-type"), "{request:?}");
        assert_eq!(timeless(&through), timeless(&direct), "{request:?}");
    }
    let crawled = timeless(&requests[0].send(scraper.address, None).await);
    let titles: Vec<&str> =
        crawled["items"].as_array().unwrap().iter().map(|i| i["title"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..PAGES).map(|number| format!("Page {number:03}: Größe & Ключ")).collect();
    assert_eq!(titles, expected, "the crawl itself read the whole site");

    // The quota is used up, and a refused request is not passed on.
    let refused = requests[1].send(gateway.data, Some((secret, 0))).await;
    assert_eq!(
        (refused.status, refused.json()["error"].clone()),
        (401, json!("Rate limit exceeded: quota total"))
    );
    let heard = wire.towards();
    let asked = |log: &[u8]| memchr::memmem::find_iter(log, b"/crawl.json").count();
    assert_eq!(asked(&heard), QUOTA, "requests on the wire between gateway and ScrapyRT");
    // Its own log: every request directly, the crawl once more, and every admitted one.
    wait_until("ScrapyRT logs its last request", SOON, async || asked(scraper.log().as_bytes()) > 2 * QUOTA)
        .await;
    assert_eq!(asked(scraper.log().as_bytes()), QUOTA + 1 + QUOTA, "requests that ScrapyRT itself counted");
    let id = key["id"].as_str().unwrap();
    wait_until("the key's own count is as large", SOON, async || {
        gateway.cli(&["key", "show", id]).await["requests"] == json!(QUOTA)
    })
    .await;

    // The key was left at the gateway, wherever the client had put it.
    let holds_key = |text: &[u8]| memchr::memmem::find(text, secret.as_bytes()).is_some();
    assert!(!holds_key(&heard), "the key was passed on:\n{}", String::from_utf8_lossy(&heard));
    for (name, log) in scraper.logs() {
        assert!(!holds_key(log.as_bytes()), "the key is in ScrapyRT's {}", name.display());
    }
    assert!(site.seen().iter().all(|seen| !holds_key(seen.head.as_bytes())), "the key reached the site");
}

fn config(scraper: SocketAddr) -> String {
    format!(
        r#"
        [keys]
        sources = ["header:x-api-key", "bearer", "query:api_key"]
        [plans.wide]
        per_second = 1000
        per_minute = 10000
        concurrency = 100
        [[upstreams]]
        name = "scrapyrt"
        targets = ["{scraper}"]
        # A probe would be a connection that the count of requests does not explain.
        health = {{ every = "0s" }}
        [[routes]]
        path = "/*"
        upstream = "scrapyrt"
        "#
    )
}

/// The site: a tree of pages, each linking to three more. Each is different, in size too.
fn page(seen: &Seen) -> Answer {
    let Some(number) = seen.target().strip_prefix("/page/").and_then(|number| number.parse::<usize>().ok())
    else {
        return Answer::new(404).header("content-type", "text/html").body("<title>None</title>");
    };
    let children = (3 * number + 1..=3 * number + 3).filter(|child| *child < PAGES);
    let links: String = children.map(|child| format!("<a href=\"/page/{child}\">{child}</a>\n")).collect();
    let tags: String = (0..number % 5).map(|tag| format!("<li class=tag>tag {tag}</li>")).collect();
    let text = format!("<p>Paragraph of page {number}, „with“ some text.</p>\n").repeat(1 + number % 40);
    let html = format!(
        "<!doctype html><title>Page {number:03}: Größe &amp; Ключ</title><nav>{links}</nav>\
         <b class=price>€ {}.{:02}</b><ul>{tags}</ul>{text}",
        number * 7,
        number % 100
    );
    Answer::new(200).header("content-type", "text/html; charset=utf-8").body(html)
}

/// One request to ScrapyRT.
#[derive(Debug)]
enum Request {
    Get(String),
    Post(Value),
}

/// The whole crawl first, then single pages by GET and POST, and what ScrapyRT refuses.
fn requests(site: SocketAddr) -> Vec<Request> {
    let url = |number: usize| format!("http://{site}/page/{number}");
    let mut requests = vec![Request::Post(json!({ "spider_name": "pages", "request": { "url": url(0) } }))];
    for number in (1..PAGES).step_by(20).take(QUOTA - 5) {
        requests.push(if number % 40 == 1 {
            let escaped = url(number).replace(':', "%3A").replace('/', "%2F");
            Request::Get(format!("/crawl.json?spider_name=pages&callback=parse_one&url={escaped}"))
        } else {
            let request = json!({ "url": url(number), "callback": "parse_one", "meta": { "text": "naïve" } });
            Request::Post(json!({ "spider_name": "pages", "request": request }))
        });
    }
    requests.extend([
        Request::Post(
            json!({ "spider_name": "pages", "request": { "url": format!("http://{site}/nothing") } }),
        ),
        Request::Get(format!("/crawl.json?spider_name=nobody&url={}", url(1))),
        Request::Get("/crawl.json?spider_name=pages".to_owned()),
        Request::Post(json!({ "spider_name": "pages" })),
    ]);
    requests
}

impl Request {
    /// Sends it, where there is a key with it, in one of the places where the gateway looks.
    async fn send(&self, address: SocketAddr, key: Option<(&str, usize)>) -> Response {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let mut query = None;
        match key {
            None => {}
            Some((secret, number)) if number % 3 == 0 => headers.push(("x-api-key", secret.to_owned())),
            Some((secret, number)) if number % 3 == 1 => {
                headers.push(("authorization", format!("Bearer {secret}")));
            }
            Some((secret, _)) => query = Some(format!("api_key={secret}")),
        }
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let with_query = |path: &str| match &query {
            None => path.to_owned(),
            Some(query) if path.contains('?') => format!("{path}&{query}"),
            Some(query) => format!("{path}?{query}"),
        };
        match self {
            Self::Get(path) => get(address, &with_query(path), &headers).await,
            Self::Post(body) => post(address, &with_query("/crawl.json"), &headers, body.to_string()).await,
        }
    }
}

/// The answer without what differs from one moment to the next: times, memory, the order in which pages came.
fn timeless(response: &Response) -> Value {
    let mut answer = response.json();
    if let Some(stats) = answer.get_mut("stats").and_then(Value::as_object_mut) {
        let of_the_moment = ["_time", "elapsed_", "memusage/", "_per_minute", "log_count/"];
        stats.retain(|name, _| !of_the_moment.iter().any(|part| name.contains(part)));
    }
    if let Some(items) = answer.get_mut("items").and_then(Value::as_array_mut) {
        items.sort_by_key(|item| item["title"].to_string());
    }
    answer
}

/// A running ScrapyRT with the project in tests/scrapyrt; it is ended when dropped.
struct Scraper {
    address: SocketAddr,
    directory: TempDir,
    child: Child,
}

impl Scraper {
    async fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = root.join("target/scrapyrt/bin/scrapyrt");
        assert!(
            program.exists(),
            "ScrapyRT is not installed: run `make test`, or `.ci/deps test` before `cargo test`"
        );
        let directory = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(directory.path().join("scrapyrt.log")).unwrap();
        let child = Command::new(program)
            .args(["-i", "127.0.0.1", "-p", "0", "-s"])
            .arg(format!("LOG_DIR={}", directory.path().display()))
            .current_dir(root.join("tests/scrapyrt"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut scraper = Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), directory, child };
        wait_until("ScrapyRT names its port", SOON, async || {
            let ended = scraper.child.try_wait().unwrap();
            assert!(ended.is_none(), "ScrapyRT ended ({ended:?}):\n{}", scraper.log());
            let log = scraper.log();
            let port = log
                .split("Site starting on ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.trim().parse().ok());
            port.inspect(|port| scraper.address.set_port(*port)).is_some()
        })
        .await;
        scraper
    }

    /// What it says about itself and the requests it was asked.
    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("scrapyrt.log")).unwrap()
    }

    /// Everything it has written: that, and a log per crawl.
    fn logs(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut directories = vec![self.directory.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                    found.push((path, text));
                }
            }
        }
        found
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
