//! What must hold when all is over.

use super::Simulation;

impl Simulation {
    pub(super) fn check(&mut self) {
        let world = &self.world;
        let waits = self.nodes.iter().any(|node| !node.waiting.is_empty());
        assert!(!waits, "seed {}: a request waits for ever; {world:?}", self.seed);
        let mut all: Vec<u64> = self.admitted.values().flatten().copied().collect();
        all.sort_unstable();
        self.check_window("second", &all, 1_000_000, world.caps.per_second);
        self.check_window("minute", &all, 60_000_000, world.caps.per_minute);
        for list in self.admitted.values() {
            self.check_window("day", list, 86_400_000_000, world.quotas.daily);
            self.check_window("total", list, u64::MAX, world.quotas.total);
        }
        if world.kills == 0 {
            // Nobody took anything along: what is left over was given back, and nothing else.
            for (key, list) in &self.admitted {
                assert_eq!(self.redis.total(*key), list.len() as u64, "seed {}: {world:?}", self.seed);
            }
            if let Some(key) = self.admitted.keys().next() {
                assert_eq!(self.redis.spent(*key), self.cost, "seed {}: {world:?}", self.seed);
            }
        }
    }

    pub(super) fn check_window(&self, name: &str, list: &[u64], span: u64, cap: Option<u64>) {
        let Some(cap) = cap.map(|cap| cap + self.excused()) else { return };
        for (at, first) in list.iter().enumerate() {
            let within = list[at..].iter().take_while(|later| **later - first < span).count() as u64;
            assert!(
                within <= cap,
                "seed {}: {within} in a {name} of {cap} from {first}; {world:?}",
                self.seed,
                world = self.world
            );
        }
    }
}
