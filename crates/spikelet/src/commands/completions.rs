//! `spikelet completions`.

use crate::failure::{Outcome, Result};
use clap_complete::Shell;
use std::io::{self, Write};

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet completions bash > ~/.local/share/bash-completion/completions/spikelet
  spikelet completions fish > ~/.config/fish/completions/spikelet.fish")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Args, mut command: clap::Command) -> Result {
    // Generated into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "spikelet", &mut script);
    let mut out = io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Outcome::Done)
}
