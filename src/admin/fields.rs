//! What the fields that people fill in may hold.

use ipnet::IpNet;

use super::AdminError;
use crate::domain::key::Scopes;
use crate::domain::limit::{Caps, Quotas, SpendLimit};
use crate::domain::time::Timestamp;

/// Longest name of an organization, project or key, in characters.
pub(super) const NAME_CHARS_MAX: usize = 100;
/// Longest email, in bytes (RFC 5321, section 4.5.3.1.3, without the brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// Most networks in one key's allow list: it is walked on every request.
const NETWORKS_MAX: usize = 100;
/// The largest cap: what every reader of JSON holds exactly.
const CAP_MAX: u64 = (1 << 53) - 1;

/// A name people give, without the spaces around it.
pub(super) fn name(field: &'static str, text: &str) -> Result<String, AdminError> {
    let text = text.trim();
    let chars = text.chars().count();
    if chars == 0 || chars > NAME_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(AdminError::invalid(
            field,
            format!("give 1 to {NAME_CHARS_MAX} characters, without line breaks and control characters"),
        ));
    }
    Ok(text.to_owned())
}

/// An email, lower-cased. Only its shape is looked at: whether it takes mail is not ours to know.
pub(super) fn email(text: &str) -> Result<String, AdminError> {
    let text = text.trim().to_lowercase();
    let parts = text.split_once('@');
    let shaped = parts.is_some_and(|(local, host)| {
        !local.is_empty() && !host.is_empty() && !host.contains('@') && !host.starts_with('.')
    });
    let odd = text.chars().any(|c| c.is_control() || c.is_whitespace());
    if !shaped || odd || text.len() > EMAIL_BYTES_MAX {
        return Err(AdminError::invalid(
            "email",
            format!("`{}` is no email address: write it as name@example.com", text.escape_debug()),
        ));
    }
    Ok(text)
}

/// Networks in CIDR, or single addresses. A network with bits behind its mask is a mistake of which nobody
/// knows what was meant.
pub(super) fn networks(texts: &[String]) -> Result<Vec<IpNet>, AdminError> {
    if texts.len() > NETWORKS_MAX {
        return Err(AdminError::invalid("allowed_ips", format!("give at most {NETWORKS_MAX} networks")));
    }
    let mut nets = texts.iter().map(|text| network(text.trim())).collect::<Result<Vec<_>, _>>()?;
    nets.sort();
    nets.dedup();
    Ok(nets)
}

fn network(text: &str) -> Result<IpNet, AdminError> {
    let wrong = |advice: String| AdminError::invalid("allowed_ips", advice);
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let net: IpNet = text.parse().map_err(|_| {
        wrong(format!(
            "`{}` is no network: write it as 203.0.113.0/24, 2001:db8::/32 or as one address",
            text.escape_debug()
        ))
    })?;
    if net.trunc() != net {
        return Err(wrong(format!(
            "`{text}` has bits behind its mask: write {} or one address",
            net.trunc()
        )));
    }
    let mapped =
        matches!(net, IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.addr().to_ipv4_mapped().is_some());
    if mapped {
        return Err(wrong(format!("`{text}` is IPv4 written as IPv6: write it as IPv4")));
    }
    Ok(net)
}

/// Scopes by name; none named is every scope.
pub(super) fn scopes(names: &[String]) -> Result<Scopes, AdminError> {
    if names.is_empty() {
        return Ok(Scopes::ALL);
    }
    let mut scopes = Scopes { read: false, write: false };
    for name in names {
        match name.as_str() {
            "read" => scopes.read = true,
            "write" => scopes.write = true,
            other => {
                let advice = format!("`{}` is no scope: use read, write or both", other.escape_debug());
                return Err(AdminError::invalid("scopes", advice));
            }
        }
    }
    Ok(scopes)
}

/// An end that is still to come, or none.
pub(super) fn to_come(
    field: &'static str,
    end: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, AdminError> {
    if end.is_some_and(|end| end <= now) {
        return Err(AdminError::invalid(field, "lies in the past: give a time to come"));
    }
    Ok(end)
}

/// Quotas. Zero is a cap like any other: it admits nothing.
pub(super) fn quotas(quotas: Quotas) -> Result<Quotas, AdminError> {
    caps_fit("quotas", [quotas.total, quotas.daily, quotas.weekly, quotas.monthly])?;
    Ok(quotas)
}

/// Negotiated caps.
pub(super) fn negotiated(caps: Caps) -> Result<Caps, AdminError> {
    caps_fit("caps", [caps.per_second, caps.per_minute, caps.concurrency])?;
    Ok(caps)
}

/// A spend limit. One without a cap, as AlterLab's clients may set it, counts and refuses nothing.
pub(super) fn limit(limit: Option<SpendLimit>) -> Result<Option<SpendLimit>, AdminError> {
    if let Some(SpendLimit { requests, microcents, .. }) = limit {
        caps_fit("limits", [requests, microcents])?;
    }
    Ok(limit)
}

fn caps_fit<const N: usize>(field: &'static str, caps: [Option<u64>; N]) -> Result<(), AdminError> {
    if caps.into_iter().flatten().any(|cap| cap > CAP_MAX) {
        return Err(AdminError::invalid(
            field,
            format!("a cap is at most {CAP_MAX}: leave it out for no cap"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says<T: std::fmt::Debug>(result: Result<T, AdminError>, field: &str, part: &str) {
        let text = result.unwrap_err().to_string();
        assert!(text.starts_with(&format!("{field}: ")) && text.contains(part), "{text}");
    }

    #[test]
    fn names_are_short_and_printable() {
        assert_eq!(name("name", "  CI runner ").unwrap(), "CI runner");
        assert_eq!(name("name", &"ä".repeat(100)).unwrap().chars().count(), 100);
        for wrong in ["", "  ", "a\nb", "a\u{7}", &"a".repeat(101)] {
            says(name("name", wrong), "name", "1 to 100");
        }
    }

    #[test]
    fn emails_have_two_parts_and_no_spaces() {
        assert_eq!(email(" Ann@Example.COM ").unwrap(), "ann@example.com");
        assert_eq!(email("a@localhost").unwrap(), "a@localhost");
        for wrong in
            ["", "ann", "@x", "a@", "a@b@c", "a b@c", "a@b\r\nBcc: c", &format!("{}@x", "a".repeat(254))]
        {
            says(email(wrong), "email", "name@example.com");
        }
    }

    #[test]
    fn networks_are_cidr_or_one_address() {
        let nets = |list: &[&str]| networks(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let texts: Vec<_> = nets(&["10.0.0.0/8", "2001:db8::/32", "::ffff:192.0.2.1", "10.0.0.0/8"])
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(texts, ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]);
        says(nets(&["10.0.0.1/8"]), "allowed_ips", "write 10.0.0.0/8");
        says(nets(&["::ffff:10.0.0.0/104"]), "allowed_ips", "as IPv4");
        says(nets(&["localhost"]), "allowed_ips", "no network");
        says(nets(&["10.0.0.0/33"]), "allowed_ips", "no network");
        says(nets(&["10.0.0.1"; 101]), "allowed_ips", "at most 100");
    }

    #[test]
    fn scopes_and_caps_are_checked() {
        assert_eq!(scopes(&[]).unwrap(), Scopes::ALL);
        assert_eq!(scopes(&["write".into()]).unwrap(), Scopes { read: false, write: true });
        says(scopes(&["admin".into()]), "scopes", "`admin`");
        assert!(quotas(Quotas { total: Some(0), ..Quotas::default() }).is_ok());
        says(quotas(Quotas { daily: Some(1 << 53), ..Quotas::default() }), "quotas", "at most");
        let uncapped = SpendLimit {
            requests: None,
            microcents: None,
            period: crate::domain::time::Period::Daily,
            enabled: true,
        };
        assert_eq!(limit(Some(uncapped)).unwrap(), Some(uncapped));
        says(limit(Some(SpendLimit { requests: Some(1 << 53), ..uncapped })), "limits", "at most");
        assert_eq!(limit(None).unwrap(), None);
    }
}
