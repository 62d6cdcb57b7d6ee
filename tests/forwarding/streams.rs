//! What takes its time: large bodies, server-sent events, WebSocket.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::bed::Setup;
use crate::support::{Answer, Gateway, SOON, Upstream, Wire, feed, row_of, wait_until};

/// Much more than any buffer on the way.
const LARGE: usize = 96 << 20;
/// What the gateway may grow by meanwhile, in KiB: some buffers, and what the allocator keeps.
const GROWTH_KIB_MAX: u64 = 32 << 10;

#[tokio::test]
async fn a_large_body_passes_in_constant_memory() {
    let upstream = Upstream::start(|seen| match seen.method() {
        "GET" => Answer::new(200).zeros(LARGE as u64),
        _ => Answer::new(200).body(seen.length.to_string()),
    });
    let bed = Setup { route: "body_max = \"1GiB\"", ..Setup::default() }.start(&[&upstream]).await;
    bed.get("/warm").await;
    let before = peak_kib(&bed.gateway);
    let down = bed.get("/").await;
    assert_eq!(down.body.len(), LARGE);

    let block = vec![b'u'; 1 << 20];
    for framing in [format!("Content-Length: {LARGE}\r\n"), "Transfer-Encoding: chunked\r\n".to_owned()] {
        let mut wire = Wire::connect(bed.gateway.data).await;
        wire.send(bed.head("POST /up", &framing)).await;
        let chunked = framing.starts_with("Transfer");
        for _ in 0..LARGE / block.len() {
            let piece = match chunked {
                true => [b"100000\r\n", &*block, b"\r\n"].concat(),
                false => block.clone(),
            };
            wire.try_send(piece).await.unwrap();
        }
        if chunked {
            wire.send("0\r\n\r\n").await;
        }
        assert_eq!(wire.answer().await.unwrap().1, LARGE.to_string().as_bytes());
    }
    // The kernel keeps the peak in parts, and may read it a little lower later.
    let grown = peak_kib(&bed.gateway).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB for bodies of {LARGE} bytes");
    let id = down.header("x-request-id").unwrap();
    assert_eq!(row_of(&bed.gateway, id).await["bytes_out"], LARGE);
}

/// The most memory that the process has had, by the kernel.
fn peak_kib(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_reader_that_is_slow_slows_the_upstream_and_fills_no_memory() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/large" => Answer::new(200).zeros(LARGE as u64),
        _ => Answer::new(200),
    });
    let bed = Setup::default().start(&[&upstream]).await;
    bed.get("/warm").await;
    let before = peak_kib(&bed.gateway);
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("GET /large", "")).await;
    assert!(wire.head().await.unwrap().starts_with("HTTP/1.1 200 "));
    // Others are served meanwhile.
    for _ in 0..50 {
        assert_eq!(bed.get("/other").await.status, 200);
    }
    // The kernel keeps the peak in parts, and may read it a little lower later.
    let grown = peak_kib(&bed.gateway).saturating_sub(before);
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB for a reader that stands still");
    drop(wire);
}

#[tokio::test]
async fn events_come_one_by_one() {
    let (pieces, fed) = feed();
    let fed = parking_lot::Mutex::new(Some(fed));
    let upstream = Upstream::start(move |_| Answer::events(fed.lock().take().unwrap()));
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("GET /events", "Accept: text/event-stream\r\n")).await;
    let head = wire.head().await.unwrap();
    assert!(head.contains("content-type: text/event-stream"), "the head comes before any event: {head}");
    for number in 0..20 {
        let event = format!("id: {number}\ndata: {}\n\n", "x".repeat(number * 100));
        pieces.send(event.clone().into_bytes()).unwrap();
        // The next is not sent before this one has come.
        let come = wire.until(&format!("{event}\r\n")).await;
        assert_eq!(come, format!("{:X}\r\n{event}\r\n", event.len()).into_bytes());
    }
    drop(pieces);
    assert_eq!(wire.until("0\r\n\r\n").await, b"0\r\n\r\n");
}

/// An upload is passed on as it comes, too.
#[tokio::test]
async fn a_body_is_passed_on_before_it_is_whole() {
    let upstream = Upstream::by_head(|_| Answer::new(413).body("too much for me"));
    let bed = Setup::default().start(&[&upstream]).await;
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("POST /", "Transfer-Encoding: chunked\r\n")).await;
    wire.send("5\r\nfirst\r\n").await;
    let (head, body) = wire.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 413 "), "answered though the body is not whole: {head}");
    assert_eq!(body, b"too much for me");
}

#[tokio::test]
async fn a_websocket_passes_and_holds_its_slot_while_it_is_open() {
    let upstream = Upstream::start(|seen| match seen.header("upgrade") {
        Some(_) => Answer::websocket(),
        None => Answer::new(200),
    });
    let setup = Setup {
        plan: Some("concurrency = 1\nper_minute = 100000"),
        route: "upgrade = true",
        ..Setup::default()
    };
    let bed = setup.start(&[&upstream]).await;
    let mut request = format!("ws://{}/ws?a=1", bed.gateway.data).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", bed.key.parse().unwrap());
    let stream = Wire::connect(bed.gateway.data).await.into_stream();
    let (mut socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let seen = &upstream.seen()[0];
    assert_eq!((seen.target(), seen.header("upgrade")), ("/ws?a=1", Some("websocket")));
    assert_eq!(seen.headers("x-tollgate-organization"), ["acme"]);
    assert!(!seen.head.contains(&bed.key));
    let large = "x".repeat(300_000);
    for message in [Message::text("hi"), Message::binary(vec![0, 159, 146]), Message::text(large)] {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
        assert_eq!(bed.get("/").await.status, 429, "the slot is taken");
    }
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    drop(socket);
    wait_until("the slot is free", SOON, async || bed.get("/").await.status == 200).await;
    let row = row_of(&bed.gateway, &id).await;
    assert_eq!((&row["status"], &row["admitted"]), (&101.into(), &1.into()), "{row}");
    assert!(row["bytes_in"].as_u64() > Some(300_000) && row["bytes_out"].as_u64() > Some(300_000), "{row}");
}

/// Where the route does not allow it, the wish is left out, and a 101 that nobody asked for is no answer.
#[tokio::test]
async fn a_route_without_upgrade_has_none() {
    let upstream = Upstream::start(|seen| match seen.target() {
        "/forced" => {
            Answer::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        }
        _ => Answer::new(426).body(seen.header("upgrade").unwrap_or("none").to_owned()),
    });
    let bed = Setup::default().start(&[&upstream]).await;
    let wish = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut wire = Wire::connect(bed.gateway.data).await;
    wire.send(bed.head("GET /ws", wish)).await;
    let (head, body) = wire.answer().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 426 "), "{head}");
    assert_eq!(body, b"none");
    let forced = bed.get("/forced").await;
    assert_eq!((forced.status, forced.json()["code"].as_str()), (502, Some("upstream_unreachable")));
}
