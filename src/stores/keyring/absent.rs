//! One shard's unknown digests: a bounded memory that someone was told no.
//!
//! A table of fixed size in which every digest has exactly one place, and the newcomer takes it. Two that
//! share a place make each other be asked for again, which costs a question and no correctness; in return a
//! flood of invented keys moves nothing, allocates nothing and cannot grow. The hash is keyed, so nobody can
//! choose a place.

use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;

pub(super) struct Absent {
    /// Digest, and until when it is known to be unknown. Empty until the first is remembered.
    places: Box<[(Digest, Timestamp)]>,
    most: usize,
}

const NOBODY: (Digest, Timestamp) = (Digest([0; 32]), Timestamp::from_micros(0));

impl Absent {
    /// Remembers at most `most` digests; none where that is zero.
    pub fn new(most: usize) -> Self {
        Self { places: Box::default(), most }
    }

    /// Whether `digest` is known to be unknown at `now`.
    pub fn has(&self, hash: u64, digest: &Digest, now: Timestamp) -> bool {
        self.place(hash)
            .and_then(|place| self.places.get(place))
            .is_some_and(|(unknown, until)| now < *until && unknown == digest)
    }

    /// Remembers `digest` until then.
    pub fn insert(&mut self, hash: u64, digest: Digest, until: Timestamp) {
        if self.places.is_empty() {
            self.places = vec![NOBODY; self.most].into();
        }
        if let Some(place) = self.place(hash).and_then(|place| self.places.get_mut(place)) {
            *place = (digest, until);
        }
    }

    /// Forgets `digest`.
    pub fn remove(&mut self, hash: u64, digest: &Digest) {
        if let Some(place) = self.place(hash).and_then(|place| self.places.get_mut(place))
            && place.0 == *digest
        {
            *place = NOBODY;
        }
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        self.places = Box::default();
    }

    fn place(&self, hash: u64) -> Option<usize> {
        (hash as usize).checked_rem(self.places.len())
    }
}
