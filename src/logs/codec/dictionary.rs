//! What payloads of one segment say by a number: owners and shapes, and admissions.
//!
//! Numbers of owners and shapes are given in order, from one; what comes when all are given is written out in every payload.

use std::sync::Arc;

use super::super::bytes::{Bytes, put_text, put_varint};
use super::{OWNER, SHAPE, WORD_BYTES_MAX, WRITTEN_OUT, earlier};
use crate::domain::cost::{CostSource, Outcome};
use crate::domain::id::{KeyId, SLUG_BYTES_MAX};
use crate::domain::row::{Owner, Shape, TEXT_BYTES_MAX};

/// Owners with a number in one segment.
pub(in crate::logs) const OWNERS_MAX: usize = 4_096;
/// Shapes with a number in one segment.
pub(in crate::logs) const SHAPES_MAX: usize = 4_096;
/// Flags, key, organization, project.
pub(super) const OWNER_FIELDS_BYTES_MAX: usize = 1 + 16 + 2 * (1 + SLUG_BYTES_MAX);

/// Of an owner.
pub(super) const HAS_KEY: u8 = 1;
pub(super) const HAS_ORGANIZATION: u8 = 1 << 1;
pub(super) const HAS_PROJECT: u8 = 1 << 2;
pub(super) const OWNER_FLAGS: u8 = (1 << 3) - 1;

/// Of a shape.
const IS_ADMITTED: u8 = 1;
const HAS_OUTCOME: u8 = 1 << 1;
const HAS_TIER: u8 = 1 << 2;
const HAS_TARGET: u8 = 1 << 3;
const HAS_USER_AGENT: u8 = 1 << 4;
const SHAPE_FLAGS: u8 = (1 << 5) - 1;

/// What a segment has numbers for, up to the place that is read: the first owner and the first shape have number one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::logs) struct Dictionary {
    owners: Vec<Arc<Owner<Box<str>>>>,
    shapes: Vec<Arc<Shape<Box<str>>>>,
    /// Admissions so far.
    pub admissions: u64,
    /// Those of them that have no row so far, by how many were before them, with their payloads: as many as are in flight.
    pub open: Vec<(u64, Arc<[u8]>)>,
}

/// Appends the payload that gives an owner its number, from 1 to [`OWNERS_MAX`].
pub(in crate::logs) fn put_owner(out: &mut Vec<u8>, number: u32, owner: Owner<&str>) {
    out.push(OWNER);
    put_varint(out, number.into());
    put_owner_fields(out, owner);
}

/// Appends the payload that gives a shape its number, from 1 to [`SHAPES_MAX`].
pub(in crate::logs) fn put_shape(out: &mut Vec<u8>, number: u32, shape: &Shape<&str>) {
    out.push(SHAPE);
    put_varint(out, number.into());
    put_shape_fields(out, shape);
}

/// Appends the fields of an owner.
pub(in crate::logs) fn put_owner_fields(out: &mut Vec<u8>, owner: Owner<&str>) {
    let flag = |bit, set| if set { bit } else { 0 };
    out.push(
        flag(HAS_KEY, owner.key.is_some())
            | flag(HAS_ORGANIZATION, owner.organization.is_some())
            | flag(HAS_PROJECT, owner.project.is_some()),
    );
    if let Some(key) = owner.key {
        out.extend_from_slice(key.0.as_bytes());
    }
    for text in [owner.organization, owner.project].into_iter().flatten() {
        put_text(out, text, SLUG_BYTES_MAX);
    }
}

/// Appends the fields of a shape.
pub(in crate::logs) fn put_shape_fields(out: &mut Vec<u8>, shape: &Shape<&str>) {
    let flag = |bit, set| if set { bit } else { 0 };
    out.push(
        flag(IS_ADMITTED, shape.admitted)
            | flag(HAS_OUTCOME, shape.outcome.is_some())
            | flag(HAS_TIER, shape.tier.is_some())
            | flag(HAS_TARGET, shape.target.is_some())
            | flag(HAS_USER_AGENT, shape.user_agent.is_some()),
    );
    put_text(out, shape.method, WORD_BYTES_MAX);
    put_text(out, shape.code, WORD_BYTES_MAX);
    put_text(out, shape.path, TEXT_BYTES_MAX);
    out.extend_from_slice(&shape.status.to_le_bytes());
    if let Some(outcome) = shape.outcome {
        out.push(outcome as u8);
    }
    out.push(shape.cost_source as u8);
    for text in [shape.tier, shape.target, shape.user_agent].into_iter().flatten() {
        put_text(out, text, TEXT_BYTES_MAX);
    }
}

impl Dictionary {
    /// Takes what `payload` gives a number; `None` where that is nothing, or not the next number.
    pub fn define(&mut self, payload: &[u8]) -> Option<()> {
        let mut bytes = Bytes { left: payload };
        let (kind, number) = (bytes.byte()?, bytes.varint()?);
        let is_next = |given: usize, most: usize| number == given as u64 + 1 && given < most;
        if kind == SHAPE {
            let shape = bytes.shape_fields()?.map(|text| Box::from(*text));
            return (bytes.left.is_empty() && is_next(self.shapes.len(), SHAPES_MAX))
                .then(|| self.shapes.push(Arc::new(shape)));
        }
        let owner = match kind {
            OWNER => bytes.owner_fields()?,
            _ => earlier::owner_defined(kind, &mut bytes)?,
        };
        (bytes.left.is_empty() && is_next(self.owners.len(), OWNERS_MAX))
            .then(|| self.owners.push(Arc::new(owner.map(|text| Box::from(*text)))))
    }

    /// The number, where an owner has it.
    #[inline]
    pub(super) fn knows_owner(&self, number: u64) -> Option<u32> {
        (1..=self.owners.len() as u64).contains(&number).then_some(number as u32)
    }

    /// The number, where a shape has it.
    #[inline]
    pub(super) fn knows_shape(&self, number: u64) -> Option<u32> {
        (1..=self.shapes.len() as u64).contains(&number).then_some(number as u32)
    }

    pub(super) fn owner(&self, number: u64) -> Option<Owner<&str>> {
        let owner = self.owners.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(owner.map(|text| &**text))
    }

    fn shape(&self, number: u64) -> Option<Shape<&str>> {
        let shape = self.shapes.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(shape.map(|text| &**text))
    }
}

impl<'a> Bytes<'a> {
    /// An owner, by its number or written out.
    pub(super) fn owner(&mut self, dictionary: &'a Dictionary) -> Option<Owner<&'a str>> {
        match self.varint()? {
            WRITTEN_OUT => self.owner_fields(),
            number => dictionary.owner(number),
        }
    }

    /// A shape, by its number or written out.
    pub(super) fn shape(&mut self, dictionary: &'a Dictionary) -> Option<Shape<&'a str>> {
        match self.varint()? {
            WRITTEN_OUT => self.shape_fields(),
            number => dictionary.shape(number),
        }
    }

    /// The fields in the order in which [`put_owner_fields`] wrote them; a struct literal evaluates them in this order.
    pub(super) fn owner_fields(&mut self) -> Option<Owner<&'a str>> {
        let flags = self.byte().filter(|flags| flags & !OWNER_FLAGS == 0)?;
        self.owner_of(flags)
    }

    pub(super) fn owner_of(&mut self, flags: u8) -> Option<Owner<&'a str>> {
        Some(Owner {
            key: self.optional(flags & HAS_KEY != 0, |bytes| bytes.uuid().map(KeyId))?,
            organization: self.optional(flags & HAS_ORGANIZATION != 0, Self::text)?,
            project: self.optional(flags & HAS_PROJECT != 0, Self::text)?,
        })
    }

    /// The same of [`put_shape_fields`].
    pub(super) fn shape_fields(&mut self) -> Option<Shape<&'a str>> {
        let flags = self.byte().filter(|flags| flags & !SHAPE_FLAGS == 0)?;
        let has = |bit| flags & bit != 0;
        Some(Shape {
            admitted: has(IS_ADMITTED),
            method: self.text()?,
            code: self.text()?,
            path: self.text()?,
            status: u16::from_le_bytes(self.array()?),
            outcome: self.outcome(has(HAS_OUTCOME))?,
            cost_source: self.cost_source()?,
            tier: self.optional(has(HAS_TIER), Self::text)?,
            target: self.optional(has(HAS_TARGET), Self::text)?,
            user_agent: self.optional(has(HAS_USER_AGENT), Self::text)?,
        })
    }

    pub(super) fn outcome(&mut self, is_there: bool) -> Option<Option<Outcome>> {
        self.optional(is_there, |bytes| Outcome::ALL.get(usize::from(bytes.byte()?)).copied())
    }

    pub(super) fn cost_source(&mut self) -> Option<CostSource> {
        CostSource::ALL.get(usize::from(self.byte()?)).copied()
    }
}
