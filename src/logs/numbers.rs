//! What has a number in the segment that a writer is at: owners that have a key, and shapes.
//!
//! As many of each as a segment's dictionary takes; what is beyond is written out. Memory is bounded by that, and by
//! [`SHAPE_BYTES_MAX`] for each shape.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use ahash::RandomState;
use hashbrown::HashTable;

use super::codec::{self, OWNERS_MAX, SHAPE_BYTES_MAX, SHAPES_MAX};
use crate::domain::row::{Owner, Shape};

/// Each is known by what is written of it. That stands in one place: between two requests the kernel has had the processor's
/// cache, and what is scattered comes back line by line.
#[derive(Default)]
pub(super) struct Numbers {
    /// Numbers and owners by their keys.
    owners: HashMap<u128, (u32, Box<[u8]>), BuildHasherDefault<IdHasher>>,
    shapes: HashTable<(u32, Box<[u8]>)>,
    /// The shape that was asked for last, which most often is the next one; 0 is the number of none.
    last: (u32, Vec<u8>),
    /// With seeds of its own: clients choose paths and agents.
    state: RandomState,
    scratch: Vec<u8>,
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
        self.shapes.clear();
        self.last.0 = 0;
    }

    /// The number of a shape.
    #[inline]
    pub fn of_shape(&mut self, shape: &Shape<&str>) -> Given {
        self.scratch.clear();
        codec::put_shape_fields(&mut self.scratch, shape);
        if self.last.0 != 0 && self.last.1 == self.scratch {
            return Given::Before(self.last.0);
        }
        let hash = self.state.hash_one(self.scratch.as_slice());
        let number = match self.shapes.find(hash, |(_, known)| **known == *self.scratch) {
            Some((number, _)) => *number,
            None => return self.add_shape(hash),
        };
        self.last.0 = number;
        self.last.1.clone_from(&self.scratch);
        Given::Before(number)
    }

    #[cold]
    fn add_shape(&mut self, hash: u64) -> Given {
        if self.shapes.len() >= SHAPES_MAX || self.scratch.len() > SHAPE_BYTES_MAX {
            return Given::None;
        }
        let number = self.shapes.len() as u32 + 1;
        let state = &self.state;
        self.shapes.insert_unique(hash, (number, self.scratch.as_slice().into()), |(_, known)| {
            state.hash_one(&**known)
        });
        self.last.0 = number;
        self.last.1.clone_from(&self.scratch);
        Given::Now(number)
    }

    /// The number of an owner; none where it has no key, or its key has one with another owner.
    pub fn of_owner(&mut self, owner: Owner<&str>) -> Given {
        let Some(key) = owner.key.map(|key| key.0.as_u128()) else { return Given::None };
        self.scratch.clear();
        codec::put_owner_fields(&mut self.scratch, owner);
        match self.owners.get(&key) {
            Some((number, known)) if **known == *self.scratch => Given::Before(*number),
            Some(_) => Given::None,
            None => self.add_owner(key),
        }
    }

    #[cold]
    fn add_owner(&mut self, key: u128) -> Given {
        if self.owners.len() >= OWNERS_MAX {
            return Given::None;
        }
        let number = self.owners.len() as u32 + 1;
        self.owners.insert(key, (number, self.scratch.as_slice().into()));
        Given::Now(number)
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
