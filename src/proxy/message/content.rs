//! The content of a message as it is read: its framing taken away, piece by piece.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::super::strict::chunked::Chunked;
use super::super::strict::{HeadLimits, Violation, check_trailers, fields};
use super::block::{pass, take};

/// What of a message's content is still to come.
#[derive(Debug)]
pub enum Content {
    /// Nothing.
    Whole,
    /// So many bytes, at least 1.
    Length(u64),
    /// Chunks, and a trailer section.
    Chunked(Chunked),
    /// A trailer section; so many bytes of it have been looked at without result.
    Trailers(usize),
    /// Everything until the connection ends.
    UntilClose,
}

impl Content {
    /// Whether nothing is left.
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// What is known of what is left.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::Trailers(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// The next of what has come in `read`; `None` where more has to be read, or nothing is left.
    ///
    /// # Errors
    /// The rule that it breaks. Nothing can be taken after that.
    pub fn take(
        &mut self,
        read: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<Frame<Bytes>>, Violation> {
        self.pass_lines(read)?;
        if read.is_empty() {
            return Ok(None);
        }
        let bytes = match self {
            Self::Whole => return Ok(None),
            Self::UntilClose => read.len(),
            Self::Length(left) => {
                let some = usize::try_from(*left).unwrap_or(usize::MAX).min(read.len());
                *left -= some as u64;
                if *left == 0 {
                    *self = Self::Whole;
                }
                some
            }
            Self::Chunked(chunked) => chunked.data(read),
            Self::Trailers(looked) => {
                // Lines are judged when they end: what drips in byte by byte costs one look a line, not one a byte.
                let new = read.get(*looked..).unwrap_or_default();
                let worth = memchr::memchr(b'\n', new).is_some() || read.len() >= limits.head_bytes_max;
                *looked = read.len();
                return if worth { self.take_trailers(read, limits) } else { Ok(None) };
            }
        };
        let data = take(read, bytes);
        // Often the end is there too: whoever passes this piece on shall know that it is the last.
        self.pass_lines(read)?;
        Ok(Some(Frame::data(data)))
    }

    /// Passes over what only frames, as far as it has come.
    fn pass_lines(&mut self, read: &mut BytesMut) -> Result<(), Violation> {
        let Self::Chunked(chunked) = self else { return Ok(()) };
        let bytes = chunked.lines(read)?;
        if bytes > 0 {
            pass(read, bytes);
        }
        if chunked.is_at_trailers() {
            *self = Self::Trailers(0);
            if read.starts_with(b"\r\n") {
                pass(read, 2);
                *self = Self::Whole;
            }
        }
        Ok(())
    }

    fn take_trailers(
        &mut self,
        read: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<Frame<Bytes>>, Violation> {
        let Some(bytes) = check_trailers(read, limits)? else { return Ok(None) };
        *self = Self::Whole;
        let trailers: HeaderMap = fields::read_section(&take(read, bytes))?;
        Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
    }
}
