//! What a request may do: one page from facts to a permit ([`admit`](admit::Gate::admit)), and one from an
//! answer to what it cost ([`verdict`]).
//!
//! **Invariant:** nothing here names hyper, axum or a socket. Rules see [`Facts`](facts::Facts).

pub mod admit;
pub mod credentials;
pub mod facts;
pub mod guard;
pub mod permit;
pub mod ratelimit;
pub mod verdict;
