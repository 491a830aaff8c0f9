//! Graph files on disk.

use super::FileError;
use crate::graph::Graph;
use std::{
    fs::{self, File, OpenOptions},
    io::{Error, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

impl Graph {
    /// Reads a graph file and validates it.
    ///
    /// # Errors
    /// As [`Graph::from_bytes`], with the path; and whatever the operating system refuses.
    pub fn load(path: impl AsRef<Path>) -> Result<Graph, FileError> {
        let path = path.as_ref();
        let io = |action| move |source| FileError::Io { path: path.to_path_buf(), action, source };
        let file = File::open(path).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("inspect"))?;
        if !metadata.is_file() {
            let source = Error::new(ErrorKind::InvalidInput, "it is not a regular file");
            return Err(io("read")(source));
        }
        // A file that grows meanwhile is read up to the length it had.
        let mut bytes = Vec::new();
        file.take(metadata.len()).read_to_end(&mut bytes).map_err(io("read"))?;
        Graph::from_bytes(&bytes).map_err(|problem| FileError::InFile {
            path: path.to_path_buf(),
            problem: Box::new(problem),
        })
    }

    /// Writes a graph file: whole or not at all.
    ///
    /// # Errors
    /// A graph that is not valid, and whatever the operating system refuses.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        let path = path.as_ref();
        let bytes = self.to_bytes()?;
        let io = |action| move |source| FileError::Io { path: path.to_path_buf(), action, source };
        let (temporary, mut file) = temporary_beside(path).map_err(io("create a file beside"))?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        drop(file);
        let result = written
            .map_err(io("write"))
            .and_then(|()| fs::rename(&temporary, path).map_err(io("replace")));
        if result.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&temporary);
        }
        result
    }
}

/// A new file in the folder of `path`, so that renaming it stays within one file system.
fn temporary_beside(path: &Path) -> Result<(PathBuf, File), Error> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(Error::new(ErrorKind::InvalidInput, "the path names no file"));
    };
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let mut temporary = name.to_os_string();
        temporary.push(format!(".{}-{number}.tmp", process::id()));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (temporary, file)),
        }
    }
}
