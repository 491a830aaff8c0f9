//! A buffered forward reader over a [`Source`].

use super::{error::Fault, source::Source};

const CHUNK: u64 = 64 << 10;

/// Reads a source from a position on.
pub(crate) struct Input<'a> {
    source: &'a Source,
    buffer: Vec<u8>,
    /// Offset of `buffer` in the source.
    start: u64,
    /// Next byte within `buffer`.
    at: usize,
}

impl<'a> Input<'a> {
    pub fn new(source: &'a Source, start: u64) -> Self {
        Self { source, buffer: Vec::new(), start, at: 0 }
    }

    /// Offset of the next byte in the source.
    pub fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    pub fn byte(&mut self) -> Result<u8, Fault> {
        if self.at == self.buffer.len() {
            let position = self.position();
            // At least one byte, so that reading at the end of the source is its error.
            let length = self.source.len.saturating_sub(position).clamp(1, CHUNK);
            self.buffer = self.source.read(position, length)?;
            (self.start, self.at) = (position, 0);
        }
        self.at += 1;
        Ok(self.buffer[self.at - 1])
    }

    /// The next `length` bytes; fails before it takes memory when the source holds fewer.
    pub fn take(&mut self, length: u64) -> Result<Vec<u8>, Fault> {
        let buffered = &self.buffer[self.at..];
        if length <= buffered.len() as u64 {
            let taken = buffered[..length as usize].to_vec();
            self.at += taken.len();
            return Ok(taken);
        }
        let position = self.position();
        if length >= CHUNK {
            let taken = self.source.read(position, length)?;
            (self.start, self.at) = (position + length, 0);
            self.buffer.clear();
            return Ok(taken);
        }
        let available = self.source.len.saturating_sub(position);
        self.buffer = self.source.read(position, available.min(CHUNK).max(length))?;
        (self.start, self.at) = (position, length as usize);
        Ok(self.buffer[..length as usize].to_vec())
    }
}
