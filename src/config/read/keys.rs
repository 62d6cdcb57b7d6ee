//! `[session]`, `[keys]` and `[ip_guard]`: who a caller is, and how often one may guess.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::headers;
use super::units::{DAY, INSTANT, duration, secret};
use crate::config::field::{Field, Section, nearest};
use crate::config::load::DEFAULTS_NAME;
use crate::config::{IpGuard, Issuer, IssuerAlgorithm, KeySet, Keys, Masked, SealKey, Session, Source};
use crate::domain::secret::{PREFIX_CHARS_MAX, is_prefix};

/// HS256 wants a secret as long as its hash (RFC 7518 section 3.2).
const SESSION_SECRET_BYTES_MIN: usize = 32;

/// Reads `[session]`.
pub(super) fn session(section: &Section<'_>) -> Session {
    let secret = secret(section, "secret", "secret_file");
    Session {
        secret: secret.and_then(|secret| long_enough(section, secret)),
        ttl: section
            .need("ttl", |field| duration(field, Duration::from_secs(1)..=DAY * 30))
            .unwrap_or_default(),
        hashes_max: section.need("hashes_max", |field| field.count(1..=1_000)).unwrap_or_default(),
        hashes_waiting_max: section
            .need("hashes_waiting_max", |field| field.count(0..=100_000))
            .unwrap_or_default(),
        failing_max: section.need("failing_max", |field| field.count(1..=100_000_000)).unwrap_or_default(),
        outside: outside(section),
    }
}

/// The outside issuer, where one is named. Every setting is read before the first is missed.
fn outside(section: &Section<'_>) -> Option<Issuer> {
    let filled = |key| section.may(key, Field::text).filter(|text| !text.is_empty());
    let (url, file) = (filled("jwks_url"), filled("jwks_file"));
    let (issuer, audience) = (filled("issuer"), filled("audience"));
    let algorithms = [
        ("RS256", IssuerAlgorithm::Rs256),
        ("ES256", IssuerAlgorithm::Es256),
        ("EdDSA", IssuerAlgorithm::EdDsa),
    ];
    let algorithm = section.need("algorithm", |field| field.choice(&algorithms));
    let keys = match (url, file) {
        (None, None) => {
            let named = if issuer.is_some() { Some("issuer") } else { audience.as_ref().map(|_| "audience") };
            let field = named.and_then(|key| section.field(key))?;
            return field.wrong("an issuer without keys", "set jwks_url or jwks_file, or leave it out");
        }
        (Some(_), Some(_)) => {
            return section.field("jwks_file")?.wrong("`jwks_url` is set as well", "keep one of the two");
        }
        (Some(url), None) => section.field("jwks_url").and_then(|field| jwks_url(&field, url)),
        (None, Some(file)) => Some(KeySet::File(file.into())),
    };
    let missing = |key: &'static str, what: &str| {
        section.field(key).and_then(|field| {
            field.wrong(format!("is empty, so that {what} of that issuer would do"), "fill it in")
        })
    };
    let issuer = issuer.or_else(|| missing("issuer", "any signature with a key"));
    let audience = audience.or_else(|| missing("audience", "a token for any other service"));
    Some(Issuer { keys: keys?, issuer: issuer?, audience: audience?, algorithm: algorithm? })
}

/// Over TLS, or from this machine: whoever answers says who everybody is.
fn jwks_url(field: &Field<'_>, url: String) -> Option<KeySet> {
    let local = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
    let nearby = local.iter().any(|start| {
        url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    if nearby || url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) {
        return Some(KeySet::Url(url));
    }
    field.wrong("is no https:// address", "write it as https://id.example/.well-known/jwks.json")
}

fn long_enough(section: &Section<'_>, secret: Masked) -> Option<Masked> {
    let bytes = secret.0.len();
    if bytes >= SESSION_SECRET_BYTES_MIN {
        return Some(secret);
    }
    let set = section.field("secret_file").or_else(|| section.field("secret"))?;
    set.wrong(
        format!("a secret of {bytes} bytes is shorter than {SESSION_SECRET_BYTES_MIN}"),
        "make one with `openssl rand -base64 32`",
    )
}

/// Reads `[keys]`.
pub(super) fn keys(section: &Section<'_>) -> Keys {
    let reveal_key = secret(section, "reveal_key", "reveal_key_file");
    Keys {
        prefix: section.need("prefix", prefix).unwrap_or_default(),
        sources: section.need("sources", sources).unwrap_or_default(),
        cache_max: section.need("cache_max", |field| field.count(1..=1_000_000_000)).unwrap_or_default(),
        cache_absent_max: section
            .need("cache_absent_max", |field| field.count(0..=1_000_000_000))
            .unwrap_or_default(),
        cache_absent_for: section
            .need("cache_absent_for", |field| duration(field, Duration::ZERO..=DAY))
            .unwrap_or_default(),
        // The contract: a change made elsewhere is in force within a second.
        follow_every: section
            .need("follow_every", |field| duration(field, INSTANT * 10..=Duration::from_millis(900)))
            .unwrap_or_default(),
        index_for: section
            .need("index_for", |field| duration(field, Duration::ZERO..=DAY * 366))
            .unwrap_or_default(),
        remember_for: section
            .need("remember_for", |field| duration(field, Duration::ZERO..=DAY))
            .unwrap_or_default(),
        reveal_key: reveal_key.and_then(|key| seal_key(section, &key)),
    }
}

fn seal_key(section: &Section<'_>, text: &Masked) -> Option<SealKey> {
    let key = BASE64.decode(text.0.trim()).ok().and_then(|bytes| bytes.try_into().ok()).map(SealKey);
    key.or_else(|| {
        let set = section.field("reveal_key_file").or_else(|| section.field("reveal_key"))?;
        set.wrong("does not hold 32 bytes in base64", "make one with `openssl rand -base64 32`")
    })
}

fn prefix(field: &Field<'_>) -> Option<String> {
    let prefix = field.text()?;
    if !is_prefix(prefix.as_bytes()) {
        return field.is_not(&format!("1 to {PREFIX_CHARS_MAX} letters, digits, `_` and `-`"), None);
    }
    Some(prefix)
}

/// Piloterr's clients may send their key in the query, where it is not a header: one more source where the operator has
/// not said which there are.
pub(super) fn add_source_of_piloterr(top: &Section<'_>, sources: &mut Vec<Source>) {
    let said = top.field("keys").and_then(|keys| Some(keys.node.child("sources")?.origin.source.clone()));
    if said.is_none_or(|source| &*source == DEFAULTS_NAME) {
        sources.push(Source::Query("x_api_key".to_owned()));
    }
}

fn sources(field: &Field<'_>) -> Option<Vec<Source>> {
    let sources = field.list(source)?;
    if sources.is_empty() {
        return field.wrong("no client could present a key", "name a source such as \"header:x-api-key\"");
    }
    for (at, source) in sources.iter().enumerate() {
        if sources.iter().take(at).any(|earlier| earlier == source) {
            return field.wrong(format!("the item at {at} is there twice"), "remove one");
        }
    }
    let whole =
        sources.iter().any(|source| matches!(source, Source::Header(name) if name == "authorization"));
    if whole && (sources.contains(&Source::Bearer) || sources.contains(&Source::Basic)) {
        return field.wrong(
            "header:authorization takes the whole header for a key, which bearer and basic read, too",
            "keep bearer and basic, or header:authorization",
        );
    }
    Some(sources)
}

fn source(field: &Field<'_>) -> Option<Source> {
    let text = field.text()?;
    match text.split_once(':') {
        None if text == "bearer" => Some(Source::Bearer),
        None if text == "basic" => Some(Source::Basic),
        Some(("header", name)) => headers::credential_name(field, name).map(Source::Header),
        Some(("query", name)) => headers::query_name(field, name).map(Source::Query),
        _ => {
            let word = text.split(':').next().unwrap_or_default();
            let advice = match nearest(word, ["header", "query", "bearer", "basic"].into_iter()) {
                Some(near @ ("header" | "query")) => format!("did you mean {near}:NAME?"),
                Some(near) => format!("did you mean {near}?"),
                None => "write it as header:x-api-key or bearer".to_owned(),
            };
            field.is_not("one of header:NAME, query:NAME, bearer, basic", Some(&advice))
        }
    }
}

/// Reads `[ip_guard]`.
pub(super) fn ip_guard(section: &Section<'_>) -> IpGuard {
    let failures = section.need("failures", |field| field.whole(0..=1_000_000, None));
    IpGuard {
        failures: failures.and_then(|failures| u32::try_from(failures).ok()).unwrap_or_default(),
        within: section.need("within", |field| duration(field, INSTANT..=DAY)).unwrap_or_default(),
        block_for: section
            .need("block_for", |field| duration(field, INSTANT..=DAY * 366))
            .unwrap_or_default(),
        addresses_max: section
            .need("addresses_max", |field| field.count(1..=100_000_000))
            .unwrap_or_default(),
    }
}
