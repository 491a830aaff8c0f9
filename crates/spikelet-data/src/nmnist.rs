//! The 40-bit events of N-MNIST (Orchard et al. 2015).
//!
//! Column, row, then the polarity (1: ON) as the highest bit of a 24-bit big-endian word whose other bits are the
//! time in microseconds. Row 240 is no event: there the clock of the camera overflowed, and all later
//! times are 2^13 us more (the data set's own reader).

use std::io::BufRead;

use crate::error::{DataError, Result};
use crate::events::{Checks, Event, EventReader, Records};

/// Height and width that the recordings were cut to.
pub const SIZE: [usize; 2] = [34, 34];
const BYTES: usize = 5;
const TIME: u32 = (1 << 23) - 1;
/// The row that marks an overflow of the clock, and the time it adds.
const OVERFLOW: (u8, u64) = (240, 1 << 13);

/// Reads a recording.
pub struct Nmnist<R> {
    records: Records<R>,
    checks: Checks,
    /// What overflows have added.
    added: u64,
}

impl<R: BufRead> Nmnist<R> {
    /// Events of `input`; `file` names it in errors.
    pub fn new(input: R, file: &str) -> Self {
        let (records, checks) = (Records::new(input, file, BYTES, 0), Checks::new(file, SIZE));
        Self { records, checks, added: 0 }
    }
}

impl<R: BufRead> EventReader for Nmnist<R> {
    fn size(&self) -> [usize; 2] {
        SIZE
    }

    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool> {
        let (offset, block) = self.records.block()?;
        for (i, bytes) in block.as_chunks::<BYTES>().0.iter().enumerate() {
            let [x, y, rest @ ..] = *bytes;
            let word = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
            if y == OVERFLOW.0 {
                self.added += OVERFLOW.1;
                continue;
            }
            let t = u64::from(word & TIME) + self.added;
            let event = Event { t, x: x.into(), y: y.into(), on: word > TIME };
            out.push(self.checks.event(event, offset + (i * BYTES) as u64)?);
        }
        Ok(!block.is_empty())
    }
}

/// The bytes of a recording.
pub fn encode(events: &[Event]) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(events.len() * BYTES);
    for event in events {
        let (Ok(x), Ok(y), Ok(t)) =
            (u8::try_from(event.x), u8::try_from(event.y), u32::try_from(event.t))
        else {
            return Err(DataError::request(format!("{event:?} does not fit in 40 bits")));
        };
        if t > TIME {
            return Err(DataError::request(format!("{event:?} does not fit in 40 bits")));
        }
        let word = u32::from(event.on) << 23 | t;
        bytes.extend([x, y]);
        bytes.extend(&word.to_be_bytes()[1..]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::read_all;

    fn read(bytes: &[u8]) -> Result<Vec<Event>> {
        read_all(&mut Nmnist::new(bytes, "n"))
    }

    #[test]
    fn bits_of_an_event() {
        // Column 7, row 15, ON, 0x00028e = 654 us; then column 33, row 0, OFF, 2^23 - 1 us.
        let bytes = [7, 15, 0x80, 0x02, 0x8e, 33, 0, 0x7f, 0xff, 0xff];
        let events = read(&bytes).unwrap();
        assert_eq!(events[0], Event { t: 654, x: 7, y: 15, on: true });
        assert_eq!(events[1], Event { t: 8_388_607, x: 33, y: 0, on: false });
        assert_eq!(encode(&events).unwrap(), bytes);
        assert!(encode(&[Event { t: 1 << 23, ..events[0] }]).is_err());
        assert!(encode(&[Event { x: 256, ..events[0] }]).is_err());
    }

    #[test]
    fn the_clock_overflows_at_row_240() {
        let bytes = [1, 2, 0, 0, 9, 0, 240, 0, 0, 0, 1, 2, 0, 0, 1, 0, 240, 0, 0, 0, 1, 2, 0, 0, 5];
        let times: Vec<u64> = read(&bytes).unwrap().iter().map(|event| event.t).collect();
        assert_eq!(times, [9, 8193, 16389]);
    }

    #[test]
    fn hostile_files() {
        let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(said(&[0; 8]), "n: at byte 5: the file ends within an event (3 of 5 bytes)");
        assert!(said(&[34, 0, 0, 0, 0]).contains("column 34"));
        assert!(said(&[0, 0, 0, 0, 9, 0, 0, 0, 0, 8]).contains("at byte 5: time runs backwards"));
        assert_eq!(read(&[]).unwrap(), []);
    }
}
