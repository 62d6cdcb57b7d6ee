//! What a gateway does to header fields on the way through, as plain functions of a [`HeaderMap`], or of
//! the lines of an answer.
//!
//! The order for a request: [`Forwarded::of`] reads what a trusted proxy says, [`clean_request`] removes what
//! ends at this hop and everything by which a client could pose as us, then [`own`](super::own) writes exactly one of
//! each identity header. So `Connection: x-tollgate-organization` names a field that is not
//! there yet, and an identity header can only be ours.
//!
//! **Invariant:** nothing is allocated for a message that has nothing to remove.
//!
//! Deliberately absent: credentials (their places are configured, `pipeline` removes them) and framing checks
//! (an ambiguous head never comes this far).

mod forwarded;
mod hop;
mod identity;

use http::{HeaderMap, HeaderName};

pub use forwarded::{Forwarded, one as address_value};
pub use hop::{asks_for_upgrade, clean_request, clean_response, clean_trailers, join_cookies};
pub use identity::{KEY_ID, ORGANIZATION, PLAN, PROJECT, REQUEST_ID};

/// Removes every field whose name `goes` says has to go.
fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&str) -> bool) {
    // The map cannot be changed while it is walked: names are gathered a few at a time.
    loop {
        let mut found: [Option<HeaderName>; 8] = Default::default();
        for (place, name) in found.iter_mut().zip(headers.keys().filter(|name| goes(name.as_str()))) {
            *place = Some(name.clone());
        }
        for name in found.iter().flatten() {
            headers.remove(name);
        }
        if found.last().is_some_and(Option::is_none) {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
