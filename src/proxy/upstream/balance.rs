//! Which target takes the next request.
//!
//! Names are resolved once, at start and at reload, and every address of a name is a target. The order is
//! pingora's weighted round robin; what is unhealthy or was tried already is passed over. Probing goes on in
//! tasks that end with the last user of an upstream's balancer.
//!
//! **Invariant:** choosing neither allocates nor waits, and finds a target if there is a healthy one left.
//!
//! A reload that leaves an upstream's targets and health settings alone keeps its balancer, and so what its
//! probes have learnt; any other starts afresh, with all targets taken for healthy until their probes fail.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::algorithms::RoundRobin;
use pingora_load_balancing::selection::weighted::Weighted;
use pingora_load_balancing::selection::{BackendIter as _, BackendSelection as _};

use crate::config::{Health, Upstream};

use super::probe::Probing;

/// How long resolving one name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most places in an upstream's order: weights are scaled down to fit.
const PLACES_MAX: usize = 4096;

/// One address of an upstream.
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    text: Box<str>,
    healthy: AtomicBool,
}

impl Target {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, text: address.to_string().into(), healthy: AtomicBool::new(true) }
    }

    /// Where to connect.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as logs and metrics have it.
    pub const fn text(&self) -> &str {
        &self.text
    }

    /// Whether its last probes succeeded; always, where nothing is probed.
    pub fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }
}

/// A target's name cannot be resolved, or an upstream has no target.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name is not known, or nobody could be asked.
    #[error(
        "upstream `{upstream}`: cannot resolve target `{target}`: {reason}; use a name that this machine resolves, or an address"
    )]
    Unresolved {
        /// The upstream's name.
        upstream: String,
        /// The target as configured.
        target: String,
        /// What the resolver says.
        reason: std::io::Error,
    },
    /// Nothing to send to.
    #[error("upstream `{0}` has no target with a weight above 0")]
    NoTarget(String),
}

/// The targets of all upstreams, in the order of the configuration.
#[derive(Debug)]
pub struct Balancers {
    each: Vec<Arc<Balancer>>,
}

impl Balancers {
    /// Resolves and begins to probe, on the runtime that it is called on. `previous` is what is replaced.
    ///
    /// # Errors
    /// [`ResolveError`] of the first upstream that cannot be used; nothing is changed then.
    pub async fn start(upstreams: &[Upstream], previous: Option<&Self>) -> Result<Self, ResolveError> {
        let mut each = Vec::with_capacity(upstreams.len());
        for upstream in upstreams {
            let places = resolve(upstream).await?;
            let kept = previous.and_then(|previous| {
                previous.each.iter().find(|old| old.serves(upstream, &places)).map(Arc::clone)
            });
            each.push(match kept {
                Some(kept) => kept,
                None => Arc::new(Balancer::start(upstream, places).await),
            });
        }
        Ok(Self { each })
    }

    /// The target that takes the next request to `upstream`, which is its position in the configuration; none
    /// of `exclude`. `None` where no healthy one is left.
    pub fn select(&self, upstream: usize, exclude: &[SocketAddr]) -> Option<&Arc<Target>> {
        self.each.get(upstream)?.select(exclude)
    }

    /// Every upstream's name and targets.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &[Arc<Target>])> {
        self.each.iter().map(|balancer| (balancer.name.as_str(), &*balancer.targets))
    }
}

/// An address and its share.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    address: SocketAddr,
    weight: usize,
}

/// Every address of every target, the weight of a name shared by its addresses.
async fn resolve(upstream: &Upstream) -> Result<Vec<Place>, ResolveError> {
    let mut places: Vec<Place> = Vec::new();
    for target in upstream.targets.iter().filter(|target| target.weight > 0) {
        let addresses = lookup(&target.address).await.map_err(|reason| ResolveError::Unresolved {
            upstream: upstream.name.clone(),
            target: target.address.clone(),
            reason,
        })?;
        // 840 is divided whole by up to eight addresses.
        let weight = (target.weight.saturating_mul(840) / addresses.len()).max(1);
        for address in addresses {
            match places.iter_mut().find(|place| place.address == address) {
                Some(place) => place.weight = place.weight.saturating_add(weight),
                None => places.push(Place { address, weight }),
            }
        }
    }
    if places.is_empty() {
        return Err(ResolveError::NoTarget(upstream.name.clone()));
    }
    fit(&mut places);
    places.sort_by_key(|place| place.address);
    Ok(places)
}

async fn lookup(name: &str) -> std::io::Result<BTreeSet<SocketAddr>> {
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host(name));
    let addresses: BTreeSet<_> = found.await.map_err(std::io::Error::from)??.collect();
    if addresses.is_empty() {
        return Err(std::io::Error::other("the name has no address"));
    }
    Ok(addresses)
}

/// Makes the weights as small as their ratio allows, and no more than [`PLACES_MAX`] together.
fn fit(places: &mut [Place]) {
    let divisor = places.iter().fold(0, |divisor, place| gcd(divisor, place.weight)).max(1);
    places.iter_mut().for_each(|place| place.weight /= divisor);
    let total: u128 = places.iter().map(|place| place.weight as u128).sum();
    let most = PLACES_MAX.saturating_sub(places.len()).max(1) as u128;
    if total > most {
        for place in places {
            place.weight = ((place.weight as u128 * most / total) as usize).max(1);
        }
    }
}

const fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// One upstream's targets.
struct Balancer {
    name: String,
    places: Vec<Place>,
    health: Health,
    targets: Box<[Arc<Target>]>,
    order: Arc<Weighted<RoundRobin>>,
    /// Ends with this balancer.
    _probing: Option<Probing>,
}

/// A backend's position in [`Balancer::targets`].
#[derive(Clone, Copy)]
struct Position(usize);

impl Balancer {
    async fn start(upstream: &Upstream, places: Vec<Place>) -> Self {
        let targets: Box<[_]> = places.iter().map(|place| Arc::new(Target::new(place.address))).collect();
        let backends = places.iter().enumerate().map(|(position, place)| {
            let mut backend = backend(place.address, place.weight);
            backend.ext.insert(Position(position));
            backend
        });
        let order = Arc::new(Weighted::build(&backends.collect()));
        let probing = if upstream.health.every.is_zero() {
            None
        } else {
            Some(Probing::start(&upstream.name, &upstream.health, &targets).await)
        };
        Self {
            name: upstream.name.clone(),
            places,
            health: upstream.health.clone(),
            targets,
            order,
            _probing: probing,
        }
    }

    fn serves(&self, upstream: &Upstream, places: &[Place]) -> bool {
        self.name == upstream.name && self.health == upstream.health && self.places == places
    }

    fn select(&self, exclude: &[SocketAddr]) -> Option<&Arc<Target>> {
        let fits = |target: &&Arc<Target>| target.is_healthy() && !exclude.contains(&target.address);
        if let [only] = &*self.targets {
            return Some(only).filter(fits);
        }
        let mut order = self.order.iter(&[]);
        for _ in 0..self.targets.len() {
            let position = order.next()?.ext.get::<Position>()?.0;
            if let Some(target) = self.targets.get(position).filter(fits) {
                return Some(target);
            }
        }
        // Other threads move the same order on, so its turns may have left one out.
        self.targets.iter().find(fits)
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("name", &self.name)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

/// pingora's word for a target.
pub(super) fn backend(address: SocketAddr, weight: usize) -> Backend {
    Backend { addr: address.into(), weight, ext: http::Extensions::new() }
}

#[cfg(test)]
mod tests;
