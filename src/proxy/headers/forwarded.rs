//! Where a request came from, as told to an upstream.

use std::io::Write as _;
use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::domain::address;

const FOR: &str = "x-forwarded-for";
const PROTO: &str = "x-forwarded-proto";
const FORWARDED_HOST: &str = "x-forwarded-host";

/// The values of `X-Forwarded-For`, `-Proto` and `-Host` for one request.
///
/// The first address of `X-Forwarded-For` is the client's; what follows are trusted proxies, the nearest last.
#[derive(Debug, Clone)]
pub struct Forwarded {
    addresses: HeaderValue,
    proto: HeaderValue,
    host: Option<HeaderValue>,
    /// What HTTP/2 had in `:authority`.
    authority: Option<HeaderValue>,
}

impl Forwarded {
    /// What is known of a request before [`super::clean_request`]: from the connection, and from its fields
    /// where `peer` (given with its text, which is the same for a whole connection) is one of the `trusted` proxies. `tls`: the client's connection is encrypted. `authority`:
    /// where HTTP/2 named the host, which then stands for `Host`.
    pub fn of(
        headers: &HeaderMap,
        (peer, peer_text): (IpAddr, &HeaderValue),
        tls: bool,
        authority: Option<&str>,
        trusted: &[IpNet],
    ) -> Self {
        let peer = peer.to_canonical();
        let own_proto = HeaderValue::from_static(if tls { "https" } else { "http" });
        let authority = authority.and_then(|authority| HeaderValue::from_str(authority).ok());
        let own_host = authority.clone().or_else(|| headers.get(HOST).cloned());
        if !trusted.iter().any(|net| net.contains(&peer)) {
            return Self { addresses: peer_text.clone(), proto: own_proto, host: own_host, authority };
        }
        Self {
            addresses: chain(headers, peer, trusted),
            proto: last(headers, PROTO)
                .filter(|proto| proto.as_bytes() == b"http" || proto.as_bytes() == b"https")
                .unwrap_or(own_proto),
            host: last(headers, FORWARDED_HOST).or(own_host),
            authority,
        }
    }

    /// Sets `Host`, where HTTP/2 had it in `:authority`.
    pub fn set_host(&mut self, headers: &mut HeaderMap) {
        if let Some(authority) = self.authority.take() {
            headers.insert(HOST, authority);
        }
    }

    /// Hands each of the three, name in lower case, to `tell`.
    pub fn tell(&self, mut tell: impl FnMut(&'static str, &HeaderValue)) {
        tell(FOR, &self.addresses);
        tell(PROTO, &self.proto);
        if let Some(host) = &self.host {
            tell(FORWARDED_HOST, host);
        }
    }
}

/// The believed part of the way: the client, then trusted proxies, then the peer.
fn chain(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> HeaderValue {
    let values = headers.get_all(FOR).into_iter().filter_map(|value| value.to_str().ok());
    let mut way: Vec<String> = address::believed(peer, values, trusted).map(|hop| hop.to_string()).collect();
    way.reverse();
    HeaderValue::from_str(&way.join(", ")).unwrap_or_else(|_| one(peer))
}

/// One address as a header's value.
pub fn one(address: IpAddr) -> HeaderValue {
    let mut text = [0; 64];
    let mut rest = &mut text[..];
    let _ = write!(rest, "{address}");
    let left = rest.len();
    let length = text.len() - left;
    HeaderValue::from_bytes(&text[..length]).unwrap_or(HeaderValue::from_static("unknown"))
}

/// The last member of a list field: what the nearest proxy wrote.
fn last(headers: &HeaderMap, name: &'static str) -> Option<HeaderValue> {
    let value = headers.get_all(name).into_iter().next_back()?;
    let member = value.as_bytes().rsplit(|byte| *byte == b',').next()?.trim_ascii();
    HeaderValue::from_bytes(member).ok().filter(|member| !member.is_empty())
}
