//! What has a number in the segment that a writer is at: owners and shapes.
//!
//! As many of each as a segment's dictionary takes; what is beyond is written out. Memory is bounded by that, and by
//! [`SHAPE_BYTES_MAX`] for each of them.

use std::fmt;

use ahash::RandomState;
use hashbrown::HashTable;

use super::codec::{self, OWNERS_MAX, SHAPE_BYTES_MAX, SHAPES_MAX};
use crate::domain::row::{Owner, Shape};

#[derive(Default)]
pub(super) struct Numbers {
    owners: Given,
    shapes: Given,
}

/// Each is known by what is written of it. That stands in one place: between two requests the kernel has had the processor's
/// cache, and what is scattered comes back line by line.
#[derive(Default)]
struct Given {
    numbers: HashTable<(u32, Box<[u8]>)>,
    /// What was asked for last, which most often is the next; 0 is the number of none.
    last: (u32, Vec<u8>),
    /// What is asked for.
    asked: Vec<u8>,
    /// With seeds of its own: clients choose paths and agents.
    state: RandomState,
}

/// Whether something has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
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
        for given in [&mut self.owners, &mut self.shapes] {
            given.numbers.clear();
            given.last.0 = 0;
        }
    }

    /// The number of an owner.
    pub fn of_owner(&mut self, owner: Owner<&str>) -> Number {
        self.owners.ask(OWNERS_MAX, |out| codec::put_owner_fields(out, owner))
    }

    /// The number of a shape.
    #[inline]
    pub fn of_shape(&mut self, shape: &Shape<&str>) -> Number {
        self.shapes.ask(SHAPES_MAX, |out| codec::put_shape_fields(out, shape))
    }
}

impl Given {
    /// The number of what `put` writes, given to it now where it has none, it is short, and there are fewer than `most`.
    #[inline]
    fn ask(&mut self, most: usize, put: impl FnOnce(&mut Vec<u8>)) -> Number {
        self.asked.clear();
        put(&mut self.asked);
        if self.last.0 != 0 && self.last.1 == self.asked {
            return Number::Before(self.last.0);
        }
        let hash = self.state.hash_one(self.asked.as_slice());
        let known = self.numbers.find(hash, |(_, known)| **known == *self.asked);
        let number = match known {
            Some((number, _)) => Number::Before(*number),
            None => self.give(hash, most),
        };
        if let Number::Before(given) | Number::Now(given) = number {
            self.last.0 = given;
            self.last.1.clone_from(&self.asked);
        }
        number
    }

    #[cold]
    fn give(&mut self, hash: u64, most: usize) -> Number {
        if self.numbers.len() >= most || self.asked.len() > SHAPE_BYTES_MAX {
            return Number::None;
        }
        let number = self.numbers.len() as u32 + 1;
        let state = &self.state;
        let hash_of = |(_, known): &(u32, Box<[u8]>)| state.hash_one(&**known);
        self.numbers.insert_unique(hash, (number, self.asked.as_slice().into()), hash_of);
        Number::Now(number)
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owners, shapes) = (self.owners.numbers.len(), self.shapes.numbers.len());
        f.debug_struct("Numbers").field("owners", &owners).field("shapes", &shapes).finish()
    }
}
