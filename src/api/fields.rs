//! A query's fields, read by name, with the mistakes that the published systems answer.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

use super::no::No;

/// Fields of a query that are looked at; more are passed over.
const FIELDS_MAX: usize = 100;

/// A query, decoded as `application/x-www-form-urlencoded`.
pub(super) struct Fields<'q>(Vec<(Cow<'q, str>, Cow<'q, str>)>);

impl<'q> Fields<'q> {
    pub(super) fn read(query: Option<&'q str>) -> Self {
        let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let field = |part: &'q str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decoded(name), decoded(value))
        };
        Self(parts.take(FIELDS_MAX).map(field).collect())
    }

    /// The field `name`; `None` where it is not there.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, No> {
        let mut values = self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| &**value);
        let first = values.next();
        if values.next().is_some() {
            return Err(invalid(name, "must be given once".to_owned()));
        }
        Ok(first)
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into();
    }
    percent_decode_str(text).decode_utf8_lossy()
}

/// A whole number within `range`, `otherwise` where it is left out.
pub(super) fn whole(
    fields: &Fields<'_>,
    name: &str,
    range: RangeInclusive<u64>,
    otherwise: u64,
) -> Result<u64, No> {
    let Some(text) = fields.one(name)? else { return Ok(otherwise) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && range.contains(number));
    number.ok_or_else(|| {
        let (least, most) = range.into_inner();
        invalid(name, format!("must be a whole number from {least} to {most}"))
    })
}

/// One of a few words; `None` where it is left out.
pub(super) fn one_of<T: Copy>(fields: &Fields<'_>, name: &str, words: &[(&str, T)]) -> Result<Option<T>, No> {
    let Some(text) = fields.one(name)? else { return Ok(None) };
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meant)) => Ok(Some(*meant)),
        None => {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            Err(invalid(name, format!("must be one of {}", known.join(", "))))
        }
    }
}

fn invalid(field: &str, advice: String) -> No {
    No::Invalid { field: field.to_owned(), advice }
}
