//! What happens in a simulation.

use std::collections::BTreeSet;

use super::{Base, Call, Claimed, Joining, KeyId, Local, Reply, Said};

/// What happens, at a true instant in microseconds since the beginning.
#[derive(Debug)]
pub(super) enum Event {
    Request {
        node: usize,
        life: u64,
    },
    /// A request that waited claims again.
    Again {
        node: usize,
        life: u64,
        key: KeyId,
        tries: u32,
    },
    End {
        node: usize,
        life: u64,
        claimed: Claimed,
        released: bool,
        request: u64,
    },
    /// A call arrives at Redis.
    Arrives {
        node: usize,
        life: u64,
        call: Call,
    },
    /// An answer arrives at its node.
    Answered {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        seq: u64,
        reply: Box<Reply>,
    },
    /// A node gives up waiting for an answer.
    GivesUp {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        seq: u64,
    },
    Look {
        node: usize,
        life: u64,
        key: Option<KeyId>,
        planned: Local,
    },
    Kills,
    Emptied,
    /// What a node that was killed left on its disk goes to the record.
    Recovers {
        name: usize,
    },
    /// A node hears what was rebuilt.
    Beat {
        node: usize,
        life: u64,
    },
    /// It asks again.
    Joins {
        node: usize,
        life: u64,
    },
    JoinArrives {
        node: usize,
        life: u64,
        number: u64,
        joining: Joining,
    },
    JoinAnswered {
        node: usize,
        life: u64,
        number: u64,
        said: Said,
    },
    JoinGivesUp {
        node: usize,
        life: u64,
        number: u64,
    },
    /// A node that has the lock reads the record, and then writes.
    Reads {
        node: usize,
        life: u64,
        lock: u64,
        instead: Instead,
    },
    Writes {
        node: usize,
        life: u64,
        lock: u64,
        instead: Instead,
        base: Base,
    },
    /// A node sends what is new in its log.
    Ships {
        node: usize,
        life: u64,
    },
    /// Rows up to a place arrive at the record.
    ShipArrives {
        node: usize,
        life: u64,
        number: u64,
        upto: usize,
    },
    ShipAnswered {
        node: usize,
        life: u64,
        number: u64,
        upto: usize,
    },
}

impl Event {
    /// The node at which it happens, or Redis, which is none; `None` where it is neither.
    pub(super) const fn place(&self) -> Option<Option<usize>> {
        match self {
            Self::Request { node, .. }
            | Self::Again { node, .. }
            | Self::End { node, .. }
            | Self::Answered { node, .. }
            | Self::GivesUp { node, .. }
            | Self::Look { node, .. } => Some(Some(*node)),
            Self::Arrives { .. } => Some(None),
            _ => None,
        }
    }
}

/// Counts that are made anew without those who have not reported to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Instead {
    /// 0 where there are none.
    pub epoch: u64,
    pub silent: BTreeSet<usize>,
}

/// An event that the heap does not compare.
pub(super) struct Slot(pub Event);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Slot {}
impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Slot {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}
