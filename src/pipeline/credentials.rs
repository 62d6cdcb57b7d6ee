//! The client's key: where it stands in a request, and how it is taken out again before forwarding.
//!
//! [`find`] asks the configured sources in order, and the first one present decides, also where it is empty
//! or malformed: an empty header is a wrong key, never no key. A later source may repeat that key; where it
//! holds a different one of ours the request is refused, as nobody could say who pays.
//!
//! **Invariants.** No secret leaves this module but as its digest. What [`find`] reads [`strip`] removes, by
//! the same reading of the same places, so that no spelling is understood here and forwarded there. Neither
//! allocates, except where a query must be written anew.
//!
//! **Deliberately absent:** the path and the body, which are not looked at, and any store.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::config::{Keys, Source};
use crate::domain::refusal::Refusal;
use crate::domain::secret::{Digest, SECRET_BYTES_MAX, is_well_formed};

/// A key that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the stores know it by.
    pub digest: Digest,
    /// Whether it has the shape of keys made here; imported ones need not.
    pub well_formed: bool,
    /// The position in [`Keys::sources`] of the source that decided.
    pub source: usize,
}

/// Finds the client's key in `headers` and in `query`, the text behind the `?` as it was sent.
///
/// `any_shape` says that imported keys exist, which may look like anything of 1 to [`SECRET_BYTES_MAX`]
/// bytes; without them, what fails its checksum is refused before any store is asked.
///
/// # Errors
/// - [`Refusal::MissingApiKey`]: no source is present.
/// - [`Refusal::InvalidApiKey`]: the first source present is empty, too long or malformed.
/// - [`Refusal::AmbiguousCredentials`]: that source holds two different values, of which at least one could
///   be a key, or a later source holds a different key of ours.
pub fn find(
    headers: &HeaderMap,
    query: Option<&str>,
    keys: &Keys,
    any_shape: bool,
) -> Result<Found, Refusal> {
    let mut found: Option<Found> = None;
    for (position, source) in keys.sources.iter().enumerate() {
        if let Some(found) = found {
            let mut differs = false;
            each_text(source, headers, query, |text| {
                differs |= read(text, false).is_some_and(|key| key.digest != found.digest);
            });
            if differs {
                return Err(Refusal::AmbiguousCredentials);
            }
            continue;
        }
        let mut heard = Heard::Nothing;
        each_text(source, headers, query, |text| {
            heard = heard.and(read(text, any_shape));
        });
        match heard {
            Heard::Nothing => {}
            Heard::Garbage => return Err(Refusal::InvalidApiKey),
            Heard::Several => return Err(Refusal::AmbiguousCredentials),
            Heard::One(Reading { digest, well_formed }) => {
                found = Some(Found { digest, well_formed, source: position });
            }
        }
    }
    found.ok_or(Refusal::MissingApiKey)
}

/// What is left of a query without the credential.
#[derive(Debug, PartialEq, Eq)]
pub enum Query {
    /// It held none: forward it as it is.
    Unchanged,
    /// It held nothing else: forward none, not even the `?`.
    Gone,
    /// Everything else, byte for byte.
    Rest(String),
}

/// Removes the credential from every configured source that holds one: `found`, its repetitions, and
/// whatever else has the shape of our keys. A source that holds one is removed whole, all its values.
/// Headers are changed in place; what is left of the query is returned.
///
/// `found` is `None` on routes that ask for no key; a client may send one all the same.
pub fn strip(headers: &mut HeaderMap, query: Option<&str>, keys: &Keys, found: Option<&Found>) -> Query {
    let mut left = Query::Unchanged;
    for (position, source) in keys.sources.iter().enumerate() {
        let mut ours = found.is_some_and(|found| found.source == position);
        each_text(source, headers, query, |text| {
            ours = ours
                || is_well_formed(text)
                || found.is_some_and(|found| !found.well_formed && is_digest_of(&found.digest, text));
        });
        if !ours {
            continue;
        }
        match source {
            Source::Header(name) => drop(headers.remove(name)),
            Source::Bearer | Source::Basic => drop(headers.remove(AUTHORIZATION)),
            Source::Query(name) => {
                left = match &left {
                    Query::Unchanged => without(query.unwrap_or_default(), name),
                    Query::Rest(rest) => without(rest, name),
                    Query::Gone => Query::Gone,
                }
            }
        }
    }
    left
}

fn is_digest_of(digest: &Digest, text: &[u8]) -> bool {
    text.len() <= SECRET_BYTES_MAX && Digest::of(text) == *digest
}

/// A text that could be a key.
#[derive(Clone, Copy, PartialEq)]
struct Reading {
    digest: Digest,
    well_formed: bool,
}

fn read(text: &[u8], any_shape: bool) -> Option<Reading> {
    let well_formed = is_well_formed(text);
    let acceptable = well_formed || (any_shape && !text.is_empty() && text.len() <= SECRET_BYTES_MAX);
    acceptable.then(|| Reading { digest: Digest::of(text), well_formed })
}

/// What one source holds, all its values together.
#[derive(Clone, Copy)]
enum Heard {
    Nothing,
    /// Values, of which none can be a key.
    Garbage,
    /// One key, perhaps repeated.
    One(Reading),
    /// Different values, at least one of them a possible key.
    Several,
}

impl Heard {
    fn and(self, reading: Option<Reading>) -> Self {
        match (self, reading) {
            (Self::Nothing, Some(key)) => Self::One(key),
            (Self::Nothing | Self::Garbage, None) => Self::Garbage,
            (Self::One(one), Some(key)) if one.digest == key.digest => Self::One(one),
            _ => Self::Several,
        }
    }
}

/// Calls `hear` with every text that `source` holds; with an empty one where a credential stands there that
/// cannot be read.
fn each_text(source: &Source, headers: &HeaderMap, query: Option<&str>, mut hear: impl FnMut(&[u8])) {
    match source {
        Source::Header(name) => {
            for value in headers.get_all(name) {
                hear(value.as_bytes().trim_ascii());
            }
        }
        Source::Bearer => each_authorization(headers, b"bearer", hear),
        Source::Basic => each_authorization(headers, b"basic", |encoded| basic(encoded, &mut hear)),
        Source::Query(name) => {
            let Some(query) = query else { return };
            for value in pairs(query).filter_map(|pair| pair.value_of(name)) {
                let mut buffer = [0; SECRET_BYTES_MAX];
                hear(percent_decoded(value, &mut buffer).unwrap_or_default());
            }
        }
    }
}

/// The credentials of every `Authorization` of this scheme, whose name knows no case (RFC 9110 section 11.1).
/// The field is not a list: where lines of other schemes stand beside one of this, they are heard as empty,
/// which makes the request ambiguous.
fn each_authorization(headers: &HeaderMap, scheme: &[u8], mut hear: impl FnMut(&[u8])) {
    let of_scheme = |value: &'_ [u8]| -> Option<usize> {
        let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
        value[..end].eq_ignore_ascii_case(scheme).then_some(end)
    };
    let lines = || headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes().trim_ascii());
    if lines().any(|line| of_scheme(line).is_some()) {
        for line in lines() {
            hear(of_scheme(line).map_or(&[][..], |end| line[end..].trim_ascii()));
        }
    }
}

/// Longest user name and password together with the colon; both could be keys.
const BASIC_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX + 1;

/// Padding is optional, as many clients leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `user:password` (RFC 7617): whichever has the shape of our keys, both where both have. Where neither has,
/// an imported key may stand as the user name with an empty password, or else as the password.
fn basic(encoded: &[u8], hear: &mut impl FnMut(&[u8])) {
    // The decoder wants room for its own estimate of the length, which is up to two bytes over.
    let mut buffer = [0; BASIC_BYTES_MAX + 3];
    let Some(text) = BASE64.decode_slice(encoded, &mut buffer).ok().and_then(|len| buffer.get(..len)) else {
        return hear(b"");
    };
    let Some(colon) = text.iter().position(|byte| *byte == b':') else { return hear(b"") };
    let (user, password) = (&text[..colon], &text[colon + 1..]);
    match (is_well_formed(user), is_well_formed(password)) {
        (true, true) => {
            hear(user);
            hear(password);
        }
        (true, false) => hear(user),
        (false, true) => hear(password),
        (false, false) if password.is_empty() => hear(user),
        (false, false) => hear(password),
    }
}

/// One `name=value` of a query as it was sent.
#[derive(Clone, Copy)]
struct Pair<'a>(&'a str);

fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    query.split('&').map(Pair)
}

impl<'a> Pair<'a> {
    /// The value where the name, percent-decoded, is `wanted`; empty where there is no `=`.
    fn value_of(self, wanted: &str) -> Option<&'a str> {
        let (name, value) = self.0.split_once('=').unwrap_or((self.0, ""));
        let same = name == wanted
            || (name.contains('%') && percent_encoding::percent_decode_str(name).eq(wanted.bytes()));
        same.then_some(value)
    }
}

/// `None` where the text is longer than the buffer. A `+` stays a `+`: no key holds a space, and imported
/// ones may hold a plus.
fn percent_decoded<'b>(text: &str, buffer: &'b mut [u8; SECRET_BYTES_MAX]) -> Option<&'b [u8]> {
    let mut len = 0;
    for byte in percent_encoding::percent_decode_str(text) {
        *buffer.get_mut(len)? = byte;
        len += 1;
    }
    buffer.get(..len)
}

/// `query` without the pairs called `name`, however that is percent-encoded.
pub fn without(query: &str, name: &str) -> Query {
    let mut rest = String::with_capacity(query.len());
    let mut any = false;
    for pair in pairs(query).filter(|pair| pair.value_of(name).is_none()) {
        if any {
            rest.push('&');
        }
        any = true;
        rest.push_str(pair.0);
    }
    if any { Query::Rest(rest) } else { Query::Gone }
}

#[cfg(test)]
mod tests;
