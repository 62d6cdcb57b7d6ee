//! What a frame of the spool holds: one [`Admission`] or one [`Row`], in few bytes.
//!
//! A payload is a kind, a version and the fields in the order of the type: numbers as LEB128 or fixed
//! little-endian, texts with a 16-bit length, options as bits of one flag field. Texts are cut to their bound
//! as they are written, so a payload never exceeds [`ADMISSION_BYTES_MAX`] or [`ROW_BYTES_MAX`].
//!
//! **Invariant:** reading never panics, whatever the bytes; and borrows its texts from them.

use std::borrow::Cow;
use std::net::IpAddr;

use uuid::Uuid;

use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId, SLUG_BYTES_MAX};
use crate::domain::row::{Admission, Row, TEXT_BYTES_MAX};
use crate::domain::time::Timestamp;

const ADMISSION: u8 = 1;
const ROW: u8 = 2;
const VERSION: u8 = 1;

/// Longest method and code that are kept, in bytes.
const WORD_BYTES_MAX: usize = 64;
const VARINT_BYTES_MAX: usize = 10;
const HEAD_BYTES: usize = 2 + 16 + 8;
const COST_BYTES_MAX: usize = 2 * VARINT_BYTES_MAX;

/// Longest payload of an admission: head, flags, key, organization, project, estimate.
pub(super) const ADMISSION_BYTES_MAX: usize = HEAD_BYTES + 1 + 16 + 2 * (2 + SLUG_BYTES_MAX) + COST_BYTES_MAX;

/// Longest payload of a row: head, flags, key, organization, project, method, code, path, status, outcome,
/// source, times and sizes, address, cost, and five more texts.
pub(super) const ROW_BYTES_MAX: usize = HEAD_BYTES
    + 2
    + 16
    + 2 * (2 + SLUG_BYTES_MAX)
    + 2 * (2 + WORD_BYTES_MAX)
    + (2 + TEXT_BYTES_MAX)
    + 2
    + 2
    + 4 * VARINT_BYTES_MAX
    + 16
    + COST_BYTES_MAX
    + 5 * (2 + TEXT_BYTES_MAX);

const HAS_KEY: u16 = 1;
const HAS_ORGANIZATION: u16 = 1 << 1;
const HAS_PROJECT: u16 = 1 << 2;
const IS_ADMITTED: u16 = 1 << 3;
const HAS_OUTCOME: u16 = 1 << 4;
const IS_IPV6: u16 = 1 << 5;
const HAS_TIER: u16 = 1 << 6;
const HAS_DOMAIN: u16 = 1 << 7;
const HAS_TARGET: u16 = 1 << 8;
const HAS_USER_AGENT: u16 = 1 << 9;
const HAS_JOB: u16 = 1 << 10;
const ADMISSION_FLAGS: u16 = HAS_KEY | HAS_ORGANIZATION | HAS_PROJECT;
const ROW_FLAGS: u16 = (1 << 11) - 1;

/// One payload, read: an admission only as far as has to be known where its row follows, as it mostly does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// A request was admitted; the payload is for [`admission`] to read.
    Admitted(RequestId, &'a [u8]),
    /// A request ended.
    Finished(Row<'a>),
}

/// Appends the payload of an admission to `out`.
pub(super) fn put_admission(out: &mut Vec<u8>, admission: &Admission<'_>) {
    put_head(out, ADMISSION, admission.id, admission.at);
    let flags = flag(HAS_KEY, admission.key.is_some())
        | flag(HAS_ORGANIZATION, admission.organization.is_some())
        | flag(HAS_PROJECT, admission.project.is_some());
    out.push(flags as u8);
    put_owner(out, admission.key, &admission.organization, &admission.project);
    put_cost(out, admission.estimate);
}

/// Appends the payload of a row to `out`.
pub(super) fn put_row(out: &mut Vec<u8>, row: &Row<'_>) {
    put_head(out, ROW, row.id, row.at);
    let flags = flag(HAS_KEY, row.key.is_some())
        | flag(HAS_ORGANIZATION, row.organization.is_some())
        | flag(HAS_PROJECT, row.project.is_some())
        | flag(IS_ADMITTED, row.admitted)
        | flag(HAS_OUTCOME, row.outcome.is_some())
        | flag(IS_IPV6, row.address.is_ipv6())
        | flag(HAS_TIER, row.tier.is_some())
        | flag(HAS_DOMAIN, row.domain.is_some())
        | flag(HAS_TARGET, row.target.is_some())
        | flag(HAS_USER_AGENT, row.user_agent.is_some())
        | flag(HAS_JOB, row.job.is_some());
    out.extend_from_slice(&flags.to_le_bytes());
    put_owner(out, row.key, &row.organization, &row.project);
    put_text(out, &row.method, WORD_BYTES_MAX);
    put_text(out, &row.path, TEXT_BYTES_MAX);
    out.extend_from_slice(&row.status.to_le_bytes());
    put_text(out, &row.code, WORD_BYTES_MAX);
    if let Some(outcome) = row.outcome {
        out.push(outcome as u8);
    }
    put_varint(out, row.first_byte_micros);
    put_varint(out, row.total_micros);
    match row.address {
        IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
    }
    put_cost(out, row.cost);
    out.push(row.cost_source as u8);
    put_varint(out, row.bytes_in);
    put_varint(out, row.bytes_out);
    for text in [&row.tier, &row.domain, &row.target, &row.user_agent, &row.job].into_iter().flatten() {
        put_text(out, text, TEXT_BYTES_MAX);
    }
}

/// Reads a payload; `None` where the bytes are not one that this version of the program writes.
#[inline]
pub(super) fn read(payload: &[u8]) -> Option<Entry<'_>> {
    let mut bytes = Bytes(payload);
    match (bytes.byte()?, bytes.byte()?) {
        (ADMISSION, VERSION) => Some(Entry::Admitted(bytes.head()?.0, payload)),
        (ROW, VERSION) => {
            let row = read_row(&mut bytes)?;
            bytes.0.is_empty().then_some(Entry::Finished(row))
        }
        _ => None,
    }
}

/// Reads the payload of an admission.
pub(super) fn admission(payload: &[u8]) -> Option<Admission<'_>> {
    let mut bytes = Bytes(payload.strip_prefix(&[ADMISSION, VERSION])?);
    let admission = read_admission(&mut bytes)?;
    bytes.0.is_empty().then_some(admission)
}

fn read_admission<'a>(bytes: &mut Bytes<'a>) -> Option<Admission<'a>> {
    let (id, at) = bytes.head()?;
    let flags = known(u16::from(bytes.byte()?), ADMISSION_FLAGS)?;
    let (key, organization, project) = bytes.owner(flags)?;
    Some(Admission { id, at, key, organization, project, estimate: bytes.cost()? })
}

/// The fields in the order in which [`put_row`] wrote them; a struct literal evaluates them in this order.
#[inline]
fn read_row<'a>(bytes: &mut Bytes<'a>) -> Option<Row<'a>> {
    let (id, at) = bytes.head()?;
    let flags = known(u16::from_le_bytes(bytes.array()?), ROW_FLAGS)?;
    let has = |bit| flags & bit != 0;
    let (key, organization, project) = bytes.owner(flags)?;
    Some(Row {
        id,
        at,
        organization,
        project,
        key,
        admitted: has(IS_ADMITTED),
        method: bytes.text()?,
        path: bytes.text()?,
        status: u16::from_le_bytes(bytes.array()?),
        code: bytes.text()?,
        outcome: bytes
            .optional(has(HAS_OUTCOME), |bytes| Outcome::ALL.get(usize::from(bytes.byte()?)).copied())?,
        first_byte_micros: bytes.varint()?,
        total_micros: bytes.varint()?,
        address: if has(IS_IPV6) {
            IpAddr::from(bytes.array::<16>()?)
        } else {
            IpAddr::from(bytes.array::<4>()?)
        },
        cost: bytes.cost()?,
        cost_source: CostSource::ALL.get(usize::from(bytes.byte()?)).copied()?,
        bytes_in: bytes.varint()?,
        bytes_out: bytes.varint()?,
        tier: bytes.optional(has(HAS_TIER), Bytes::text)?,
        domain: bytes.optional(has(HAS_DOMAIN), Bytes::text)?,
        target: bytes.optional(has(HAS_TARGET), Bytes::text)?,
        user_agent: bytes.optional(has(HAS_USER_AGENT), Bytes::text)?,
        job: bytes.optional(has(HAS_JOB), Bytes::text)?,
    })
}

/// The same admission, holding its own texts.
pub(super) fn owned(admission: Admission<'_>) -> Admission<'static> {
    let own = |text: Option<Cow<'_, str>>| text.map(|text| Cow::Owned(text.into_owned()));
    Admission {
        id: admission.id,
        at: admission.at,
        key: admission.key,
        organization: own(admission.organization),
        project: own(admission.project),
        estimate: admission.estimate,
    }
}

fn flag(bit: u16, set: bool) -> u16 {
    if set { bit } else { 0 }
}

fn known(flags: u16, mask: u16) -> Option<u16> {
    (flags & !mask == 0).then_some(flags)
}

fn put_head(out: &mut Vec<u8>, kind: u8, id: RequestId, at: Timestamp) {
    out.extend_from_slice(&[kind, VERSION]);
    out.extend_from_slice(id.0.as_bytes());
    out.extend_from_slice(&at.micros().to_le_bytes());
}

fn put_owner(
    out: &mut Vec<u8>,
    key: Option<KeyId>,
    organization: &Option<Cow<'_, str>>,
    project: &Option<Cow<'_, str>>,
) {
    if let Some(key) = key {
        out.extend_from_slice(key.0.as_bytes());
    }
    for text in [organization, project].into_iter().flatten() {
        put_text(out, text, SLUG_BYTES_MAX);
    }
}

fn put_cost(out: &mut Vec<u8>, cost: Cost) {
    put_varint(out, cost.credits);
    put_varint(out, cost.microcents);
}

/// Writes at most `most` bytes of `text`, whole characters, behind their number.
fn put_text(out: &mut Vec<u8>, text: &str, most: usize) {
    let text = &text[..text.floor_char_boundary(most)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What is left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Cow::Borrowed)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.array().map(Uuid::from_bytes)
    }

    fn head(&mut self) -> Option<(RequestId, Timestamp)> {
        Some((RequestId(self.uuid()?), Timestamp::from_micros(u64::from_le_bytes(self.array()?))))
    }

    #[expect(clippy::type_complexity, reason = "three fields that stand together in both types")]
    fn owner(&mut self, flags: u16) -> Option<(Option<KeyId>, Option<Cow<'a, str>>, Option<Cow<'a, str>>)> {
        Some((
            self.optional(flags & HAS_KEY != 0, |bytes| bytes.uuid().map(KeyId))?,
            self.optional(flags & HAS_ORGANIZATION != 0, Self::text)?,
            self.optional(flags & HAS_PROJECT != 0, Self::text)?,
        ))
    }

    fn cost(&mut self) -> Option<Cost> {
        Some(Cost { credits: self.varint()?, microcents: self.varint()? })
    }

    /// `Some(None)` where the value is absent, `None` where it should be there and cannot be read.
    fn optional<T>(&mut self, present: bool, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if present { read(self).map(Some) } else { Some(None) }
    }
}
