//! Results files: one JSON object a line, appended to, never rewritten.

use crate::failure::{Failure, Result};
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// A results file.
#[derive(Clone, Debug)]
pub struct Results {
    path: PathBuf,
}

impl Results {
    /// The file, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Results { path: path.to_owned() }
    }

    /// All lines.
    pub fn load(&self) -> Result<Vec<Value>> {
        let name = self.path.display();
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::from(error).context(format!("cannot read {name}"))),
        };
        let complete = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text[..complete].lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| {
                    Failure::from(error).context(format!("{name}, line {}", index + 1))
                })
            })
            .collect()
    }

    /// Appends a line. A last line that a killed process left unfinished is dropped first.
    pub fn append(&self, value: &Value) -> Result<()> {
        let doing = || format!("cannot write {}", self.path.display());
        let failed = |error: std::io::Error| Failure::from(error).context(doing());
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(failed)?;
        let text = fs::read(&self.path).map_err(failed)?;
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if complete < text.len() {
            file.set_len(complete as u64).map_err(failed)?;
        }
        // One write of one line: what is there after a kill is whole lines and at most one part.
        file.write_all(format!("{value}\n").as_bytes()).map_err(failed)?;
        file.sync_data().map_err(failed)
    }
}
