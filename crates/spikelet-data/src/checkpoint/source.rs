//! Random access to the bytes of a checkpoint, checked against its size.

use super::error::Fault;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Mutex,
};

/// A file, or bytes in memory that stand for one.
#[derive(Debug)]
pub(crate) struct Source {
    pub path: PathBuf,
    pub len: u64,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

impl Source {
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(std::io::Error::other("not a regular file"));
        }
        Ok(Self {
            path: path.to_path_buf(),
            len: metadata.len(),
            bytes: Bytes::File(Mutex::new(file)),
        })
    }

    pub fn memory(name: &str, bytes: Vec<u8>) -> Self {
        Self { path: name.into(), len: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// Reads `length` bytes at `offset`. Memory is taken only after the size of the file allows
    /// it; a file that shrank since it was opened is an error, not a short read.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Fault> {
        let end = offset.checked_add(length).filter(|&end| end <= self.len);
        let Some(end) = end else {
            return Err(Fault::damaged(
                offset,
                format!("{length} bytes are needed, but the file ends at byte {}", self.len),
            ));
        };
        match &self.bytes {
            // The size of a vector in memory fits usize, and the range lies within it.
            Bytes::Memory(bytes) => Ok(bytes[offset as usize..end as usize].to_vec()),
            Bytes::File(file) => {
                let size = usize::try_from(length)
                    .map_err(|_| Fault::Unsupported("too large for this machine".into()))?;
                let mut buffer = vec![0; size];
                let mut file = file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                file.seek(SeekFrom::Start(offset)).map_err(Fault::Io)?;
                file.read_exact(&mut buffer).map_err(|error| match error.kind() {
                    std::io::ErrorKind::UnexpectedEof => {
                        Fault::damaged(offset, "the file became shorter while it was read")
                    }
                    _ => Fault::Io(error),
                })?;
                Ok(buffer)
            }
        }
    }
}
