//! TLS, and HTTP/2 on it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::bed::{Bed, Setup};
use crate::support::{Answer, SOON, Upstream, wait_until};

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

/// A gateway with TLS, and what a client needs to trust it.
struct Secure {
    bed: Bed,
    roots: RootCertStore,
    _files: TempDir,
}

impl Secure {
    async fn start(upstream: &Upstream, data: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["gateway.test".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let data = format!("tls = {{ cert = {cert:?}, key = {key:?} }}\n{data}");
        let bed = Setup { data: &data, ..Setup::default() }.start(&[upstream]).await;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        Self { bed, roots, _files: files }
    }

    async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let socket = TcpStream::connect(self.address()).await.unwrap();
        let name = ServerName::try_from("gateway.test").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        stream
    }

    /// A connection in HTTP/2.
    async fn http2(&self) -> SendRequest<Body> {
        let io = TokioIo::new(self.connect(b"h2").await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    const fn address(&self) -> SocketAddr {
        self.bed.gateway.data
    }

    fn request(&self, method: &str, path: &str, body: Body) -> Request<Body> {
        let uri = format!("https://gateway.test{path}");
        Request::builder().method(method).uri(uri).header("x-api-key", &self.bed.key).body(body).unwrap()
    }
}

fn empty() -> Body {
    whole("")
}

fn whole(text: &str) -> Body {
    Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed()
}

/// A body whose length nobody says, with trailers.
fn streamed(pieces: &[&'static str], trailers: HeaderMap) -> Body {
    let data = pieces.iter().map(|piece| Frame::data(Bytes::from_static(piece.as_bytes())));
    let trailers = (!trailers.is_empty()).then(|| Frame::trailers(trailers));
    let frames: Vec<_> = data.chain(trailers).map(Ok::<_, std::convert::Infallible>).collect();
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames)))
}

async fn ask(sender: &mut SendRequest<Body>, request: Request<Body>) -> (Response<()>, Bytes, HeaderMap) {
    sender.ready().await.unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (Response::from_parts(parts, ()), collected.to_bytes(), trailers)
}

#[tokio::test]
async fn http_2_arrives_as_http_1() {
    let upstream = Upstream::start(|seen| {
        let body = [seen.method().as_bytes(), b" ", &*seen.body].concat();
        Answer::new(200).header("connection", "X-Hop").header("x-hop", "theirs").body(body)
    });
    let secure = Secure::start(&upstream, "").await;
    let mut sender = secure.http2().await;
    let none = HeaderMap::new();
    // A body without a length is sent on in chunks, whatever the method.
    for (method, body, framed, answered) in [
        ("GET", empty(), None, "GET "),
        ("GET", whole("with a length"), Some(("content-length", "13")), "GET with a length"),
        (
            "GET",
            streamed(&["with", "out"], none.clone()),
            Some(("transfer-encoding", "chunked")),
            "GET without",
        ),
        ("POST", whole("length"), Some(("content-length", "6")), "POST length"),
        (
            "POST",
            streamed(&["a", "b", "c"], none.clone()),
            Some(("transfer-encoding", "chunked")),
            "POST abc",
        ),
        ("DELETE", streamed(&["d"], none.clone()), Some(("transfer-encoding", "chunked")), "DELETE d"),
        ("POST", streamed(&[], none.clone()), Some(("transfer-encoding", "chunked")), "POST "),
    ] {
        upstream.forget();
        let (head, content, _) = ask(&mut sender, secure.request(method, "/p?a=1", body)).await;
        assert_eq!(head.status(), 200, "{method}");
        assert_eq!(std::str::from_utf8(&content).unwrap(), answered);
        let seen = &upstream.seen()[0];
        assert!(seen.head.starts_with(&format!("{method} /p?a=1 HTTP/1.1\r\n")), "{}", seen.head);
        for name in ["content-length", "transfer-encoding"] {
            let expected: Vec<&str> =
                framed.iter().filter(|(framing, _)| *framing == name).map(|framed| framed.1).collect();
            // A POST without a body may say so.
            let found: Vec<_> = seen.headers(name).into_iter().filter(|value| *value != "0").collect();
            assert_eq!(found, expected, "{}", seen.head);
        }
        let told = ["host", "x-forwarded-host", "x-forwarded-proto"].map(|name| seen.headers(name));
        assert_eq!(told, [["gateway.test"], ["gateway.test"], ["https"]]);
        assert_eq!(seen.headers("x-tollgate-organization"), ["acme"]);
        assert!(!seen.head.contains(&secure.bed.key));
        let id = head.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(seen.headers("x-request-id"), [id]);
        assert!(head.headers().get("x-hop").is_none() && head.headers().get("connection").is_none());
        assert!(head.headers().contains_key("ratelimit"));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn http_2_has_heads_trailers_cookies_and_many_streams() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/204" => Answer::new(204),
        "/trailers" => Answer::new(200).header("trailer", "x-after").chunks(&["a", "b"], "X-After: 1\r\n"),
        _ => Answer::new(200).body(seen.target().to_owned()),
    });
    let secure = Secure::start(&upstream, "").await;
    let mut sender = secure.http2().await;
    let (head, body, _) = ask(&mut sender, secure.request("HEAD", "/head", empty())).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"], body.len()),
        (200, &"5".parse().unwrap(), 0)
    );
    let (head, body, _) = ask(&mut sender, secure.request("GET", "/204", empty())).await;
    assert_eq!((head.status().as_u16(), body.len()), (204, 0));

    let mut request = secure.request("GET", "/trailers", empty());
    request.headers_mut().insert("te", "trailers".parse().unwrap());
    let (_, body, trailers) = ask(&mut sender, request).await;
    assert_eq!(
        (&*body, trailers.get("x-after").map(|value| value.as_bytes())),
        (&b"ab"[..], Some(&b"1"[..]))
    );

    let sum = HeaderMap::from_iter([
        (http::HeaderName::from_static("x-sum"), "7".parse().unwrap()),
        (http::HeaderName::from_static("x-tollgate-plan"), "evil".parse().unwrap()),
    ]);
    let mut request = secure.request("POST", "/up", streamed(&["a"], sum));
    request.headers_mut().insert("trailer", "x-sum, x-tollgate-plan".parse().unwrap());
    for crumb in ["a=1", "b=2", "c=3"] {
        request.headers_mut().append("cookie", crumb.parse().unwrap());
    }
    ask(&mut sender, request).await;
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.trailers, "x-sum: 7\r\n");
    assert_eq!(seen.headers("cookie"), ["a=1; b=2; c=3"], "one field, as HTTP/1.1 has it");

    let many = (0..60).map(|number| {
        let mut sender = sender.clone();
        let request = secure.request("GET", &format!("/{number}"), empty());
        async move { ask(&mut sender, request).await.1 }
    });
    for (number, body) in join_all(many).await.iter().enumerate() {
        assert_eq!(body, format!("/{number}").as_bytes());
    }
}

#[tokio::test]
async fn http_2_is_refused_in_the_same_words() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let secure = Secure::start(&upstream, "target_bytes_max = 100\nheaders_max = 20").await;
    let mut sender = secure.http2().await;
    let many: Vec<(String, &str)> = (0..20).map(|number| (format!("x-{number}"), "y")).collect();
    let own = |name: &str, value| vec![(name.to_owned(), value)];
    for (path, headers, status, code) in [
        ("/", own("x-api-key", ""), 401, "invalid_api_key"),
        (&*format!("/{}", "a".repeat(100)), vec![], 414, "uri_too_long"),
        ("/", many, 431, "head_too_large"),
        ("/", own("x-large", &*"y".repeat(33_000)), 431, "head_too_large"),
        ("/a/../b", vec![], 400, "bad_request"),
        ("/a%00", vec![], 400, "bad_request"),
        ("/", own("host", "another.test"), 400, "bad_request"),
    ] {
        let mut request = secure.request("GET", path, empty());
        for (name, value) in headers {
            request.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let (head, body, _) = ask(&mut sender, request).await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((head.status().as_u16(), body["code"].as_str()), (status, Some(code)), "{path}");
        assert_eq!(body["request_id"], head.headers()["x-request-id"].to_str().unwrap());
        assert_eq!(head.headers()["content-type"], "application/json");
    }
    // HEAD is told how long the body is that it does not get.
    let mut request = secure.request("HEAD", "/", empty());
    request.headers_mut().remove("x-api-key");
    let (head, body, _) = ask(&mut sender, request).await;
    assert_eq!((head.status().as_u16(), body.len()), (401, 0));
    assert_eq!(head.headers()["content-length"], "104");
    assert_eq!(upstream.count(), 0);
    let (head, ..) = ask(&mut sender, secure.request("GET", "/", empty())).await;
    assert_eq!(head.status(), 200, "and the connection goes on");
}

/// One stream that is refused or given up does not end the others.
#[tokio::test]
async fn a_body_over_the_limit_ends_its_stream_alone() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.length.to_string()));
    let made = Secure::start(&upstream, "").await;
    let mut sender = made.http2().await;
    let large = Full::new(Bytes::from(vec![b'x'; (10 << 20) + 1])).boxed();
    let (head, body, _) = ask(&mut sender, made.request("POST", "/", large)).await;
    assert_eq!(head.status(), 413, "{body:?}");
    let (head, body, _) = ask(&mut sender, made.request("POST", "/", whole("fits"))).await;
    assert_eq!((head.status().as_u16(), &*body), (200, &b"4"[..]));
}

/// A client that gives a stream up frees its slot, and its connection goes on.
#[tokio::test]
async fn a_stream_that_is_given_up_frees_its_slot() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/hang" => Answer::hang(),
        "/large" => Answer::new(200).zeros(1 << 30),
        _ => Answer::new(200),
    });
    let secure = Secure::start(&upstream, "").await;
    let mut sender = secure.http2().await;
    let mut other = sender.clone();
    let mut in_flight = async || {
        let (head, ..) = ask(&mut other, secure.request("GET", "/", empty())).await;
        head.headers()["x-concurrency-current"].to_str().unwrap().to_owned()
    };
    let given_up = tokio::spawn(sender.send_request(secure.request("GET", "/hang", empty())));
    wait_until("it arrives", SOON, async || upstream.count() == 1).await;
    assert_eq!(in_flight().await, "2");
    given_up.abort();
    wait_until("the slot is free", SOON, async || in_flight().await == "1").await;

    let answer = sender.send_request(secure.request("GET", "/large", empty())).await.unwrap();
    assert_eq!((answer.status().as_u16(), &*in_flight().await), (200, "2"));
    drop(answer);
    wait_until("the slot is free", SOON, async || in_flight().await == "1").await;
}

#[tokio::test]
async fn http_1_on_tls_is_the_same() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.body.clone()));
    let secure = Secure::start(&upstream, "").await;
    let io = TokioIo::new(secure.connect(b"http/1.1").await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    for body in ["one", "two"] {
        let mut request = secure.request("POST", "/p", whole(body));
        *request.uri_mut() = "/p".parse().unwrap();
        request.headers_mut().insert("host", "gateway.test".parse().unwrap());
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
    }
    let seen = &upstream.seen()[0];
    let told = ["host", "x-forwarded-host", "x-forwarded-proto"].map(|name| seen.headers(name));
    assert_eq!(told, [["gateway.test"], ["gateway.test"], ["https"]]);
    // Plain HTTP on a TLS listener is not answered as if it were.
    let plain = crate::support::raw(secure.address(), secure.bed.head("GET /", "")).await;
    assert!(!plain.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&plain));
}
