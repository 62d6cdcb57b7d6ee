//! Case files, the documentation against the reader, and arbitrary text.
//!
//! A case of `cases/*.txt` is a title behind `===`, the operator's file, perhaps `--- environment` or `--- flags`
//! (a `NAME=value` a line), and behind `--- expect` every problem, or `ok`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use proptest::prelude::*;

use super::changes::diff_needs_restart;
use super::field::{Context, Field, general};
use super::load::{DEFAULTS, load, load_text};
use super::problem::Problems;
use super::tree::{Node, Value, parse_file};
use super::{Config, Finder, Source, UpstreamCredential, read};
use crate::domain::limit::Caps;

fn read_text(text: &str) -> Result<Config, Problems> {
    load_text(Some(("gateway.toml", text)), &HashMap::new(), &[])
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// A case's parts: file, environment, flags, expectation.
fn outcome(case: &str) -> (String, String) {
    let (mut file, mut environment, mut flags, mut expected) = (String::new(), vec![], vec![], String::new());
    for (at, part) in format!("\n{case}").split("\n--- ").enumerate() {
        let (kind, body) = part.split_once('\n').unwrap_or((part, ""));
        match (at, kind) {
            (0, _) => file = format!("{body}\n"),
            (_, "environment") => environment = pairs(body),
            (_, "flags") => flags = pairs(body),
            (_, "expect") => expected = body.trim_end().to_owned(),
            _ => panic!("`--- {kind}`"),
        }
    }
    let environment = environment.into_iter().collect();
    let found = match load_text(Some(("gateway.toml", &file)), &environment, &flags) {
        Ok(_) => "ok".to_owned(),
        Err(problems) => problems.to_string(),
    };
    (found, expected)
}

#[test]
fn every_case_is_answered_as_its_file_says() {
    let (mut cases, mut mistakes) = (0, 0);
    for file in std::fs::read_dir("src/config/cases").unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for case in text.split("=== ").skip(1) {
            let (title, case) = case.split_once('\n').unwrap();
            let (found, expected) = outcome(case);
            assert_eq!(found, expected, "{}: {title}", path.display());
            assert!(!found.contains("hunter2"), "{}: {title}: a secret shows", path.display());
            cases += 1;
            mistakes += expected.lines().filter(|line| *line != "ok").count();
        }
    }
    assert!(cases > 70 && mistakes > 120, "{cases} cases with {mistakes} mistakes: were all found?");
}
