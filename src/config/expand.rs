//! `${NAME}` in a text reads the environment.
//!
//! `${NAME:-text}` takes `text` where NAME is not set, as a shell would; `$${` is a plain `${`. What comes
//! out of the environment is not looked into again.

use std::collections::HashMap;

/// Why a text could not be filled in.
#[derive(Debug, PartialEq)]
pub(super) enum Unexpanded<'t> {
    /// The variable is not set.
    Unset(&'t str),
    /// A `${` that no name and `}` follow.
    Malformed,
}

/// Fills in the variables of `text`.
pub(super) fn expand<'t>(
    text: &'t str,
    environment: &HashMap<String, String>,
) -> Result<String, Unexpanded<'t>> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let (inner, after) = after.split_once('}').ok_or(Unexpanded::Malformed)?;
        let (name, fallback) =
            inner.split_once(":-").map_or((inner, None), |(name, text)| (name, Some(text)));
        if !is_name(name) {
            return Err(Unexpanded::Malformed);
        }
        let value = environment.get(name).map(String::as_str);
        expanded.push_str(value.or(fallback).ok_or(Unexpanded::Unset(name))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_name(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(fine) && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once() {
        let environment = HashMap::from([
            ("A".to_owned(), "1".to_owned()),
            ("B_2".to_owned(), "${A}".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        for (text, expected) in [
            ("", Ok("")),
            ("plain $ {A} $A }", Ok("plain $ {A} $A }")),
            ("${A}", Ok("1")),
            ("x${A}y${A}z", Ok("x1y1z")),
            ("${B_2}", Ok("${A}")),
            ("${EMPTY}", Ok("")),
            ("${EMPTY:-x}", Ok("")),
            ("${NONE:-}", Ok("")),
            ("${NONE:-a b}", Ok("a b")),
            ("$${A}", Ok("${A}")),
            ("$${", Ok("${")),
            ("${NONE}", Err(Unexpanded::Unset("NONE"))),
            ("${", Err(Unexpanded::Malformed)),
            ("${}", Err(Unexpanded::Malformed)),
            ("${A", Err(Unexpanded::Malformed)),
            ("${1A}", Err(Unexpanded::Malformed)),
            ("${A-B}", Err(Unexpanded::Malformed)),
        ] {
            let found = expand(text, &environment);
            assert_eq!(found, expected.map(str::to_owned), "{text}");
        }
    }
}
