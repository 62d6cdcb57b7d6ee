//! What a frame of the spool holds: one [`Admission`], one [`Row`](crate::domain::row::Row), or what these name by a number, in
//! few bytes.
//!
//! A payload is a kind and fields in a fixed order: numbers as LEB128 or fixed little-endian, an instant as its distance from
//! that in the id, texts behind their length, options as bits of one flag field. Texts are cut to their bound as they are
//! written, so a payload never exceeds [`ADMISSION_BYTES_MAX`] or [`ROW_BYTES_MAX`].
//!
//! **A dictionary.** Most of a row's bytes would say what thousands before it said: its [`Owner`] and its [`Shape`]. So a segment
//! gives these numbers where it meets them first, and every later payload of it says the number (`dictionary.rs`). A segment
//! still needs no other one to be read.
//!
//! **A row and its admission.** In the segment that has both, a row says how many admissions back its own is, and not what that has
//! said. One whose admission is in an earlier segment, or that has none, says all itself.
//!
//! **Versions.** Segments that an earlier version of this program left have payloads of its form, which are still read
//! (`earlier.rs`): kinds of their own, with every row written out.
//!
//! **Invariant:** reading never panics, whatever the bytes; and borrows its texts from them.

mod dictionary;
mod earlier;

use std::borrow::Cow;
use std::net::IpAddr;

use self::dictionary::OWNER_FIELDS_BYTES_MAX;
pub(super) use self::dictionary::{
    Dictionary, OWNERS_MAX, SHAPES_MAX, put_owner, put_owner_fields, put_shape, put_shape_fields,
};
use super::bytes::{Bytes, VARINT_BYTES_MAX, put_text, put_varint};
use crate::domain::cost::Cost;
use crate::domain::id::{RequestId, SLUG_BYTES_MAX};
use crate::domain::row::{Admission, Owner, Shape, TEXT_BYTES_MAX, Variables};
use crate::domain::time::Timestamp;
use crate::stores::record::{Numbers, packed};

const OWNER: u8 = 19;
const SHAPE: u8 = 20;
const ADMISSION: u8 = 21;
const ROW: u8 = 22;
const ENDED: u8 = 23;

/// In the place of a number: what it would name is written out.
const WRITTEN_OUT: u64 = 0;

/// Longest method and code that are kept, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Kind, id, and how far its instant is from that in the id.
const HEAD_BYTES_MAX: usize = 1 + 16 + VARINT_BYTES_MAX;
const COST_BYTES_MAX: usize = 2 * VARINT_BYTES_MAX;
/// Flags, method, code, path, status, outcome, source, and three more texts.
const SHAPE_FIELDS_BYTES_MAX: usize =
    1 + 2 * (1 + WORD_BYTES_MAX) + (2 + TEXT_BYTES_MAX) + 2 + 2 + 3 * (2 + TEXT_BYTES_MAX);

/// Longest payload that gives an owner its number: kind, number, fields.
pub(super) const OWNER_BYTES_MAX: usize = 1 + 2 + OWNER_FIELDS_BYTES_MAX;

/// Fields of the longest shape that gets a number. Longer ones are those of somebody who makes them up.
pub(super) const SHAPE_BYTES_MAX: usize = 640;

/// Longest payload that gives a shape its number: kind, number, fields.
pub(super) const SHAPE_PAYLOAD_BYTES_MAX: usize = 1 + 2 + SHAPE_BYTES_MAX;

/// Longest payload of an admission: head, owner written out, estimate.
pub(super) const ADMISSION_BYTES_MAX: usize = HEAD_BYTES_MAX + 1 + OWNER_FIELDS_BYTES_MAX + COST_BYTES_MAX;

/// What a row has alone: times and sizes, address, cost, and two texts.
const VARIABLES_BYTES_MAX: usize = 4 * VARINT_BYTES_MAX + 16 + COST_BYTES_MAX + 2 * (2 + TEXT_BYTES_MAX);

/// Longest payload of a row with both numbers.
pub(super) const NUMBERED_ROW_BYTES_MAX: usize = HEAD_BYTES_MAX + 1 + 2 * 2 + VARIABLES_BYTES_MAX;

/// Longest payload of a row: head, flags, owner and shape written out, variables.
pub(super) const ROW_BYTES_MAX: usize =
    HEAD_BYTES_MAX + 1 + (1 + OWNER_FIELDS_BYTES_MAX) + (1 + SHAPE_FIELDS_BYTES_MAX) + VARIABLES_BYTES_MAX;
/// As is reckoned above, lengths of these take one byte, and numbers at most two.
const _: () = assert!(SLUG_BYTES_MAX < 0x80 && WORD_BYTES_MAX < 0x80);
const _: () = assert!(OWNERS_MAX < 1 << 14 && SHAPES_MAX < 1 << 14);

/// Longest payload there is: a row of the first version, with fixed lengths, may be some bytes longer.
pub(super) const PAYLOAD_BYTES_MAX: usize = ROW_BYTES_MAX + 8;

const IS_IPV6: u8 = 1;
const HAS_DOMAIN: u8 = 1 << 1;
const HAS_JOB: u8 = 1 << 2;

/// What a payload is. Only as much of it is read as tells which admission belongs to which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Something has a number from here on; the payload is for [`Dictionary::define`].
    Defined,
    /// A request was admitted; the payload is for [`admission`] to read.
    Admitted(RequestId),
    /// A request ended, and its segment does not tell by a number that it began.
    Finished(RequestId),
    /// A request ended whose admission stands before so many others of its segment.
    Ended(u64),
}

/// A row as its segment says it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    /// Its payload.
    pub row: &'a [u8],
    /// That of its admission; empty where the row says all itself.
    pub admission: &'a [u8],
}

/// How a payload says what many have in common.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<T> {
    /// By the number that its segment gave it.
    Number(u32),
    /// Written out.
    Out(T),
}

/// Appends the payload of an admission to `out`, with its owner as that is said.
pub(super) fn put_admission(out: &mut Vec<u8>, admission: &Admission<'_>, owner: Said<Owner<&str>>) {
    put_head(out, ADMISSION, admission.id, admission.at);
    put_said(out, owner, put_owner_fields);
    put_cost(out, admission.estimate);
}

/// Appends the payload of a row that says all itself to `out`, with its owner and shape as they are said.
#[inline]
pub(super) fn put_row(
    out: &mut Vec<u8>,
    row: &Variables<'_>,
    owner: Said<Owner<&str>>,
    shape: Said<&Shape<&str>>,
) {
    put_head(out, ROW, row.id, row.at);
    out.push(flags_of(row));
    put_said(out, owner, put_owner_fields);
    put_rest(out, row, shape);
}

/// Appends the payload of a row to `out` whose admission stands before `back` others of its segment, and has its id, instant and
/// owner.
#[inline]
pub(super) fn put_ended(out: &mut Vec<u8>, back: u32, row: &Variables<'_>, shape: Said<&Shape<&str>>) {
    out.push(ENDED);
    put_varint(out, back.into());
    out.push(flags_of(row));
    put_rest(out, row, shape);
}

fn flags_of(row: &Variables<'_>) -> u8 {
    let flag = |bit, set| if set { bit } else { 0 };
    flag(IS_IPV6, row.address.is_ipv6())
        | flag(HAS_DOMAIN, row.domain.is_some())
        | flag(HAS_JOB, row.job.is_some())
}

#[inline]
fn put_rest(out: &mut Vec<u8>, row: &Variables<'_>, shape: Said<&Shape<&str>>) {
    put_said(out, shape, put_shape_fields);
    put_varint(out, row.first_byte_micros);
    put_varint(out, row.total_micros);
    match row.address {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    put_cost(out, row.cost);
    put_varint(out, row.bytes_in);
    put_varint(out, row.bytes_out);
    for text in [row.domain, row.job].into_iter().flatten() {
        put_text(out, text, TEXT_BYTES_MAX);
    }
}

/// What a payload is; `None` where it is of no kind that this program writes or wrote.
#[inline]
pub(super) fn read(payload: &[u8]) -> Option<Entry> {
    match payload {
        [OWNER | SHAPE, ..] => Some(Entry::Defined),
        [ENDED, back @ ..] => Some(Entry::Ended(Bytes { left: back }.varint()?)),
        [ROW, id @ ..] => Some(Entry::Finished(uuid_in(id)?)),
        [ADMISSION, id @ ..] => Some(Entry::Admitted(uuid_in(id)?)),
        _ => earlier::read(payload),
    }
}

impl<'a> Written<'a> {
    /// Whose it is; `None` where it is no row.
    #[inline]
    pub fn id(self) -> Option<RequestId> {
        match (read(self.row)?, self.admission) {
            (Entry::Finished(id), _) => Some(id),
            (Entry::Ended(_), [ADMISSION, id @ ..]) => uuid_in(id),
            _ => None,
        }
    }

    /// What it has alone, and the numbers that it says; `None` where it is no row, or what it names is not in `dictionary`.
    #[inline]
    pub fn variables(self, dictionary: &'a Dictionary) -> Option<(Variables<'a>, Numbers)> {
        let Some(Head { id, at, mut owner, flags, mut rest }) = self.head() else {
            return Some((earlier::row(self.row, dictionary)?.variables, Numbers::default()));
        };
        let owner = match owner.varint()? {
            WRITTEN_OUT => None,
            number => Some(dictionary.knows_owner(number)?),
        };
        let shape = match rest.varint()? {
            WRITTEN_OUT => rest.shape_fields().map(|_| None)?,
            number => Some(dictionary.knows_shape(number)?),
        };
        let (first_byte_micros, total_micros) = (rest.varint()?, rest.varint()?);
        let address = rest.address(flags & IS_IPV6 != 0)?;
        let (cost, bytes_in, bytes_out) = (rest.cost()?, rest.varint()?, rest.varint()?);
        let domain = rest.optional(flags & HAS_DOMAIN != 0, Bytes::text)?;
        let job = rest.optional(flags & HAS_JOB != 0, Bytes::text)?;
        let row = Variables {
            id,
            at,
            first_byte_micros,
            total_micros,
            address,
            cost,
            domain,
            bytes_in,
            bytes_out,
            job,
        };
        rest.left.is_empty().then_some((row, Numbers { owner, shape }))
    }

    /// Whose it is; `None` as for [`variables`](Self::variables).
    pub fn owner(self, dictionary: &'a Dictionary) -> Option<Owner<&'a str>> {
        match self.head() {
            Some(mut head) => head.owner.owner(dictionary),
            None => Some(earlier::row(self.row, dictionary)?.owner),
        }
    }

    /// Its shape; `None` as for [`variables`](Self::variables).
    pub fn shape(self, dictionary: &'a Dictionary) -> Option<Shape<&'a str>> {
        match self.head() {
            Some(mut head) => head.rest.shape(dictionary),
            None => Some(earlier::row(self.row, dictionary)?.shape),
        }
    }

    /// `None` also where an earlier version wrote it.
    #[inline]
    fn head(self) -> Option<Head<'a>> {
        let known = |flags: &u8| flags & !(IS_IPV6 | HAS_DOMAIN | HAS_JOB) == 0;
        match (self.row, self.admission) {
            ([ROW, left @ ..], _) => {
                let mut rest = Bytes { left };
                let (id, at) = rest.head()?;
                let flags = rest.byte().filter(known)?;
                let owner = Bytes { left: rest.left };
                if rest.varint()? == WRITTEN_OUT {
                    rest.owner_fields()?;
                }
                Some(Head { id, at, owner, flags, rest })
            }
            ([ENDED, left @ ..], [ADMISSION, began @ ..]) => {
                let (mut owner, mut rest) = (Bytes { left: began }, Bytes { left });
                let (id, at) = owner.head()?;
                rest.varint()?;
                let flags = rest.byte().filter(known)?;
                Some(Head { id, at, owner, flags, rest })
            }
            _ => None,
        }
    }
}

/// What a row says first, or its admission in its place.
struct Head<'a> {
    id: RequestId,
    at: Timestamp,
    /// Begins with the owner.
    owner: Bytes<'a>,
    flags: u8,
    /// Begins with the shape.
    rest: Bytes<'a>,
}

/// Reads the payload of an admission; `None` where it is none, or its owner is not in `dictionary`.
pub(super) fn admission(payload: &[u8], dictionary: &Dictionary) -> Option<Admission<'static>> {
    let [ADMISSION, left @ ..] = payload else { return earlier::admission(payload, dictionary) };
    let mut bytes = Bytes { left };
    let (id, at) = bytes.head()?;
    let owner = bytes.owner(dictionary)?;
    let estimate = bytes.cost()?;
    bytes.left.is_empty().then(|| admitted(id, at, owner, estimate))
}

fn admitted(id: RequestId, at: Timestamp, owner: Owner<&str>, estimate: Cost) -> Admission<'static> {
    let Owner { key, organization, project } = owner.map(|text| Cow::Owned((*text).to_owned()));
    Admission { id, at, key, organization, project, estimate }
}

fn put_said<T>(out: &mut Vec<u8>, said: Said<T>, put: fn(&mut Vec<u8>, T)) {
    match said {
        Said::Number(number) => put_varint(out, number.into()),
        Said::Out(what) => {
            put_varint(out, WRITTEN_OUT);
            put(out, what);
        }
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, id: RequestId, at: Timestamp) {
    out.push(kind);
    out.extend_from_slice(id.0.as_bytes());
    let further = at.micros().wrapping_sub(instant_of(id)) as i64;
    put_varint(out, packed::zigzag(further));
}

/// The microseconds of Unix time that an id of version 7 says; any number for another one.
fn instant_of(id: RequestId) -> u64 {
    ((id.0.as_u128() >> 80) as u64).wrapping_mul(1_000)
}

fn put_cost(out: &mut Vec<u8>, cost: Cost) {
    put_varint(out, cost.credits);
    put_varint(out, cost.microcents);
}

#[inline]
fn uuid_in(bytes: &[u8]) -> Option<RequestId> {
    Bytes { left: bytes }.uuid().map(RequestId)
}

impl Bytes<'_> {
    #[inline]
    fn head(&mut self) -> Option<(RequestId, Timestamp)> {
        let id = RequestId(self.uuid()?);
        let further = packed::unzigzag(self.varint()?);
        Some((id, Timestamp::from_micros(instant_of(id).wrapping_add_signed(further))))
    }

    fn address(&mut self, is_ipv6: bool) -> Option<IpAddr> {
        if is_ipv6 { self.array::<16>().map(IpAddr::from) } else { self.array::<4>().map(IpAddr::from) }
    }

    fn cost(&mut self) -> Option<Cost> {
        Some(Cost { credits: self.varint()?, microcents: self.varint()? })
    }
}
