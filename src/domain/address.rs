//! Whose request is it: the client's address behind trusted proxies, and the address that the guard blocks.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The client's address: the peer's, unless the peer is a trusted proxy; then the rightmost address of
/// `X-Forwarded-For` that is not itself a trusted proxy. What stands further left was written by strangers.
///
/// `forwarded` are the values of the header in the order received. An entry that is no address ends the walk
/// at the last address that was believed.
pub fn client_ip<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    believed(peer, forwarded, trusted).last().unwrap_or(peer)
}

/// The believed part of a request's way, nearest first: the peer, then trusted proxies, then the client. Each
/// is named by the one before it, so the first that is not a trusted proxy is the last that is believed.
pub fn believed<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> impl Iterator<Item = IpAddr> {
    let mut entries = forwarded.rev().flat_map(|value| value.rsplit(','));
    std::iter::successors(Some(peer.to_canonical()), move |hop| {
        let trusts = trusted.iter().any(|net| net.contains(hop));
        if trusts { parse(entries.next()?.trim()) } else { None }
    })
}

/// An address as proxies write it: plain, with a port, or IPv6 in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bare =
        text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    bare.parse()
        .ok()
        .or_else(|| bare.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

/// What the address guard counts and blocks: an IPv4 address, or the /64 of an IPv6 one, as that is what one
/// subscriber is given.
pub fn guarded(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::V6(Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_hops_are_believed() {
        for (peer, forwarded, client) in [
            ("203.0.113.9", "", "203.0.113.9"),
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("::ffff:10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
            ("10.0.0.1", "", "10.0.0.1"),
        ] {
            let trusted = ["10.0.0.0/8".parse().unwrap()];
            let values = [forwarded].into_iter().filter(|value| !value.is_empty());
            let got = client_ip(peer.parse().unwrap(), values, &trusted);
            assert_eq!(got.to_string(), client, "{peer} with {forwarded:?}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let got = client_ip("10.0.0.1".parse().unwrap(), ["6.6.6.6", "198.51.100.1"].into_iter(), &trusted);
        assert_eq!(got.to_string(), "198.51.100.1");
    }

    #[test]
    fn the_guard_sees_subscribers() {
        assert_eq!(guarded("2001:db8:1:2:3:4:5:6".parse().unwrap()).to_string(), "2001:db8:1:2::");
        assert_eq!(guarded("::ffff:192.0.2.7".parse().unwrap()).to_string(), "192.0.2.7");
    }
}
