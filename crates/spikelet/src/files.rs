//! Writing files.

use crate::failure::{Failure, Result};
use std::{fs, io::Write, path::Path};

/// Writes a file so that it is there whole or not at all: temporary name, flush, rename.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: std::io::Error| {
        Failure::from(error).context(format!("cannot write {}", path.display()))
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // What is left of a failed attempt is of no use to anyone.
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}
