//! What all masters of a Redis share: that one was given up, or moved, and what their servers call themselves.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::lease::Nodes;

/// What all masters share.
#[derive(Debug, Default)]
pub(in crate::stores) struct News {
    /// Told when one is given up, or is no longer where it was.
    notify: Notify,
    /// What the server of each calls itself, by the master's address in memory.
    servers: Mutex<BTreeMap<usize, Arc<str>>>,
    /// As many nodes as there were when this one was last there: until a master says how many there are.
    pub before: Nodes,
}

impl News {
    /// None, of a Redis to which so many nodes spoke.
    pub fn after(before: Nodes) -> Self {
        Self { before, ..Self::default() }
    }

    /// The server of a master calls itself so.
    pub fn is(&self, place: usize, server: Arc<str>) {
        self.servers.lock().insert(place, server);
    }

    /// The master at `place` is no longer there.
    pub fn forget(&self, place: usize) {
        self.servers.lock().remove(&place);
    }

    /// What `server`, of the master at `place`, and those of all others call themselves.
    pub fn servers(&self, place: usize, server: &str) -> String {
        let servers = self.servers.lock();
        let others = servers.iter().filter(|(other, _)| **other != place).map(|(_, name)| &**name);
        std::iter::once(server).chain(others).collect::<Vec<_>>().join(" ")
    }
}

impl Deref for News {
    type Target = Notify;

    fn deref(&self) -> &Notify {
        &self.notify
    }
}
