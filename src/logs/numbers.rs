//! What has a number in the segment that a writer is at: owners that have a key, and shapes.
//!
//! As many of each as a segment's dictionary takes; what is beyond is written out. Memory is bounded by that, and by
//! [`SHAPE_TEXT_BYTES_MAX`] for each shape.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use ahash::RandomState;
use hashbrown::HashTable;

use super::codec::{OWNERS_MAX, SHAPE_TEXT_BYTES_MAX, SHAPES_MAX};
use crate::domain::id::KeyId;
use crate::domain::row::{Owner, Shape};

#[derive(Default)]
pub(super) struct Numbers {
    /// In the order of their numbers.
    owners: Vec<Owner<Box<str>>>,
    by_key: HashMap<u128, usize, BuildHasherDefault<IdHasher>>,
    /// In the order of their numbers.
    shapes: Vec<Shape<Box<str>>>,
    by_hash: HashTable<usize>,
    /// The shape that was asked for last, which most often is the next one.
    last: usize,
    /// With seeds of its own: clients choose paths and agents.
    state: RandomState,
}

/// Whether something has a number.
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
        self.by_key.clear();
        self.shapes.clear();
        self.by_hash.clear();
    }

    /// The number of a shape.
    #[inline]
    pub fn of_shape(&mut self, shape: &Shape<&str>) -> Given {
        if self.shapes.get(self.last).is_some_and(|known| is_same(known, shape)) {
            return Given::Before(self.last as u32 + 1);
        }
        let hash = self.state.hash_one(shape);
        let is_it = |at: &usize| self.shapes.get(*at).is_some_and(|known| is_same(known, shape));
        match self.by_hash.find(hash, is_it) {
            Some(at) => {
                self.last = *at;
                Given::Before(*at as u32 + 1)
            }
            None => self.add_shape(hash, shape),
        }
    }

    #[cold]
    fn add_shape(&mut self, hash: u64, shape: &Shape<&str>) -> Given {
        let Shape { method, path, code, tier, target, user_agent, .. } = *shape;
        let texts = [Some(method), Some(path), Some(code), tier, target, user_agent];
        let bytes = texts.into_iter().flatten().map(str::len).sum::<usize>();
        if self.shapes.len() >= SHAPES_MAX || bytes > SHAPE_TEXT_BYTES_MAX {
            return Given::None;
        }
        let (state, shapes) = (&self.state, &self.shapes);
        // Texts are hashed alike, whoever owns them.
        let hash_of = |at: &usize| shapes.get(*at).map_or(0, |known| state.hash_one(known));
        self.last = self.shapes.len();
        self.by_hash.insert_unique(hash, self.last, hash_of);
        self.shapes.push(shape.map(|text| Box::from(*text)));
        Given::Now(self.last as u32 + 1)
    }

    /// The number of an owner; none where its key has one with another owner.
    pub fn of_owner(&mut self, owner: Owner<&str>) -> Given {
        let Some(key) = owner.key else { return Given::None };
        match self.by_key.get(&key.0.as_u128()) {
            Some(at) => match self.owners.get(*at).filter(|known| known.map(|text| &**text) == owner) {
                Some(_) => Given::Before(*at as u32 + 1),
                None => Given::None,
            },
            None => self.add_owner(key, owner),
        }
    }

    #[cold]
    fn add_owner(&mut self, key: KeyId, owner: Owner<&str>) -> Given {
        if self.owners.len() >= OWNERS_MAX {
            return Given::None;
        }
        self.by_key.insert(key.0.as_u128(), self.owners.len());
        self.owners.push(owner.map(|text| Box::from(*text)));
        Given::Now(self.owners.len() as u32)
    }
}

#[inline]
fn is_same(known: &Shape<Box<str>>, shape: &Shape<&str>) -> bool {
    known.map(|text| &**text) == *shape
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
