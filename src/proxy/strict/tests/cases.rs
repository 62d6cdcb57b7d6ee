//! Cases from text files: one line each, the input in escapes and what is said of it.

use super::HEAD_LIMITS;
use super::escapes::unescape;
use crate::proxy::strict::chunked::Chunked;
use crate::proxy::strict::head::{check, check_trailers};
use crate::proxy::strict::{Framing, HeadLimits, Violation};

/// Every case of `file` whose outcome is not what `outcome` says of its input.
pub fn failures(file: &str, outcome: impl Fn(&[u8]) -> String) -> Vec<String> {
    let cases = file.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    cases
        .filter_map(|line| {
            let (input, expected) = line.rsplit_once(" => ").unwrap();
            let found = outcome(&unescape(input));
            (found != expected).then(|| format!("{line}\n    found: {found}"))
        })
        .collect()
}

/// How a case spells a refusal.
pub fn said(violation: Violation) -> String {
    match violation {
        Violation::BadRequest(rule) => format!("400 {rule}"),
        other => other.refusal().status().to_string(),
    }
}

fn head_outcome(bytes: &[u8]) -> String {
    match check(bytes, &HEAD_LIMITS) {
        Ok(None) => "partial".to_owned(),
        Ok(Some(head)) => match head.framing {
            Framing::Empty => "empty".to_owned(),
            Framing::Length(length) => format!("length {length}"),
            Framing::Chunked => "chunked".to_owned(),
        },
        Err(violation) => said(violation),
    }
}

fn body_outcome(bytes: &[u8]) -> String {
    let mut chunked = Chunked::new();
    let trailers = match chunked.advance(bytes) {
        Ok(_) if !chunked.is_at_trailers() => return "partial".to_owned(),
        Ok(taken) => &bytes[taken..],
        Err(violation) => return said(violation),
    };
    match check_trailers(trailers, &HEAD_LIMITS) {
        Ok(None) => "partial".to_owned(),
        Ok(Some(_)) => "whole".to_owned(),
        Err(violation) => said(violation),
    }
}

#[test]
fn heads_mean_one_thing_or_are_refused() {
    let wrong = failures(include_str!("heads.txt"), head_outcome);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn chunks_end_in_one_place_or_are_refused() {
    let wrong = failures(include_str!("chunks.txt"), body_outcome);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A refusal may come before the head is complete, but no prefix of a good head may be refused, and no prefix
/// of a bad one let through.
#[test]
fn every_prefix_of_a_case_is_waited_for_or_refused_alike() {
    let cases = include_str!("heads.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in cases {
        let bytes = unescape(line.rsplit_once(" => ").unwrap().0);
        let whole = check(&bytes, &HEAD_LIMITS);
        for end in 0..bytes.len() {
            let prefix = check(&bytes[..end], &HEAD_LIMITS);
            let alike = match (prefix, whole) {
                (Ok(None), _) => true,
                (Ok(Some(part)), Ok(Some(all))) => part == all,
                // Bounds are told apart only where the line ends.
                (Err(_), Err(_)) => true,
                _ => false,
            };
            assert!(alike, "{line}: {prefix:?} after {end} bytes, {whole:?} in the end");
        }
    }
}

#[test]
fn a_head_counts_its_bytes_and_leaves_what_follows() {
    let limits = HeadLimits { head_bytes_max: 28, ..HEAD_LIMITS };
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
    let head = check(bytes, &HeadLimits { head_bytes_max: 29, ..limits }).unwrap().unwrap();
    assert_eq!(&bytes[head.bytes..], b"rest");
    assert_eq!(check(bytes, &HeadLimits { head_bytes_max: 26, ..limits }), Err(Violation::HeadTooLarge));
}

/// Bytes of every kind at every place in a word, so that the eight-at-once scan is no different from a plain one.
#[test]
fn controls_are_found_wherever_they_stand() {
    for byte in 0..=u8::MAX {
        for at in 0..20 {
            let mut value = *b"abcdefghij\xff\x80\t jklmno";
            value[at] = byte;
            let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &value[..], b"\r\n\r\n"].concat();
            let fine = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(check(&bytes, &HEAD_LIMITS).is_ok(), fine, "{byte:#x} at {at}");
        }
    }
}
