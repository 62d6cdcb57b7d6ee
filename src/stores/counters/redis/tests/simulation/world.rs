//! What a seed decides.

use super::{Caps, Quotas};

/// Splitmix64 (public domain, Vigna): small, and the same on every machine.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What a seed decides.
#[derive(Debug)]
pub(super) struct World {
    pub nodes: usize,
    pub caps: Caps,
    pub quotas: Quotas,
    /// Percent of messages that are lost, each way.
    pub loss: u64,
    /// The longest that a message takes, in microseconds.
    pub delay: u64,
    /// Percent chance per node and 100 ms of being killed.
    pub kills: u64,
    /// Mean microseconds between two requests at one node.
    pub between: u64,
    /// Longest a request is in flight.
    pub in_flight: u64,
    /// How long it goes on.
    pub lasts: u64,
    /// Percent of requests of which nothing comes.
    pub released: u64,
    /// When Redis is emptied.
    pub emptied: Vec<u64>,
    /// Longest pause between two batches of a node's log.
    pub lag: u64,
    /// How long a node waits for an answer.
    pub patience: u64,
}

impl World {
    pub(super) fn of(random: &mut Random) -> Self {
        let cap = |random: &mut Random, most: u64| random.chance(60).then(|| random.below(most));
        let calm = random.chance(40);
        let lasts = 300_000 + random.below(1_500_000);
        let is_emptied = random.chance(50);
        let emptied = if is_emptied { 1 + random.below(3) } else { 0 };
        let lasts = if is_emptied { lasts + random.below(3_000_000) } else { lasts };
        let in_flight = if is_emptied && random.chance(50) { 90_000_000 } else { 200_000 };
        Self {
            nodes: 1 + random.below(5) as usize,
            caps: Caps {
                per_second: cap(random, 120),
                per_minute: cap(random, 300),
                concurrency: cap(random, 20),
            },
            quotas: Quotas { total: cap(random, 300), daily: cap(random, 200), ..Quotas::default() },
            loss: if calm { 0 } else { random.below(20) },
            delay: 100 + random.below(30_000),
            kills: if calm { 0 } else { random.below(15) },
            between: 2_000 + random.below(30_000),
            in_flight: 1 + random.below(in_flight),
            lasts,
            released: 5,
            emptied: (0..emptied).map(|_| random.below(lasts)).collect(),
            lag: if random.chance(80) { 1 + random.below(1_000_000) } else { 30_000_000 },
            // Longer than most messages take: some answers come too late.
            patience: 40_000,
        }
    }

    pub(super) fn has_caps(&self) -> bool {
        let Caps { per_second, per_minute, concurrency } = self.caps;
        [per_second, per_minute, concurrency, self.quotas.total, self.quotas.daily]
            .iter()
            .any(Option::is_some)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.loss == 0 && self.kills == 0
    }
}
