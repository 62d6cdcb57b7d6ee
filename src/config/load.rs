//! From files, environment and flags to a [`Config`], or to every mistake in them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use super::Config;
use super::field::{Context, Field};
use super::problem::{Problem, Problems};
use super::read;
use super::settings::{apply_environment, apply_flags};
use super::tree::{Node, Value, parse_file};

/// The documentation of every setting, and its default.
pub const DEFAULTS: &str = include_str!("../../gateway.toml");

/// What the compiled-in file is called in messages.
pub(super) const DEFAULTS_NAME: &str = "built-in gateway.toml";
/// Sections of the operator's file that take the place of the default's as a whole. Lists always do.
const REPLACED: [&str; 1] = ["plans"];
/// What only the shown upstream and route have; the rest are defaults of every one.
const OWN: [(&str, &[&str]); 2] =
    [("upstreams", &["name", "targets", "credential"]), ("routes", &["path", "upstream"])];
/// What a configuration may measure, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Reads the configuration: defaults < `file` < `environment` < `flags`, the last as (dotted key, value).
///
/// Depends on nothing but its arguments, the files that they name and, for `data.threads = 0`, the number of
/// cores; so a reload is another call.
///
/// # Errors
/// Every mistake at once. A file that cannot be read or is no TOML is the only one of its file.
pub fn load(
    file: Option<&Path>,
    environment: &HashMap<String, String>,
    flags: &[(String, String)],
) -> Result<Config, Problems> {
    load_for(true, file, environment, flags)
}

/// As [`load`], for a process that forwards nothing: the credentials of upstreams are not read, so that whoever manages
/// keys from another terminal need not have them.
///
/// # Errors
/// As [`load`].
pub fn load_to_manage(
    file: Option<&Path>,
    environment: &HashMap<String, String>,
) -> Result<Config, Problems> {
    load_for(false, file, environment, &[])
}

fn load_for(
    forwards: bool,
    file: Option<&Path>,
    environment: &HashMap<String, String>,
    flags: &[(String, String)],
) -> Result<Config, Problems> {
    let Some(path) = file else { return read_text(forwards, None, environment, flags) };
    let name = path.display().to_string();
    let text = read_file(path).map_err(|error| {
        let advice = "name a TOML file that this user may read with --config or TOLLGATE_CONFIG, or neither \
                      to run with the one of the working directory or the defaults";
        one(&name, None, format!("cannot be read: {error}"), advice)
    })?;
    read_text(forwards, Some((&name, &text)), environment, flags)
}

/// [`load`] of a file's name and text.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: Option<(&str, &str)>,
    environment: &HashMap<String, String>,
    flags: &[(String, String)],
) -> Result<Config, Problems> {
    read_text(true, file, environment, flags)
}

fn read_text(
    forwards: bool,
    file: Option<(&str, &str)>,
    environment: &HashMap<String, String>,
    flags: &[(String, String)],
) -> Result<Config, Problems> {
    let defaults = parse(DEFAULTS_NAME, DEFAULTS)?;
    let mut tree = defaults.clone();
    if let Some((name, text)) = file {
        tree.overlay(parse(name, text)?, &REPLACED);
    }
    let mut problems = Vec::new();
    apply_environment(&mut tree, environment, &mut problems);
    apply_flags(&mut tree, flags, &mut problems);
    fill(&mut tree, &defaults);
    let context = Context {
        environment,
        defaults: &defaults,
        forwards,
        problems: RefCell::new(problems),
        #[cfg(test)]
        asked: RefCell::default(),
    };
    let config = read::config(&Field { context: &context, node: &tree, key: String::new() });
    let problems = context.problems.into_inner();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(Problems::sorted(problems)),
    }
}

fn parse(name: &str, text: &str) -> Result<Node, Problems> {
    parse_file(name, text).map_err(|error| {
        one(
            name,
            error.line,
            format!("this is not TOML: {}", error.message),
            "mend the line; see https://toml.io",
        )
    })
}

fn one(source: &str, line: Option<usize>, reason: String, advice: &str) -> Problems {
    let (source, key) = (source.to_owned(), String::new());
    Problems::sorted(vec![Problem { source, line, key, reason, advice: advice.to_owned() }])
}

/// Gives every upstream and route what it leaves out.
fn fill(tree: &mut Node, defaults: &Node) {
    for (list, own) in OWN {
        let Some(Value::List(shown)) = defaults.child(list).map(|node| &node.value) else { continue };
        let Value::Table(fields) = &mut tree.value else { continue };
        let Some((_, node)) = fields.iter_mut().find(|(key, _)| key == list) else { continue };
        if let (Value::List(items), Some(shown)) = (&mut node.value, shown.first()) {
            items.iter_mut().for_each(|item| item.fill(shown, own));
        }
    }
}

fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 4 MiB"));
    }
    Ok(text)
}
