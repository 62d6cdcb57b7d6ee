//! What an answered request is judged to be: outcome, cost and tier (contract section 7).
//!
//! Each is looked for in the places that the route lists, in order. A place that is missing or cannot be read
//! is passed over; where no place names a cost it is *unknown*, not zero, and the route's price is charged. Of
//! credits and microcents one says the other where only one is named.

use http::HeaderName;
use serde_json::Value;

use crate::config::{Config, Finder, Route};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::row::TEXT_BYTES_MAX;

/// The largest amount that is believed, as large as a price may be: what is more is a mistake, and sums of it
/// would leave the numbers that a record can hold.
const AMOUNT_MAX: u64 = 1_000_000_000_000;

/// How an exchange with the upstream ended, as far as the engine can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The whole answer was handed on.
    Whole,
    /// The client went away first.
    ClientAborted,
    /// The upstream broke off, or never answered.
    UpstreamError,
}

/// The judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Success or what else.
    pub outcome: Outcome,
    /// What is charged.
    pub cost: Cost,
    /// Who named the credits.
    pub source: CostSource,
    /// The tier of service, where the upstream named one.
    pub tier: Option<String>,
    /// The id of what the answer made, where the route remembers it.
    pub job: Option<String>,
}

impl Verdict {
    /// Of what never came to an upstream, or is none of its business: nothing is charged.
    pub fn free(outcome: Outcome) -> Self {
        Self { outcome, cost: Cost::default(), source: CostSource::Free, tier: None, job: None }
    }
}

/// The head of an answer, reduced to what the route's finders asked of it, so that headers can go on to the
/// client while the body is still on its way.
#[derive(Debug, Default)]
pub struct Heard {
    status: u16,
    headers: Vec<(HeaderName, String)>,
}

fn finders(route: &Route) -> impl Iterator<Item = &Finder> {
    route.cost.iter().chain(&route.cost_microcents).chain(&route.tier).chain(&route.outcome)
}

/// Whether judging answers of `route` needs their JSON bodies.
pub fn reads_body(route: &Route) -> bool {
    route.remember.is_some() || finders(route).any(|finder| matches!(finder, Finder::Json(_)))
}

impl Heard {
    /// Keeps what the finders of `route` want of an answer's head, in which `field` finds the first of a name.
    pub fn of<'a>(route: &Route, status: u16, field: impl Fn(&HeaderName) -> Option<&'a str>) -> Self {
        let mut kept = Vec::new();
        for finder in finders(route) {
            let Finder::Header(name) = finder else { continue };
            if let Some(value) = field(name) {
                kept.push((name.clone(), value.trim().to_owned()));
            }
        }
        Self { status, headers: kept }
    }

    /// Judges the answer; `body` is its JSON where it was read.
    pub fn judge(&self, config: &Config, route: &Route, ending: Ending, body: Option<&Value>) -> Verdict {
        let credits = self.first(&route.cost, body, |text| amount(&text));
        let microcents = self.first(&route.cost_microcents, body, |text| amount(&text));
        let tier = self.first(&route.tier, body, Some).map(|(text, _)| text);
        let job = self.made(route, body);
        let status = self
            .first(&route.outcome, body, |text| text.parse().ok())
            .map_or(self.status, |(status, _)| status);

        let outcome = match ending {
            Ending::ClientAborted => Outcome::ClientAborted,
            Ending::UpstreamError => Outcome::UpstreamError,
            Ending::Whole if succeeded(route, status) => Outcome::Success,
            Ending::Whole => Outcome::Failure,
        };
        if !route.charge.contains(&outcome) {
            return Verdict { outcome, cost: Cost::default(), source: CostSource::Free, tier, job };
        }
        let rate = config.billing.microcents_per_credit;
        let (credits, microcents, source) = match (credits, microcents) {
            (Some((credits, source)), Some((microcents, _))) => (credits, microcents, source),
            (Some((credits, source)), None) => (credits, credits.saturating_mul(rate), source),
            // Where only money is named it says the credits, too; one begun is one.
            (None, Some((microcents, source))) => (microcents.div_ceil(rate), microcents, source),
            (None, None) => (route.price, route.price.saturating_mul(rate), CostSource::Unknown),
        };
        Verdict { outcome, cost: Cost { credits, microcents }, source, tier, job }
    }

    /// What an answer says it has made: only one of 2xx has made anything, and a name that would have to be cut is none.
    fn made(&self, route: &Route, body: Option<&Value>) -> Option<String> {
        let pointer = route.remember.as_deref().filter(|_| (200..300).contains(&self.status))?;
        json_text(body?.pointer(pointer)?).filter(|job| (1..=TEXT_BYTES_MAX).contains(&job.len()))
    }

    /// The first place of `list` that holds something `read` can read.
    fn first<T>(
        &self,
        list: &[Finder],
        body: Option<&Value>,
        read: impl Fn(String) -> Option<T>,
    ) -> Option<(T, CostSource)> {
        list.iter().find_map(|finder| {
            let (text, source) = match finder {
                Finder::Header(name) => {
                    let (_, value) = self.headers.iter().find(|(kept, _)| kept == name)?;
                    (value.clone(), CostSource::Header)
                }
                Finder::Json(pointer) => (json_text(body?.pointer(pointer)?)?, CostSource::Json),
                Finder::Status(class, value) if u16::from(*class) == self.status / 100 => {
                    (value.clone(), CostSource::Status)
                }
                Finder::Status(..) => return None,
            };
            Some((read(text)?, source))
        })
    }
}

fn succeeded(route: &Route, status: u16) -> bool {
    if route.success.is_empty() { (200..300).contains(&status) } else { route.success.contains(&status) }
}

/// A whole amount; a fraction of a unit is charged as a unit, as half a credit cannot be.
fn amount(text: &str) -> Option<u64> {
    let whole = text.parse().ok().or_else(|| {
        let fraction: f64 = text.parse().ok()?;
        (fraction >= 0.0).then_some(fraction.ceil() as u64)
    });
    whole.filter(|amount| *amount <= AMOUNT_MAX)
}

fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
