//! How case files spell bytes. Included by `tests/refusals.rs` too, which sends the same cases over a socket.

/// The bytes that a case's left side stands for; the escapes are told at the top of `heads.txt`.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let (kind, after) = rest[at + 1..].split_at(1);
        rest = after;
        match kind {
            "n" => bytes.extend_from_slice(b"\r\n"),
            "l" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "s" => bytes.push(b' '),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            "*" => {
                let (count, tail) = rest.split_once('(').unwrap();
                let (what, tail) = tail.split_once(')').unwrap();
                bytes.extend(unescape(what).repeat(count.parse().unwrap()));
                rest = tail;
            }
            other => panic!("unknown escape {other:?} in {text:?}"),
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
