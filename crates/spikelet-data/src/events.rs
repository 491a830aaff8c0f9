//! Events of an event camera, and what the readers of all event formats share.
//!
//! A reader hands out events in blocks and holds one block, so recordings may be larger than the memory. Rows count
//! from the top, columns from the left, whatever the format does; times are microseconds and never run backwards.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::aedat2::Aedat2;
use crate::aedat3::Aedat3;
use crate::error::{DataError, Result};
use crate::event_stream::EventStream;
use crate::evt2::Evt2;
use crate::nmnist::Nmnist;

/// A change of brightness at one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Time in microseconds.
    pub t: u64,
    /// Column, 0 on the left.
    pub x: u16,
    /// Row, 0 on top.
    pub y: u16,
    /// Whether it became brighter.
    pub on: bool,
}

/// Reads the events of one recording.
pub trait EventReader {
    /// Height and width of the sensor.
    fn size(&self) -> [usize; 2];

    /// Appends the next events to `out`; `false` when there are no more.
    ///
    /// # Errors
    /// If the file ends within an event, an event lies outside the sensor, or time runs backwards.
    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool>;
}

/// Endings of the files that [`open`] reads.
pub const ENDINGS: [&str; 4] = ["aedat", "bin", "es", "raw"];

/// Most events of one sample that are held: some ten times the most active gesture.
pub const MAX_EVENTS: usize = 1 << 24;

/// Opens a recording by the ending of its name: `.bin` is N-MNIST's format, `.aedat` AEDAT 2 or 3.1, `.raw` EVT2,
/// `.es` Event Stream.
pub fn open(path: &Path) -> Result<Box<dyn EventReader>> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut input = BufReader::with_capacity(1 << 16, file);
    let name = path.display().to_string();
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
    Ok(match ending.as_str() {
        "bin" => Box::new(Nmnist::new(input, &name)),
        "aedat" => {
            let start = input.fill_buf().map_err(|e| DataError::io(path, e))?;
            match start.starts_with(b"#!AER-DAT3") {
                true => Box::new(Aedat3::new(input, &name)?),
                false => Box::new(Aedat2::new(input, &name)?),
            }
        }
        "raw" => Box::new(Evt2::new(input, &name)?),
        "es" => Box::new(EventStream::new(input, &name)?),
        _ => {
            let known = ENDINGS.join(", .");
            return Err(DataError::file(path, format!("recordings end in .{known}")));
        }
    })
}

/// All events of a recording, up to [`MAX_EVENTS`].
pub fn read_all(reader: &mut dyn EventReader) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while reader.read(&mut events)? {
        if events.len() > MAX_EVENTS {
            return Err(DataError::request(format!("a sample of more than {MAX_EVENTS} events")));
        }
    }
    Ok(events)
}

/// Records of a fixed size, read in blocks.
pub(crate) struct Records<R> {
    input: R,
    file: String,
    size: usize,
    /// Where the next block starts.
    offset: u64,
    buffer: Vec<u8>,
}

/// Records in a block.
const BLOCK: usize = 8192;

impl<R: Read> Records<R> {
    /// Records of `size` bytes; the first is at `offset` of the file.
    pub fn new(input: R, file: &str, size: usize, offset: u64) -> Self {
        Self { input, file: file.to_owned(), size, offset, buffer: Vec::new() }
    }

    /// The next block and the offset of its first record; empty after the last.
    pub fn block(&mut self) -> Result<(u64, &[u8])> {
        let wanted = self.size * BLOCK;
        self.buffer.clear();
        let read = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.buffer);
        read.map_err(|source| DataError::Io { path: self.file.clone(), source })?;
        let (offset, rest) = (self.offset, self.buffer.len() % self.size);
        self.offset += self.buffer.len() as u64;
        if rest != 0 {
            let reason = format!("the file ends within an event ({rest} of {} bytes)", self.size);
            return Err(DataError::offset(&self.file, self.offset - rest as u64, reason));
        }
        Ok((offset, &self.buffer))
    }
}

/// Checks that events lie on the sensor and time does not run backwards.
pub(crate) struct Checks {
    file: String,
    size: [usize; 2],
    last: u64,
}

impl Checks {
    /// For a sensor of `size` `[height, width]`.
    pub fn new(file: &str, size: [usize; 2]) -> Self {
        Self { file: file.to_owned(), size, last: 0 }
    }

    /// Height and width of the sensor.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Name of the file in errors.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The event, if nothing is wrong with it; `offset` is where it stands.
    pub fn event(&mut self, event: Event, offset: u64) -> Result<Event> {
        let [height, width] = self.size;
        if usize::from(event.x) >= width || usize::from(event.y) >= height {
            let reason = format!(
                "event at column {}, row {} of a sensor of {width} x {height}",
                event.x, event.y
            );
            return Err(DataError::offset(&self.file, offset, reason));
        }
        if event.t < self.last {
            let reason = format!("time runs backwards, from {} to {} us", self.last, event.t);
            return Err(DataError::offset(&self.file, offset, reason));
        }
        self.last = event.t;
        Ok(event)
    }
}

/// Reads header lines that start with `mark`, up to the first that does not; calls `line` with each. Returns how many
/// bytes they take.
pub(crate) fn header_lines(
    input: &mut impl BufRead,
    file: &str,
    mark: u8,
    mut line: impl FnMut(&str) -> Result<bool>,
) -> Result<u64> {
    let io = |source| DataError::Io { path: file.to_owned(), source };
    let mut offset = 0;
    loop {
        if input.fill_buf().map_err(io)?.first() != Some(&mark) {
            return Ok(offset);
        }
        let mut bytes = Vec::new();
        let read =
            input.by_ref().take(MAX_HEADER_LINE).read_until(b'\n', &mut bytes).map_err(io)?;
        offset += read as u64;
        if bytes.pop() != Some(b'\n') || offset > MAX_HEADER {
            return Err(DataError::offset(file, offset, "the header does not end"));
        }
        if !line(String::from_utf8_lossy(&bytes).trim_end())? {
            return Ok(offset);
        }
    }
}

/// Longest header line: jAER writes its preferences there.
const MAX_HEADER_LINE: u64 = 1 << 16;
const MAX_HEADER: u64 = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_checked() {
        let mut checks = Checks::new("f", [2, 3]);
        let at = |t, x, y| Event { t, x, y, on: true };
        checks.event(at(5, 2, 1), 0).unwrap();
        let mut said = |event| checks.event(event, 7).unwrap_err().to_string();
        assert_eq!(
            said(at(9, 3, 1)),
            "f: at byte 7: event at column 3, row 1 of a sensor of 3 x 2"
        );
        assert!(said(at(9, 0, 2)).contains("row 2"));
        assert_eq!(said(at(4, 0, 0)), "f: at byte 7: time runs backwards, from 5 to 4 us");
    }

    #[test]
    fn headers_end() {
        let lines = |bytes: &[u8]| {
            let mut all = Vec::new();
            let offset = header_lines(&mut &*bytes, "f", b'#', |line| {
                all.push(line.to_owned());
                Ok(true)
            });
            offset.map(|offset| (offset, all)).map_err(|e| e.to_string())
        };
        assert_eq!(lines(b"#a\r\n#b\nc"), Ok((7, vec!["#a".to_owned(), "#b".to_owned()])));
        assert!(lines(&[b'#'; 1 << 17]).unwrap_err().contains("does not end"));
        assert!(lines(b"#cut").unwrap_err().contains("does not end"));
    }

    #[test]
    fn unknown_endings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "x").unwrap();
        let e = open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(e.ends_with("recordings end in .aedat, .bin, .es, .raw"), "{e}");
    }
}
