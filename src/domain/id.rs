//! Names of things. Each kind is a type of its own, so that a project is never looked up as an organization.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// A key's id: what logs, headers and APIs call it by. Not secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub Uuid);

/// A user's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub Uuid);

/// A request's id: UUID version 7 (RFC 9562), so that ids sort by time of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub Uuid);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Longest id of an organization or project, in bytes.
pub const SLUG_BYTES_MAX: usize = 64;

/// An organization's id: its first name, made fit for a header and a path, and never changed after.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgId(Arc<str>);

/// A project's id: an operator may bring the upstream's own, else it is a random UUID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectId(Arc<str>);

macro_rules! slug {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Takes an id as it is written.
            ///
            /// # Errors
            /// A sentence saying what an id may hold: 1 to [`SLUG_BYTES_MAX`] letters, digits, `-`, `_` and `.`
            /// (ASCII), beginning with a letter or digit.
            pub fn parse(text: &str) -> Result<Self, String> {
                if is_slug(text) {
                    return Ok(Self(text.into()));
                }
                Err(format!(
                    concat!(
                        "`{}` is not an id of a ",
                        $what,
                        ": use 1 to {} letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
                    ),
                    text.escape_debug(),
                    SLUG_BYTES_MAX
                ))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

slug!(OrgId, "organization");
slug!(ProjectId, "project");

fn is_slug(text: &str) -> bool {
    text.len() <= SLUG_BYTES_MAX
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl OrgId {
    /// The id for an organization named `name`: every run of characters an id may not hold becomes one `-`.
    ///
    /// # Errors
    /// As [`OrgId::parse`], where nothing usable is left.
    pub fn from_name(name: &str) -> Result<Self, String> {
        let mut slug = String::with_capacity(name.len());
        for c in name.trim().chars() {
            if c.is_ascii_alphanumeric() || (!slug.is_empty() && "_.".contains(c)) {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.truncate(SLUG_BYTES_MAX);
        Self::parse(slug.trim_end_matches('-'))
            .map_err(|_| format!("`{}` has no letter or digit to make an id of", name.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organization_is_called_by_its_name() {
        for (name, id) in
            [("acme", "acme"), ("Acme Inc.", "Acme-Inc."), ("  ÄB  & C ", "B-C"), ("a_b", "a_b")]
        {
            assert_eq!(OrgId::from_name(name).unwrap().as_str(), id);
        }
        assert!(OrgId::from_name("—").is_err());
        assert!(OrgId::from_name("").is_err());
    }

    #[test]
    fn ids_hold_nothing_that_a_header_or_path_could_trip_over() {
        for wrong in ["", "-a", "a/b", "a b", "a\r\nx: y", "ä", &"a".repeat(65)] {
            assert!(ProjectId::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(ProjectId::parse("67e0.a-B_1").unwrap().as_str(), "67e0.a-B_1");
    }
}
