//! Rows of SQLite as lines of `COPY`, and what is summed of them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use rusqlite::types::ValueRef;
use sha2::{Digest as _, Sha256};

use super::tables::{Kind, Table};
use crate::domain::id::RequestId;
use crate::stores::record::RecordError;
use crate::stores::record::parts::{self, Name, Parts};
use crate::stores::record::places::place_of;

/// Names by their number.
pub(super) type Names = HashMap<u32, String>;

/// What was read of a table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub rows: i64,
    pub checksum: i128,
    /// The sheet of the last row of the log.
    pub last: i64,
}

/// Appends a row to `out`, and adds it to `sum`.
pub(super) fn line(
    row: &rusqlite::Row<'_>,
    table: &Table,
    names: &Names,
    sum: &mut Sum,
    out: &mut String,
) -> Result<(), RecordError> {
    let mut hash = Sha256::new();
    let mut id = None;
    for (number, (name, _, kind)) in table.columns.iter().enumerate() {
        let value = row.get_ref(number)?;
        let place = id.filter(|_| *kind == Kind::Place).map(|id| place_of(RequestId(id)));
        let text = match place {
            Some(place) => Some(place.to_string()),
            None => text(value, *kind, names).ok_or_else(|| unreadable(table.name, name))?,
        };
        if *kind == Kind::Uuid && number == 0 {
            id = text.as_deref().and_then(|text| uuid::Uuid::try_parse(text).ok());
        }
        if number > 0 {
            hash.update([0x1f]);
            out.push('\t');
        }
        hash.update(text.as_deref().unwrap_or("\\N"));
        match text {
            None => out.push_str("\\N"),
            Some(text) if matches!(kind, Kind::Bytes | Kind::Parts) => {
                let _ = write!(out, "\\\\x{text}");
            }
            Some(text) => escape(&text, out),
        }
    }
    out.push('\n');
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    sum.rows += 1;
    sum.checksum += i128::from(i64::from_be_bytes(first));
    Ok(())
}

fn unreadable(table: &str, column: &str) -> RecordError {
    RecordError::Corrupt(format!("the column `{table}.{column}` holds no value of its kind"))
}

/// The outer `None` is what cannot be read, the inner one is NULL.
fn text(value: ValueRef<'_>, kind: Kind, names: &Names) -> Option<Option<String>> {
    Some(Some(match (kind, value) {
        // An id that is empty where it cannot be NULL stands for none.
        (_, ValueRef::Null) => return Some(None),
        (Kind::Number | Kind::Flag, ValueRef::Integer(number)) => number.to_string(),
        // PostgreSQL holds no NUL.
        (Kind::Text, ValueRef::Text(text)) => std::str::from_utf8(text).ok()?.replace('\0', "\u{fffd}"),
        (Kind::Uuid, ValueRef::Blob([])) => uuid::Uuid::nil().to_string(),
        (Kind::Uuid, ValueRef::Blob(bytes)) => uuid::Uuid::from_slice(bytes).ok()?.to_string(),
        (Kind::Bytes, ValueRef::Blob(bytes)) => hex(bytes),
        (Kind::Parts, ValueRef::Blob(bytes)) => hex(&with_texts(bytes, names)?),
        (Kind::Address, ValueRef::Blob(octets)) => {
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()?.to_string()
        }
        _ => return None,
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Parts in which every name is a text.
fn with_texts(bytes: &[u8], names: &Names) -> Option<Vec<u8>> {
    let mut parts = Parts::new();
    parts::decode(bytes, &mut parts)?;
    for (part, _) in &mut parts {
        let name = match part {
            parts::Part::Tier(name) | parts::Part::Domain(name) | parts::Part::Failure(_, name) => name,
            parts::Part::Failures => continue,
        };
        if let Some(Name::Number(number)) = name {
            *name = Some(Name::Text(names.get(number)?));
        }
    }
    // Texts have another order than numbers.
    parts::settle(&mut parts);
    Some(parts::encode(&parts))
}

/// As `COPY … (FORMAT TEXT)` takes it.
fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
}
