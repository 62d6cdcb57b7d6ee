//! Single settings, laid over the files: from the environment (`TOLLGATE__SECTION__KEY`) and from flags
//! (`section.key`).
//!
//! Environment names know neither lower case nor `-`, so a part of a name finds a key that differs in those
//! only. A number finds a place in a list; the place behind the last adds one.

use std::collections::HashMap;

use super::problem::Problem;
use super::tree::{Node, Value, parse_setting};

/// What the names of such environment variables begin with.
pub(super) const ENVIRONMENT_PREFIX: &str = "TOLLGATE__";

/// Lays every `TOLLGATE__…` of the environment over `tree`.
pub(super) fn apply_environment(
    tree: &mut Node,
    environment: &HashMap<String, String>,
    problems: &mut Vec<Problem>,
) {
    let mut names: Vec<&String> =
        environment.keys().filter(|name| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    // `__10` belongs behind `__9`, or a list could not be written in order.
    names.sort_by_key(|name| (name.len(), name.as_str()));
    for name in names {
        let (Some(path), Some(text)) = (name.strip_prefix(ENVIRONMENT_PREFIX), environment.get(name)) else {
            continue;
        };
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        apply(tree, &path, parse_setting(&format!("environment {}", name.escape_debug()), text), problems);
    }
}

/// Lays flags over `tree`, given as (dotted key, value); later ones win.
pub(super) fn apply_flags(tree: &mut Node, flags: &[(String, String)], problems: &mut Vec<Problem>) {
    for (key, text) in flags {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        apply(tree, &path, parse_setting("command line", text), problems);
    }
}

fn apply(tree: &mut Node, path: &[String], setting: Node, problems: &mut Vec<Problem>) {
    let source = setting.origin.source.to_string();
    if let Err((reason, advice)) = place(tree, path, setting) {
        let key = path.join(".").escape_debug().to_string();
        problems.push(Problem { source, line: None, key, reason, advice });
    }
}

fn place(node: &mut Node, path: &[String], setting: Node) -> Result<(), (String, String)> {
    let Some((part, rest)) = path.split_first() else {
        node.overlay(setting, &[]);
        return Ok(());
    };
    if part.is_empty() {
        let advice = "write it as TOLLGATE__DATA__LISTEN or data.listen";
        return Err(("the name has an empty part".to_owned(), advice.to_owned()));
    }
    let origin = setting.origin.clone();
    let empty = || Node { origin: origin.clone(), value: Value::Table(Vec::new()), given: None };
    match &mut node.value {
        Value::Table(fields) => {
            if let Some((_, below)) = fields.iter_mut().find(|(key, _)| same(key, part)) {
                return place(below, rest, setting);
            }
            let mut below = empty();
            place(&mut below, rest, setting)?;
            let mut section = empty();
            section.value = Value::Table(vec![(part.clone(), below)]);
            let own = node.origin.clone();
            // Through `overlay`, where a `secret_file` drops a `secret`.
            node.overlay(section, &[]);
            node.origin = own;
            Ok(())
        }
        Value::List(items) => {
            let count = items.len();
            let wrong = || {
                let reason = format!("there is no place {} in a list of {count}", part.escape_debug());
                (reason, "count from 0; the number behind the last adds one".to_owned())
            };
            let at: usize = part.parse().map_err(|_| wrong())?;
            if at == count {
                items.push(empty());
            }
            place(items.get_mut(at).ok_or_else(wrong)?, rest, setting)
        }
        _ => Err((
            format!("{} has no settings below it", node.kind()),
            "see the default gateway.toml for the names of all settings".to_owned(),
        )),
    }
}

fn same(key: &str, part: &str) -> bool {
    key.len() == part.len()
        && key.bytes().zip(part.bytes()).all(|(a, b)| {
            let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
            plain(a) == plain(b)
        })
}
