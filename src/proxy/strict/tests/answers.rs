//! Heads of answers as text cases.

use super::HEAD_LIMITS;
use super::cases::{failures, said};
use super::escapes::unescape;
use crate::proxy::strict::answer::{AnswerFraming, find, read};

const CASES: &str = include_str!("answers.txt");

fn outcome(bytes: &[u8]) -> String {
    let (bodiless, bytes) = match bytes.strip_prefix(b"HEAD:") {
        Some(bytes) => (true, bytes),
        None => (false, bytes),
    };
    let end = match find(bytes, &HEAD_LIMITS) {
        Ok(None) => return "partial".to_owned(),
        Ok(Some(end)) => end,
        Err(violation) => return said(violation),
    };
    let head = match read(&bytes[..end], &HEAD_LIMITS, bodiless) {
        Ok(head) => head,
        Err(violation) => return said(violation),
    };
    let framing = match head.framing {
        AnswerFraming::Empty => "empty".to_owned(),
        AnswerFraming::Length(length) => format!("length {length}"),
        AnswerFraming::Chunked => "chunked".to_owned(),
        AnswerFraming::Close => "close".to_owned(),
    };
    framing + if head.persistent { "" } else { " last" }
}

#[test]
fn answers_mean_one_thing_or_are_refused() {
    let wrong = failures(CASES, outcome);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No prefix of a good head is refused, and none is taken for a whole one.
#[test]
fn every_prefix_of_a_good_answer_is_waited_for() {
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (input, expected) = line.rsplit_once(" => ").unwrap();
        let bytes = unescape(input.strip_prefix("HEAD:").unwrap_or(input));
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
        if expected.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        for end in 0..head {
            assert!(matches!(find(&bytes[..end], &HEAD_LIMITS), Ok(None)), "{line}: after {end} bytes");
        }
    }
}

/// What is repeated is told once, everything else as often as it came.
#[test]
fn fields_are_kept_as_they_came() {
    let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nContent-Length: 1\r\nSET-COOKIE: b \r\ncontent-length: 1\r\n\r\n";
    let read = read(head.as_bytes(), &HEAD_LIMITS, false).unwrap();
    let lines: Vec<String> =
        read.fields.iter().map(|(name, value)| format!("{name}: {}", value.escape_ascii())).collect();
    assert_eq!(lines, ["set-cookie: a", "content-length: 1", "set-cookie: b"]);
}
