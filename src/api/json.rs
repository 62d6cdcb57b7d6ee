//! JSON that comes in: read as what it should be, or the field that is not so; and what a whole number is.
//!
//! **One rule of whole numbers.** `5`, `5.0` and `5e0` are one number, and it is whole: so JSON Schema, by which the
//! served document speaks, has `integer` (2020-12 Validation, section 6.1.1), and some languages write no other form.
//! `5.5` is refused, never rounded.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, Unexpected, Visitor};
use serde_json::Value;

/// The largest whole number that may be written with a fraction or an exponent: with the zero behind the point its digits
/// are below 2^53, and so it is read exactly. Any that is written without is.
const EXACT_MAX: f64 = 900_719_925_474_099.0;

/// What a text of JSON is not.
#[derive(Debug)]
pub enum Misread {
    /// A field is not what it should be.
    Field {
        /// Where it is, such as `quotas.daily`; empty where it is the whole, or the text names it.
        path: String,
        /// What it should be.
        why: String,
    },
    /// It is no JSON.
    Malformed(serde_json::Error),
}

/// Reads a whole text.
///
/// # Errors
/// [`Misread`].
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Misread> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        if !cause.is_data() {
            return Misread::Malformed(cause);
        }
        // The place in the text says nothing that the field does not.
        let why = cause.to_string();
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        Misread::Field { path: if path == "." { String::new() } else { path }, why }
    })?;
    reader.end().map_err(Misread::Malformed)?;
    Ok(read)
}

/// The whole number that `value` is.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| of_float(value.as_f64()?))
}

fn of_float(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number)).then_some(number as u64)
}

/// A field that is a whole number, or null; with `#[serde(default)]` it may be left out.
pub(super) fn whole_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    deserializer.deserialize_any(Whole)
}

struct Whole;

impl Visitor<'_> for Whole {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, 0 or more")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        let wrong = |_| E::invalid_value(Unexpected::Signed(number), &self);
        u64::try_from(number).map(Some).map_err(wrong)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        if number > EXACT_MAX {
            return Err(E::custom("a number as large as this must be written without fraction and exponent"));
        }
        of_float(number).map(Some).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Field {
        #[serde(default, deserialize_with = "whole_or_none")]
        n: Option<u64>,
    }

    #[test]
    fn a_whole_number_is_read_however_it_is_written_and_none_other() {
        let shown = |misread| match misread {
            Misread::Field { path, why } => format!("{path}: {why}"),
            Misread::Malformed(error) => error.to_string(),
        };
        for (text, expected) in [
            ("{}", Ok(None)),
            (r#"{"n":null}"#, Ok(None)),
            (r#"{"n":0}"#, Ok(Some(0))),
            (r#"{"n":5}"#, Ok(Some(5))),
            (r#"{"n":5.0}"#, Ok(Some(5))),
            (r#"{"n":5e0}"#, Ok(Some(5))),
            (r#"{"n":1.5E1}"#, Ok(Some(15))),
            (r#"{"n":-0.0}"#, Ok(Some(0))),
            (r#"{"n":18446744073709551615}"#, Ok(Some(u64::MAX))),
            (r#"{"n":900719925474099.0}"#, Ok(Some(900_719_925_474_099))),
            (
                r#"{"n":9007199254740991.0}"#,
                Err("n: a number as large as this must be written without fraction and exponent"),
            ),
            (
                r#"{"n":5.5}"#,
                Err("n: invalid value: floating point `5.5`, expected a whole number, 0 or more"),
            ),
            (r#"{"n":-5}"#, Err("n: invalid value: integer `-5`, expected a whole number, 0 or more")),
            (r#"{"n":"5"}"#, Err("n: invalid type: string \"5\", expected a whole number, 0 or more")),
            (r#"{"m":5}"#, Err("m: unknown field `m`, expected `n`")),
            (r#"{"n":5"#, Err("EOF while parsing an object at line 1 column 6")),
            (r#"{"n":5}}"#, Err("trailing characters at line 1 column 8")),
        ] {
            let found = read::<Field>(text.as_bytes()).map(|field| field.n).map_err(shown);
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
            // What is read by hand is read in the same way.
            if let Ok(value) = serde_json::from_str::<Value>(text)
                && let Some(n) = value.get("n").filter(|n| !n.is_null())
            {
                assert_eq!(whole(n), expected.unwrap_or_default(), "{text}");
            }
        }
        for beyond in ["900719925474100.0", "1e300", "-1.0"] {
            assert_eq!(whole(&beyond.parse().unwrap()), None, "{beyond}");
        }
    }
}
