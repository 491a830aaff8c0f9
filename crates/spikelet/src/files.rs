//! Streams into a file that is there whole or not at all; for bytes at hand there is
//! [`spikelet_data::atomic`].

use crate::failure::{Failure, Result};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// A file that gets its name when it is complete. Dropped before, it leaves nothing behind.
pub struct AtomicFile {
    file: Option<BufWriter<File>>,
    temporary: PathBuf,
    path: PathBuf,
}

impl AtomicFile {
    /// Starts a file under a temporary name in the same folder.
    pub fn create(path: &Path) -> Result<Self> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(|error| cannot_write(path, error))?;
        Ok(AtomicFile { file: Some(BufWriter::new(file)), temporary, path: path.to_owned() })
    }

    /// Gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        let finish = |file: Option<BufWriter<File>>| -> io::Result<()> {
            if let Some(file) = file {
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            }
            fs::rename(&self.temporary, &self.path)
        };
        finish(self.file.take()).map_err(|error| cannot_write(&self.path, error))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit there is none; otherwise what is left is of no use to anyone.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::from(error).context(format!("cannot write {}", path.display()))
}
