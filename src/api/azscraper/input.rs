//! What AzScraper's clients may send.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::no::No;

/// The body of create and rename.
#[derive(Debug, Deserialize, ToSchema)]
#[allow(dead_code, reason = "the document says what is read by hand, so that every mistake can be named")]
#[schema(as = azscraper::Named)]
pub(super) struct Named {
    /// Unique among the organization's keys.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// The body of a login.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "as of `Named`")]
#[schema(as = azscraper::Credentials)]
pub(super) struct Credentials {
    email: String,
    password: String,
}

/// The body of a registration.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code, reason = "as of `Named`")]
#[schema(as = azscraper::Registration)]
pub(super) struct Registration {
    email: String,
    /// At least 8 characters.
    #[schema(min_length = 8)]
    password: String,
    /// Taken, and not kept: people are called by their email here.
    name: Option<String>,
}

/// The fields of a body that must be texts, in the order of `names`.
pub(super) fn texts<const N: usize>(body: &[u8], names: [&str; N]) -> Result<[String; N], No> {
    let body = object(body)?;
    let mut texts = [const { String::new() }; N];
    for (text, name) in texts.iter_mut().zip(names) {
        *text = match body.get(name) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(Value::String(_)) => return Err(invalid(name, "should not be empty")),
            _ => return Err(invalid(name, "must be a string")),
        };
    }
    Ok(texts)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, No> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(invalid("", "The body must be a JSON object")),
    }
}

fn invalid(field: &str, advice: &str) -> No {
    No::Invalid { field: field.to_owned(), advice: advice.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_the_texts_that_it_must() {
        for (body, expected) in [
            (r#"{"email":"a@b","password":"x"}"#, "a@b x"),
            (r#"{"email":"a@b","password":"x","more":[1]}"#, "a@b x"),
            (r#"{"email":"a@b"}"#, "! password must be a string"),
            (r#"{"email":7,"password":"x"}"#, "! email must be a string"),
            (r#"{"email":null,"password":"x"}"#, "! email must be a string"),
            (r#"{"email":"","password":"x"}"#, "! email should not be empty"),
            ("[]", "!  The body must be a JSON object"),
            ("", "!  The body must be a JSON object"),
            ("{", "!  The body must be a JSON object"),
        ] {
            let found = match texts(body.as_bytes(), ["email", "password"]) {
                Ok(texts) => texts.join(" "),
                Err(No::Invalid { field, advice }) => format!("! {field} {advice}"),
                Err(other) => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{body}");
        }
    }
}
