//! Limits over several gateways on a Redis Cluster: exact over all its masters, while slots move between them, and
//! within bounds while they fall over.

#[path = "cluster/away.rs"]
mod away;
#[path = "cluster/down.rs"]
mod down;
#[path = "cluster/exact.rs"]
mod exact;
#[path = "cluster/failover.rs"]
mod failover;
#[path = "cluster/moved.rs"]
mod moved;

use std::net::SocketAddr;
use std::path::Path;

use super::start_at;
use super::support::{Gateway, RedisCluster};

/// An organization with a key of its own.
#[derive(Clone, Debug)]
struct Tenant {
    organization: String,
    key: String,
    /// The master that has it at the beginning.
    master: usize,
}

/// `count` gateways on a cluster, and of every master one organization for each of `kinds`: its plan, and the quotas of
/// its key. In the order of masters.
async fn start(
    count: usize,
    upstream: SocketAddr,
    cluster: &RedisCluster,
    shared: &Path,
    plans: &str,
    kinds: &[(&str, &[&str])],
) -> (Vec<Gateway>, Vec<Tenant>) {
    let gateways = start_at(count, upstream, &cluster.url(), shared, plans, kinds[0].0).await;
    let mut tenants = Vec::new();
    for (place, (organization, master)) in cluster.organizations(kinds.len()).into_iter().enumerate() {
        let (plan, quotas) = kinds[place % kinds.len()];
        gateways[0].cli(&["org", "create", &organization, "--plan", plan]).await;
        let (_, key) = gateways[0].key(&organization, "k", quotas).await;
        tenants.push(Tenant { organization, key, master });
    }
    (gateways, tenants)
}
