//! The target's domain in the log: from the query, or from a JSON body that streams by.

use serde_json::{Value, json};

use super::support::{Answer, Upstream, Wire, post, row_of};
use super::{config, start};

#[tokio::test]
async fn rows_carry_the_host_of_the_target_and_nothing_else_of_it() {
    let upstream = Upstream::start(|seen| Answer::new(200).body(seen.length.to_string()));
    let (gateway, _, key) = start(&config(upstream.address, "")).await;
    let body = json!({ "render": true, "url": "https://user:secret@Shop.Example.com/p?q=1", "more": [{ "url": "x" }] });
    let body = body.to_string();
    let long = format!("{{\"pad\": \"{}\", {}", "x".repeat(300 * 1024), &body[1..]);
    let json = [("content-type", "application/json"), ("x-api-key", &*key)];
    let text = [("content-type", "text/plain"), ("x-api-key", &*key)];
    let packed = [json[0], json[1], ("content-encoding", "gzip")];
    for (target, headers, body, domain) in [
        ("/scrape", &json[..], &*body, Some("shop.example.com")),
        ("/scrape?url=https%3A%2F%2Fother.example%2Fpath", &json[..], &*body, Some("other.example")),
        ("/scrape?url=https://other.example/", &text[..], "", Some("other.example")),
        ("/scrape", &text[..], &*body, None),
        ("/scrape", &packed[..], &*body, None),
        ("/scrape", &json[..], "{\"url\": 7}", None),
        ("/scrape", &json[..], "no json", None),
        // Behind what is looked at; and all of it has gone upstream.
        ("/scrape", &json[..], &*long, None),
    ] {
        let answer = post(gateway.data, target, headers, body.to_owned()).await;
        assert_eq!((answer.status, answer.text()), (200, body.len().to_string()));
        let row = row_of(&gateway, answer.header("x-request-id").unwrap()).await;
        assert_eq!(row["domain"], domain.map_or(Value::Null, Value::from), "{target} {headers:?}");
        assert_eq!(row["path"], "/scrape");
    }

    // In pieces, each of which arrives on its own.
    let mut wire = Wire::connect(gateway.data).await;
    let head = "POST /scrape HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\n";
    wire.send(format!("{head}X-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    for piece in body.as_bytes().chunks(3) {
        wire.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
        tokio::task::yield_now().await;
    }
    wire.send("0\r\n\r\n").await;
    let (head, _) = wire.answer().await.unwrap();
    let id = head.split("\r\n").find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    assert_eq!(row_of(&gateway, id).await["domain"], "shop.example.com");

    // It can be asked for.
    let found = gateway.run(&["logs", "--json", "--domain", "EXAMPLE.com"], "").await.stdout;
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(!found.contains("secret"), "{found}");
}
