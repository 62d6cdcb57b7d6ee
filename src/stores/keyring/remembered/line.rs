//! Lines of the journal, each with a checksum of its own. It keeps out accidents: a line that was torn, damaged, or
//! written by another version is none.
//!
//! ```text
//! tollgate-keys VERSION RECORD SUM              the first line: whose keys these are
//! NAME NUMBER VERSION SUM JSON                  a key or organization, read when NUMBER was the last change
//! -NAME NUMBER SUM                              change NUMBER was about it: what was read before does not count
//! confirmed MICROS NUMBER SUM                   at this instant the record knew of no change after NUMBER
//! nodes COUNT PLACE SUM                         so many nodes share the limits, and which of them this one is
//! ```

use super::super::encoding;
use crate::domain::time::Timestamp;
use crate::stores::counters::redis::Nodes;

/// To be raised with every change of the lines above.
const VERSION: u32 = 1;
const HEAD: &str = "tollgate-keys";
const CONFIRMED: &str = "confirmed";
const NODES: &str = "nodes";

/// One line, without its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Line<'a> {
    /// The journal of this record.
    Head(&'a str),
    /// What a name holds, and the number of the last change then.
    Kept { name: &'a str, entry: &'a str, seen: i64 },
    /// What it held before this change is no longer so.
    Out { name: &'a str, number: i64 },
    /// The record knew of no later change at this instant.
    Confirmed { at: Timestamp, number: i64 },
    /// Who shares the limits.
    Nodes(Nodes),
}

impl<'a> Line<'a> {
    /// Reads a line; `None` where it is none.
    pub fn parse(line: &'a str) -> Option<Self> {
        let (first, rest) = line.split_once(' ')?;
        if let Some(name) = first.strip_prefix('-') {
            let [number] = summed(first, rest)?;
            return Some(Self::Out { name, number: number.parse().ok()? });
        }
        Some(match first {
            HEAD => {
                let [version, record] = summed(first, rest)?;
                (version.parse() == Ok(VERSION)).then_some(Self::Head(record))?
            }
            CONFIRMED => {
                let [at, number] = summed(first, rest)?;
                Self::Confirmed { at: Timestamp::from_micros(at.parse().ok()?), number: number.parse().ok()? }
            }
            NODES => {
                let [count, place] = summed(first, rest)?;
                Self::Nodes(Nodes { count: count.parse().ok()?, place: place.parse().ok()? })
            }
            name => Self::Kept { name, entry: rest, seen: encoding::number_of(name, rest)? },
        })
    }

    /// The line as it is written, with its end.
    pub fn text(&self) -> String {
        match self {
            Self::Head(record) => sum(HEAD, &format!("{VERSION} {record}")),
            Self::Kept { name, entry, .. } => format!("{name} {entry}\n"),
            Self::Out { name, number } => sum(&format!("-{name}"), &number.to_string()),
            Self::Confirmed { at, number } => sum(CONFIRMED, &format!("{} {number}", at.micros())),
            Self::Nodes(Nodes { count, place }) => sum(NODES, &format!("{count} {place}")),
        }
    }
}

fn sum(first: &str, fields: &str) -> String {
    format!("{first} {fields} {}\n", encoding::checksum(first, fields))
}

/// The fields of a line whose checksum is right.
fn summed<'a, const N: usize>(first: &str, rest: &'a str) -> Option<[&'a str; N]> {
    let (fields, sum) = rest.rsplit_once(' ')?;
    if encoding::checksum(first, fields) != sum {
        return None;
    }
    fields.split(' ').collect::<Vec<_>>().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_no_other() {
        let lines = [
            Line::Head("0123456789abcdef"),
            Line::Out { name: "tollgate:{acme}:a", number: 17 },
            Line::Confirmed { at: Timestamp::from_micros(1_800_000_000_000_001), number: 17 },
            Line::Nodes(Nodes { count: 3, place: 2 }),
        ];
        for line in lines {
            let text = line.text();
            let text = text.strip_suffix('\n').unwrap();
            assert_eq!(Line::parse(text), Some(line.clone()), "{text}");
            for place in 0..text.len() {
                let mut damaged = text.to_owned().into_bytes();
                damaged[place] ^= 1;
                let damaged = String::from_utf8(damaged).unwrap();
                assert_eq!(Line::parse(&damaged), None, "{damaged}");
                assert_eq!(Line::parse(&text[..place]), None, "{}", &text[..place]);
            }
        }
    }
}
