//! What a request costs, and how it ended.

/// An amount charged or reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cost {
    /// The gateway's unit of sale.
    pub credits: u64,
    /// Money; the configuration names what a microcent is (default: 1,000,000 = $1).
    pub microcents: u64,
}

/// How an admitted request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream answered and the answer counts as a success (by default a 2xx).
    Success,
    /// The upstream answered and the answer counts as a failure.
    Failure,
    /// No answer could be had from an upstream.
    UpstreamError,
    /// The client went away before it had the whole answer.
    ClientAborted,
    /// This gateway died while the request was in flight; learned at its next start.
    Crashed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::UpstreamError, Self::ClientAborted, Self::Crashed];

    /// The word in the log and in configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::UpstreamError => "upstream_error",
            Self::ClientAborted => "client_aborted",
            Self::Crashed => "crashed",
        }
    }

    /// The outcome called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}

/// Which source named the cost of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CostSource {
    /// A response header.
    Header,
    /// A field of a JSON response body.
    Json,
    /// A fixed amount for the class of the status.
    Status,
    /// Nobody said: the route's price was charged, and is marked so.
    Unknown,
    /// The outcome is not one that is charged.
    Free,
}

impl CostSource {
    /// Every source.
    pub const ALL: [Self; 5] = [Self::Header, Self::Json, Self::Status, Self::Unknown, Self::Free];

    /// The word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Json => "json",
            Self::Status => "status",
            Self::Unknown => "unknown",
            Self::Free => "free",
        }
    }
}
