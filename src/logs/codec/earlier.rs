//! Payloads that earlier versions of this program wrote: read, and never written.
//!
//! In both forms a row is written out, in another order than today's. In the first, kind and version are followed by instants and
//! lengths of fixed size, and nothing has a number; in the second, a row names its owner by number where that has one.

use std::borrow::Cow;
use std::net::IpAddr;

use super::super::bytes::Bytes;
use super::dictionary::{
    Dictionary, HAS_KEY, HAS_ORGANIZATION, HAS_PROJECT, IS_ADMITTED, OWNER_FLAGS, Owner,
};
use super::{Entry, uuid_in};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row::{Admission, Shape, Variables};
use crate::domain::time::Timestamp;

/// Kinds of the first form; the version follows.
const FIRST_ADMISSION: u8 = 1;
const FIRST_ROW: u8 = 2;
const FIRST_VERSION: u8 = 1;
/// A row of the second.
const SECOND_ROW: u8 = 18;

/// Of a row, beside what a shape has, too.
const HAS_OUTCOME: u16 = 1 << 4;
const IS_IPV6: u16 = 1 << 5;
const HAS_TIER: u16 = 1 << 6;
const HAS_DOMAIN: u16 = 1 << 7;
const HAS_TARGET: u16 = 1 << 8;
const HAS_USER_AGENT: u16 = 1 << 9;
const HAS_JOB: u16 = 1 << 10;
const ROW_FLAGS: u16 = (1 << 11) - 1;

pub(super) fn read(payload: &[u8]) -> Option<Entry<'_>> {
    match payload {
        [FIRST_ADMISSION, FIRST_VERSION, id @ ..] => Some(Entry::Admitted(uuid_in(id)?, payload)),
        [FIRST_ROW, FIRST_VERSION, id @ ..] | [SECOND_ROW, id @ ..] => {
            Some(Entry::Finished(uuid_in(id)?, payload))
        }
        _ => None,
    }
}

/// What stands in the payload of a row.
pub(super) fn row<'a>(
    payload: &'a [u8],
    dictionary: &'a Dictionary,
) -> Option<(Variables<'a>, Shape<&'a str>)> {
    let mut form = match payload {
        [FIRST_ROW, FIRST_VERSION, left @ ..] => Form { bytes: Bytes { left }, is_first: true },
        [SECOND_ROW, left @ ..] => Form { bytes: Bytes { left }, is_first: false },
        _ => return None,
    };
    let (id, at) = form.head()?;
    let flags = u16::from_le_bytes(form.bytes.array()?);
    let has = |bit| flags & bit != 0;
    let known = flags & !ROW_FLAGS == 0;
    let owner = if form.is_first {
        form.owner(flags).filter(|_| known)?
    } else {
        form.bytes.owner(known, flags, dictionary)?
    };
    let (method, path) = (form.text()?, form.text()?);
    let status = u16::from_le_bytes(form.bytes.array()?);
    let code = form.text()?;
    let outcome = form.bytes.outcome(has(HAS_OUTCOME))?;
    let (first_byte_micros, total_micros) = (form.bytes.varint()?, form.bytes.varint()?);
    let address = if has(IS_IPV6) {
        IpAddr::from(form.bytes.array::<16>()?)
    } else {
        IpAddr::from(form.bytes.array::<4>()?)
    };
    let (cost, cost_source) = (form.bytes.cost()?, form.bytes.cost_source()?);
    let (bytes_in, bytes_out) = (form.bytes.varint()?, form.bytes.varint()?);
    let [tier, domain, target, user_agent, job] = {
        let mut texts = [None; 5];
        let bits = [HAS_TIER, HAS_DOMAIN, HAS_TARGET, HAS_USER_AGENT, HAS_JOB];
        for (text, _) in texts.iter_mut().zip(bits).filter(|(_, bit)| has(*bit)) {
            *text = Some(form.text()?);
        }
        texts
    };
    let Owner { key, organization, project } = owner;
    let shape = Shape {
        organization,
        project,
        key,
        admitted: has(IS_ADMITTED),
        method,
        path,
        status,
        code,
        outcome,
        cost_source,
        tier,
        target,
        user_agent,
    };
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
    form.bytes.left.is_empty().then_some((row, shape))
}

/// An admission of the first form; that of the second is today's.
pub(super) fn admission(payload: &[u8]) -> Option<Admission<'static>> {
    let [FIRST_ADMISSION, FIRST_VERSION, left @ ..] = payload else { return None };
    let mut form = Form { bytes: Bytes { left }, is_first: true };
    let (id, at) = form.head()?;
    let flags = u16::from(form.bytes.byte()?);
    let owner = form.owner(flags).filter(|_| flags & !OWNER_FLAGS == 0)?;
    let own = |text: Option<&str>| text.map(|text| Cow::Owned(text.to_owned()));
    let (organization, project) = (own(owner.organization), own(owner.project));
    let admission = Admission { id, at, key: owner.key, organization, project, estimate: form.bytes.cost()? };
    form.bytes.left.is_empty().then_some(admission)
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

    /// As the first form has it.
    fn owner(&mut self, flags: u16) -> Option<Owner<&'a str>> {
        let has = |bit| flags & bit != 0;
        Some(Owner {
            key: self.bytes.optional(has(HAS_KEY), |bytes| bytes.uuid().map(KeyId))?,
            organization: if has(HAS_ORGANIZATION) { Some(self.text()?) } else { None },
            project: if has(HAS_PROJECT) { Some(self.text()?) } else { None },
        })
    }
}
