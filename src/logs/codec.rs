//! What a frame of the spool holds: one [`Admission`], one [`Row`], or an [`Owner`] that these name, in few bytes.
//!
//! A payload is a kind and the fields in the order of the type: numbers as LEB128 or fixed little-endian, an instant as
//! its distance from that in the id, texts behind their length, options as bits of one flag field. Texts are cut to
//! their bound as they are written, so a payload never exceeds [`ADMISSION_BYTES_MAX`] or [`ROW_BYTES_MAX`].
//!
//! **Owners.** Most of a row's bytes would say whose it is, as thousands before it did: key, organization, project. So a
//! segment gives them a number where it meets them first, and every later payload of it says the number. A segment
//! still needs no other one to be read.
//!
//! **Versions.** Segments that an earlier version of this program left have payloads of its form, which are still read:
//! kinds of their own, every owner written out, instants and lengths of fixed size.
//!
//! **Invariant:** reading never panics, whatever the bytes; and borrows its texts from them.

use std::borrow::Cow;
use std::net::IpAddr;

use super::bytes::{Bytes, VARINT_BYTES_MAX, put_text, put_varint};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId, SLUG_BYTES_MAX};
use crate::domain::row::{Admission, Row, RowRef, TEXT_BYTES_MAX};
use crate::domain::time::Timestamp;

/// Kinds of the first version; the version itself follows.
const FIRST_ADMISSION: u8 = 1;
const FIRST_ROW: u8 = 2;
const FIRST_VERSION: u8 = 1;

const OWNER: u8 = 16;
const ADMISSION: u8 = 17;
const ROW: u8 = 18;

/// Owners with a number in one segment; those beyond are written out in every payload.
pub(super) const OWNERS_MAX: usize = 4_096;
/// In the place of a number: the owner is written out.
const WRITTEN_OUT: u64 = 0;

/// Longest method and code that are kept, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Kind, id, and how far its instant is from that in the id.
const HEAD_BYTES_MAX: usize = 1 + 16 + VARINT_BYTES_MAX;
const COST_BYTES_MAX: usize = 2 * VARINT_BYTES_MAX;
/// Key, organization, project.
const OWNER_FIELDS_BYTES_MAX: usize = 16 + 2 * (1 + SLUG_BYTES_MAX);

/// Longest payload that gives an owner its number: kind, number, flags, fields.
pub(super) const OWNER_BYTES_MAX: usize = 1 + 2 + 2 + OWNER_FIELDS_BYTES_MAX;

/// Longest payload of an admission: head, flags, owner written out, estimate.
pub(super) const ADMISSION_BYTES_MAX: usize =
    HEAD_BYTES_MAX + 2 + 1 + OWNER_FIELDS_BYTES_MAX + COST_BYTES_MAX;

/// Longest payload of a row: head, flags, owner written out, method, code, path, status, outcome, source, times and
/// sizes, address, cost, and five more texts.
pub(super) const ROW_BYTES_MAX: usize = HEAD_BYTES_MAX
    + 2
    + 1
    + OWNER_FIELDS_BYTES_MAX
    + 2 * (1 + WORD_BYTES_MAX)
    + (2 + TEXT_BYTES_MAX)
    + 2
    + 2
    + 4 * VARINT_BYTES_MAX
    + 16
    + COST_BYTES_MAX
    + 5 * (2 + TEXT_BYTES_MAX);
/// As is reckoned above, the lengths of these take one byte.
const _: () = assert!(SLUG_BYTES_MAX < 0x80 && WORD_BYTES_MAX < 0x80 && OWNERS_MAX < 1 << 14);

/// Longest payload there is: a row of the first version, with fixed lengths, may be some bytes longer.
pub(super) const PAYLOAD_BYTES_MAX: usize = ROW_BYTES_MAX + 8;

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
const OWNER_FLAGS: u16 = HAS_KEY | HAS_ORGANIZATION | HAS_PROJECT;
const ROW_FLAGS: u16 = (1 << 11) - 1;

/// Whose a request is: what payloads say by a number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Owner<T> {
    key: Option<KeyId>,
    organization: Option<T>,
    project: Option<T>,
}

/// Owners that a segment has numbers for, up to the place that is read: the first has number one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Owners(Vec<Owner<Box<str>>>);

/// What a payload is. Only as much of it is read as tells which admission belongs to which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// An owner has a number from here on; the payload is for [`Owners::define`].
    Owner(&'a [u8]),
    /// A request was admitted; the payload is for [`admission`] to read.
    Admitted(RequestId, &'a [u8]),
    /// A request ended; the payload is for [`row`] to read.
    Finished(RequestId, &'a [u8]),
}

/// Appends the payload that gives the owner of an admission its number, from 1 to [`OWNERS_MAX`].
pub(super) fn put_owner(out: &mut Vec<u8>, number: u32, of: &Admission<'_>) {
    out.push(OWNER);
    put_varint(out, number.into());
    out.extend_from_slice(&owner_flags(of.key, &of.organization, &of.project).to_le_bytes());
    put_owner_fields(out, of.key, &of.organization, &of.project);
}

/// Appends the payload of an admission to `out`, with the number of its owner where that has one.
pub(super) fn put_admission(out: &mut Vec<u8>, admission: &Admission<'_>, owner: Option<u32>) {
    let Admission { key, organization, project, .. } = admission;
    put_head(out, ADMISSION, admission.id, admission.at);
    let flags = if owner.is_some() { 0 } else { owner_flags(*key, organization, project) };
    out.extend_from_slice(&flags.to_le_bytes());
    put_varint(out, owner.map_or(WRITTEN_OUT, u64::from));
    if owner.is_none() {
        put_owner_fields(out, *key, organization, project);
    }
    put_cost(out, admission.estimate);
}

/// Appends the payload of a row to `out`, with the number of its owner where that has one.
pub(super) fn put_row(out: &mut Vec<u8>, row: &Row<'_>, owner: Option<u32>) {
    put_head(out, ROW, row.id, row.at);
    let flags = if owner.is_some() { 0 } else { owner_flags(row.key, &row.organization, &row.project) }
        | flag(IS_ADMITTED, row.admitted)
        | flag(HAS_OUTCOME, row.outcome.is_some())
        | flag(IS_IPV6, row.address.is_ipv6())
        | flag(HAS_TIER, row.tier.is_some())
        | flag(HAS_DOMAIN, row.domain.is_some())
        | flag(HAS_TARGET, row.target.is_some())
        | flag(HAS_USER_AGENT, row.user_agent.is_some())
        | flag(HAS_JOB, row.job.is_some());
    out.extend_from_slice(&flags.to_le_bytes());
    put_varint(out, owner.map_or(WRITTEN_OUT, u64::from));
    if owner.is_none() {
        put_owner_fields(out, row.key, &row.organization, &row.project);
    }
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

/// What a payload is; `None` where it is of no kind that this program writes or wrote.
#[inline]
pub(super) fn read(payload: &[u8]) -> Option<Entry<'_>> {
    let (kind, mut bytes) = opened(payload)?;
    match kind {
        OWNER => Some(Entry::Owner(payload)),
        ADMISSION => Some(Entry::Admitted(bytes.head()?.0, payload)),
        _ => Some(Entry::Finished(bytes.head()?.0, payload)),
    }
}

/// Whose payload it is, of an admission or a row.
#[inline]
pub(super) fn id(payload: &[u8]) -> Option<RequestId> {
    opened(payload).filter(|(kind, _)| *kind != OWNER)?.1.uuid().map(RequestId)
}

/// Reads the payload of a row; `None` where it is none, or its owner is not among `owners`.
#[inline]
pub(super) fn row<'a>(payload: &'a [u8], owners: &'a Owners) -> Option<RowRef<'a>> {
    let (ROW, mut bytes) = opened(payload)? else { return None };
    read_row(&mut bytes, owners).filter(|_| bytes.left.is_empty())
}

/// Reads the payload of an admission; `None` as for [`row`].
pub(super) fn admission(payload: &[u8], owners: &Owners) -> Option<Admission<'static>> {
    let (ADMISSION, mut bytes) = opened(payload)? else { return None };
    let (id, at) = bytes.head()?;
    let flags = if bytes.is_first { u16::from(bytes.byte()?) } else { u16::from_le_bytes(bytes.array()?) };
    let Owner { key, organization, project } = bytes.owner(known(flags, OWNER_FLAGS)?, owners)?;
    let own = |text: Option<&str>| text.map(|text| Cow::Owned(text.to_owned()));
    let (organization, project) = (own(organization), own(project));
    let admission = Admission { id, at, key, organization, project, estimate: bytes.cost()? };
    bytes.left.is_empty().then_some(admission)
}

impl Owners {
    /// Takes the owner in `payload`; `None` where it is none, or its number is not the next.
    pub fn define(&mut self, payload: &[u8]) -> Option<()> {
        let mut bytes = Bytes { left: payload, is_first: false };
        let (OWNER, number) = (bytes.byte()?, bytes.varint()?) else { return None };
        let flags = known(u16::from_le_bytes(bytes.array()?), OWNER_FLAGS)?;
        let Owner { key, organization, project } = bytes.owner_fields(flags)?;
        let next = number == self.0.len() as u64 + 1 && self.0.len() < OWNERS_MAX;
        (next && bytes.left.is_empty()).then(|| {
            self.0.push(Owner {
                key,
                organization: organization.map(Box::from),
                project: project.map(Box::from),
            });
        })
    }

    fn get(&self, number: u64) -> Option<Owner<&str>> {
        let Owner { key, organization, project } =
            self.0.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(Owner { key: *key, organization: organization.as_deref(), project: project.as_deref() })
    }
}

/// The kind of a payload, and what follows.
#[inline]
fn opened(payload: &[u8]) -> Option<(u8, Bytes<'_>)> {
    match payload {
        [FIRST_ADMISSION, FIRST_VERSION, left @ ..] => Some((ADMISSION, Bytes { left, is_first: true })),
        [FIRST_ROW, FIRST_VERSION, left @ ..] => Some((ROW, Bytes { left, is_first: true })),
        [kind @ (OWNER | ADMISSION | ROW), left @ ..] => Some((*kind, Bytes { left, is_first: false })),
        _ => None,
    }
}

/// The fields in the order in which [`put_row`] wrote them; a struct literal evaluates them in this order.
#[inline]
fn read_row<'a>(bytes: &mut Bytes<'a>, owners: &'a Owners) -> Option<RowRef<'a>> {
    let (id, at) = bytes.head()?;
    let flags = known(u16::from_le_bytes(bytes.array()?), ROW_FLAGS)?;
    let has = |bit| flags & bit != 0;
    let Owner { key, organization, project } = bytes.owner(flags, owners)?;
    Some(RowRef {
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

fn flag(bit: u16, set: bool) -> u16 {
    if set { bit } else { 0 }
}

fn known(flags: u16, mask: u16) -> Option<u16> {
    (flags & !mask == 0).then_some(flags)
}

fn owner_flags(
    key: Option<KeyId>,
    organization: &Option<Cow<'_, str>>,
    project: &Option<Cow<'_, str>>,
) -> u16 {
    flag(HAS_KEY, key.is_some())
        | flag(HAS_ORGANIZATION, organization.is_some())
        | flag(HAS_PROJECT, project.is_some())
}

fn put_head(out: &mut Vec<u8>, kind: u8, id: RequestId, at: Timestamp) {
    out.push(kind);
    out.extend_from_slice(id.0.as_bytes());
    let further = at.micros().wrapping_sub(instant_of(id)) as i64;
    put_varint(out, (further << 1 ^ further >> 63) as u64);
}

/// The microseconds of Unix time that an id of version 7 says; any number for another one.
fn instant_of(id: RequestId) -> u64 {
    ((id.0.as_u128() >> 80) as u64).wrapping_mul(1_000)
}

fn put_owner_fields(
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

impl<'a> Bytes<'a> {
    fn head(&mut self) -> Option<(RequestId, Timestamp)> {
        let id = RequestId(self.uuid()?);
        if self.is_first {
            return Some((id, Timestamp::from_micros(u64::from_le_bytes(self.array()?))));
        }
        let further = self.varint()?;
        let further = (further >> 1) as i64 ^ -((further & 1) as i64);
        Some((id, Timestamp::from_micros(instant_of(id).wrapping_add_signed(further))))
    }

    fn owner(&mut self, flags: u16, owners: &'a Owners) -> Option<Owner<&'a str>> {
        if self.is_first {
            return self.owner_fields(flags);
        }
        match self.varint()? {
            WRITTEN_OUT => self.owner_fields(flags),
            // Of one with a number, nothing else is said.
            number => owners.get(number).filter(|_| flags & OWNER_FLAGS == 0),
        }
    }

    fn owner_fields(&mut self, flags: u16) -> Option<Owner<&'a str>> {
        Some(Owner {
            key: self.optional(flags & HAS_KEY != 0, |bytes| bytes.uuid().map(KeyId))?,
            organization: self.optional(flags & HAS_ORGANIZATION != 0, Self::text)?,
            project: self.optional(flags & HAS_PROJECT != 0, Self::text)?,
        })
    }

    fn cost(&mut self) -> Option<Cost> {
        Some(Cost { credits: self.varint()?, microcents: self.varint()? })
    }
}
