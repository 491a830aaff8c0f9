//! AEDAT 2.0, the recordings of jAER: header lines that start with `#`, then a big-endian u32 address and a u32 time
//! in microseconds per event.
//!
//! Addresses are those of the chip that the header line `AEChip` names, as jAER reads them: rows count from the
//! bottom. DVS128: row in bits 8 to 14, column from the right in bits 1 to 7, bit 0 set for OFF, bit 15 for signals
//! that are no pixel. DAVIS: bit 31 set for frames, row in bits 22 to 30, column in bits 12 to 21, bit 11 set for ON,
//! bit 10 for signals.

use std::io::BufRead;

use crate::error::{DataError, Result};
use crate::events::{Checks, Event, EventReader, Records, header_lines};

const BYTES: usize = 8;
/// Newer versions of jAER end the header with this line; others leave that to the first line without `#`.
const END: &str = "#End Of ASCII Header";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chip {
    Dvs128,
    Davis,
}

/// Reads a recording.
pub struct Aedat2<R> {
    records: Records<R>,
    checks: Checks,
    chip: Chip,
    /// Added to times: they have 32 bits, and start again after 71 minutes.
    wrapped: u64,
    last: u32,
}

impl<R: BufRead> Aedat2<R> {
    /// Reads the header; `file` names the input in errors. A recording without `AEChip` is taken for one of a DVS128.
    pub fn new(mut input: R, file: &str) -> Result<Self> {
        let mut version = None;
        let mut chip = (Chip::Dvs128, [128, 128]);
        let offset = header_lines(&mut input, file, b'#', |line| {
            version.get_or_insert_with(|| line.to_owned());
            if let Some(name) = line.strip_prefix("# AEChip:") {
                chip = chip_of(name).ok_or_else(|| DataError::File {
                    file: file.to_owned(),
                    reason: format!("AEChip{name}: DVS128, DAVIS240 and DAVIS346 are read"),
                })?;
            }
            Ok(line != END)
        })?;
        match version.as_deref() {
            Some(line) if line.starts_with("#!AER-DAT2") => {}
            _ => return Err(DataError::offset(file, 0, "not AEDAT 2 (it starts with #!AER-DAT2)")),
        }
        let (chip, size) = chip;
        let records = Records::new(input, file, BYTES, offset);
        Ok(Self { records, checks: Checks::new(file, size), chip, wrapped: 0, last: 0 })
    }
}

fn chip_of(name: &str) -> Option<(Chip, [usize; 2])> {
    let name = name.rsplit('.').next()?.trim().to_uppercase();
    match name.as_str() {
        "DVS128" => Some((Chip::Dvs128, [128, 128])),
        _ if name.starts_with("DAVIS240") => Some((Chip::Davis, [180, 240])),
        _ if name.starts_with("DAVIS346") => Some((Chip::Davis, [260, 346])),
        _ => None,
    }
}

impl<R: BufRead> EventReader for Aedat2<R> {
    fn size(&self) -> [usize; 2] {
        self.checks.size()
    }

    fn read(&mut self, out: &mut Vec<Event>) -> Result<bool> {
        let height = self.checks.size()[0] as u32;
        let (offset, block) = self.records.block()?;
        for (i, bytes) in block.as_chunks::<BYTES>().0.iter().enumerate() {
            let [a, b, c, d, time @ ..] = *bytes;
            let address = u32::from_be_bytes([a, b, c, d]);
            let (row, x, on) = match self.chip {
                Chip::Dvs128 if address & 0x8000 != 0 => continue,
                Chip::Dvs128 => {
                    (address >> 8 & 0x7f, 127 - (address >> 1 & 0x7f), address & 1 == 0)
                }
                Chip::Davis if address & 0x8000_0400 != 0 => continue,
                Chip::Davis => (address >> 22 & 0x1ff, address >> 12 & 0x3ff, address & 0x800 != 0),
            };
            let time = u32::from_be_bytes(time);
            if self.last > time && self.last - time > 1 << 31 {
                self.wrapped += 1 << 32;
            }
            self.last = time;
            // A row above the sensor becomes one below it, for the check to find.
            let y = (height - 1).checked_sub(row).unwrap_or(row) as u16;
            let event = Event { t: self.wrapped + u64::from(time), x: x as u16, y, on };
            out.push(self.checks.event(event, offset + (i * BYTES) as u64)?);
        }
        Ok(!block.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::read_all;

    fn file(chip: &str, events: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = format!("#!AER-DAT2.0\r\n# a comment\r\n{chip}").into_bytes();
        for (address, time) in events {
            bytes.extend(address.to_be_bytes());
            bytes.extend(time.to_be_bytes());
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Event>> {
        read_all(&mut Aedat2::new(bytes, "a")?)
    }

    const DAVIS: &str = "# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n";

    #[test]
    fn addresses_of_a_dvs128() {
        // Row 3 from the bottom, column 5 from the right, OFF; a signal; the same pixel, ON.
        let address = 3 << 8 | 5 << 1;
        let events = read(&file("", &[(address | 1, 10), (0x8000, 11), (address, 12)])).unwrap();
        assert_eq!(events[0], Event { t: 10, x: 122, y: 124, on: false });
        assert_eq!(events[1..], [Event { t: 12, x: 122, y: 124, on: true }]);
    }

    #[test]
    fn addresses_of_a_davis() {
        let address = 179 << 22 | 239 << 12;
        let frame = 1 << 31 | address;
        let events = read(&file(DAVIS, &[(address | 0x800, 1), (frame, 1), (address | 0x400, 1)]));
        assert_eq!(events.unwrap(), [Event { t: 1, x: 239, y: 0, on: true }]);
    }

    #[test]
    fn times_start_again_after_32_bits() {
        let times: Vec<u64> = read(&file("", &[(0, u32::MAX), (0, 4), (0, 5)]))
            .unwrap()
            .iter()
            .map(|event| event.t)
            .collect();
        assert_eq!(times, [(1 << 32) - 1, (1 << 32) + 4, (1 << 32) + 5]);
    }

    #[test]
    fn hostile_files() {
        let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert!(said(b"no header").contains("not AEDAT 2"));
        assert!(said(b"#!AER-DAT1.0\r\n").contains("not AEDAT 2"));
        assert!(said(&file("# AEChip: x.Cochlea\r\n", &[])).contains("DVS128, DAVIS240"));
        assert!(said(&file("", &[(0, 9), (0, 8)])).contains("backwards, from 9 to 8"));
        assert!(said(&file(DAVIS, &[(240 << 12, 0)])).contains("column 240"));
        assert!(said(&file(DAVIS, &[(180 << 22, 0)])).contains("row 180"));
        // The first address starts with a byte that is `#`.
        let marked = file("#End Of ASCII Header\r\n", &[(0x2300_0000, 9)]);
        assert_eq!(read(&marked).unwrap().len(), 1);
        let good = file("", &[(0, 9)]);
        assert!(said(&good[..good.len() - 1]).contains("7 of 8 bytes"));
    }
}
