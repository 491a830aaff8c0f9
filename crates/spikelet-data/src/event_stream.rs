//! Event Stream 2 (`.es`): DVS events.
//!
//! `Event Stream`, three bytes of version, the type of the stream (1: DVS), width and height as little-endian u16.
//! An event is a byte with the time since the one before in its upper 7 bits and ON in its lowest, then column and row
//! as little-endian u16. In place of an event, 0xff adds 127 us and 0xfe is a filler. Rows count from the bottom.

use std::io::BufRead;

use crate::error::{DataError, Result};
use crate::events::{Checks, Event, EventReader};
use crate::npy::fill;

const MAGIC: &[u8; 12] = b"Event Stream";
const HEADER: u64 = 20;
const FILLER: u8 = 0xfe;
const OVERFLOW: u8 = 0xff;
/// Events read at once.
const BLOCK: usize = 8192;

/// Reads a recording.
pub struct EventStream<R> {
    input: R,
    file: String,
    checks: Checks,
    offset: u64,
    t: u64,
}

impl<R: BufRead> EventStream<R> {
    /// Reads the header; `file` names the input in errors.
    pub fn new(mut input: R, file: &str) -> Result<Self> {
        let mut start = [0; 16];
        fill(&mut input, &mut start, file, 0, "the header")?;
        if &start[..12] != MAGIC {
            return Err(DataError::offset(file, 0, "not an Event Stream"));
        }
        if start[12] != 2 {
            let reason = format!("version {}; 2 is read", start[12]);
            return Err(DataError::offset(file, 12, reason));
        }
        if start[15] != 1 {
            let names =
                ["generic events", "DVS events", "ATIS events", "display events", "color events"];
            let name = names.get(usize::from(start[15])).unwrap_or(&"events of an unknown kind");
            return Err(DataError::offset(
                file,
                15,
                format!("a stream of {name}; DVS events are read"),
            ));
        }
        let mut size = [0; 4];
        fill(&mut input, &mut size, file, 16, "width and height")?;
        let width = usize::from(u16::from_le_bytes([size[0], size[1]]));
        let height = usize::from(u16::from_le_bytes([size[2], size[3]]));
        let checks = Checks::new(file, [height, width]);
        Ok(Self { input, file: file.to_owned(), checks, offset: HEADER, t: 0 })
    }
}

impl<R: BufRead> EventReader for EventStream<R> {
    fn size(&self) -> [usize; 2] {
        self.checks.size()
    }

    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool> {
        // Bytes and not events are counted, so that a file of fillers also comes back in blocks.
        for _ in 0..BLOCK {
            let next = self.input.fill_buf();
            let next = next.map_err(|source| DataError::Io { path: self.file.clone(), source })?;
            match next.first() {
                None => return Ok(false),
                Some(&FILLER | &OVERFLOW) => {
                    self.t += if next[0] == OVERFLOW { 127 } else { 0 };
                    self.input.consume(1);
                    self.offset += 1;
                }
                Some(_) => {
                    let mut event = [0; 5];
                    fill(&mut self.input, &mut event, &self.file, self.offset, "an event")?;
                    let [first, x0, x1, y0, y1] = event;
                    self.t += u64::from(first >> 1);
                    let row = u16::from_le_bytes([y0, y1]);
                    let height = self.checks.size()[0];
                    // A row above the sensor becomes one below it, for the check to find.
                    let y = height.checked_sub(1 + usize::from(row)).map_or(row, |y| y as u16);
                    let x = u16::from_le_bytes([x0, x1]);
                    let event = Event { t: self.t, x, y, on: first & 1 == 1 };
                    out.push(self.checks.event(event, self.offset)?);
                    self.offset += 5;
                }
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::read_all;

    fn read(start: &[u8], rest: &[u8]) -> Result<Vec<Event>> {
        let bytes = [MAGIC, start, rest].concat();
        read_all(&mut EventStream::new(&bytes[..], "s")?)
    }

    /// Version 2.0.0, DVS, 300 x 4.
    const DVS: &[u8] = &[2, 0, 0, 1, 44, 1, 4, 0];

    #[test]
    fn bytes_of_events() {
        let bytes = [11, 43, 1, 0, 0, OVERFLOW, FILLER, OVERFLOW, 6, 0, 0, 3, 0];
        let events = read(DVS, &bytes).unwrap();
        assert_eq!(events[0], Event { t: 5, x: 299, y: 3, on: true });
        assert_eq!(events[1..], [Event { t: 5 + 254 + 3, x: 0, y: 0, on: false }]);
    }

    #[test]
    fn hostile_files() {
        let said = |start: &[u8], rest: &[u8]| read(start, rest).unwrap_err().to_string();
        assert!(said(&[2, 0, 0, 0, 9, 9, 9, 9], &[]).contains("a stream of generic events"));
        assert!(said(&[2, 0, 0, 9], &[]).contains("unknown kind"));
        assert!(said(&[1, 0, 0, 1], &[]).contains("version 1"));
        assert!(said(&DVS[..6], &[]).contains("width and height"));
        assert!(said(DVS, &[0, 44, 1, 0, 0]).contains("column 300"));
        assert!(said(DVS, &[0, 0, 0, 4, 0]).contains("row 4"));
        assert!(said(DVS, &[0, 0, 0]).contains("within an event"));
        assert!(EventStream::new(&b"Event Strean2001"[..], "s").is_err());
        let fillers = [OVERFLOW; 100_000];
        assert_eq!(read(DVS, &fillers).unwrap(), []);
    }
}
