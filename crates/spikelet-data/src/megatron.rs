//! Tokens as Megatron's data tools write them: `NAME.idx` lists sequences, `NAME.bin` holds their tokens. Both are
//! mapped, so they may be larger than memory.
//!
//! ```text
//! "MMIDIDX" 0 0 | version 1: u64 | type of a token: u8 | sequences: u64 | documents: u64
//! | length of every sequence: i32 | where it begins in the .bin file, in bytes: i64 | documents, by sequence: i64
//! ```
//!
//! All little-endian. Types: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16 (6 and 7 are floats, which are no tokens).

use memmap2::Mmap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::error::{DataError, Result};

const MAGIC: &[u8] = b"MMIDIDX\0\0";
const HEADER: usize = 34;

/// All tokens of a data set, in the order of its sequences.
#[derive(Clone, Debug)]
pub struct Megatron {
    bin: Bytes,
    kind: Kind,
    tokens: usize,
}

/// A mapped file, or bytes.
#[derive(Clone, Debug)]
enum Bytes {
    Mapped(Arc<Mmap>),
    Memory(Arc<Vec<u8>>),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(bytes) => bytes,
        }
    }
}

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    I16,
    I32,
    I64,
    U16,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::U8),
            2 => Some(Self::I8),
            3 => Some(Self::I16),
            4 => Some(Self::I32),
            5 => Some(Self::I64),
            8 => Some(Self::U16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 => 4,
            Self::I64 => 8,
        }
    }
}

impl Megatron {
    /// Maps `path`, an `.idx` file, and the `.bin` file beside it; every token must be below `vocabulary`.
    ///
    /// # Errors
    /// Files that cannot be read, an index that does not describe its `.bin` file, tokens out of range.
    pub fn open(path: &Path, vocabulary: usize) -> Result<Self> {
        let bin_path = path.with_extension("bin");
        let (idx, bin) = (map(path)?, map(&bin_path)?);
        let names = [path, &bin_path].map(|path| path.display().to_string());
        Self::checked(&idx, Bytes::Mapped(Arc::new(bin)), [&names[0], &names[1]], vocabulary)
    }

    /// The same of bytes; `file` names them in errors.
    ///
    /// # Errors
    /// As [`Megatron::open`].
    pub fn from_bytes(idx: &[u8], bin: Vec<u8>, file: &str, vocabulary: usize) -> Result<Self> {
        Self::checked(idx, Bytes::Memory(Arc::new(bin)), [file, file], vocabulary)
    }

    fn checked(
        idx: &[u8],
        bin: Bytes,
        [file, bin_file]: [&str; 2],
        vocabulary: usize,
    ) -> Result<Self> {
        let wrong = |at: usize, reason: String| DataError::offset(file, at as u64, reason);
        if idx.len() < HEADER || !idx.starts_with(MAGIC) {
            return Err(wrong(0, "no Megatron index: it begins with \"MMIDIDX\"".to_owned()));
        }
        let u64_at = |at: usize| u64::from_le_bytes(array(&idx[at..]));
        if u64_at(9) != 1 {
            return Err(wrong(9, format!("version {}; only 1 is known", u64_at(9))));
        }
        let Some(kind) = Kind::of(idx[17]) else {
            return Err(wrong(17, format!("type {} of tokens is no integer", idx[17])));
        };
        let (sequences, documents) = (u64_at(18), u64_at(26));
        let lists = sequences.checked_mul(12).zip(documents.checked_mul(8));
        let length = lists.and_then(|(a, b)| a.checked_add(b)?.checked_add(HEADER as u64));
        if length != Some(idx.len() as u64) {
            return Err(wrong(
                18,
                format!(
                    "{sequences} sequences and {documents} documents do not make the {} bytes of this file",
                    idx.len()
                ),
            ));
        }
        // They fit the file, so they fit memory.
        let sequences = sequences as usize;
        let (lengths, rest) = idx[HEADER..].split_at(4 * sequences);
        let (starts, documents) = rest.split_at(8 * sequences);
        let mut end = 0_u64;
        for (i, (length, start)) in lengths.chunks_exact(4).zip(starts.chunks_exact(8)).enumerate()
        {
            let (length, start) =
                (i32::from_le_bytes(array(length)), i64::from_le_bytes(array(start)));
            let Ok(length) = u64::try_from(length) else {
                return Err(wrong(HEADER + 4 * i, format!("sequence {i} has {length} tokens")));
            };
            if u64::try_from(start) != Ok(end) {
                let reason = format!(
                    "sequence {i} begins at byte {start} of the .bin file and not at {end}, behind the one before it"
                );
                return Err(wrong(HEADER + 4 * sequences + 8 * i, reason));
            }
            // At most 2^31 tokens of 8 bytes each, and the sum stays within the file below.
            end += length * kind.bytes() as u64;
            if end > bin.all().len() as u64 {
                let reason =
                    format!("sequence {i} ends at byte {end}, behind the end of {bin_file}");
                return Err(wrong(HEADER + 4 * i, reason));
            }
        }
        let document = |d: &[u8]| i64::from_le_bytes(array(d));
        let within = |d: i64| usize::try_from(d).is_ok_and(|d| d <= sequences);
        let all = documents.chunks_exact(8).map(document);
        if !all.clone().all(within) || !all.is_sorted_by(|a, b| a <= b) {
            let at = HEADER + 12 * sequences;
            return Err(wrong(at, "documents are not in the order of the sequences".to_owned()));
        }
        let tokens = (end / kind.bytes() as u64) as usize;
        let found = Self { bin, kind, tokens };
        for at in 0..tokens {
            let token = found.value(at);
            if !usize::try_from(token).is_ok_and(|token| token < vocabulary) {
                let reason = format!("token {token} is not in a vocabulary of {vocabulary}");
                return Err(DataError::offset(bin_file, (at * kind.bytes()) as u64, reason));
            }
        }
        Ok(found)
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// A token.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn token(&self, at: usize) -> u32 {
        assert!(at < self.tokens, "token {at} of {}", self.tokens);
        // Another program may have changed the mapped file since it was checked.
        u32::try_from(self.value(at)).unwrap_or(0)
    }

    fn value(&self, at: usize) -> i64 {
        let bytes = &self.bin.all()[at * self.kind.bytes()..];
        match self.kind {
            Kind::U8 => i64::from(bytes[0]),
            Kind::I8 => i64::from(bytes[0] as i8),
            Kind::I16 => i64::from(i16::from_le_bytes(array(bytes))),
            Kind::U16 => i64::from(u16::from_le_bytes(array(bytes))),
            Kind::I32 => i64::from(i32::from_le_bytes(array(bytes))),
            Kind::I64 => i64::from_le_bytes(array(bytes)),
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes[..N].try_into().expect("a slice of this length")
}

fn map(path: &Path) -> Result<Mmap> {
    let file = File::open(path).map_err(|e| DataError::io(path, e))?;
    // SAFETY: the map is only read. Another program that shortens the file meanwhile ends this one with a signal;
    // data sets are not written while they are learned from.
    #[allow(unsafe_code)]
    unsafe { Mmap::map(&file) }.map_err(|e| DataError::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(code: u8, lengths: &[i32], starts: &[i64], documents: &[i64]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(1_u64.to_le_bytes());
        bytes.push(code);
        bytes.extend((lengths.len() as u64).to_le_bytes());
        bytes.extend((documents.len() as u64).to_le_bytes());
        lengths.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        starts.iter().chain(documents).for_each(|x| bytes.extend(x.to_le_bytes()));
        bytes
    }

    #[test]
    fn every_type_of_token_is_read() {
        let tokens = [3_i64, 0, 7, 100, 2];
        for (code, bytes) in [(1, 1), (2, 1), (3, 2), (4, 4), (5, 8), (8, 2)] {
            let bin: Vec<u8> =
                tokens.iter().flat_map(|t| t.to_le_bytes()[..bytes].to_vec()).collect();
            let idx = index(code, &[2, 0, 3], &[0, 2 * bytes as i64, 2 * bytes as i64], &[0, 1, 3]);
            let found = Megatron::from_bytes(&idx, bin.clone(), "m", 101).unwrap();
            let read: Vec<i64> = (0..found.len()).map(|at| i64::from(found.token(at))).collect();
            assert_eq!(read, tokens, "type {code}");
            let error = Megatron::from_bytes(&idx, bin, "m", 100).unwrap_err().to_string();
            assert!(error.contains("token 100"), "{error}");
        }
    }

    #[test]
    fn hostile_indices_are_refused() {
        let bin = vec![1_u8; 6];
        let good = index(8, &[1, 2], &[0, 2], &[0, 2]);
        let check = |idx: &[u8]| Megatron::from_bytes(idx, bin.clone(), "m.idx", 1000);
        assert_eq!(check(&good).unwrap().len(), 3);
        let refused = |idx: &[u8], what: &str| {
            let error = check(idx).unwrap_err().to_string();
            assert!(error.contains("m.idx") && error.contains(what), "{error}");
        };
        (0..good.len()).for_each(|n| refused(&good[..n], ""));
        refused(&index(7, &[1], &[0], &[]), "type 7");
        refused(&index(8, &[-1], &[0], &[]), "-1 tokens");
        refused(&index(8, &[1, 1], &[0, 4], &[]), "begins at byte 4");
        refused(&index(8, &[4], &[0], &[]), "behind the end");
        refused(&index(8, &[1], &[0], &[5]), "documents");
        refused(&index(8, &[1, 1], &[0, 2], &[1, 0]), "documents");
        let mut huge = good.clone();
        huge[18..26].copy_from_slice(&u64::MAX.to_le_bytes());
        refused(&huge, "do not make");
        let negative = Megatron::from_bytes(&index(2, &[1], &[0], &[]), vec![0xff], "m", 9);
        assert!(negative.unwrap_err().to_string().contains("token -1"));
    }

    #[test]
    fn files_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.idx");
        std::fs::write(&path, index(8, &[3], &[0], &[0, 1])).unwrap();
        assert!(Megatron::open(&path, 9).unwrap_err().to_string().contains("a.bin"));
        std::fs::write(folder.path().join("a.bin"), [5, 0, 6, 0, 8, 0]).unwrap();
        let found = Megatron::open(&path, 9).unwrap();
        assert_eq!([0, 1, 2].map(|at| found.token(at)), [5, 6, 8]);
    }
}
