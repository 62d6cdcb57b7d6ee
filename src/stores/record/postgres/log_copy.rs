//! Rows as `COPY … (FORMAT BINARY)` takes them, in the order of the table's columns.
//! <https://www.postgresql.org/docs/current/sql-copy.html>

use std::borrow::Cow;
use std::net::IpAddr;

use super::columns::{int, micros};
use crate::domain::row::RowRef;
use crate::stores::record::places::place_of;

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: i16 = -1;
const COLUMNS: i16 = 24;

/// `inet` on the wire: PostgreSQL's own numbers of families, whatever the system's are.
const INET: u8 = 2;
const INET6: u8 = 3;

/// One message with all of `rows`.
pub(super) fn encode(rows: &[RowRef<'_>]) -> Vec<u8> {
    let mut out = Out(Vec::with_capacity(HEADER.len() + rows.len() * 512));
    out.0.extend_from_slice(HEADER);
    rows.iter().for_each(|row| out.row(row));
    out.0.extend_from_slice(&TRAILER.to_be_bytes());
    out.0
}

/// A text as PostgreSQL holds it: it has no NUL, which no path or header that was let through has either.
pub(super) fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

struct Out(Vec<u8>);

impl Out {
    fn row(&mut self, row: &RowRef<'_>) {
        self.0.extend_from_slice(&COLUMNS.to_be_bytes());
        self.long(place_of(row.id));
        self.field(row.id.0.as_bytes());
        self.long(micros(row.at));
        self.optional(row.key.as_ref().map(|key| &key.0.as_bytes()[..]));
        self.field(&[u8::from(row.admitted)]);
        self.optional(
            row.outcome.map(|outcome| (outcome as i16).to_be_bytes()).as_ref().map(|short| &short[..]),
        );
        self.long(int(row.cost.credits));
        self.long(int(row.cost.microcents));
        self.field(&(row.cost_source as i16).to_be_bytes());
        self.field(&i16::try_from(row.status).unwrap_or(i16::MAX).to_be_bytes());
        for number in [row.first_byte_micros, row.total_micros, row.bytes_in, row.bytes_out] {
            self.long(int(number));
        }
        self.address(row.address);
        self.text(row.organization);
        self.text(row.project);
        self.text(Some(row.method));
        self.text(Some(row.path));
        self.text(Some(row.code).filter(|code| !code.is_empty()));
        for text in [row.tier, row.domain, row.target, row.user_agent] {
            self.text(text);
        }
    }

    fn long(&mut self, number: i64) {
        self.field(&number.to_be_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        self.optional(text.map(storable).as_deref().map(str::as_bytes));
    }

    fn address(&mut self, address: IpAddr) {
        let head = |family, octets: &[u8]| [family, (octets.len() * 8) as u8, 0, octets.len() as u8];
        match address {
            IpAddr::V4(address) => {
                let octets = address.octets();
                self.field(&[&head(INET, &octets)[..], &octets].concat());
            }
            IpAddr::V6(address) => {
                let octets = address.octets();
                self.field(&[&head(INET6, &octets)[..], &octets].concat());
            }
        }
    }

    fn optional(&mut self, field: Option<&[u8]>) {
        match field {
            Some(bytes) => self.field(bytes),
            None => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        // Texts of a row are bounded (domain::row), so that no field is near this.
        self.0.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}
