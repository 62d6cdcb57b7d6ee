//! The other side: which target takes a request, and the connections to it.
//!
//! **How it fails.**
//!
//! | what | seen as |
//! |---|---|
//! | every target failing its probe | [`balance::Balancers::select`] has none to give |
//! | a target refuses a connection, or takes too long to accept one | [`pool::SendError::Unsent`], with the request |
//! | a kept connection turns out to be closed | tried again on a new one, unseen by the caller |
//! | a connection breaks after a byte of the request was written | [`pool::SendError::Sent`]: never tried again |
//! | a name does not resolve | an error at start and at reload; running upstreams stay as they are |

pub mod balance;
mod connection;
pub mod pool;
mod probe;
