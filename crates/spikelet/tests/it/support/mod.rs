//! Runs the real binary; models, images and data sets for it.

pub mod formats;
pub mod images;
pub mod model;
pub mod torch;

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The binary with arguments, standard input closed, no data set found by accident.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spikelet"));
    command.args(arguments).stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

/// Runs the binary to its end.
pub fn spikelet<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let output = command(arguments).output().expect("spikelet starts");
    Run {
        code: output.status.code().expect("spikelet ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}
