//! Graph files on disk.

use super::FileError;
use crate::graph::Graph;
use memmap2::Mmap;
use std::{
    fs::{self, File, OpenOptions},
    io::{Error, ErrorKind, Write},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

impl Graph {
    /// Reads a graph file and validates it. Its weights stay in the file, which is mapped into
    /// memory: they are read when they are used. A file must not be changed in place while its
    /// graph lives; [`Graph::save`] and programs that rename a new file over it do not.
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
        if metadata.len() == 0 {
            // An empty file cannot be mapped.
            return Graph::from_bytes(&[]).map_err(|problem| FileError::InFile {
                path: path.to_path_buf(),
                problem: Box::new(problem),
            });
        }
        // SAFETY: the map is only read, as numbers of which any bytes are valid values. Graph files
        // are not changed in place: a new one is renamed over the old one, whose mapped content
        // stays as it was.
        #[allow(unsafe_code)]
        let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(io("map"))?);
        Graph::read(&map, Some(&map)).map_err(|problem| FileError::InFile {
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
