//! A folder of made-up data that appears when it is complete.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};

/// What `README.txt` starts with, and how the loader knows the folder.
const MARK: &str = "Synthetic: ";
const README: &str = "README.txt";

/// An error if the folder holds made-up data and is to be loaded as the data set `name`, which does not say so: every
/// result names its data set.
pub(crate) fn named_synthetic(name: &str, folder: &Path) -> Result<()> {
    let mut start = [0; MARK.len()];
    let marked =
        fs::File::open(folder.join(README)).and_then(|mut file| file.read_exact(&mut start));
    match marked.is_ok() && start == MARK.as_bytes() && !name.starts_with("synthetic-") {
        false => Ok(()),
        true => Err(DataError::file(
            folder,
            format!("this is synthetic data ({README}) and no {name:?}: data.dataset must say so"),
        )),
    }
}

/// A folder under construction.
pub struct SynthFolder {
    path: PathBuf,
    temporary: PathBuf,
}

impl SynthFolder {
    /// Starts the folder `path` with a `README.txt` that says that it is synthetic, and `about`.
    ///
    /// # Errors
    /// If there is something of that name.
    pub fn create(path: &Path, about: &str) -> Result<Self> {
        if path.exists() {
            return Err(DataError::file(path, "exists already; name another folder or remove it"));
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        fs::create_dir_all(&temporary).map_err(|e| DataError::io(&temporary, e))?;
        let folder = Self { path: path.to_path_buf(), temporary };
        folder.put(README, format!("{MARK}{about}\n").as_bytes())?;
        Ok(folder)
    }

    /// Where the files go until the folder is complete.
    pub fn working(&self) -> &Path {
        &self.temporary
    }

    /// Writes a file, by its path in the folder.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.temporary.join(name);
        fs::write(&path, bytes).map_err(|e| DataError::io(&path, e))
    }

    /// Gives the folder its name.
    pub fn finish(self) -> Result<()> {
        fs::rename(&self.temporary, &self.path).map_err(|e| DataError::io(&self.path, e))
    }
}

impl Drop for SynthFolder {
    fn drop(&mut self) {
        // After `finish` there is no folder of that name.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}
