//! Forged identity: however a client spells what only the gateway may say, the upstream reads exactly one value, and
//! it is the right one.

use std::collections::HashSet;

use super::start;
use super::support::{Answer, Kept, Seen, Upstream};

const SPELLINGS: usize = 10_000;
/// How many go into one request, which may have 100 headers.
const AT_ONCE: usize = 80;

/// What only the gateway says.
const NAMES: [&str; 10] = [
    "x-tollgate-organization",
    "x-tollgate-project",
    "x-tollgate-key-id",
    "x-tollgate-plan",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
    "forwarded",
];

/// As an application behind CGI, WSGI or Rack may come to read a name: what is not a letter or digit is one `-`.
fn read_as(name: &str) -> String {
    let words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

/// A simple generator (xorshift64*), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

/// A spelling of `name` in characters that may stand in a header's name (RFC 9110 section 5.6.2).
fn spell(name: &str, random: &mut Random) -> String {
    const SEPARATORS: [&str; 18] =
        ["-", "_", ".", "~", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "--", "__", "-_"];
    let mut spelled = String::new();
    if random.below(8) == 0 {
        spelled.push_str(SEPARATORS[random.below(SEPARATORS.len())]);
    }
    for c in name.chars() {
        match c {
            '-' => spelled.push_str(SEPARATORS[random.below(SEPARATORS.len())]),
            c if random.below(2) == 0 => spelled.push(c.to_ascii_uppercase()),
            c => spelled.push(c),
        }
    }
    if random.below(8) == 0 {
        spelled.push_str(SEPARATORS[random.below(SEPARATORS.len())]);
    }
    spelled
}

fn spellings() -> Vec<String> {
    let mut random = Random(0x0070_6C61_7465_2121);
    let mut seen = HashSet::new();
    let mut spellings = Vec::new();
    while spellings.len() < SPELLINGS {
        let spelling = spell(NAMES[spellings.len() % NAMES.len()], &mut random);
        if seen.insert(spelling.clone()) {
            spellings.push(spelling);
        }
    }
    spellings
}

/// Every value that an application may take for that of `name`, trailers too.
fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    let lines = seen.head.split("\r\n").skip(1).chain(seen.trailers.split("\r\n"));
    let fields = lines.filter_map(|line| line.split_once(':'));
    fields.filter(|(found, _)| read_as(found) == name).map(|(_, value)| value.trim()).collect()
}

fn check(seen: &Seen, key_id: &str) {
    for (name, value) in [
        ("x-tollgate-organization", Some("acme")),
        ("x-tollgate-project", None),
        ("x-tollgate-key-id", Some(key_id)),
        ("x-tollgate-plan", Some("wide")),
        ("x-request-id", None),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("front.example")),
    ] {
        let found = values(seen, name);
        assert_eq!(found.len(), 1, "{name}: {found:?} in {} and {}", seen.head, seen.trailers);
        assert!(!found[0].is_empty() && !found[0].contains("forged"), "{name}: {found:?}");
        assert!(value.is_none_or(|value| value == found[0]), "{name}: {found:?}");
    }
    for name in ["x-real-ip", "forwarded"] {
        assert_eq!(values(seen, name), Vec::<&str>::new(), "{name}");
    }
    assert!(!seen.head.contains("forged") && !seen.trailers.contains("forged"), "{}", seen.head);
}

#[tokio::test]
async fn ten_thousand_forged_identity_headers_are_each_one_right_value() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let (gateway, key) = start(upstream.address, "headers_max = 200").await;
    let key_id = gateway.cli(&["key", "show", "k", "--org", "acme"]).await["id"].as_str().unwrap().to_owned();
    let mut kept = Kept::new();
    let spellings = spellings();
    for (number, spellings) in spellings.chunks(AT_ONCE).enumerate() {
        let mut head = format!("Host: front.example\r\nX-API-Key: {key}\r\n");
        let mut trailers = String::new();
        for (number, spelling) in spellings.iter().enumerate() {
            head += &format!("{spelling}: forged\r\n");
            if number % 5 == 0 {
                // Twice, and with another value.
                head += &format!("{spelling}: forged-again\r\n");
            }
            trailers += &format!("{spelling}: forged\r\n");
        }
        // Asked to be taken away on the way, as the real ones would be.
        let named: Vec<&str> = NAMES.iter().copied().chain(spellings.iter().map(|s| &**s).take(20)).collect();
        let connection = match number % 3 {
            0 => String::new(),
            1 => format!("Connection: keep-alive, {}\r\n", named.join(", ")),
            _ => named.iter().map(|name| format!("Connection: {name}\r\n")).collect(),
        };
        let trailer = format!("Trailer: X-Harmless, {}\r\n", NAMES.join(", "));
        let request = format!(
            "POST / HTTP/1.1\r\n{head}{connection}TE: trailers\r\n{trailer}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{trailers}X-Harmless: y\r\n\r\n"
        );
        let reply = kept.ask(gateway.data, &request).await.unwrap();
        assert_eq!(reply.status, 200, "{reply:?} to {request}");
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), SPELLINGS.div_ceil(AT_ONCE));
    seen.iter().for_each(|seen| check(seen, &key_id));
    // Trailers do go on, so that the forged ones were not lost by accident.
    assert!(seen.iter().all(|seen| seen.trailers.to_ascii_lowercase().contains("x-harmless")));
    let ids: HashSet<&str> = seen.iter().map(|seen| seen.header("x-request-id").unwrap()).collect();
    assert_eq!(ids.len(), seen.len(), "each request has an id of its own");
}

#[tokio::test]
async fn connection_cannot_name_away_what_the_upstream_relies_on() {
    let upstream = Upstream::start(|_| Answer::new(200));
    let (gateway, key) = start(upstream.address, "").await;
    for named in
        ["host", "content-length", "transfer-encoding", "content-type", "x-api-key", "Host, Content-Length"]
    {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: front.example\r\nX-API-Key: {key}\r\nConnection: {named}\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nbody"
        );
        let reply = Kept::new().ask(gateway.data, &request).await.unwrap();
        assert_eq!(reply.status, 200, "{named}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.body.as_slice(), seen.complete), (&b"body"[..], true), "{named}");
        assert_eq!(seen.headers("host").len(), 1, "{named}: {}", seen.head);
        assert_eq!(seen.header("content-type"), Some("text/plain"), "{named}");
        assert_eq!(seen.header("x-api-key"), None, "{named}");
    }
}
