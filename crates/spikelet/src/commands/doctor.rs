//! `spikelet doctor`.

use crate::{
    failure::{Outcome, Result},
    machine::{EnergyCounter, Machine},
    table,
    ui::Ui,
};
use serde::Serialize;
use std::io::{self, IsTerminal};

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
    problems: Vec<String>,
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
        problems: Vec::new(),
    };
    ui.print(|| text(&report), &report)?;
    Ok(if report.problems.is_empty() { Outcome::Done } else { Outcome::No })
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
    lines.extend(report.problems.iter().map(|problem| ("PROBLEM", problem.clone())));
    if report.problems.is_empty() {
        lines.push(("result", "nothing is wrong".to_owned()));
    }
    lines.iter().map(|(name, value)| format!("{name:15} {value}\n")).collect()
}
