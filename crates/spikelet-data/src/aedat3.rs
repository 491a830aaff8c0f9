//! AEDAT 3.1, the recordings of cAER and of the DVS128 Gesture set.
//!
//! Header lines start with `#`; `#!END-HEADER` is the last. Packets follow, all little-endian: type i16 (1: polarity
//! events), source i16, bytes an event i32, offset of the time in an event i32, overflows of the time i32, capacity,
//! number and valid number of events i32. A polarity event is a u32 (bit 0 valid, bit 1 ON, row in bits 2 to 16,
//! column in bits 17 to 31) and an i32, the lower 31 bits of the time in microseconds. Packets of other types are
//! skipped.

use std::io::{self, BufRead, Read};

use crate::error::{DataError, Result};
use crate::events::{Checks, Event, EventReader, header_lines};
use crate::npy::fill;

const POLARITY: i16 = 1;
const HEADER: usize = 28;
const BYTES: usize = 8;
/// Events read at once.
const BLOCK: usize = 8192;

/// Reads a recording.
pub struct Aedat3<R> {
    input: R,
    file: String,
    checks: Checks,
    offset: u64,
    /// Polarity events left in the current packet.
    left: usize,
    /// Time that the 31 bits of the current packet's events are added to.
    base: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Aedat3<R> {
    /// Reads the header; `file` names the input in errors. The sensor is the one that a `#Source` line names.
    pub fn new(mut input: R, file: &str) -> Result<Self> {
        let (mut version, mut ended) = (None, false);
        let mut size = [128, 128];
        let offset = header_lines(&mut input, file, b'#', |line| {
            version.get_or_insert_with(|| line.to_owned());
            if line.starts_with("#Source") {
                size = match () {
                    () if line.contains("DAVIS240") => [180, 240],
                    () if line.contains("DAVIS346") => [260, 346],
                    () => [128, 128],
                };
            }
            ended = line == "#!END-HEADER";
            Ok(!ended)
        })?;
        match version.as_deref() {
            Some(line) if line.starts_with("#!AER-DAT3.1") => {}
            _ => {
                return Err(DataError::offset(
                    file,
                    0,
                    "not AEDAT 3.1 (it starts with #!AER-DAT3.1)",
                ));
            }
        }
        if !ended {
            return Err(DataError::offset(file, offset, "the header does not end in #!END-HEADER"));
        }
        let checks = Checks::new(file, size);
        let file = file.to_owned();
        Ok(Self { input, file, checks, offset, left: 0, base: 0, buffer: Vec::new() })
    }

    /// Reads headers of packets up to the next one with polarity events; `false` at the end of the file.
    fn packet(&mut self) -> Result<bool> {
        let io = |file: &str, source| DataError::Io { path: file.to_owned(), source };
        while self.left == 0 {
            if self.input.fill_buf().map_err(|e| io(&self.file, e))?.is_empty() {
                return Ok(false);
            }
            let mut header = [0; HEADER];
            fill(&mut self.input, &mut header, &self.file, self.offset, "a packet header")?;
            let kind = i16::from_le_bytes([header[0], header[1]]);
            let [size, time, overflow, capacity, number] = std::array::from_fn(|i| {
                let at = 4 + 4 * i;
                i32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
            });
            let (file, at) = (&self.file, self.offset);
            let wrong = |reason: String| Err(DataError::offset(file, at, reason));
            if size <= 0 || overflow < 0 || number < 0 || capacity < number {
                return wrong(format!(
                    "packet with {number} of {capacity} events of {size} bytes, {overflow} overflows"
                ));
            }
            if kind == POLARITY && (size as usize != BYTES || time != 4) {
                return wrong(format!(
                    "polarity events of {size} bytes with the time at {time}; expected {BYTES} and 4"
                ));
            }
            self.offset += HEADER as u64;
            if kind == POLARITY {
                if capacity != number {
                    return wrong(format!("packet of {number} events has room for {capacity}"));
                }
                (self.left, self.base) = (number as usize, (overflow as u64) << 31);
            } else {
                let skip = size as u64 * capacity as u64;
                let mut content = self.input.by_ref().take(skip);
                let skipped =
                    io::copy(&mut content, &mut io::sink()).map_err(|e| io(&self.file, e))?;
                if skipped != skip {
                    let reason = format!("the file ends within a packet of {skip} bytes");
                    return Err(DataError::offset(&self.file, self.offset, reason));
                }
                self.offset += skip;
            }
        }
        Ok(true)
    }
}

impl<R: BufRead> EventReader for Aedat3<R> {
    fn size(&self) -> [usize; 2] {
        self.checks.size()
    }

    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool> {
        if !self.packet()? {
            return Ok(false);
        }
        let n = self.left.min(BLOCK);
        self.buffer.resize(n * BYTES, 0);
        let what = format_args!("a packet with {} more events", self.left);
        fill(&mut self.input, &mut self.buffer, &self.file, self.offset, what)?;
        for (i, bytes) in self.buffer.as_chunks::<BYTES>().0.iter().enumerate() {
            let [a, b, c, d, time @ ..] = *bytes;
            let word = u32::from_le_bytes([a, b, c, d]);
            // Invalid events were filtered out by the camera.
            if word & 1 == 0 {
                continue;
            }
            let at = self.offset + (i * BYTES) as u64;
            let Ok(time) = u64::try_from(i32::from_le_bytes(time)) else {
                return Err(DataError::offset(&self.file, at + 4, "negative time"));
            };
            let event = Event {
                t: self.base + time,
                x: (word >> 17) as u16,
                y: (word >> 2 & 0x7fff) as u16,
                on: word & 2 != 0,
            };
            out.push(self.checks.event(event, at)?);
        }
        self.left -= n;
        self.offset += (n * BYTES) as u64;
        Ok(true)
    }
}

/// The bytes of a recording of a DVS128.
///
/// # Errors
/// If an event lies outside of 128 x 128 pixels.
pub fn encode(events: &[Event]) -> Result<Vec<u8>> {
    let mut bytes =
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n".to_vec();
    let mut checks = Checks::new("events to be written", [128, 128]);
    let mut rest = events;
    while let Some(first) = rest.first() {
        // Times of a packet share their overflow count.
        let overflow = first.t >> 31;
        let n = rest.iter().take(BLOCK).take_while(|event| event.t >> 31 == overflow).count();
        let Ok(overflow) = i32::try_from(overflow) else {
            return Err(DataError::request(format!("{first:?} is too late for AEDAT 3.1")));
        };
        bytes.extend(POLARITY.to_le_bytes());
        bytes.extend(1i16.to_le_bytes());
        for field in [BYTES as i32, 4, overflow, n as i32, n as i32, n as i32] {
            bytes.extend(field.to_le_bytes());
        }
        for event in &rest[..n] {
            let event = checks.event(*event, 0)?;
            let word =
                u32::from(event.x) << 17 | u32::from(event.y) << 2 | u32::from(event.on) << 1 | 1;
            bytes.extend(word.to_le_bytes());
            bytes.extend(((event.t & 0x7fff_ffff) as u32).to_le_bytes());
        }
        rest = &rest[n..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::read_all;

    const START: &[u8] = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n";

    /// A packet with the fields of its header in the order of the format.
    fn packet(kind: i16, fields: [i32; 6], content: &[u8]) -> Vec<u8> {
        let mut bytes = [kind.to_le_bytes(), 1i16.to_le_bytes()].concat();
        fields.iter().for_each(|field| bytes.extend(field.to_le_bytes()));
        bytes.extend(content);
        bytes
    }

    fn event(word: u32, time: i32) -> Vec<u8> {
        [word.to_le_bytes(), time.to_le_bytes()].concat()
    }

    fn read(packets: &[Vec<u8>]) -> Result<Vec<Event>> {
        let bytes = [START, &packets.concat()].concat();
        read_all(&mut Aedat3::new(&bytes[..], "a")?)
    }

    #[test]
    fn bits_of_polarity_events() {
        let on = event(120 << 17 | 5 << 2 | 3, 77);
        let invalid = event(120 << 17 | 5 << 2 | 2, 78);
        let special = packet(0, [8, 4, 0, 2, 2, 2], &[9; 16]);
        let packets = [
            packet(1, [8, 4, 0, 2, 2, 1], &[on.clone(), invalid].concat()),
            special,
            packet(1, [8, 4, 0, 0, 0, 0], &[]),
            packet(1, [8, 4, 3, 1, 1, 1], &event(1, 5)),
        ];
        let events = read(&packets).unwrap();
        assert_eq!(events[0], Event { t: 77, x: 120, y: 5, on: true });
        assert_eq!(events[1..], [Event { t: (3 << 31) + 5, x: 0, y: 0, on: false }]);
    }

    #[test]
    fn what_is_written_is_read() {
        let events: Vec<Event> = (0..20_000u64)
            .map(|i| Event {
                t: (1 << 31) - 10_000 + i,
                x: (i * 7 % 128) as u16,
                y: (i * 3 % 128) as u16,
                on: i % 3 == 0,
            })
            .collect();
        let bytes = encode(&events).unwrap();
        assert_eq!(read_all(&mut Aedat3::new(&bytes[..], "a").unwrap()).unwrap(), events);
        assert!(encode(&[Event { x: 128, ..events[0] }]).is_err());
    }

    #[test]
    fn hostile_files() {
        let said = |packets: &[Vec<u8>]| read(packets).unwrap_err().to_string();
        let one = event(1, 5);
        assert!(said(&[vec![1, 0, 1]]).contains("within a packet header"));
        // A packet that promises 2^31 - 1 events takes no memory for them.
        assert!(said(&[packet(1, [8, 4, 0, i32::MAX, i32::MAX, 0], &one)]).contains("more events"));
        assert!(said(&[packet(9, [i32::MAX, 0, 0, i32::MAX, 0, 0], &one)]).contains("ends within"));
        assert!(said(&[packet(1, [-8, 4, 0, 1, 1, 1], &one)]).contains("of -8 bytes"));
        assert!(said(&[packet(1, [8, 4, 0, 1, 2, 1], &one)]).contains("2 of 1 events"));
        assert!(said(&[packet(1, [8, 4, 0, 2, 1, 1], &one)]).contains("room for 2"));
        assert!(said(&[packet(1, [16, 4, 0, 1, 1, 1], &one)]).contains("expected 8 and 4"));
        assert!(said(&[packet(1, [8, 4, 0, 1, 1, 1], &event(1, -5))]).contains("negative time"));
        assert!(
            said(&[packet(1, [8, 4, 0, 1, 1, 1], &event(128 << 17 | 1, 5))]).contains("column")
        );
        let back = [event(1, 5), event(1, 4)].concat();
        assert!(said(&[packet(1, [8, 4, 0, 2, 2, 2], &back)]).contains("backwards"));
        for start in [&b"#!AER-DAT2.0\r\n"[..], b"#!AER-DAT3.1\r\nx", b""] {
            assert!(Aedat3::new(start, "a").is_err());
        }
    }
}
