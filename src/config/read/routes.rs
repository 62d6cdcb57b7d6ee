//! `[[routes]]`: which request goes where, at what price. Checked against the upstreams and against each other.

use std::sync::Arc;

use http::Method;

use super::finders::{self, finders, for_number, for_status, for_text};
use super::shadow;
use super::units::{GIB, MIB, memory_size, size, timeout};
use crate::config::field::{Field, Section, nearest};
use crate::config::load::DEFAULTS_NAME;
use crate::config::tree::Value;
use crate::config::{Auth, Dialect, Finder, Route};
use crate::domain::cost::Outcome;
use crate::domain::key::Scope;
use crate::domain::path::Pattern;

/// Methods whose misspellings are noticed.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// Reads every route; `upstreams` are the names that a route may go to, in their order.
pub(super) fn routes(field: &Field<'_>, upstreams: &[String]) -> Option<Vec<Arc<Route>>> {
    let Value::List(items) = &field.node.value else {
        return field.list(|_| None::<Arc<Route>>);
    };
    if items.is_empty() {
        return field.wrong("there is no route", "add [[routes]] with path = \"/*\" and an upstream");
    }
    let routes = field.list(|field| field.section(|section| route(section, upstreams)));
    shadow::check(field);
    Some(routes?.into_iter().flatten().map(Arc::new).collect())
}

fn route(section: &Section<'_>, upstreams: &[String]) -> Option<Route> {
    let is_loose = section.need("loose_path", Field::flag).unwrap_or_default();
    let path = section.need("path", pattern).map(|path| if is_loose { path.loose() } else { path });
    let dialects = [
        ("native", Dialect::Native),
        ("alterlab", Dialect::AlterLab),
        ("azscraper", Dialect::AzScraper),
        ("piloterr", Dialect::Piloterr),
    ];
    let scopes = [("read", Scope::Read), ("write", Scope::Write)];
    let inspect_bytes_max =
        section.need("inspect_max", |field| memory_size(field, 0..=64 * MIB)).unwrap_or_default();
    let read = |key, value| {
        let found = section.need(key, |field| finders(field, value)).unwrap_or_default();
        if inspect_bytes_max == 0 && found.iter().any(|finder| matches!(finder, Finder::Json(_))) {
            section.may(key, |field| {
                field.wrong::<()>(
                    "json: finds nothing, as inspect_max of this route is 0",
                    "raise inspect_max, such as \"256KiB\"",
                )
            });
        }
        found
    };
    let route = Route {
        path: Pattern::parse("/*").ok()?,
        methods: section.need("methods", |field| field.list(method)).unwrap_or_default(),
        upstream: section.need("upstream", |field| upstream(field, upstreams)).unwrap_or_default(),
        auth: section.need("auth", auth).unwrap_or(Auth::Key),
        dialect: section.need("dialect", |field| field.choice(&dialects)).unwrap_or(Dialect::Native),
        price: section.need("price", |field| field.whole(0..=1_000_000_000_000, None)).unwrap_or_default(),
        scope: section.may("scope", |field| field.choice(&scopes)),
        body_bytes_max: section.need("body_max", |field| size(field, 0..=GIB << 10)).unwrap_or_default(),
        answer_timeout: section.may("answer_timeout", timeout),
        upgrade: section.need("upgrade", Field::flag).unwrap_or_default(),
        encoded_slashes: section.need("encoded_slashes", Field::flag).unwrap_or_default(),
        cost: read("cost", for_number),
        cost_microcents: read("cost_microcents", for_number),
        tier: read("tier", for_text),
        outcome: read("outcome", for_status),
        success: section.need("success", |field| field.list(status)).unwrap_or_default(),
        charge: section.need("charge", |field| field.list(outcome)).unwrap_or_default(),
        remember: section.may("remember", |field| remember(field, inspect_bytes_max)),
        inspect_bytes_max,
    };
    Some(Route { path: path?, ..route })
}

fn remember(field: &Field<'_>, inspect_bytes_max: usize) -> Option<String> {
    let pointer = finders::pointer(field, &field.filled_text()?)?;
    if inspect_bytes_max == 0 {
        return field.wrong(
            "finds nothing, as inspect_max of this route is 0",
            "raise inspect_max, such as \"256KiB\"",
        );
    }
    Some(pointer)
}

fn pattern(field: &Field<'_>) -> Option<Pattern> {
    let pattern = Pattern::parse(&field.filled_text()?);
    pattern.ok().or_else(|| field.is_not("a path pattern", Some(PATTERN_ADVICE)))
}

const PATTERN_ADVICE: &str =
    "begin with `/`, use `*` only behind the last `/`: /*, /api/v1/scrape, /projects/{project}/*";

fn method(field: &Field<'_>) -> Option<Method> {
    let text = field.text()?;
    if text == "CONNECT" {
        return field.wrong("CONNECT asks for a tunnel and is never forwarded", "remove it");
    }
    if text == "TRACE" {
        return field.wrong("TRACE shows what an upstream is sent and is never forwarded", "remove it");
    }
    let known = METHODS.contains(&text.as_str());
    let slip = nearest(&text, METHODS.into_iter())
        .filter(|near| !known && strsim::damerau_levenshtein(near, &text.to_uppercase()) <= 1);
    let token = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if let Some(near) = slip {
        return field.is_not("a method", Some(&format!("did you mean \"{near}\"?")));
    }
    let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| token && !text.is_empty());
    method.or_else(|| field.is_not("a method", Some("write it in capitals, such as \"GET\"")))
}

fn upstream(field: &Field<'_>, upstreams: &[String]) -> Option<usize> {
    let name = field.text()?;
    // Without any name every upstream was noted, and what is mended there may mend this.
    let names: Vec<&str> = upstreams.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    let first = names.first()?;
    upstreams.iter().position(|upstream| *upstream == name).or_else(|| {
        if &*field.node.origin.source == DEFAULTS_NAME {
            return field.wrong(
                "there are other upstreams than the default's, and no route of their own",
                format!("add [[routes]] with path = \"/*\" and upstream = \"{first}\""),
            );
        }
        let advice = nearest(&name, names.iter().copied()).map_or_else(
            || format!("name one of: {}", names.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        );
        field.is_not("the name of an upstream", Some(&advice))
    })
}

fn auth(field: &Field<'_>) -> Option<Auth> {
    if field.text()? == "key_or_session" {
        return field.unavailable("key_or_session", "use \"key\", or \"none\" for a public page");
    }
    field.choice(&[("key", Auth::Key), ("none", Auth::None)])
}

fn status(field: &Field<'_>) -> Option<u16> {
    let status = field.whole(200..=599, Some("write statuses as numbers, such as [200, 404]"))?;
    u16::try_from(status).ok()
}

fn outcome(field: &Field<'_>) -> Option<Outcome> {
    if field.text()? == Outcome::Crashed.name() {
        // Of such a request nothing is known but that it was admitted.
        return field.wrong("what the gateway died with costs nothing", "leave it out");
    }
    let known = Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Crashed);
    field.choice(&known.map(|outcome| (outcome.name(), *outcome)).collect::<Vec<_>>())
}
