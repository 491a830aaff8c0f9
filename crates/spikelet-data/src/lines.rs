//! Text files line by line in constant memory, plain or gzip, with a limit on the length of a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{DataError, Result};

/// Longest accepted line. A longer one means the file is not text of the expected kind; without a limit it
/// would be collected in memory whole.
pub const MAX_LINE: usize = 1 << 20;

/// Opens a file, decompressing it if its first two bytes are gzip's.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    decompress(BufReader::with_capacity(1 << 16, file)).map_err(|e| DataError::io(path, e))
}

/// `inner` itself, or its decompressed content if it starts like a gzip stream.
pub fn decompress<'a>(mut inner: impl BufRead + 'a) -> std::io::Result<Box<dyn BufRead + 'a>> {
    Ok(match inner.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(inner))),
        false => Box::new(inner),
    })
}

/// Reads lines into one reused buffer.
pub struct Lines<R> {
    inner: R,
    file: String,
    number: u64,
    limit: usize,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `inner`; `file` is its name in errors.
    pub fn new(inner: R, file: impl Into<String>, limit: usize) -> Self {
        Self { inner, file: file.into(), number: 0, limit, buffer: Vec::new() }
    }

    /// The next line without its line end, or `None` at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<&str>> {
        self.buffer.clear();
        let limit = self.limit as u64 + 2;
        let read = (&mut self.inner).take(limit).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|source| DataError::Io { path: self.file.clone(), source })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        }
        if self.buffer.len() > self.limit {
            return Err(self.error(format!("the line is longer than {} bytes", self.limit)));
        }
        match std::str::from_utf8(&self.buffer) {
            Ok(line) => Ok(Some(line)),
            Err(e) => Err(DataError::line(&self.file, self.number, format!("not text: {e}"))),
        }
    }

    /// Number of the line last returned, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Name of the file in errors.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An error in the line last returned.
    pub fn error(&self, reason: impl Into<String>) -> DataError {
        DataError::line(&self.file, self.number, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(bytes: &[u8], limit: usize) -> Result<Vec<String>> {
        let mut lines = Lines::new(bytes, "t", limit);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line()? {
            out.push(line.to_owned());
        }
        Ok(out)
    }

    #[test]
    fn both_line_ends_and_a_missing_last_one() {
        assert_eq!(all(b"a\r\nb\n\nc", 10).unwrap(), ["a", "b", "", "c"]);
    }

    #[test]
    fn long_lines_and_bytes_are_errors_with_their_line() {
        assert_eq!(
            all(b"abc\r\nab\nabcd\n", 3).unwrap_err().to_string(),
            "t:3: the line is longer than 3 bytes"
        );
        assert!(all(b"a\n\xff\n", 3).unwrap_err().to_string().starts_with("t:2: not text"));
    }

    #[test]
    fn an_endless_line_is_not_collected() {
        let mut lines = Lines::new(BufReader::new(std::io::repeat(b'x')), "t", 100);
        assert!(lines.next_line().is_err());
        assert!(lines.buffer.capacity() < 1000);
    }

    #[test]
    fn gzip_is_recognised_by_content() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(b"one\ntwo\n").unwrap();
        let gz = gz.finish().unwrap();
        let mut lines = Lines::new(decompress(&gz[..]).unwrap(), "t", 10);
        assert_eq!(lines.next_line().unwrap(), Some("one"));
        for cut in 2..gz.len() {
            let mut lines = Lines::new(decompress(&gz[..cut]).unwrap(), "t", 10);
            let end = std::iter::repeat_with(|| lines.next_line().map(|l| l.is_some()))
                .find(|l| !matches!(l, Ok(true)));
            assert!(end.is_some_and(|l| l.is_err()), "cut at {cut}");
        }
    }
}
