//! Keeps the floors: what a module may know of.
//!
//! Every source file is read as Rust tokens (so comments and texts do not count, while macros, attributes and
//! tests do), every path in it is put together, `use` groups and `super` resolved, and held against two tables:
//! [`FLOORS`], where a path of this crate may only point down, and [`HOMES`], where a library belongs. The
//! innermost floor, `domain`, has its own list of what it must not know: [`OUTSIDE_DOMAIN`].
//!
//! Not seen: a path that is put together by a macro, and what a function with an innocent name does inside.

#![allow(clippy::unwrap_used, reason = "a source that cannot be read fails the test")]

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// Modules from the top down. Neighbours on one floor never see each other; the highest is wired together.
const FLOORS: [&[&str]; 8] = [
    &["main", "lib", "cli", "app"],
    &["proxy", "dashboard"],
    &["api"],
    &["pipeline", "admin"],
    &["logs"],
    &["stores"],
    &["config", "metrics", "clock"],
    &["domain"],
];

/// Libraries that only these modules may name, and why.
const HOMES: [(&str, &[&str], &str); 18] = [
    ("hyper", &["proxy", "api", "app"], "rules see facts, not engines"),
    ("hyper_util", &["proxy", "api", "app"], "rules see facts, not engines"),
    ("axum", &["api", "app", "dashboard"], "HTTP of the control side belongs to its dialects"),
    ("tower_service", &["api", "app"], "HTTP of the control side belongs to its dialects"),
    ("utoipa", &["api"], "documents are of HTTP"),
    ("utoipa_axum", &["api"], "documents are of HTTP"),
    ("aws_lc_rs", &["admin", "proxy"], "sealing is one module's, and TLS the engine's"),
    ("jsonwebtoken", &["admin"], "who a token names is decided in one place"),
    ("pingora_core", &["proxy"], "balancing is the engine's"),
    ("pingora_load_balancing", &["proxy"], "balancing is the engine's"),
    ("rusqlite", &["stores"], "the record is asked in words of the domain"),
    ("sqlx", &["stores"], "the record is asked in words of the domain"),
    ("redis", &["stores"], "live limits are asked in words of the domain"),
    ("deadpool_redis", &["stores"], "as redis"),
    ("reqwest", &["app"], "only the scrape service of `demo` fetches pages"),
    ("toml_edit", &["config"], "behind the configuration nothing parses a setting"),
    ("clap", &["cli", "main"], "arguments are the command line's"),
    ("anyhow", &["app", "cli", "main"], "below the top every error has a type"),
];

/// What `domain` must not know: no async, no IO, no serde, no clock.
const OUTSIDE_DOMAIN: [&str; 22] = [
    "tokio",
    "futures_util",
    "async_trait",
    "serde",
    "serde_json",
    "http_body",
    "http_body_util",
    "reqwest",
    "redis",
    "tracing",
    "prometheus",
    "std::io",
    "std::fs",
    "std::env",
    "std::thread",
    "std::process",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::time::SystemTime",
    "std::time::Instant",
];

/// A path as it is meant: from the crate's root (`crate::…`) or from a library.
#[derive(Debug, PartialEq)]
struct Named {
    line: usize,
    /// Whether it stands in a module called `tests`, which may use any library, to look behind what it tests.
    tests: bool,
    segments: Vec<String>,
}

#[test]
fn every_path_of_the_sources_keeps_the_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 10, "only {} files found under {}", files.len(), root.display());
    let broken: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let source = std::fs::read_to_string(file).unwrap();
            violations(file.strip_prefix(&root).unwrap(), &source)
        })
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What `source`, the file `file` under `src`, names and must not, each as one line of text.
fn violations(file: &Path, source: &str) -> Vec<String> {
    let tokens: TokenStream = match source.parse() {
        Ok(tokens) => tokens,
        Err(why) => return vec![format!("src/{}: not Rust: {why}", file.display())],
    };
    let module = module_of(file);
    let here = module.first().map_or("lib", String::as_str);
    let Some(floor) = floor_of(here) else {
        return vec![format!("src/{}:1: `{here}` has no floor: put it into FLOORS", file.display())];
    };
    let mut named = Vec::new();
    read(tokens, &module, &mut named);
    let broken = named.iter().filter_map(|path| {
        let why = judge(here, floor, path)?;
        Some(format!("src/{}:{}: `{}`: {why}", file.display(), path.line, path.segments.join("::")))
    });
    broken.collect()
}

/// `stores/record/sqlite.rs` is the module `stores::record::sqlite`; `lib.rs` is the root.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") || module == ["lib"] {
        module.pop();
    }
    module
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Why `here` may not name this path; `None` where it may.
fn judge(here: &str, floor: usize, path: &Named) -> Option<String> {
    let segments = path.segments.as_slice();
    let (first, rest) = segments.split_first()?;
    if first == "crate" || first == "tollgate" {
        let there = rest.first()?;
        let reached = match there.as_str() {
            "*" | "self" => return Some("name the module that is meant".into()),
            name => floor_of(name),
        };
        return match reached {
            None => Some(format!("`{there}` has no floor: put it into FLOORS")),
            Some(reached) if reached > floor || there == here || (reached, floor) == (0, 0) => None,
            Some(reached) if reached == floor => Some(format!("`{here}` and `{there}` are neighbours")),
            Some(_) => Some(format!("`{here}` lies below `{there}`")),
        };
    }
    if here == "domain"
        && let Some(why) = outside_domain(segments)
    {
        return Some(why);
    }
    let (library, homes, why) = HOMES.iter().find(|(library, ..)| library == first)?;
    (!homes.contains(&here) && !path.tests)
        .then(|| format!("`{library}` belongs to {}: {why}", homes.join(", ")))
}

fn outside_domain(segments: &[String]) -> Option<String> {
    let text = segments.join("::");
    if text == "async" || text == "await" {
        return Some("`domain` has no async".into());
    }
    if let [.., clock, now] = segments
        && now == "now"
    {
        return Some(format!("`domain` has no clock, and `{clock}::now` reads one"));
    }
    // An import of a parent (`std::time`, `std::net::*`) would let the rest through unseen.
    let within = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|tail| tail.is_empty() || tail.starts_with("::"))
    };
    let parent = text.trim_end_matches("::*").trim_end_matches("::self");
    let hit = OUTSIDE_DOMAIN.iter().find(|banned| within(&text, banned) || within(banned, parent))?;
    Some(format!("`domain` must not know `{hit}`"))
}

/// Collects every path of `tokens`, which stand in `module`.
fn read(tokens: TokenStream, module: &[String], named: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(ident) => {
                let inner = inline_module(&tokens[at..]);
                if let Some((name, body)) = inner {
                    let module: Vec<String> = module.iter().cloned().chain([name]).collect();
                    read(body, &module, named);
                    at += 3;
                    continue;
                }
                at = follow(&tokens, at, &Prefix::of(ident), module, named);
            }
            TokenTree::Group(group) => {
                read(group.stream(), module, named);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Name and body where the tokens begin with `mod name { … }`.
fn inline_module(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    match tokens {
        [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..]
            if word == "mod" && body.delimiter() == Delimiter::Brace =>
        {
            Some((name.to_string(), body.stream()))
        }
        _ => None,
    }
}

/// The part of a path that is read already.
struct Prefix {
    line: usize,
    segments: Vec<String>,
}

impl Prefix {
    fn of(ident: &Ident) -> Self {
        Self { line: ident.span().start().line, segments: vec![ident.to_string()] }
    }

    fn with(&self, segment: String, line: usize) -> Self {
        Self { line, segments: self.segments.iter().cloned().chain([segment]).collect() }
    }
}

/// Follows the path whose last read segment is `tokens[at]` to its ends, of which a `use` group has several;
/// returns the place behind it.
fn follow(
    tokens: &[TokenTree],
    at: usize,
    prefix: &Prefix,
    module: &[String],
    named: &mut Vec<Named>,
) -> usize {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    if colon(at + 1) && colon(at + 2) {
        match tokens.get(at + 3) {
            Some(TokenTree::Ident(ident)) => {
                let longer = prefix.with(ident.to_string(), ident.span().start().line);
                return follow(tokens, at + 3, &longer, module, named);
            }
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                finish(&prefix.with("*".into(), star.span().start().line), module, named);
                return at + 4;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                spread(group.stream(), prefix, module, named);
                return at + 4;
            }
            _ => {}
        }
    }
    finish(prefix, module, named);
    at + 1
}

/// Follows each member of a `use` group.
fn spread(group: TokenStream, prefix: &Prefix, module: &[String], named: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = group.into_iter().collect();
    let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    for member in tokens.split(comma) {
        match member.first() {
            Some(TokenTree::Ident(ident)) => {
                let longer = prefix.with(ident.to_string(), ident.span().start().line);
                follow(member, 0, &longer, module, named);
            }
            Some(TokenTree::Punct(star)) => {
                finish(&prefix.with("*".into(), star.span().start().line), module, named);
            }
            _ => {}
        }
    }
}

/// Keeps a path, `self` and `super` resolved, unless it is a lone word of no meaning here.
fn finish(path: &Prefix, module: &[String], named: &mut Vec<Named>) {
    let mut segments = path.segments.clone();
    if matches!(segments[0].as_str(), "self" | "super") {
        let ups = segments.iter().take_while(|segment| *segment == "super" || *segment == "self").count();
        let supers = segments[..ups].iter().filter(|segment| *segment == "super").count();
        let base = module.len().saturating_sub(supers);
        let absolute = std::iter::once("crate".to_owned()).chain(module[..base].iter().cloned());
        segments = absolute.chain(segments.drain(ups..)).collect();
    }
    if segments.len() > 1 || matches!(segments[0].as_str(), "async" | "await") {
        let tests = module.iter().any(|module| module == "tests");
        named.push(Named { line: path.line, tests, segments });
    }
}

/// Planted sources, and the only thing to be said about each; empty where nothing is.
const PLANTED: &[(&str, &str, &str)] = &[
    // Down is lawful, in every spelling.
    ("api/native.rs", "use crate::pipeline::{admit, Facts};", ""),
    ("proxy/mod.rs", "fn f() { crate::api::router(); }", ""),
    ("stores/record/mod.rs", "use super::record::X; use crate::config;", ""),
    ("stores/record/sqlite.rs", "use super::super::counters::X;", ""),
    ("cli/mod.rs", "use crate::app::run;", ""),
    ("main.rs", "fn main() { tollgate::cli::run(); }", ""),
    ("domain/time.rs", "use std::net::IpAddr; use std::time::Duration; use jiff::Timestamp;", ""),
    ("domain/mod.rs", "/// See crate::app and tokio::spawn.\nconst TEXT: &str = \"crate::app::x\";", ""),
    ("pipeline/mod.rs", "pub(crate) fn f() {} fn g(self_: u8) { self_; }", ""),
    ("proxy/mod.rs", "use hyper::Request;", ""),
    ("logs/tests/kill.rs", "use sqlx::Row;", ""),
    ("logs/mod.rs", "mod tests { use sqlx::Row; }", ""),
    // Up, and sideways.
    (
        "domain/key.rs",
        "\nuse crate::config::Keys;",
        "src/domain/key.rs:2: `crate::config::Keys`: `domain` lies below `config`",
    ),
    (
        "stores/mod.rs",
        "fn f() {\n  let x = crate::logs::y();\n}",
        "src/stores/mod.rs:2: `crate::logs::y`: `stores` lies below `logs`",
    ),
    (
        "config/mod.rs",
        "use crate::{domain::x,\n metrics::{y}};",
        "src/config/mod.rs:2: `crate::metrics::y`: `config` and `metrics` are neighbours",
    ),
    (
        "pipeline/admit.rs",
        "use crate::admin;",
        "src/pipeline/admit.rs:1: `crate::admin`: `pipeline` and `admin` are neighbours",
    ),
    (
        "proxy/mod.rs",
        "use crate::app::scrape;",
        "src/proxy/mod.rs:1: `crate::app::scrape`: `proxy` lies below `app`",
    ),
    // Hidden in `super`, in a macro, in an attribute, in an inline module, behind a glob.
    (
        "logs/query.rs",
        "use super::super::api::X;",
        "src/logs/query.rs:1: `crate::api::X`: `logs` lies below `api`",
    ),
    (
        "logs/mod.rs",
        "mod tests { use super::super::api; }",
        "src/logs/mod.rs:1: `crate::api`: `logs` lies below `api`",
    ),
    (
        "logs/mod.rs",
        "fn f() { println!(\"{}\", crate::api::NAME); }",
        "src/logs/mod.rs:1: `crate::api::NAME`: `logs` lies below `api`",
    ),
    (
        "logs/mod.rs",
        "#[derive(crate::app::Magic)] struct X;",
        "src/logs/mod.rs:1: `crate::app::Magic`: `logs` lies below `app`",
    ),
    (
        "logs/mod.rs",
        "macro_rules! m { () => { $crate::api::f() } }",
        "src/logs/mod.rs:1: `crate::api::f`: `logs` lies below `api`",
    ),
    ("logs/mod.rs", "use crate::*;", "src/logs/mod.rs:1: `crate::*`: name the module that is meant"),
    (
        "logs/mod.rs",
        "use tollgate::proxy::X;",
        "src/logs/mod.rs:1: `tollgate::proxy::X`: `logs` lies below `proxy`",
    ),
    // Modules that nobody has placed.
    ("utils.rs", "", "src/utils.rs:1: `utils` has no floor: put it into FLOORS"),
    (
        "api/mod.rs",
        "use crate::helpers::x;",
        "src/api/mod.rs:1: `crate::helpers::x`: `helpers` has no floor: put it into FLOORS",
    ),
    // What the domain must not know.
    ("domain/key.rs", "async fn f() {}", "src/domain/key.rs:1: `async`: `domain` has no async"),
    (
        "domain/key.rs",
        "use std::{fmt, io::Read};",
        "src/domain/key.rs:1: `std::io::Read`: `domain` must not know `std::io`",
    ),
    (
        "domain/key.rs",
        "use std::time::{Duration, SystemTime};",
        "src/domain/key.rs:1: `std::time::SystemTime`: `domain` must not know `std::time::SystemTime`",
    ),
    (
        "domain/key.rs",
        "use std::time;",
        "src/domain/key.rs:1: `std::time`: `domain` must not know `std::time::SystemTime`",
    ),
    (
        "domain/key.rs",
        "use std::net::*;",
        "src/domain/key.rs:1: `std::net::*`: `domain` must not know `std::net::TcpStream`",
    ),
    (
        "domain/key.rs",
        "#[derive(serde::Serialize)] struct X;",
        "src/domain/key.rs:1: `serde::Serialize`: `domain` must not know `serde`",
    ),
    (
        "domain/time.rs",
        "fn f() { jiff::Timestamp::now(); }",
        "src/domain/time.rs:1: `jiff::Timestamp::now`: `domain` has no clock, and `Timestamp::now` reads one",
    ),
    // Libraries away from home, and a test that looks up.
    (
        "logs/tests/kill.rs",
        "use crate::api::X;",
        "src/logs/tests/kill.rs:1: `crate::api::X`: `logs` lies below `api`",
    ),
    (
        "logs/mod.rs",
        "use sqlx::Row;",
        "src/logs/mod.rs:1: `sqlx::Row`: `sqlx` belongs to stores: the record is asked in words of the domain",
    ),
    (
        "pipeline/mod.rs",
        "fn f(r: ::hyper::Request<()>) {}",
        "src/pipeline/mod.rs:1: `hyper::Request`: `hyper` belongs to proxy, api, app: rules see facts, not engines",
    ),
    (
        "admin/mod.rs",
        "use anyhow::Result;",
        "src/admin/mod.rs:1: `anyhow::Result`: `anyhow` belongs to app, cli, main: below the top every error has a type",
    ),
];

#[test]
fn planted_violations_are_found_and_lawful_paths_are_not() {
    for (file, source, expected) in PLANTED {
        assert_eq!(&violations(Path::new(file), source).join("\n"), expected, "{file}: {source}");
    }
}
