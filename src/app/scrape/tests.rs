//! The service over real sockets, against a site that answers exactly what a test writes down.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use std::time::{Duration, Instant};

/// Starts a site whose every connection is answered with `answer` and closed.
pub(super) async fn site(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    site_by(move |_| Then::Close(answer.clone())).await
}

/// What a site does with a connection once it has sent these bytes.
pub(super) enum Then {
    Close(Vec<u8>),
    Hang(Vec<u8>),
}

/// Starts a site that answers by path.
pub(super) async fn site_by(answer: impl Fn(&str) -> Then + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            // The service may hang up before it has all: that is what some tests are about.
            match answer(head.split(' ').nth(1).unwrap_or_default()) {
                Then::Close(bytes) => drop(stream.write_all(&bytes).await),
                Then::Hang(bytes) => {
                    drop(stream.write_all(&bytes).await);
                    kept.push(stream);
                }
            }
        }
    });
    address
}

async fn start() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(serve(listener, async { drop(stopped.await) }));
    (address, stop, running)
}

async fn post(service: SocketAddr, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let answer = client.post(format!("http://{service}{SCRAPE_PATH}")).body(body).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn scrape_of(url: &str) -> (u16, Value) {
    let (service, _stop, _) = start().await;
    post(service, json!({ "url": url }).to_string()).await
}

#[tokio::test]
async fn a_page_is_answered_whole() {
    let body = b"<html><head><meta charset=latin1><title>Z\xfcrich\n map</title></head></html>";
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Twice: a\r\nx-twice: b\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let site = site([head.as_bytes(), body].concat()).await;
    let url = format!("http://{site}/map?x=1");
    let (status, mut answer) = scrape_of(&url).await;
    assert!(answer["response_time_ms"].take().is_u64());
    let expected = json!({
        "url": url,
        "final_url": url,
        "status_code": 200,
        "content": "<html><head><meta charset=latin1><title>Zürich\n map</title></head></html>",
        "title": "Zürich map",
        "headers": {
            "content-type": "text/html",
            "x-twice": "a, b",
            "content-length": body.len().to_string(),
            "connection": "close",
        },
        "response_time_ms": null,
        "size_bytes": body.len(),
        "billing": { "total_credits": 1, "tier_used": "1", "final_cost_microcents": 1000 },
    });
    assert_eq!((status, answer), (200, expected));
}

#[tokio::test]
async fn a_page_that_fails_is_a_scrape_that_worked_and_is_not_billed() {
    let site = site("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let (status, answer) = scrape_of(&format!("http://{site}/")).await;
    assert_eq!((status, &answer["status_code"], &answer["title"]), (200, &json!(404), &Value::Null));
    assert_eq!(
        answer["billing"],
        json!({ "total_credits": 0, "tier_used": "1", "final_cost_microcents": 0 })
    );
}

#[tokio::test]
async fn the_hello_page_can_be_scraped_by_the_service_itself() {
    let (service, _stop, _) = start().await;
    let url = format!("http://{service}{HELLO_PATH}");
    let (status, answer) = post(service, json!({ "url": url }).to_string()).await;
    assert_eq!((status, &answer["title"]), (200, &json!("Hello from Tollgate")));
    assert_eq!(answer["content"], include_str!("hello.html"));
}

#[tokio::test]
async fn a_request_that_is_no_scrape_is_refused_with_its_reason() {
    let (service, _stop, _) = start().await;
    let cases = [
        (String::new(), 400, "send JSON such as {\"url\": \"https://example.com/\"}: EOF"),
        ("{}".into(), 400, "missing field `url`"),
        ("{\"url\": 7}".into(), 400, "invalid type"),
        ("[".into(), 400, "EOF while parsing"),
        ("x".repeat(REQUEST_BYTES_MAX + 1), 413, "length limit exceeded"),
        (json!({"url": "example.com"}).to_string(), 422, "`example.com` is not a URL"),
        (json!({"url": "file:///etc/passwd"}).to_string(), 422, "`file:` is not fetched"),
        (json!({"url": "http://"}).to_string(), 422, "empty host"),
    ];
    for (body, status, text) in cases {
        let shown = body.chars().take(40).collect::<String>();
        let (answered, error) = post(service, body).await;
        let error = error["error"].as_str().unwrap();
        assert!(answered == status && error.contains(text), "{shown}: {answered} {error}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_say_what_there_is() {
    let (service, _stop, _) = start().await;
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    for (path, expected) in [("/health", 200), ("/hello", 200), ("/nothing", 404), (SCRAPE_PATH, 405)] {
        let answer = client.get(format!("http://{service}{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_listener_that_others_reach_is_refused() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = serve(listener, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("listens on loopback only"), "{error}");
}

#[tokio::test]
async fn a_peer_from_elsewhere_is_refused() {
    // The peer is claimed, as a test cannot come from elsewhere; everything else is the real service.
    let peer: SocketAddr = "192.0.2.7:5000".parse().unwrap();
    let service = router().layer(axum::extract::connect_info::MockConnectInfo(peer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, service).await });
    let (status, answer) = post(address, json!({ "url": "http://127.0.0.1/" }).to_string()).await;
    assert_eq!((status, answer), (403, json!({ "error": "this service answers only its own machine" })));
}

#[test]
fn local_is_loopback_in_either_family() {
    let cases = [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("10.0.0.1:1", false),
        ("[::ffff:10.0.0.1]:1", false),
        ("[fe80::1]:1", false),
        ("0.0.0.0:1", false),
    ];
    for (address, expected) in cases {
        assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
    }
}

#[tokio::test]
async fn more_pages_than_slots_are_refused_and_the_slots_come_back() {
    let hung = site_by(|_| Then::Hang(Vec::new())).await;
    let (service, stop, running) = start().await;
    let body = json!({ "url": format!("http://{hung}/") }).to_string();
    let request =
        format!("POST {SCRAPE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut waiting = Vec::new();
    let refused = loop {
        let mut stream = TcpStream::connect(service).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.push(stream);
        // All but the last wait for the page; which one is the last is seen by who is answered first.
        if waiting.len() == FETCHES_MAX + 1 {
            break first_answer(&mut waiting).await;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(waiting);
    let hello = json!({ "url": format!("http://{service}{HELLO_PATH}") }).to_string();
    let deadline = Instant::now() + Duration::from_secs(10);
    while post(service, hello.clone()).await.0 != 200 {
        assert!(Instant::now() < deadline, "the slots did not come back");
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

async fn first_answer(streams: &mut [TcpStream]) -> String {
    let reads = streams.iter_mut().map(|stream| {
        Box::pin(async move {
            let mut answer = vec![0; 512];
            let read = stream.read(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[..read]).into_owned()
        })
    });
    futures_util::future::select_all(reads).await.0
}
