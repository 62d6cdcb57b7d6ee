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

/// What a request has in common with many others: thousands a second differ in their [`Variables`] only. So it is said once
/// where they stand together, and a number is said for it from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape<T> {
    /// [`RowOf::organization`].
    pub organization: Option<T>,
    /// [`RowOf::project`].
    pub project: Option<T>,
    /// [`RowOf::key`].
    pub key: Option<KeyId>,
    /// [`RowOf::admitted`].
    pub admitted: bool,
    /// [`RowOf::method`].
    pub method: T,
    /// [`RowOf::path`].
    pub path: T,
    /// [`RowOf::status`].
    pub status: u16,
    /// [`RowOf::code`].
    pub code: T,
    /// [`RowOf::outcome`].
    pub outcome: Option<Outcome>,
    /// [`RowOf::cost_source`].
    pub cost_source: CostSource,
    /// [`RowOf::tier`].
    pub tier: Option<T>,
    /// [`RowOf::target`].
    pub target: Option<T>,
    /// [`RowOf::user_agent`].
    pub user_agent: Option<T>,
}

/// What differs from request to request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variables<'a> {
    /// [`RowOf::id`].
    pub id: RequestId,
    /// [`RowOf::at`].
    pub at: Timestamp,
    /// [`RowOf::first_byte_micros`].
    pub first_byte_micros: u64,
    /// [`RowOf::total_micros`].
    pub total_micros: u64,
    /// [`RowOf::address`].
    pub address: IpAddr,
    /// [`RowOf::cost`].
    pub cost: Cost,
    /// [`RowOf::domain`].
    pub domain: Option<&'a str>,
    /// [`RowOf::bytes_in`].
    pub bytes_in: u64,
    /// [`RowOf::bytes_out`].
    pub bytes_out: u64,
    /// [`RowOf::job`].
    pub job: Option<&'a str>,
}

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
        RowRef::of(self.shape(), self.variables())
    }

    /// What it has in common with others.
    #[inline]
    pub fn shape(&self) -> Shape<&str> {
        Shape {
            organization: self.organization.as_deref(),
            project: self.project.as_deref(),
            key: self.key,
            admitted: self.admitted,
            method: &self.method,
            path: &self.path,
            status: self.status,
            code: &self.code,
            outcome: self.outcome,
            cost_source: self.cost_source,
            tier: self.tier.as_deref(),
            target: self.target.as_deref(),
            user_agent: self.user_agent.as_deref(),
        }
    }

    /// What it has alone.
    #[inline]
    pub fn variables(&self) -> Variables<'_> {
        Variables {
            id: self.id,
            at: self.at,
            first_byte_micros: self.first_byte_micros,
            total_micros: self.total_micros,
            address: self.address,
            cost: self.cost,
            domain: self.domain.as_deref(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            job: self.job.as_deref(),
        }
    }
}

impl<'a> RowRef<'a> {
    /// The row of a shape that has these variables.
    pub const fn of(shape: Shape<&'a str>, variables: Variables<'a>) -> Self {
        Self {
            id: variables.id,
            at: variables.at,
            organization: shape.organization,
            project: shape.project,
            key: shape.key,
            admitted: shape.admitted,
            method: shape.method,
            path: shape.path,
            status: shape.status,
            code: shape.code,
            outcome: shape.outcome,
            first_byte_micros: variables.first_byte_micros,
            total_micros: variables.total_micros,
            address: variables.address,
            cost: variables.cost,
            cost_source: shape.cost_source,
            tier: shape.tier,
            domain: variables.domain,
            bytes_in: variables.bytes_in,
            bytes_out: variables.bytes_out,
            target: shape.target,
            user_agent: shape.user_agent,
            job: variables.job,
        }
    }
}

impl<T> Shape<T> {
    /// The same shape with its texts as something else.
    #[inline]
    pub fn map<'s, U>(&'s self, text: impl Fn(&'s T) -> U) -> Shape<U> {
        Shape {
            organization: self.organization.as_ref().map(&text),
            project: self.project.as_ref().map(&text),
            key: self.key,
            admitted: self.admitted,
            method: text(&self.method),
            path: text(&self.path),
            status: self.status,
            code: text(&self.code),
            outcome: self.outcome,
            cost_source: self.cost_source,
            tier: self.tier.as_ref().map(&text),
            target: self.target.as_ref().map(&text),
            user_agent: self.user_agent.as_ref().map(&text),
        }
    }
}

/// The longest prefix of `text` that is at most [`TEXT_BYTES_MAX`] bytes and whole characters.
pub fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
