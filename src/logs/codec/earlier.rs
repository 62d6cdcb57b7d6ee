//! Payloads that earlier versions of this program wrote: read, and never written.
//!
//! In both forms a row is written out, in another order than today's. In the first, kind and version are followed by instants and
//! lengths of fixed size, and nothing has a number; in the second, a row names its owner by number where that has one.

use super::super::bytes::Bytes;
use super::dictionary::{Dictionary, HAS_KEY, HAS_ORGANIZATION, HAS_PROJECT, OWNER_FLAGS};
use super::{Entry, WRITTEN_OUT, admitted, uuid_in};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row::{Admission, Owner, Shape, Variables};
use crate::domain::time::Timestamp;

/// Kinds of the first form; the version follows.
const FIRST_ADMISSION: u8 = 1;
const FIRST_ROW: u8 = 2;
const FIRST_VERSION: u8 = 1;
/// Those of the second.
const SECOND_OWNER: u8 = 16;
const SECOND_ADMISSION: u8 = 17;
const SECOND_ROW: u8 = 18;

/// The lowest of two bytes of flags are those of an owner.
const OWNER_BITS: u16 = OWNER_FLAGS as u16;
const IS_ADMITTED: u16 = 1 << 3;
const HAS_OUTCOME: u16 = 1 << 4;
const IS_IPV6: u16 = 1 << 5;
const HAS_TIER: u16 = 1 << 6;
const HAS_DOMAIN: u16 = 1 << 7;
const HAS_TARGET: u16 = 1 << 8;
const HAS_USER_AGENT: u16 = 1 << 9;
const HAS_JOB: u16 = 1 << 10;
const ROW_FLAGS: u16 = (1 << 11) - 1;

/// All of a row.
pub(super) struct Whole<'a> {
    pub owner: Owner<&'a str>,
    pub shape: Shape<&'a str>,
    pub variables: Variables<'a>,
}

pub(super) fn read(payload: &[u8]) -> Option<Entry> {
    match payload {
        [SECOND_OWNER, ..] => Some(Entry::Defined),
        [FIRST_ADMISSION, FIRST_VERSION, id @ ..] | [SECOND_ADMISSION, id @ ..] => {
            Some(Entry::Admitted(uuid_in(id)?))
        }
        [FIRST_ROW, FIRST_VERSION, id @ ..] | [SECOND_ROW, id @ ..] => Some(Entry::Finished(uuid_in(id)?)),
        _ => None,
    }
}

/// The owner that a payload of this kind gives a number, which has been read.
pub(super) fn owner_defined<'a>(kind: u8, bytes: &mut Bytes<'a>) -> Option<Owner<&'a str>> {
    let flags = u16::from_le_bytes(bytes.array()?);
    (kind == SECOND_OWNER && flags & !OWNER_BITS == 0).then(|| bytes.owner_of(flags as u8))?
}

/// What stands in the payload of a row.
pub(super) fn row<'a>(payload: &'a [u8], dictionary: &'a Dictionary) -> Option<Whole<'a>> {
    let mut form = match payload {
        [FIRST_ROW, FIRST_VERSION, left @ ..] => Form { bytes: Bytes { left }, is_first: true },
        [SECOND_ROW, left @ ..] => Form { bytes: Bytes { left }, is_first: false },
        _ => return None,
    };
    let (id, at) = form.head()?;
    let flags = form.bytes.array().map(u16::from_le_bytes).filter(|flags| flags & !ROW_FLAGS == 0)?;
    let has = |bit| flags & bit != 0;
    let owner = form.owner(flags & OWNER_BITS, dictionary)?;
    let (method, path) = (form.text()?, form.text()?);
    let status = u16::from_le_bytes(form.bytes.array()?);
    let code = form.text()?;
    let outcome = form.bytes.outcome(has(HAS_OUTCOME))?;
    let (first_byte_micros, total_micros) = (form.bytes.varint()?, form.bytes.varint()?);
    let address = form.bytes.address(has(IS_IPV6))?;
    let (cost, cost_source) = (form.bytes.cost()?, form.bytes.cost_source()?);
    let (bytes_in, bytes_out) = (form.bytes.varint()?, form.bytes.varint()?);
    let mut texts = [None; 5];
    let bits = [HAS_TIER, HAS_DOMAIN, HAS_TARGET, HAS_USER_AGENT, HAS_JOB];
    for (text, _) in texts.iter_mut().zip(bits).filter(|(_, bit)| has(*bit)) {
        *text = Some(form.text()?);
    }
    let [tier, domain, target, user_agent, job] = texts;
    let admitted = has(IS_ADMITTED);
    let shape =
        Shape { admitted, method, path, status, code, outcome, cost_source, tier, target, user_agent };
    let variables = Variables {
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
    form.bytes.left.is_empty().then_some(Whole { owner, shape, variables })
}

/// What stands in the payload of an admission.
pub(super) fn admission(payload: &[u8], dictionary: &Dictionary) -> Option<Admission<'static>> {
    let mut form = match payload {
        [FIRST_ADMISSION, FIRST_VERSION, left @ ..] => Form { bytes: Bytes { left }, is_first: true },
        [SECOND_ADMISSION, left @ ..] => Form { bytes: Bytes { left }, is_first: false },
        _ => return None,
    };
    let (id, at) = form.head()?;
    let flags =
        if form.is_first { u16::from(form.bytes.byte()?) } else { u16::from_le_bytes(form.bytes.array()?) };
    let owner = form.owner(flags, dictionary).filter(|_| flags & !OWNER_BITS == 0)?;
    let estimate = form.bytes.cost()?;
    form.bytes.left.is_empty().then(|| admitted(id, at, owner, estimate))
}

struct Form<'a> {
    bytes: Bytes<'a>,
    is_first: bool,
}

impl<'a> Form<'a> {
    fn head(&mut self) -> Option<(RequestId, Timestamp)> {
        if !self.is_first {
            return self.bytes.head();
        }
        let id = RequestId(self.bytes.uuid()?);
        Some((id, Timestamp::from_micros(u64::from_le_bytes(self.bytes.array()?))))
    }

    fn text(&mut self) -> Option<&'a str> {
        if !self.is_first {
            return self.bytes.text();
        }
        let length = u16::from_le_bytes(self.bytes.array()?);
        self.bytes.text_of(length.into())
    }

    fn owner(&mut self, flags: u16, dictionary: &'a Dictionary) -> Option<Owner<&'a str>> {
        if !self.is_first {
            return match self.bytes.varint()? {
                WRITTEN_OUT => self.bytes.owner_of(flags as u8),
                // Of one with a number, nothing else is said.
                number => dictionary.owner(number).filter(|_| flags == 0),
            };
        }
        let has = |bit: u8| flags & u16::from(bit) != 0;
        Some(Owner {
            key: self.bytes.optional(has(HAS_KEY), |bytes| bytes.uuid().map(KeyId))?,
            organization: if has(HAS_ORGANIZATION) { Some(self.text()?) } else { None },
            project: if has(HAS_PROJECT) { Some(self.text()?) } else { None },
        })
    }
}
