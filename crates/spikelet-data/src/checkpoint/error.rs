//! What can go wrong while a checkpoint is read.

use std::path::PathBuf;

/// Why a checkpoint cannot be read, with the place and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is damaged, or not what it claims to be.
    #[error("{}: {entry}, byte {offset}: {problem}. {fix}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The part of the file: an archive entry, a tensor, a header.
        entry: String,
        /// Byte offset within `entry`.
        offset: u64,
        /// What is wrong there.
        problem: String,
        /// What the user can do.
        fix: &'static str,
    },
    /// The file is sound, but holds something this reader does not read.
    #[error("{}: {entry}: {problem}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The tensor or entry concerned.
        entry: String,
        /// What it is, and what to do.
        problem: String,
    },
    /// No tensor has this name.
    #[error("{}: no tensor is called {name:?}{}", file.display(), suggestion(nearest))]
    NotFound {
        /// The file.
        file: PathBuf,
        /// The name asked for.
        name: String,
        /// The most similar name in the file.
        nearest: Option<String>,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; the nearest name is {name:?}"))
}

/// A fault found by one of the parsers, before it is known in which file and entry.
#[derive(Debug)]
pub(crate) enum Fault {
    Malformed { offset: u64, problem: String, fix: &'static str },
    Unsupported(String),
    Io(std::io::Error),
}

pub(crate) const DAMAGED: &str =
    "The file is damaged or incomplete: copy or download it again, or save it anew";
pub(crate) const HOSTILE: &str =
    "A file written by torch.save never looks like this: do not trust it";

impl Fault {
    /// The bytes are wrong in a way that a broken copy explains.
    pub fn damaged(offset: u64, problem: impl Into<String>) -> Self {
        Self::Malformed { offset, problem: problem.into(), fix: DAMAGED }
    }

    /// The bytes ask for more than any honest writer would.
    pub fn hostile(offset: u64, problem: impl Into<String>) -> Self {
        Self::Malformed { offset, problem: problem.into(), fix: HOSTILE }
    }

    /// Names the file and the entry.
    pub fn at(self, file: &std::path::Path, entry: &str) -> CheckpointError {
        let (file, entry) = (file.to_path_buf(), entry.to_owned());
        match self {
            Self::Malformed { offset, problem, fix } => {
                CheckpointError::Malformed { file, entry, offset, problem, fix }
            }
            Self::Unsupported(problem) => CheckpointError::Unsupported { file, entry, problem },
            Self::Io(source) => CheckpointError::Io { file, source },
        }
    }
}
