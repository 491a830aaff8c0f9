//! EVT 2.0 of Prophesee's cameras: header lines that start with `%`, then 32-bit little-endian words.
//!
//! The upper four bits of a word say what it is. 0 and 1: an OFF or ON event, with the lower 6 bits of the time in
//! bits 22 to 27, the column in bits 11 to 21, the row in bits 0 to 10. 8: the upper 28 bits of the time. 10, 14, 15:
//! triggers and vendors' data, which are skipped. Rows count from the top.

use std::io::BufRead;

use crate::error::{DataError, Result};
use crate::events::{Checks, Event, EventReader, Records, header_lines};

const BYTES: usize = 4;
/// What 11 bits can address.
const LARGEST: usize = 2048;

/// Reads a recording.
pub struct Evt2<R> {
    records: Records<R>,
    checks: Checks,
    /// Upper bits of the time, in microseconds; `None` before the first word that tells them.
    high: Option<u64>,
    /// Added to times: they have 34 bits, and start again after 4.8 hours.
    wrapped: u64,
}

impl<R: BufRead> Evt2<R> {
    /// Reads the header; `file` names the input in errors. Where the header tells no size, it is what the format can
    /// address.
    pub fn new(mut input: R, file: &str) -> Result<Self> {
        let (mut size, mut other) = ([LARGEST; 2], None);
        let mut lines = 0;
        let offset = header_lines(&mut input, file, b'%', |line| {
            lines += 1;
            let line = line[1..].trim();
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "evt" if value.trim() != "2.0" => other = Some(format!("EVT {value}")),
                "format" => {
                    let (name, fields) = value.split_once(';').unwrap_or((value, ""));
                    if name != "EVT2" {
                        other = Some(name.to_owned());
                    }
                    for field in fields.split(';') {
                        match field.split_once('=') {
                            Some(("height", n)) => size[0] = side(n, file)?,
                            Some(("width", n)) => size[1] = side(n, file)?,
                            _ => {}
                        }
                    }
                }
                "geometry" => {
                    if let Some((width, height)) = value.split_once('x') {
                        size = [side(height, file)?, side(width, file)?];
                    }
                }
                "end" => return Ok(false),
                _ => {}
            }
            Ok(true)
        })?;
        if let Some(other) = other {
            let reason = format!("{other} is not read; EVT 2.0 is");
            return Err(DataError::File { file: file.to_owned(), reason });
        }
        if lines == 0 {
            return Err(DataError::offset(file, 0, "no header; EVT 2.0 starts with lines of %"));
        }
        let records = Records::new(input, file, BYTES, offset);
        Ok(Self { records, checks: Checks::new(file, size), high: None, wrapped: 0 })
    }
}

fn side(text: &str, file: &str) -> Result<usize> {
    text.trim().parse().ok().filter(|n| (1..=LARGEST).contains(n)).ok_or_else(|| DataError::File {
        file: file.to_owned(),
        reason: format!("a sensor with {text:?} rows or columns; 1 to {LARGEST}"),
    })
}

impl<R: BufRead> EventReader for Evt2<R> {
    fn size(&self) -> [usize; 2] {
        self.checks.size()
    }

    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool> {
        let (offset, block) = self.records.block()?;
        for (i, bytes) in block.as_chunks::<BYTES>().0.iter().enumerate() {
            let word = u32::from_le_bytes(*bytes);
            match word >> 28 {
                on @ (0 | 1) => {
                    // What comes before the first time cannot be placed.
                    let Some(high) = self.high else { continue };
                    let event = Event {
                        t: self.wrapped + (high | u64::from(word >> 22 & 0x3f)),
                        x: (word >> 11 & 0x7ff) as u16,
                        y: (word & 0x7ff) as u16,
                        on: on == 1,
                    };
                    out.push(self.checks.event(event, offset + (i * BYTES) as u64)?);
                }
                8 => {
                    let high = u64::from(word & 0x0fff_ffff) << 6;
                    if self.high.is_some_and(|before| before > high && before - high > 1 << 33) {
                        self.wrapped += 1 << 34;
                    }
                    self.high = Some(high);
                }
                10 | 14 | 15 => {}
                kind => {
                    let reason = format!("word of type {kind}; EVT 2.0 has 0, 1, 8, 10, 14 and 15");
                    let at = offset + (i * BYTES) as u64;
                    return Err(DataError::offset(self.checks.file(), at, reason));
                }
            }
        }
        Ok(!block.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::read_all;

    fn file(header: &str, words: &[u32]) -> Vec<u8> {
        let mut bytes = header.as_bytes().to_vec();
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes
    }

    fn read(header: &str, words: &[u32]) -> Result<Vec<Event>> {
        let bytes = file(header, words);
        read_all(&mut Evt2::new(&bytes[..], "e")?)
    }

    const HEADER: &str = "% evt 2.0\n% geometry 640x480\n% end\n";

    fn event(on: u32, low: u32, x: u32, y: u32) -> u32 {
        on << 28 | low << 22 | x << 11 | y
    }

    #[test]
    fn bits_of_a_word() {
        let words =
            [event(1, 1, 9, 9), 8 << 28 | 5, event(1, 63, 639, 479), 10 << 28, event(0, 63, 0, 7)];
        let events = read(HEADER, &words).unwrap();
        assert_eq!(events[0], Event { t: 5 * 64 + 63, x: 639, y: 479, on: true });
        assert_eq!(events[1..], [Event { t: 5 * 64 + 63, x: 0, y: 7, on: false }]);
    }

    #[test]
    fn times_start_again_after_34_bits() {
        let words = [8 << 28 | 0x0fff_ffff, event(0, 0, 0, 0), 8 << 28, event(0, 2, 0, 0)];
        let events = read(HEADER, &words).unwrap();
        assert_eq!((events[0].t, events[1].t), ((1 << 34) - 64, (1 << 34) + 2));
    }

    #[test]
    fn sizes_in_headers() {
        let size = |header: &str| Evt2::new(header.as_bytes(), "e").map(|e| e.size());
        assert_eq!(size("% evt 2.0\n").unwrap(), [2048, 2048]);
        assert_eq!(size("% format EVT2;height=720;width=1280\n% end\n").unwrap(), [720, 1280]);
        assert!(size("% geometry 0x9\n").is_err() && size("% geometry 9x99999\n").is_err());
        for other in ["% evt 3.0\n", "% format EVT3;height=1;width=1\n", "", "none"] {
            assert!(size(other).is_err(), "{other}");
        }
    }

    #[test]
    fn hostile_files() {
        let said = |words: &[u32]| read(HEADER, words).unwrap_err().to_string();
        let start = 8 << 28 | 9;
        assert!(said(&[start, event(0, 0, 640, 0)]).contains("column 640"));
        assert!(said(&[start, event(0, 0, 0, 480)]).contains("row 480"));
        assert!(said(&[start, event(0, 9, 0, 0), event(0, 8, 0, 0)]).contains("backwards"));
        assert!(said(&[start, 7 << 28]).contains("word of type 7"));
        let cut = file(HEADER, &[start]);
        let e = read_all(&mut Evt2::new(&cut[..cut.len() - 1], "e").unwrap()).unwrap_err();
        assert!(e.to_string().contains("3 of 4 bytes"));
    }
}
