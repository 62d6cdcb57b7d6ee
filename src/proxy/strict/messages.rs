//! A client's bytes as a sequence of requests: where one ends and the next begins. Pure.

use super::chunked::Chunked;
use super::head::{self, Framing, Head};
use super::{HeadLimits, Violation};

/// What the next byte from the client is part of.
#[derive(Debug)]
pub struct Messages {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Head,
    Length(u64),
    Chunked(Chunked),
    Trailers,
}

/// What was found at the front of some bytes.
#[derive(Debug)]
pub enum Unit {
    /// Nothing that is complete.
    Partial,
    /// A whole head.
    Head(Head),
    /// So many bytes of a body, at least 1.
    Body(usize),
}

impl Messages {
    /// At the beginning of a connection.
    pub const fn new() -> Self {
        Self { stage: Stage::Head }
    }

    /// Whether the next byte is the first of a request.
    pub const fn is_between(&self) -> bool {
        matches!(self.stage, Stage::Head)
    }

    /// Whether a whole section of lines has to be there before anything can be said of it.
    pub const fn is_in_lines(&self) -> bool {
        matches!(self.stage, Stage::Head | Stage::Trailers)
    }

    /// Takes one unit from the front of `bytes`, which are not empty: a head, a piece of a body, a trailer section.
    ///
    /// # Errors
    /// The rule that it breaks. Nothing can be taken after that.
    #[inline]
    pub fn take(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Unit, Violation> {
        match &mut self.stage {
            Stage::Head => {
                let Some(head) = head::check(bytes, limits)? else { return Ok(Unit::Partial) };
                self.stage = match head.framing {
                    Framing::Empty => Stage::Head,
                    Framing::Length(length) => Stage::Length(length),
                    Framing::Chunked => Stage::Chunked(Chunked::new()),
                };
                Ok(Unit::Head(head))
            }
            Stage::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.stage = Stage::Head;
                }
                Ok(Unit::Body(taken))
            }
            Stage::Chunked(chunked) => {
                let taken = chunked.advance(bytes)?;
                if chunked.is_at_trailers() {
                    self.stage = Stage::Trailers;
                }
                Ok(Unit::Body(taken))
            }
            Stage::Trailers => {
                let Some(taken) = head::check_trailers(bytes, limits)? else { return Ok(Unit::Partial) };
                self.stage = Stage::Head;
                Ok(Unit::Body(taken))
            }
        }
    }
}
