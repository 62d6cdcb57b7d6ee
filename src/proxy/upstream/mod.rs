//! The other side: which target takes a request, and the connections to it. HTTP/1.1 is spoken here, in the
//! request's own task: [`answer`] writes the request and reads what comes back.
//!
//! **How it fails.**
//!
//! | what | seen as |
//! |---|---|
//! | every target failing its probe | [`balance::Balancers::select`] has none to give |
//! | a target refuses a connection, or takes too long to accept one | [`pool::SendError::Unsent`]; the request is whole |
//! | a kept connection turns out to be closed | tried again on a new one, unseen by the caller |
//! | a connection breaks after a byte of the request was written | [`pool::SendError::Sent`]: never tried again |
//! | an answer that can be read in more ways than one, or in none | the same ([`answer::Broken::Answer`]); the connection is closed |
//! | a target answers before it has all of the request | the answer passes, the connection is closed behind it |
//! | a name does not resolve | an error at start and at reload; running upstreams stay as they are |

pub mod answer;
pub mod balance;
mod connection;
pub mod outbound;
pub mod pool;
mod probe;
