//! Whatever an operator may write, the loader answers.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::config::load::{DEFAULTS, load_text};

fn environment() -> impl Strategy<Value = HashMap<String, String>> {
    let part = prop_oneof!["DATA|KEYS|LISTEN|UPSTREAMS|ROUTES|TARGETS|PLANS|FREE|0|1|9", "[A-Z_0-9]{0,8}"];
    let name =
        proptest::collection::vec(part, 1..5).prop_map(|parts| format!("TOLLGATE__{}", parts.join("__")));
    proptest::collection::hash_map(name, any::<String>(), 0..4)
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text: String, environment in environment()) {
        let _ = load_text(Some(("f", &text)), &environment, &[]);
    }

    /// The default with some of its values replaced: nearly right is where readers slip.
    #[test]
    fn a_default_with_other_values_is_read_or_refused(
        changes in proptest::collection::vec((0usize..200, 0usize..12, any::<i64>(), "\\PC{0,12}"), 1..8),
        environment in environment(),
    ) {
        let mut lines: Vec<String> = DEFAULTS.lines().map(str::to_owned).collect();
        for (at, kind, number, text) in changes {
            let at = at % lines.len();
            let Some((name, _)) = lines[at].split_once(" = ") else { continue };
            let value = match kind {
                0 => number.to_string(),
                1 => (number % 100).to_string(),
                2 => "true".to_owned(),
                3 => "1.5".to_owned(),
                4 => "[]".to_owned(),
                5 => "{}".to_owned(),
                6 => format!("[{text:?}, {number}, {{ address = 1 }}, [[]]]"),
                7 => "{ header = 1, value = [], path = {}, every = 2, name = '' }".to_owned(),
                8 => format!("'{number}GiB'"),
                9 => "'${HOME:-/}'".to_owned(),
                10 => "1979-05-27T07:32:00Z".to_owned(),
                _ => format!("{text:?}"),
            };
            lines[at] = format!("{} = {value}", name.trim_start_matches('#'));
        }
        let text = lines.join("\n");
        match load_text(Some(("f", &text)), &environment, &[]) {
            Ok(_) => {}
            Err(problems) => prop_assert!(!problems.all().is_empty()),
        }
    }
}
