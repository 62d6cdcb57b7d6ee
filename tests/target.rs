//! The scanner of target domains against a parser of JSON, which the domain itself must not know.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use proptest::prelude::*;
use serde_json::Value;
use tollgate::domain::target::{JsonScanner, host};

fn scan(pieces: &[&[u8]]) -> Option<String> {
    let mut scanner = JsonScanner::new(usize::MAX);
    for piece in pieces {
        scanner.feed(piece);
    }
    scanner.domain().map(str::to_owned)
}

/// JSON as text, in which keys repeat and characters are escaped where they need not be.
fn written(value: &Value, escapes: u64) -> String {
    let text = |text: &str| {
        let mut written = String::from('"');
        for (at, unit) in text.encode_utf16().enumerate() {
            let plain = char::from_u32(unit.into())
                .filter(|c| !matches!(c, '"' | '\\') && !c.is_control() && escapes >> (at % 64) & 1 == 0);
            match plain {
                Some(plain) => written.push(plain),
                None => written.push_str(&format!("\\u{unit:04x}")),
            }
        }
        written + "\""
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| written(item, escapes)).collect();
            format!("[ {} ]", items.join(" ,"))
        }
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("{} :{}", text(key), written(value, escapes)))
                .collect();
            format!("{{{}\n}}", fields.join(",\t"))
        }
        other => other.to_string(),
    }
}

fn name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![2 => Just("url".to_owned()), 1 => Just("ur".to_owned()), 1 => "[\\PC\"\\\\]{0,6}"]
}

fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "https?://([a-z]{1,5}@)?[a-zA-Z0-9\u{e9}\u{1f600}]{1,8}\\.com(:[0-9]{1,3})?(/[\\PC\"\\\\\n]{0,8})?",
        "\\PC{0,12}",
        Just("}\",\"url\":\"https://trap.com\"".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => text.prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn wherever_a_body_is_split_the_answer_is_that_of_a_parser(
        // Not a map: keys repeat.
        fields in prop::collection::vec((name(), json()), 0..6),
        escapes in any::<u64>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let fields: Vec<_> = fields
            .iter()
            .map(|(key, value)| format!("{}: {}", written(&Value::from(key.as_str()), escapes), written(value, escapes)))
            .collect();
        let body = format!("{{{}}}", fields.join(", "));
        let parsed: Value = serde_json::from_str(&body).unwrap();
        let expected = parsed.get("url").and_then(Value::as_str).and_then(|url| host(url.as_bytes()));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.push(0);
        cuts.push(body.len());
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &body.as_bytes()[cut[0]..cut[1]]).collect();
        prop_assert_eq!(scan(&pieces), expected, "{}", body);
    }
}
