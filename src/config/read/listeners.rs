//! `[data]` and `[control]`: the two listeners and what they bear.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::units::{GIB, HOUR, KIB, MIB, duration, listen_address, memory_size, path, size, timeout};
use crate::config::field::{Field, Section};
use crate::config::{Control, Data, Tls};

/// Stands where an address could not be read; never leaves the loader.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Most I/O threads that are started unasked: as many as the default spool has room for.
const AUTOMATIC_THREADS_MAX: usize = 32;

/// Reads `[data]`.
pub(super) fn data(section: &Section<'_>) -> Data {
    Data {
        listen: section.need("listen", listen_address).unwrap_or(NOWHERE),
        tls: section.may("tls", |field| field.section(tls)?),
        trusted_proxies: section.need("trusted_proxies", |field| field.list(network)).unwrap_or_default(),
        threads: section.need("threads", threads).unwrap_or(1),
        connections_max: section
            .need("connections_max", |field| field.count(1..=10_000_000))
            .unwrap_or_default(),
        head_timeout: section.need("head_timeout", timeout).unwrap_or_default(),
        head_bytes_max: section
            // hyper's read buffer holds 8 KiB at least.
            .need("head_bytes_max", |field| memory_size(field, 8 * KIB..=MIB))
            .unwrap_or_default(),
        headers_max: section.need("headers_max", |field| field.count(1..=10_000)).unwrap_or_default(),
        target_bytes_max: section.need("target_bytes_max", target_bytes_max).unwrap_or_default(),
        idle_timeout: section.need("idle_timeout", timeout).unwrap_or_default(),
        stall_timeout: section.need("stall_timeout", timeout).unwrap_or_default(),
        drain_delay: section
            .need("drain_delay", |field| duration(field, Duration::ZERO..=HOUR))
            .unwrap_or_default(),
        drain_timeout: section
            .need("drain_timeout", |field| duration(field, Duration::ZERO..=HOUR))
            .unwrap_or_default(),
        own_requests_max: section
            .need("own_requests_max", |field| field.count(1..=100_000))
            .unwrap_or_default(),
        own_timeout: section
            .need("own_timeout", |field| duration(field, Duration::from_secs(1)..=HOUR))
            .unwrap_or_default(),
        own_body_max: section
            .need("own_body_max", |field| memory_size(field, KIB..=16 * MIB))
            .unwrap_or_default(),
    }
}

fn target_bytes_max(field: &Field<'_>) -> Option<usize> {
    // hyper holds a target in 64 KiB less one byte.
    memory_size(field, 64..=64 * KIB - 1)
}

/// Reads `[control]`, which must not listen where `data` does.
pub(super) fn control(section: &Section<'_>, data: Option<SocketAddr>) -> Control {
    let listen = section.need("listen", |field| {
        let listen = listen_address(field)?;
        if data.is_some_and(|data| collide(listen, data)) {
            return field.wrong(format!("{listen} is taken by data.listen"), "give it a port of its own");
        }
        Some(listen)
    });
    Control {
        listen: listen.unwrap_or(NOWHERE),
        connections_max: section
            .need("connections_max", |field| field.count(1..=100_000))
            .unwrap_or_default(),
        requests_max: section.need("requests_max", |field| field.count(1..=100_000)).unwrap_or_default(),
        body_bytes_max: section.need("body_max", |field| size(field, KIB..=GIB)).unwrap_or_default(),
        timeout: section
            .need("timeout", |field| duration(field, Duration::from_secs(1)..=HOUR))
            .unwrap_or_default(),
    }
}

fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

fn threads(field: &Field<'_>) -> Option<usize> {
    Some(match field.count(0..=256)? {
        0 => std::thread::available_parallelism().map_or(1, usize::from).min(AUTOMATIC_THREADS_MAX),
        threads => threads,
    })
}

/// A network in CIDR notation, or one address.
fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.text()?;
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    // `10.1.2.3/8` means what `10.0.0.0/8` means.
    network.map(|network| network.trunc()).or_else(|| {
        field.is_not("a network", Some("write it as 10.0.0.0/8, 2001:db8::/32 or a single address"))
    })
}

/// Both files are read once, so that a wrong name is noticed before a port is bound.
fn tls(section: &Section<'_>) -> Option<Tls> {
    let cert = section.need("cert", |field| {
        let has_any = |path: &PathBuf| CertificateDer::pem_file_iter(path)?.next().transpose();
        pem(field, "a certificate", |path| has_any(path).map(|found| found.is_some()))
    });
    let key = section.need("key", |field| {
        pem(field, "a private key", |path| PrivateKeyDer::from_pem_file(path).map(|_| true))
    });
    Some(Tls { cert: cert?, key: key? })
}

fn pem(
    field: &Field<'_>,
    what: &str,
    read: impl Fn(&PathBuf) -> Result<bool, rustls_pki_types::pem::Error>,
) -> Option<PathBuf> {
    let path = path(field)?;
    if let Err(error) = std::fs::File::open(&path) {
        return field.wrong(
            format!("{} cannot be read: {error}", field.quoted()),
            "name a PEM file that this user may read",
        );
    }
    if !matches!(read(&path), Ok(true)) {
        return field.wrong(format!("{} does not hold {what} in PEM", field.quoted()), "name a PEM file");
    }
    Some(path)
}
