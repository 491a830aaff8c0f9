//! The one error type of the data readers.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong while data is found, read or split.
///
/// Every message names the file (or stream), the place in it, and what would make it right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to open, read or write a file.
    #[error("{path}: {source}")]
    Io {
        /// File or stream.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a text file is broken.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// File or stream.
        file: String,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A field of a binary file is broken.
    #[error("{file}: at byte {offset}: {reason}")]
    Offset {
        /// File or stream.
        file: String,
        /// Offset from the start of the (decompressed) file.
        offset: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A file or folder as a whole is not what was expected.
    #[error("{file}: {reason}")]
    File {
        /// File, folder or stream.
        file: String,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A data set is on none of the places where data is looked for.
    #[error("data set `{name}` was not found (looked in {}); {get}", list(.looked))]
    NotFound {
        /// Name of the data set.
        name: String,
        /// Folders looked into, in order.
        looked: Vec<PathBuf>,
        /// Where users get it.
        get: String,
    },
    /// A request that no data could satisfy: unknown class, empty split, zero window.
    #[error("{0}")]
    Request(String),
}

/// Result of the readers of this crate.
pub type Result<T, E = DataError> = std::result::Result<T, E>;

impl DataError {
    /// An operating-system error about `path`.
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), source }
    }

    /// An error about `path` as a whole.
    pub fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { file: path.display().to_string(), reason: reason.into() }
    }

    /// An error in line `line` (from 1) of `file`.
    pub fn line(file: &str, line: u64, reason: impl Into<String>) -> Self {
        Self::Line { file: file.to_owned(), line, reason: reason.into() }
    }

    /// An error at byte `offset` of `file`.
    pub fn offset(file: &str, offset: u64, reason: impl Into<String>) -> Self {
        Self::Offset { file: file.to_owned(), offset, reason: reason.into() }
    }

    /// A request that cannot be satisfied.
    pub fn request(reason: impl Into<String>) -> Self {
        Self::Request(reason.into())
    }
}

fn list(folders: &[PathBuf]) -> String {
    let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}
