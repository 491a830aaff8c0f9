//! The part of the zip format that checkpoints use: stored and deflated entries, zip64.
//!
//! Only the central directory is believed; every size in it is checked against the file, and an
//! entry whose local header disagrees or which overlaps another one is refused.

use super::{
    error::{DAMAGED, Fault},
    source::Source,
};
use std::{collections::BTreeMap, io::Read};

const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR64: [u8; 4] = *b"PK\x06\x07";
const CENTRAL: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// A deflated entry may unpack to at most this plus [`EXPANSION`] times the size of the file.
const EXPANSION_FLOOR: u64 = 64 << 20;
const EXPANSION: u64 = 8;

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    header: u64,
    deflated: bool,
    packed: u64,
    /// Size of the content.
    pub size: u64,
    crc: u32,
}

/// The entries of an archive by name.
#[derive(Debug)]
pub(crate) struct Archive {
    pub entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Reads the central directory.
    pub fn open(source: &Source) -> Result<Self, Fault> {
        let directory = Directory::find(source)?;
        let bytes = source.read(directory.offset, directory.size)?;
        let mut fields = Fields { bytes: &bytes, at: 0, base: directory.offset };
        let mut entries = BTreeMap::new();
        let mut ranges = Vec::new();
        for _ in 0..directory.count {
            let at = fields.offset();
            let (name, entry) = central_header(&mut fields)?;
            let end = entry.header.checked_add(entry.packed).filter(|&e| e <= directory.offset);
            let Some(end) = end else {
                return Err(Fault::damaged(at, format!("{name:?} reaches beyond the archive")));
            };
            if !entry.deflated && entry.packed != entry.size {
                return Err(Fault::damaged(
                    at,
                    format!("{name:?} is stored, yet its packed and unpacked sizes differ"),
                ));
            }
            ranges.push((entry.header, end));
            if entries.insert(name.clone(), entry).is_some() {
                return Err(Fault::hostile(at, format!("{name:?} is listed twice")));
            }
        }
        ranges.sort_unstable();
        if let Some(pair) = ranges.windows(2).find(|pair| pair[1].0 < pair[0].1.max(pair[0].0 + 1))
        {
            return Err(Fault::hostile(pair[1].0, "entries of the archive overlap"));
        }
        Ok(Self { entries })
    }
}

impl Entry {
    /// Reads `length` bytes of the content from `start` on.
    pub fn read(&self, source: &Source, start: u64, length: u64) -> Result<Vec<u8>, Fault> {
        let data = self.data_offset(source)?;
        let in_entry = start.checked_add(length).is_some_and(|end| end <= self.size);
        if !in_entry {
            return Err(Fault::damaged(
                start,
                format!("{length} bytes are needed, but the entry holds only {}", self.size),
            ));
        }
        if !self.deflated {
            let bytes = source.read(data + start, length)?;
            if length == self.size {
                self.check(&bytes, data)?;
            }
            return Ok(bytes);
        }
        let unpacked = self.unpack(source, data)?;
        self.check(&unpacked, data)?;
        // Unpacked holds exactly `size` bytes, so the range fits and so does usize.
        Ok(unpacked[start as usize..(start + length) as usize].to_vec())
    }

    /// Reads the whole content.
    pub fn read_all(&self, source: &Source) -> Result<Vec<u8>, Fault> {
        self.read(source, 0, self.size)
    }

    fn data_offset(&self, source: &Source) -> Result<u64, Fault> {
        let header = source.read(self.header, 30)?;
        let mut fields = Fields { bytes: &header, at: 0, base: self.header };
        if fields.array()? != LOCAL {
            return Err(Fault::damaged(self.header, "no local header here"));
        }
        fields.skip(22)?;
        let (name, extra) = (u64::from(fields.u16()?), u64::from(fields.u16()?));
        let data = self.header + 30 + name + extra;
        match data.checked_add(self.packed) {
            Some(end) if end <= source.len => Ok(data),
            _ => Err(Fault::damaged(self.header, "the entry reaches beyond the end of the file")),
        }
    }

    fn unpack(&self, source: &Source, data: u64) -> Result<Vec<u8>, Fault> {
        let limit = EXPANSION_FLOOR.saturating_add(source.len.saturating_mul(EXPANSION));
        if self.size > limit {
            return Err(Fault::hostile(
                data,
                format!("{} packed bytes claim to unpack to {}", self.packed, self.size),
            ));
        }
        let packed = source.read(data, self.packed)?;
        let mut unpacked = Vec::new();
        // One byte more than promised shows a lie about the size.
        flate2::read::DeflateDecoder::new(packed.as_slice())
            .take(self.size + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| Fault::damaged(data, format!("cannot be unpacked: {error}")))?;
        if unpacked.len() as u64 != self.size {
            return Err(Fault::damaged(
                data,
                format!("unpacks to another size than the {} bytes stated", self.size),
            ));
        }
        Ok(unpacked)
    }

    fn check(&self, content: &[u8], data: u64) -> Result<(), Fault> {
        // torch.save writes 0 when told not to compute checksums.
        if self.crc == 0 {
            return Ok(());
        }
        let mut crc = flate2::Crc::new();
        crc.update(content);
        if crc.sum() == self.crc {
            return Ok(());
        }
        Err(Fault::damaged(
            data,
            format!("the checksum is {:08x}, not {:08x} as stated", crc.sum(), self.crc),
        ))
    }
}

/// Where the central directory lies.
struct Directory {
    offset: u64,
    size: u64,
    count: u64,
}

impl Directory {
    fn find(source: &Source) -> Result<Self, Fault> {
        // The end record has 22 bytes and a comment of up to 65,535.
        let tail_length = source.len.min(22 + 0xffff);
        let tail_offset = source.len - tail_length;
        let tail = source.read(tail_offset, tail_length)?;
        // The comment reaches exactly to the end of the file.
        let is_end = |record: &[u8]| {
            let comment = usize::from(u16::from_le_bytes([record[20], record[21]]));
            record.starts_with(&END) && record.len() == 22 + comment
        };
        let last = tail.len().checked_sub(22);
        let found = last.and_then(|last| (0..=last).rev().find(|&at| is_end(&tail[at..])));
        let Some(at) = found else {
            return Err(Fault::damaged(source.len, "the archive has no end record"));
        };
        let end_offset = tail_offset + at as u64;
        let mut fields = Fields { bytes: &tail[at..], at: 4, base: end_offset };
        fields.skip(6)?;
        let count = u64::from(fields.u16()?);
        let size = u64::from(fields.u32()?);
        let offset = u64::from(fields.u32()?);
        let needs_zip64 = count == 0xffff || size == 0xffff_ffff || offset == 0xffff_ffff;
        let directory = match Self::find64(source, end_offset)? {
            Some(directory) => directory,
            None if needs_zip64 => {
                return Err(Fault::damaged(end_offset, "the zip64 end record is missing"));
            }
            None => Self { offset, size, count },
        };
        // Each header has at least 46 bytes, so the size bounds the count.
        let end = directory.offset.checked_add(directory.size);
        if end.is_none_or(|end| end > end_offset) || directory.count > directory.size / 46 {
            return Err(Fault::damaged(end_offset, "the end record contradicts the file size"));
        }
        Ok(directory)
    }

    fn find64(source: &Source, end_offset: u64) -> Result<Option<Self>, Fault> {
        let Some(locator_offset) = end_offset.checked_sub(20) else { return Ok(None) };
        let locator = source.read(locator_offset, 20)?;
        let mut fields = Fields { bytes: &locator, at: 0, base: locator_offset };
        if fields.array()? != LOCATOR64 {
            return Ok(None);
        }
        fields.skip(4)?;
        let record_offset = fields.u64()?;
        let record = source.read(record_offset, 56)?;
        let mut fields = Fields { bytes: &record, at: 0, base: record_offset };
        if fields.array()? != END64 {
            return Err(Fault::damaged(record_offset, "no zip64 end record here"));
        }
        fields.skip(28)?;
        let count = fields.u64()?;
        Ok(Some(Self { size: fields.u64()?, offset: fields.u64()?, count }))
    }
}

fn central_header(fields: &mut Fields) -> Result<(String, Entry), Fault> {
    let at = fields.offset();
    if fields.array()? != CENTRAL {
        return Err(Fault::damaged(at, "no entry of the central directory here"));
    }
    fields.skip(4)?;
    let flags = fields.u16()?;
    let method = fields.u16()?;
    fields.skip(4)?;
    let crc = fields.u32()?;
    let packed = fields.u32()?;
    let size = fields.u32()?;
    let name_length = fields.u16()?;
    let extra_length = fields.u16()?;
    let comment_length = fields.u16()?;
    fields.skip(8)?;
    let header = fields.u32()?;
    let name = String::from_utf8_lossy(fields.take(name_length.into())?).into_owned();
    let extra = fields.take(extra_length.into())?;
    fields.skip(comment_length.into())?;
    if flags & 1 != 0 {
        return Err(Fault::Unsupported(format!("{name:?} is encrypted: decrypt the file first")));
    }
    if method != 0 && method != 8 {
        return Err(Fault::Unsupported(format!(
            "{name:?} uses compression method {method}: pack the archive again, stored or deflated"
        )));
    }
    let mut wide = zip64_extra(extra, at)?;
    let mut widen = |value: u32| match value {
        u32::MAX => wide.u64(),
        value => Ok(value.into()),
    };
    // The order of the wide fields is fixed: size, packed size, offset.
    let (size, packed, header) = (widen(size)?, widen(packed)?, widen(header)?);
    Ok((name, Entry { header, deflated: method == 8, packed, size, crc }))
}

/// The zip64 record among the extra fields; empty if there is none.
fn zip64_extra(extra: &[u8], base: u64) -> Result<Fields<'_>, Fault> {
    let mut fields = Fields { bytes: extra, at: 0, base };
    // Some writers pad the field with fewer bytes than a record header has.
    while fields.bytes.len() - fields.at >= 4 {
        let (id, length) = (fields.u16()?, fields.u16()?);
        let record = fields.take(length.into())?;
        if id == 1 {
            return Ok(Fields { bytes: record, at: 0, base });
        }
    }
    Ok(Fields { bytes: &[], at: 0, base })
}

/// Little-endian fields one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of `bytes` in the file, for messages.
    base: u64,
}

impl<'a> Fields<'a> {
    fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            let fix = DAMAGED;
            let problem = "a record of the archive is cut off".into();
            return Err(Fault::Malformed { offset: self.offset(), problem, fix });
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<(), Fault> {
        self.take(length).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_le_bytes)
    }
}
