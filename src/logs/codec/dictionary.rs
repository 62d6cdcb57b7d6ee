//! What payloads of one segment say by a number: owners and shapes.
//!
//! An owner is defined by an admission, a shape by a row. Numbers of each are given in order, from one; what comes when all are
//! given is written out in every payload.

use std::sync::Arc;

use super::super::bytes::{Bytes, put_text, put_varint};
use super::{OWNER, SHAPE, WORD_BYTES_MAX, WRITTEN_OUT};
use crate::domain::cost::{CostSource, Outcome};
use crate::domain::id::{KeyId, SLUG_BYTES_MAX};
use crate::domain::row::{Admission, Shape, TEXT_BYTES_MAX};

/// Owners with a number in one segment.
pub(in crate::logs) const OWNERS_MAX: usize = 4_096;
/// Shapes with a number in one segment.
pub(in crate::logs) const SHAPES_MAX: usize = 4_096;
/// Key, organization, project.
pub(super) const OWNER_FIELDS_BYTES_MAX: usize = 16 + 2 * (1 + SLUG_BYTES_MAX);

pub(super) const HAS_KEY: u16 = 1;
pub(super) const HAS_ORGANIZATION: u16 = 1 << 1;
pub(super) const HAS_PROJECT: u16 = 1 << 2;
pub(super) const IS_ADMITTED: u16 = 1 << 3;
const HAS_OUTCOME: u16 = 1 << 4;
const HAS_TIER: u16 = 1 << 5;
const HAS_TARGET: u16 = 1 << 6;
const HAS_USER_AGENT: u16 = 1 << 7;
/// Of an owner that is written out.
pub(super) const OWNER_FLAGS: u16 = HAS_KEY | HAS_ORGANIZATION | HAS_PROJECT;
const SHAPE_FLAGS: u16 = (1 << 8) - 1;

/// Whose a request is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Owner<T> {
    pub key: Option<KeyId>,
    pub organization: Option<T>,
    pub project: Option<T>,
}

/// What a segment has numbers for, up to the place that is read: the first of each has number one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::logs) struct Dictionary {
    owners: Vec<Arc<Owner<Box<str>>>>,
    shapes: Vec<Arc<Shape<Box<str>>>>,
}

/// Appends the payload that gives the owner of an admission its number, from 1 to [`OWNERS_MAX`].
pub(in crate::logs) fn put_owner(out: &mut Vec<u8>, number: u32, of: &Admission<'_>) {
    let (organization, project) = (of.organization.as_deref(), of.project.as_deref());
    out.push(OWNER);
    put_varint(out, number.into());
    out.extend_from_slice(&owner_flags(None, of.key, organization, project).to_le_bytes());
    put_owner_fields(out, of.key, organization, project);
}

/// Appends the payload that gives a shape its number, from 1 to [`SHAPES_MAX`]; with the number of its owner where that has one.
pub(in crate::logs) fn put_shape(out: &mut Vec<u8>, number: u32, shape: &Shape<&str>, owner: Option<u32>) {
    out.push(SHAPE);
    put_varint(out, number.into());
    put_shape_fields(out, shape, owner);
}

pub(super) fn put_shape_fields(out: &mut Vec<u8>, shape: &Shape<&str>, owner: Option<u32>) {
    let flag = |bit, set| if set { bit } else { 0 };
    let flags = owner_flags(owner, shape.key, shape.organization, shape.project)
        | flag(IS_ADMITTED, shape.admitted)
        | flag(HAS_OUTCOME, shape.outcome.is_some())
        | flag(HAS_TIER, shape.tier.is_some())
        | flag(HAS_TARGET, shape.target.is_some())
        | flag(HAS_USER_AGENT, shape.user_agent.is_some());
    out.extend_from_slice(&flags.to_le_bytes());
    put_varint(out, owner.map_or(WRITTEN_OUT, u64::from));
    if owner.is_none() {
        put_owner_fields(out, shape.key, shape.organization, shape.project);
    }
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

pub(super) fn put_owner_fields(
    out: &mut Vec<u8>,
    key: Option<KeyId>,
    organization: Option<&str>,
    project: Option<&str>,
) {
    if let Some(key) = key {
        out.extend_from_slice(key.0.as_bytes());
    }
    for text in [organization, project].into_iter().flatten() {
        put_text(out, text, SLUG_BYTES_MAX);
    }
}

/// Which fields of an owner follow: none of one that has a number.
pub(super) fn owner_flags(
    number: Option<u32>,
    key: Option<KeyId>,
    organization: Option<&str>,
    project: Option<&str>,
) -> u16 {
    let flag = |bit, set| if set && number.is_none() { bit } else { 0 };
    flag(HAS_KEY, key.is_some())
        | flag(HAS_ORGANIZATION, organization.is_some())
        | flag(HAS_PROJECT, project.is_some())
}

impl Dictionary {
    /// Takes what `payload` gives a number; `None` where that is nothing, or not the next number.
    pub fn define(&mut self, payload: &[u8]) -> Option<()> {
        let mut bytes = Bytes { left: payload };
        let (kind, number) = (bytes.byte()?, bytes.varint()?);
        let is_next = |given: usize, most: usize| number == given as u64 + 1 && given < most;
        if kind == OWNER {
            let flags = u16::from_le_bytes(bytes.array()?);
            let Owner { key, organization, project } = bytes.owner_fields(flags)?;
            let owner =
                Owner { key, organization: organization.map(Box::from), project: project.map(Box::from) };
            let fine = flags & !OWNER_FLAGS == 0 && bytes.left.is_empty();
            return (fine && is_next(self.owners.len(), OWNERS_MAX))
                .then(|| self.owners.push(Arc::new(owner)));
        }
        let shape = bytes.shape(self).filter(|_| kind == SHAPE)?.map(|text| Box::from(*text));
        (bytes.left.is_empty() && is_next(self.shapes.len(), SHAPES_MAX))
            .then(|| self.shapes.push(Arc::new(shape)))
    }

    fn owner(&self, number: u64) -> Option<Owner<&str>> {
        let owner = self.owners.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(Owner {
            key: owner.key,
            organization: owner.organization.as_deref(),
            project: owner.project.as_deref(),
        })
    }

    /// The number, where a shape has it.
    #[inline]
    pub(super) fn knows_shape(&self, number: u64) -> Option<u32> {
        (1..=self.shapes.len() as u64).contains(&number).then_some(number as u32)
    }

    pub(super) fn shape(&self, number: u64) -> Option<Shape<&str>> {
        let shape = self.shapes.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
        Some(shape.map(|text| &**text))
    }
}

impl<'a> Bytes<'a> {
    /// An owner, by its number or written out, with these flags where `known` says that they are some.
    pub(super) fn owner(
        &mut self,
        known: bool,
        flags: u16,
        dictionary: &'a Dictionary,
    ) -> Option<Owner<&'a str>> {
        match self.varint().filter(|_| known)? {
            WRITTEN_OUT => self.owner_fields(flags),
            // Of one with a number, nothing else is said.
            number => dictionary.owner(number).filter(|_| flags & OWNER_FLAGS == 0),
        }
    }

    pub(super) fn owner_fields(&mut self, flags: u16) -> Option<Owner<&'a str>> {
        Some(Owner {
            key: self.optional(flags & HAS_KEY != 0, |bytes| bytes.uuid().map(KeyId))?,
            organization: self.optional(flags & HAS_ORGANIZATION != 0, Self::text)?,
            project: self.optional(flags & HAS_PROJECT != 0, Self::text)?,
        })
    }

    /// The fields in the order in which [`put_shape_fields`] wrote them; a struct literal evaluates them in this order.
    pub(super) fn shape(&mut self, dictionary: &'a Dictionary) -> Option<Shape<&'a str>> {
        let flags = u16::from_le_bytes(self.array()?);
        let has = |bit| flags & bit != 0;
        let Owner { key, organization, project } =
            self.owner(flags & !SHAPE_FLAGS == 0, flags, dictionary)?;
        Some(Shape {
            organization,
            project,
            key,
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
