//! How much will be asked for in the next moments: as much as in the last cell.

use super::Local;
use crate::domain::ring::Window;

/// Width of a bucket, in microseconds: that of the finest cell, as no lease outlives it.
const BUCKET: u64 = Window::SECOND.cell().as_micros() as u64;
/// Below this many requests per cell a key is asked for one by one: what is leased ahead and not spent costs a call.
const WORTH_IT: u64 = 2;

/// Requests in the present bucket and the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    bucket: u64,
    now: u64,
    before: u64,
}

impl Demand {
    /// Counts one request.
    pub fn note(&mut self, now: Local) {
        self.turn(now);
        self.now += 1;
    }

    /// Requests to expect per cell, with a quarter to spare; 0 where leasing ahead is not worth it.
    pub fn per_cell(&mut self, now: Local) -> u64 {
        self.turn(now);
        let most = self.now.max(self.before);
        if most < WORTH_IT { 0 } else { most + most / 4 + 1 }
    }

    fn turn(&mut self, now: Local) {
        let bucket = now.0 / BUCKET;
        if bucket > self.bucket {
            self.before = if bucket == self.bucket + 1 { self.now } else { 0 };
            (self.bucket, self.now) = (bucket, 0);
        }
    }
}
