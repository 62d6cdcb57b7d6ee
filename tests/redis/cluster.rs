//! Limits over several gateways on a Redis Cluster: exact over all its masters, while slots move between them, and
//! within bounds while they fall over.

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

/// `count` gateways on a cluster, and `each` organizations of every master on a plan `narrow`.
async fn start(
    count: usize,
    upstream: SocketAddr,
    cluster: &RedisCluster,
    shared: &Path,
    plan: &str,
    each: usize,
    quotas: &[&str],
) -> (Vec<Gateway>, Vec<Tenant>) {
    let plans = format!("[plans.narrow]\n{plan}");
    let gateways = start_at(count, upstream, &cluster.url(), shared, &plans, "narrow").await;
    let mut tenants = Vec::new();
    for (organization, master) in cluster.organizations(each) {
        gateways[0].cli(&["org", "create", &organization, "--plan", "narrow"]).await;
        let (_, key) = gateways[0].key(&organization, "k", quotas).await;
        tenants.push(Tenant { organization, key, master });
    }
    (gateways, tenants)
}
