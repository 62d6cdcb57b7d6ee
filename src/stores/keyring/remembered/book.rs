//! What a journal says in the end: for each name the place of its last entry, if that still counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;

use ahash::AHashMap;
use sha2::{Digest as _, Sha256};

use super::line::Line;
use crate::domain::time::Timestamp;
use crate::stores::counters::redis::Nodes;

/// The longest line; what is longer was not written here.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// A journal that was read.
#[derive(Debug)]
pub(super) struct Book {
    file: File,
    places: AHashMap<Hash, Place>,
    /// The last change of names that were put out.
    outs: AHashMap<Hash, (i64, u64, u32)>,
    /// When the record last confirmed all of it, and the number of its last change then.
    pub confirmed: Option<(Timestamp, i64)>,
    pub nodes: Option<Nodes>,
    /// Lines that could not be read, and entries that they made worthless.
    pub discarded: u64,
    /// Bytes up to the end of the last whole line.
    pub length: u64,
}

/// Of a name: half a SHA-256 of it. What lies at the place says itself whose it is.
type Hash = u128;

#[derive(Clone, Copy, Debug)]
struct Place {
    seen: i64,
    at: u64,
    bytes: u32,
}

impl Book {
    /// Reads the journal of `record` in `file`, up to the byte `upto`. One of another record or version, or none, is an
    /// empty one of length 0.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn read(file: File, upto: u64, record: &str) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 20, file.try_clone()?.take(upto));
        let mut book = Self {
            file,
            places: AHashMap::new(),
            outs: AHashMap::new(),
            confirmed: None,
            nodes: None,
            discarded: 0,
            length: 0,
        };
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? as u64;
            if read == 0 {
                return Ok(book);
            }
            let whole = bytes.strip_suffix(b"\n");
            if whole.is_none() && read < LINE_BYTES_MAX {
                // Torn: nothing that was in force depends on a line that was never whole.
                book.discarded += 1;
                return Ok(book);
            }
            let line = whole.and_then(|line| std::str::from_utf8(line).ok()).and_then(Line::parse);
            if book.length > 0 {
                book.take(line.as_ref(), read);
            } else if line != Some(Line::Head(record)) {
                book.discarded += 1;
                return Ok(book);
            }
            book.length += read;
        }
    }

    fn take(&mut self, line: Option<&Line<'_>>, bytes: u64) {
        let (at, bytes) = (self.length, bytes as u32);
        match line {
            Some(Line::Kept { name, seen, .. }) => {
                let hash = hash(name);
                // As in the index: whoever read before a change must not bring back what it was, and of two readers
                // the later one is right.
                let is_out = self.outs.get(&hash).is_some_and(|(number, ..)| seen < number);
                let is_old = self.places.get(&hash).is_some_and(|place| *seen < place.seen);
                if !is_out && !is_old {
                    self.places.insert(hash, Place { seen: *seen, at, bytes });
                }
            }
            Some(Line::Out { name, number }) => {
                let hash = hash(name);
                if self.places.get(&hash).is_some_and(|place| place.seen < *number) {
                    self.places.remove(&hash);
                }
                let known = self.outs.entry(hash).or_insert((*number, at, bytes));
                if known.0 <= *number {
                    *known = (*number, at, bytes);
                }
            }
            Some(Line::Confirmed { at, number }) => self.confirmed = Some((*at, *number)),
            Some(Line::Nodes(nodes)) => self.nodes = Some(*nodes),
            // What cannot be read may have put out any of what stands before it.
            Some(Line::Head(_)) | None => {
                self.discarded += 1 + self.places.len() as u64;
                self.places.clear();
            }
        }
    }

    /// Entries that count.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the entries that count.
    pub fn live_bytes(&self) -> u64 {
        self.places.values().map(|place| u64::from(place.bytes)).sum()
    }

    /// Whether there is an entry of this name.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(&hash(name))
    }

    /// The entry of a name; waits for the disk.
    pub fn entry(&self, name: &str) -> Option<String> {
        let place = self.places.get(&hash(name))?;
        let line = self.line(place.at, place.bytes).ok()?;
        match Line::parse(line.strip_suffix('\n')?)? {
            Line::Kept { name: kept, entry, .. } if kept == name => Some(entry.to_owned()),
            _ => None,
        }
    }

    /// The lines that say the same as the whole, but for the entries that came first where there are more than `most`,
    /// and the changes where there are more than `outs_max`; and how many entries those are.
    pub fn lines(&self, most: usize, outs_max: usize) -> (impl Iterator<Item = io::Result<String>>, u64) {
        let mut places: Vec<_> = self.places.values().map(|place| (place.at, place.bytes)).collect();
        places.sort_unstable();
        let too_many = places.len().saturating_sub(most);
        places.drain(..too_many);
        let outs: BTreeMap<i64, (u64, u32)> =
            self.outs.values().map(|(number, at, bytes)| (*number, (*at, *bytes))).collect();
        let skipped = outs.len().saturating_sub(outs_max);
        let changes: Vec<_> = outs.into_values().skip(skipped).collect();
        let rest = [
            self.nodes.map(|nodes| Line::Nodes(nodes).text()),
            self.confirmed.map(|(at, number)| Line::Confirmed { at, number }.text()),
        ];
        let lines = places.into_iter().chain(changes).map(|(at, bytes)| self.line(at, bytes));
        (lines.chain(rest.into_iter().flatten().map(Ok)), too_many as u64)
    }

    fn line(&self, at: u64, bytes: u32) -> io::Result<String> {
        let mut line = vec![0; bytes as usize];
        self.file.read_exact_at(&mut line, at)?;
        String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

fn hash(name: &str) -> Hash {
    let sum = Sha256::digest(name);
    sum.first_chunk().map_or(0, |half| u128::from_le_bytes(*half))
}
