//! Pages that are too slow, too large, lead elsewhere, or are not there.

use super::super::tests::{Then, site, site_by};
use super::*;

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// A site where `/n` redirects to `/n-1` and `/0` is a page.
async fn stairs() -> std::net::SocketAddr {
    site_by(|path| {
        let left: usize = path[1..].parse().unwrap();
        Then::Close(left.checked_sub(1).map_or_else(|| ok("down"), |next| redirect(&format!("/{next}"))))
    })
    .await
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_allowed() {
    let site = stairs().await;
    let page = Fetcher::default().fetch(&format!("http://{site}/{REDIRECTS_MAX}")).await.unwrap();
    assert_eq!((page.url.path(), page.body.as_slice()), ("/0", &b"down"[..]));
    let failure =
        Fetcher::default().fetch(&format!("http://{site}/{}", REDIRECTS_MAX + 1)).await.unwrap_err();
    assert_eq!(failure.status, StatusCode::BAD_GATEWAY);
    assert!(failure.text.ends_with("it redirects more than 5 times"), "{}", failure.text);
}

#[tokio::test]
async fn a_redirect_to_anything_but_http_is_refused() {
    let site = site(redirect("ftp://127.0.0.1/x")).await;
    let failure = Fetcher::default().fetch(&format!("http://{site}/")).await.unwrap_err();
    assert_eq!(failure.status, StatusCode::BAD_GATEWAY, "{}", failure.text);
}

#[tokio::test]
async fn a_page_too_slow_is_504_before_and_within_its_body() {
    for sent in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"] {
        let site = site_by(|_| Then::Hang(sent.into())).await;
        let fetcher = Fetcher::within(Duration::from_millis(200));
        let failure = fetcher.fetch(&format!("http://{site}/")).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::GATEWAY_TIMEOUT, "{}", failure.text);
        assert!(failure.text.ends_with("did not answer whole within 0.2 s"), "{}", failure.text);
    }
}

#[tokio::test]
async fn a_page_too_large_is_refused_announced_or_not() {
    let head = |framing: &str| format!("HTTP/1.1 200 OK\r\n{framing}Connection: close\r\n\r\n").into_bytes();
    let body = |bytes: usize| vec![b'x'; bytes];
    let cases = [
        (head(&format!("Content-Length: {BODY_BYTES_MAX}\r\n")), BODY_BYTES_MAX, true),
        (head(&format!("Content-Length: {}\r\n", BODY_BYTES_MAX + 1)), 0, false),
        (head(""), BODY_BYTES_MAX, true),
        (head(""), BODY_BYTES_MAX + 1, false),
    ];
    for (head, bytes, fits) in cases {
        let site = site([head, body(bytes)].concat()).await;
        let fetched = Fetcher::default().fetch(&format!("http://{site}/")).await;
        match fetched {
            Ok(page) => assert!(fits && page.body.len() == BODY_BYTES_MAX, "{bytes} bytes were taken"),
            Err(failure) => {
                assert_eq!(failure.status, StatusCode::BAD_GATEWAY);
                assert!(!fits && failure.text.contains("larger than 5 MiB"), "{bytes}: {}", failure.text);
            }
        }
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_had_is_502_with_the_cause() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cut = site("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhalf").await;
    let cases = [
        (format!("http://{nobody}/"), "Connection refused"),
        (format!("http://{}/", site("this is not HTTP\r\n\r\n").await), "invalid HTTP version parsed"),
        (format!("http://{cut}/"), "end of file before message length reached"),
    ];
    for (url, cause) in cases {
        let failure = Fetcher::default().fetch(&url).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::BAD_GATEWAY, "{url}");
        assert!(failure.text.contains(cause), "{}", failure.text);
    }
}

#[tokio::test]
async fn without_ca_certificates_http_works_and_https_says_what_to_install() {
    let (page, onward) = (site(ok("plain")).await, site(redirect("https://127.0.0.1/")).await);
    let reach = Reach::without_https(&client, &std::io::Error::other("no certificates")).unwrap();
    let fetcher =
        Fetcher { page_timeout: PAGE_TIMEOUT, direct: OnceLock::from(Ok(reach)), web: OnceLock::new() };
    assert_eq!(fetcher.fetch(&format!("http://{page}/")).await.unwrap().body, b"plain");
    for url in ["https://127.0.0.1/".to_owned(), format!("http://{onward}/")] {
        let failure = fetcher.fetch(&url).await.unwrap_err();
        assert_eq!(failure.status, StatusCode::BAD_GATEWAY, "{url}");
        assert!(failure.text.contains("install the package ca-certificates"), "{url}: {}", failure.text);
    }
}

#[test]
fn loopback_is_reached_directly() {
    let cases = [
        ("http://127.0.0.1:8080/", true),
        ("http://[::1]/", true),
        ("http://localhost/", true),
        ("http://example.com/", false),
        ("http://10.0.0.1/", false),
    ];
    for (url, expected) in cases {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    }
}
