//! Which rows of the log are asked for.

use super::Scope;
use crate::domain::cost::Outcome;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;

/// Which rows. All conditions hold together.
#[derive(Clone, Debug, PartialEq)]
pub struct LogFilter {
    /// Whose.
    pub scope: Scope,
    /// Arrived at this instant or later (by the request's id).
    pub since: Option<Timestamp>,
    /// Arrived before this instant.
    pub until: Option<Timestamp>,
    /// How it ended.
    pub status: Option<StatusFilter>,
    /// With exactly this tier.
    pub tier: Option<String>,
    /// With this text anywhere in its target domain, in any case of ASCII letters.
    pub domain: Option<String>,
}

impl LogFilter {
    /// Whether a row is asked for, whatever its scope. Its time is that of its arrival.
    pub fn lets_through(&self, row: &Row<'_>, arrived: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= arrived)
            && self.until.is_none_or(|until| arrived < until)
            && self.status.is_none_or(|status| status.matches(row.outcome, row.status))
            && self.tier.as_deref().is_none_or(|tier| row.tier.as_deref() == Some(tier))
            && self
                .domain
                .as_deref()
                .is_none_or(|part| row.domain.as_deref().is_some_and(|domain| is_part(part, domain)))
    }

    /// All rows of a scope.
    pub const fn all(scope: Scope) -> Self {
        Self { scope, since: None, until: None, status: None, tier: None, domain: None }
    }
}

/// Whether `part` stands anywhere in `domain`, in any case of ASCII letters.
pub fn is_part(part: &str, domain: &str) -> bool {
    let (part, domain) = (part.as_bytes(), domain.as_bytes());
    part.is_empty() || domain.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// How a request ended, as people ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// [`Outcome::Success`].
    Success,
    /// Anything else, refusals too.
    Failed,
    /// Sent with this status.
    Exactly(u16),
    /// Sent with a status of this hundred: 4 is `4xx`.
    Class(u16),
}

impl StatusFilter {
    /// Reads `success`, `failed`, a status such as `429`, or a class such as `5xx`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "success" => Some(Self::Success),
            "failed" => Some(Self::Failed),
            _ => match (text.strip_suffix("xx"), text.parse().ok()) {
                (Some(class), _) => {
                    class.parse().ok().filter(|class| (1..=9).contains(class)).map(Self::Class)
                }
                (None, Some(status @ 0..=999)) => Some(Self::Exactly(status)),
                _ => None,
            },
        }
    }

    /// Whether a request that ended so is asked for.
    pub fn matches(self, outcome: Option<Outcome>, status: u16) -> bool {
        match self {
            Self::Success => outcome == Some(Outcome::Success),
            Self::Failed => outcome != Some(Outcome::Success),
            Self::Exactly(asked) => status == asked,
            Self::Class(class) => status / 100 == class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_asked_for_by_word_number_or_class() {
        for (text, filter) in [
            ("success", Some(StatusFilter::Success)),
            ("failed", Some(StatusFilter::Failed)),
            ("429", Some(StatusFilter::Exactly(429))),
            ("0", Some(StatusFilter::Exactly(0))),
            ("5xx", Some(StatusFilter::Class(5))),
            ("0xx", None),
            ("10xx", None),
            ("1000", None),
            ("-1", None),
            ("", None),
            ("ok", None),
        ] {
            assert_eq!(StatusFilter::parse(text), filter, "{text}");
        }
        for (filter, outcome, status, is) in [
            (StatusFilter::Success, Some(Outcome::Success), 404, true),
            (StatusFilter::Success, None, 200, false),
            (StatusFilter::Failed, None, 429, true),
            (StatusFilter::Failed, Some(Outcome::Success), 200, false),
            (StatusFilter::Exactly(429), None, 429, true),
            (StatusFilter::Class(4), None, 429, true),
            (StatusFilter::Class(4), None, 500, false),
        ] {
            assert_eq!(filter.matches(outcome, status), is, "{filter:?} {outcome:?} {status}");
        }
    }

    #[test]
    fn a_domain_is_found_by_any_part_of_it() {
        for (part, domain, is) in [
            ("", "", true),
            ("", "a.example", true),
            ("A.EX", "www.a.example", true),
            ("example", "a.example", true),
            ("b.example", "a.example", false),
            ("a.example.org", "a.example", false),
        ] {
            assert_eq!(is_part(part, domain), is, "{part} {domain}");
        }
    }
}
