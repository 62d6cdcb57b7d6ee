//! HTTP/1.1 messages on a socket, whichever side we are on: what is read is not copied, what is written is put
//! together. The rules of what may be read are in [`super::strict`].

pub mod block;
pub mod content;
pub mod fields;
pub mod outgoing;
pub mod text;
