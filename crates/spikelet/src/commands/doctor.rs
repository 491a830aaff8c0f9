//! `spikelet doctor`.

use crate::{
    commands::data::{self, Found},
    failure::{Outcome, Result},
    machine::{EnergyCounter, Machine},
    table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::find;
use std::{
    fs,
    io::{self, IsTerminal},
    path::PathBuf,
};

/// Show what this machine offers and what is wrong with it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet doctor
  spikelet doctor --json

Exit code 1 if something that Spikelet needs does not work. A data set that is missing or an
energy counter that cannot be read is reported, not counted as a fault.")]
pub struct Args {}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    training: bool,
    machine: Machine,
    terminal: Terminal,
    data: Vec<Found>,
    cache: Option<Cache>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Cache {
    folder: PathBuf,
    writable: bool,
}

#[derive(Serialize)]
struct Terminal {
    stdout: bool,
    stderr: bool,
    width: usize,
    colour: bool,
}

/// Runs the command.
pub fn run(_: &Args, ui: &Ui) -> Result {
    let cache = Cache::look();
    let mut problems = Vec::new();
    if let Some(cache) = cache.as_ref().filter(|cache| !cache.writable) {
        problems.push(format!("the cache folder {} cannot be written", cache.folder.display()));
    }
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        training: cfg!(feature = "train"),
        machine: Machine::look(),
        terminal: Terminal {
            stdout: io::stdout().is_terminal(),
            stderr: ui.stderr_is_terminal,
            width: ui.width,
            colour: ui.colour,
        },
        data: data::found(None),
        cache,
        problems,
    };
    ui.print(|| text(&report), &report)?;
    Ok(if report.problems.is_empty() { Outcome::Done } else { Outcome::No })
}

impl Cache {
    fn look() -> Option<Self> {
        let folder = find::cache_folder()?;
        // The nearest folder that exists decides whether the rest can be made.
        let existing = folder.ancestors().find(|folder| folder.is_dir());
        let writable = existing.is_some_and(|existing| {
            let probe = existing.join(format!(".spikelet-{}", std::process::id()));
            let written = fs::write(&probe, b"").is_ok();
            written && fs::remove_file(&probe).is_ok()
        });
        Some(Cache { folder, writable })
    }
}

fn text(report: &Report) -> String {
    let machine = &report.machine;
    let memory = match (machine.memory_total, machine.memory_available) {
        (Some(total), Some(available)) => {
            format!("{}, {} available", table::bytes(total), table::bytes(available))
        }
        _ => "not known".to_owned(),
    };
    let energy = match &machine.energy_counter {
        EnergyCounter::Readable { path } => format!("readable ({})", path.display()),
        EnergyCounter::NotPermitted { path } => {
            format!("not permitted: let this user read {} to measure energy", path.display())
        }
        EnergyCounter::Absent => "none found: energy can only be modelled here".to_owned(),
    };
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let mut lines = vec![
        ("spikelet", format!("{}, training {}", report.version, yes_no(report.training))),
        ("platform", machine.platform.clone()),
        ("processor", machine.processor.clone().unwrap_or_else(|| "not known".to_owned())),
        ("cores", machine.cores.to_string()),
        ("instructions", machine.simd.to_owned()),
        ("memory", memory),
        ("energy counter", energy),
        (
            "terminal",
            format!(
                "stdout {}, stderr {}, {} columns, colour {}",
                yes_no(report.terminal.stdout),
                yes_no(report.terminal.stderr),
                report.terminal.width,
                yes_no(report.terminal.colour)
            ),
        ),
    ];
    for (index, set) in report.data.iter().enumerate() {
        let (name, folder) = set.line();
        lines.push((if index == 0 { "data sets" } else { "" }, format!("{name:15} {folder}")));
    }
    if let Some(cache) = &report.cache {
        let writable = if cache.writable { "writable" } else { "NOT writable" };
        lines.push(("cache", format!("{}, {writable}", cache.folder.display())));
    }
    lines.extend(report.problems.iter().map(|problem| ("PROBLEM", problem.clone())));
    if report.problems.is_empty() {
        lines.push(("result", "nothing is wrong".to_owned()));
    }
    lines.iter().map(|(name, value)| format!("{name:15} {value}\n")).collect()
}
