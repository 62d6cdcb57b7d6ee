//! What has a number in the segment that a writer is at: owners by their keys, and shapes.
//!
//! As many of each as a segment's dictionary takes; what is beyond is written out. Memory is bounded by that, and by
//! [`SHAPE_TEXT_BYTES_MAX`] for each shape.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::codec::{OWNERS_MAX, SHAPE_TEXT_BYTES_MAX, SHAPES_MAX};
use crate::domain::id::KeyId;
use crate::domain::row::{Admission, Shape};

#[derive(Default)]
pub(super) struct Numbers {
    owners: HashMap<u128, Owner, BuildHasherDefault<IdHasher>>,
    shapes: HashTable<(Shape<Box<str>>, u32)>,
    /// With seeds of its own: clients choose paths and agents.
    state: RandomState,
}

struct Owner {
    number: u32,
    organization: Option<Box<str>>,
    project: Option<Box<str>>,
}

/// Whether a shape has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// It has had it.
    Before(u32),
    /// It has it from now on, which is to be written down.
    Now(u32),
    /// It has none and gets none.
    None,
}

impl Numbers {
    /// As at the beginning of a segment.
    #[cold]
    pub fn clear(&mut self) {
        self.owners.clear();
        self.shapes.clear();
    }

    /// The number of a shape.
    #[inline]
    pub fn of_shape(&mut self, shape: &Shape<&str>) -> Given {
        let hash = self.state.hash_one(shape);
        match self.shapes.find(hash, |(known, _)| known.map(|text| &**text) == *shape) {
            Some((_, number)) => Given::Before(*number),
            None => self.add_shape(hash, shape),
        }
    }

    #[cold]
    fn add_shape(&mut self, hash: u64, shape: &Shape<&str>) -> Given {
        let texts = [
            Some(shape.method),
            Some(shape.code),
            Some(shape.path),
            shape.tier,
            shape.target,
            shape.user_agent,
        ];
        let bytes = texts.into_iter().flatten().map(str::len).sum::<usize>();
        if self.shapes.len() >= SHAPES_MAX || bytes > SHAPE_TEXT_BYTES_MAX {
            return Given::None;
        }
        let number = self.shapes.len() as u32 + 1;
        let state = &self.state;
        // Its texts are hashed alike, whoever owns them.
        let rehash = |(known, _): &(Shape<Box<str>>, u32)| state.hash_one(known);
        if let Entry::Vacant(free) = self.shapes.entry(hash, |_| false, rehash) {
            free.insert((shape.map(|text| Box::from(*text)), number));
        }
        Given::Now(number)
    }

    /// The number of an owner, where it has one.
    pub fn of_owner(
        &self,
        key: Option<KeyId>,
        organization: Option<&str>,
        project: Option<&str>,
    ) -> Option<u32> {
        let owner = self.owners.get(&key?.0.as_u128())?;
        let same = owner.organization.as_deref() == organization && owner.project.as_deref() == project;
        same.then_some(owner.number)
    }

    /// Gives the owner of an admission the next number; not where its key has one with another owner, or there are too many.
    #[cold]
    pub fn add_owner(&mut self, of: &Admission<'_>) -> Option<u32> {
        let key = of.key?.0.as_u128();
        if self.owners.len() >= OWNERS_MAX || self.owners.contains_key(&key) {
            return None;
        }
        let number = self.owners.len() as u32 + 1;
        let (organization, project) = (of.organization.as_deref(), of.project.as_deref());
        let owner =
            Owner { number, organization: organization.map(Box::from), project: project.map(Box::from) };
        self.owners.insert(key, owner);
        Some(number)
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owners, shapes) = (self.owners.len(), self.shapes.len());
        f.debug_struct("Numbers").field("owners", &owners).field("shapes", &shapes).finish()
    }
}

/// Spreads ids of requests and keys, which are our own and random in their lower half: no outsider can choose them.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let mixed = (id as u64 ^ (id >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
