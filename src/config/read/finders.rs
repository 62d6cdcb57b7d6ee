//! Finders: where a route looks in an answer for cost, tier and outcome (section 7 of the contract).

use super::headers;
use crate::config::Finder;
use crate::config::field::Field;

/// What the fixed value of a `2xx=VALUE` must be.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

/// Credits and microcents are whole numbers.
pub(super) fn for_number(value: &str) -> Result<(), &'static str> {
    let fine = value.bytes().all(|byte| byte.is_ascii_digit())
        && value.parse::<u64>().is_ok_and(|number| i64::try_from(number).is_ok());
    if fine { Ok(()) } else { Err("the value behind `=` is a whole number") }
}

/// Tiers are any short text.
pub(super) fn for_text(value: &str) -> Result<(), &'static str> {
    if !value.is_empty() && value.len() <= 64 && !value.chars().any(char::is_control) {
        Ok(())
    } else {
        Err("the value behind `=` is 1 to 64 characters")
    }
}

/// Outcomes are judged by a status.
pub(super) fn for_status(value: &str) -> Result<(), &'static str> {
    if value.len() == 3 && value.parse::<u16>().is_ok_and(|status| (100..600).contains(&status)) {
        Ok(())
    } else {
        Err("the value behind `=` is a status from 100 to 599")
    }
}

/// Reads a list of finders.
pub(super) fn finders(field: &Field<'_>, check: Check) -> Option<Vec<Finder>> {
    field.list(|field| finder(field, check))
}

fn finder(field: &Field<'_>, check: Check) -> Option<Finder> {
    let text = field.text()?;
    if let Some(name) = text.strip_prefix("header:") {
        return headers::name(field, name).map(Finder::Header);
    }
    if let Some(pointer) = text.strip_prefix("json:") {
        return pointer_as(field, pointer, "json:/billing/total_credits").map(Finder::Json);
    }
    let class = text.split_once("xx=").and_then(|(class, value)| match class.parse::<u8>() {
        Ok(digit @ 1..=5) if class.len() == 1 => Some((digit, value)),
        _ => None,
    });
    let Some((digit, value)) = class else {
        let advice = "write header:NAME, json:/pointer or a fixed value by status class such as 2xx=1";
        return field.is_not("a place to look", Some(advice));
    };
    match check(value) {
        Ok(()) => Some(Finder::Status(digit, value.to_owned())),
        Err(reason) => field.wrong(reason, "write it as 2xx=1"),
    }
}

/// A JSON pointer by itself.
pub(super) fn pointer(field: &Field<'_>, text: &str) -> Option<String> {
    pointer_as(field, text, "/data/id")
}

fn pointer_as(field: &Field<'_>, text: &str, example: &str) -> Option<String> {
    if is_pointer(text) {
        return Some(text.to_owned());
    }
    field.is_not("a JSON pointer (RFC 6901)", Some(&format!("write it as {example}")))
}

/// `/` before every part, and `~` only as `~0` or `~1`.
fn is_pointer(text: &str) -> bool {
    let tilde = |rest: &str| rest.starts_with('0') || rest.starts_with('1');
    text.starts_with('/') && text.split('~').skip(1).all(tilde)
}
