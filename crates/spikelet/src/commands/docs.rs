//! `spikelet docs`, for those who work on Spikelet itself.

use crate::{
    experiments::docs::update,
    failure::{Outcome, Result},
    ui::Ui,
};
use std::path::PathBuf;

/// Make the results tables in the documents anew from docs/results
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet docs            write the tables
  spikelet docs --check    exit code 1 if a table is not what its results say")]
pub struct Args {
    /// Folder of the documents.
    #[arg(default_value = "docs")]
    folder: PathBuf,
    /// Write nothing, only look.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let changed = update(&args.folder, !args.check)?;
    let verb = if args.check { "out of date" } else { "written" };
    let text = || changed.iter().map(|name| format!("{verb}: {name}\n")).collect::<String>();
    ui.print(text, &serde_json::json!({ "checked": args.check, "changed": changed }))?;
    Ok(if args.check && !changed.is_empty() { Outcome::No } else { Outcome::Done })
}
