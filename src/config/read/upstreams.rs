//! `[[upstreams]]`: where requests go.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::headers;
use super::plans::{NAME_REASON, is_name};
use super::units::{DAY, INSTANT, duration, secret, timeout};
use crate::config::field::{Field, Section};
use crate::config::tree::Value;
use crate::config::{Health, Masked, Target, Upstream, UpstreamCredential};

/// Reads every upstream. The place in the answer is the place in the file, whatever is wrong with one.
pub(super) fn upstreams(field: &Field<'_>) -> Option<Vec<Upstream>> {
    let upstreams = field.list(|field| field.section(|section| upstream(section)))?;
    if upstreams.is_empty() {
        return field.wrong("there is no upstream", "add [[upstreams]] with a name and targets");
    }
    Some(upstreams)
}

/// Notes every upstream whose name an earlier one has.
pub(super) fn check_names(field: &Field<'_>) {
    let names = field.each("name");
    for (at, field) in names.iter().enumerate() {
        let Some((field, name)) = field.as_ref().and_then(|field| Some((field, field.peek()?))) else {
            continue;
        };
        if names.iter().take(at).flatten().any(|earlier| earlier.peek().as_ref() == Some(&name)) {
            field.wrong::<()>(
                format!("another upstream is called {}", field.quoted()),
                "give each a name of its own",
            );
        }
    }
}

fn upstream(section: &Section<'_>) -> Upstream {
    Upstream {
        name: section.need("name", name).unwrap_or_default(),
        targets: section.need("targets", targets).unwrap_or_default(),
        credential: section.may("credential", |field| {
            if field.context.forwards { field.section(credential)? } else { None }
        }),
        connect_timeout: section.need("connect_timeout", timeout).unwrap_or_default(),
        answer_timeout: section.need("answer_timeout", timeout).unwrap_or_default(),
        stall_timeout: section.need("stall_timeout", timeout).unwrap_or_default(),
        idle_max: section.need("idle_max", |field| field.count(0..=100_000)).unwrap_or_default(),
        idle_timeout: section.need("idle_timeout", timeout).unwrap_or_default(),
        retries: section.need("retries", |field| field.count(0..=10)).unwrap_or_default(),
        health: section.need("health", |field| field.section(health)).unwrap_or_default(),
    }
}

fn name(field: &Field<'_>) -> Option<String> {
    let name = field.text()?;
    is_name(&name).then_some(name).or_else(|| field.wrong(NAME_REASON, "rename it"))
}

fn targets(field: &Field<'_>) -> Option<Vec<Target>> {
    let targets = field.list(target)?;
    if targets.is_empty() {
        return field.wrong("there is no target", "name at least one, such as \"127.0.0.1:3000\"");
    }
    for (at, target) in targets.iter().enumerate() {
        if targets.iter().take(at).any(|earlier| earlier.address == target.address) {
            let reason = format!("{:?} is there twice", target.address);
            return field.wrong(reason, "give it a greater weight instead");
        }
    }
    Some(targets)
}

fn target(field: &Field<'_>) -> Option<Target> {
    match &field.node.value {
        Value::Text(_) => Some(Target { address: address(field)?, weight: 1 }),
        Value::Table(_) => field.section(|section| {
            let address = section.need("address", address);
            let weight = section.may("weight", |field| field.count(1..=1_000));
            Some(Target { address: address?, weight: weight.unwrap_or(1) })
        })?,
        _ => {
            field.is_not("a target", Some("write \"host:port\", or { address = \"host:port\", weight = 2 }"))
        }
    }
}

/// `host:port`; the host is a name, an IPv4 address or an IPv6 address in brackets.
fn address(field: &Field<'_>) -> Option<String> {
    let text = field.filled_text()?;
    if text.starts_with("https://") {
        return field.unavailable("HTTPS towards an upstream", "write host:port of its plain HTTP port");
    }
    let host_fine = |host: &str| match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !host.is_empty() && host.len() <= 253 && host.bytes().all(fine)
        }
    };
    let fine = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| host_fine(host) && port.parse::<u16>().is_ok_and(|port| port > 0));
    fine.then_some(text).or_else(|| {
        field.is_not(
            "host:port",
            Some("write it as 127.0.0.1:3000, scraper.internal:3000 or [::1]:3000, without a scheme or path"),
        )
    })
}

/// `{ header = NAME, value = … }` or `{ query = NAME, value = … }`, or `value_file` in the place of `value`.
fn credential(section: &Section<'_>) -> Option<UpstreamCredential> {
    let value = secret(section, "value", "value_file");
    let place = (section.field("header"), section.field("query"));
    // Whatever is set and wrong was noted; nothing set, or an empty text, was not.
    let empty = section.field("value").is_none_or(|field| field.peek().is_some_and(|text| text.is_empty()));
    if value.is_none() && empty && section.field("value_file").is_none() {
        section.field.wrong::<()>("there is no credential in it", "add `value` or `value_file`");
    }
    match place {
        (Some(header), None) => {
            let name = headers::credential_name(&header, &header.text()?);
            let value = value.and_then(|value| header_value(section, value));
            Some(UpstreamCredential::Header(name?, value?))
        }
        (None, Some(query)) => {
            let name = headers::query_name(&query, &query.text()?);
            Some(UpstreamCredential::Query(name?, value?))
        }
        _ => section.field.wrong(
            "it is not said where the credential goes",
            "write either header = \"authorization\" or query = \"NAME\"",
        ),
    }
}

fn header_value(section: &Section<'_>, value: Masked) -> Option<Masked> {
    if headers::is_value(&value.0) {
        return Some(value);
    }
    let set = section.field("value_file").or_else(|| section.field("value"))?;
    set.wrong(
        "the value (not shown) cannot stand in a header",
        "use visible ASCII characters, without a space at either end",
    )
}

fn health(section: &Section<'_>) -> Health {
    Health {
        every: section.need("every", |field| duration(field, Duration::ZERO..=DAY)).unwrap_or_default(),
        timeout: section.need("timeout", |field| duration(field, INSTANT..=DAY)).unwrap_or_default(),
        path: section.may("path", probe_path),
        rise: section.need("rise", |field| field.count(1..=100)).unwrap_or_default(),
        fall: section.need("fall", |field| field.count(1..=100)).unwrap_or_default(),
    }
}

fn probe_path(field: &Field<'_>) -> Option<String> {
    let path = field.text()?;
    let fine = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    fine.then_some(path).or_else(|| {
        field.is_not("a path", Some("write it as /healthz, or leave it out to probe by connecting"))
    })
}
