//! One request as the log keeps it.
//!
//! **Invariant:** nothing here can hold a secret: no query string, no header value but the user agent, no
//! credential. Every text is bounded by [`TEXT_BYTES_MAX`] before it is written.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;

use super::cost::{Cost, CostSource, Outcome};
use super::id::{KeyId, RequestId};
use super::time::Timestamp;

/// Longest path, user agent, domain, tier or target that a row keeps, in bytes; more is cut.
pub const TEXT_BYTES_MAX: usize = 512;

/// An admission, written before a byte goes upstream: what a crash must not forget. It becomes a row of its
/// own ([`Outcome::Crashed`]) where no [`Row`] with its id follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission<'a> {
    /// The request.
    pub id: RequestId,
    /// When it was admitted, on the counters' clock.
    pub at: Timestamp,
    /// The key; `None` for a session or a public route.
    pub key: Option<KeyId>,
    /// The organization that pays; `None` on a public route.
    pub organization: Option<Cow<'a, str>>,
    /// The key's project.
    pub project: Option<Cow<'a, str>>,
    /// What was reserved.
    pub estimate: Cost,
}

/// A finished request, refused or answered, whose texts are its own or somebody else's.
pub type Row<'a> = RowOf<Cow<'a, str>>;

/// A finished request that is read where it stands.
pub type RowRef<'a> = RowOf<&'a str>;

/// A finished request, with its texts as `T`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowOf<T> {
    /// The request.
    pub id: RequestId,
    /// When it was admitted or refused, on the counters' clock.
    pub at: Timestamp,
    /// Who pays; `None` where the caller stayed unknown.
    pub organization: Option<T>,
    /// The key's project.
    pub project: Option<T>,
    /// The key.
    pub key: Option<KeyId>,
    /// Whether the limits admitted it: what quotas count.
    pub admitted: bool,
    /// The HTTP method; `-` where the head could not be read.
    pub method: T,
    /// The path without query; empty where the head could not be read.
    pub path: T,
    /// The status the client was sent; 0 where it was sent none.
    pub status: u16,
    /// The refusal's code; empty for an upstream's answer.
    pub code: T,
    /// How it ended; `None` for a refusal.
    pub outcome: Option<Outcome>,
    /// Microseconds from the complete head to the first byte of the answer.
    pub first_byte_micros: u64,
    /// Microseconds from the complete head to the last byte of the answer.
    pub total_micros: u64,
    /// The client's address.
    pub address: IpAddr,
    /// What was charged.
    pub cost: Cost,
    /// Who said so.
    pub cost_source: CostSource,
    /// The upstream's tier of service.
    pub tier: Option<T>,
    /// The site that was scraped.
    pub domain: Option<T>,
    /// Bytes of the request body that were forwarded.
    pub bytes_in: u64,
    /// Bytes of the response body that were handed to the client.
    pub bytes_out: u64,
    /// The upstream target that answered.
    pub target: Option<T>,
    /// The client's user agent.
    pub user_agent: Option<T>,
    /// The id of what the answer made, where the route remembers whose it is. On its way only: it is kept beside the
    /// log, not in it.
    pub job: Option<T>,
}

impl<T: Deref<Target = str>> RowOf<T> {
    /// The same row, to be read where it stands.
    pub fn as_ref(&self) -> RowRef<'_> {
        self.map(|text| &**text)
    }
}

impl<T> RowOf<T> {
    /// The same row with its texts as something else.
    pub fn map<'r, U>(&'r self, text: impl Fn(&'r T) -> U) -> RowOf<U> {
        RowOf {
            id: self.id,
            at: self.at,
            organization: self.organization.as_ref().map(&text),
            project: self.project.as_ref().map(&text),
            key: self.key,
            admitted: self.admitted,
            method: text(&self.method),
            path: text(&self.path),
            status: self.status,
            code: text(&self.code),
            outcome: self.outcome,
            first_byte_micros: self.first_byte_micros,
            total_micros: self.total_micros,
            address: self.address,
            cost: self.cost,
            cost_source: self.cost_source,
            tier: self.tier.as_ref().map(&text),
            domain: self.domain.as_ref().map(&text),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            target: self.target.as_ref().map(&text),
            user_agent: self.user_agent.as_ref().map(&text),
            job: self.job.as_ref().map(&text),
        }
    }
}

/// The longest prefix of `text` that is at most [`TEXT_BYTES_MAX`] bytes and whole characters.
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
