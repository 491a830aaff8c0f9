//! The command line: global options, the table of sub-commands, and the way out.

#[cfg(feature = "train")]
use crate::commands::{bench, demo, docs, sweep, train, tune};
use crate::{
    commands::{
        completions, compress, convert, data, doctor, embed, eval, export, generate, inspect, map,
        profile, run, simulate,
    },
    failure::{Failure, Outcome, Result},
    ui::Ui,
};
use clap::{
    ArgAction, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind,
};
use std::process::ExitCode;

#[cfg(feature = "train")]
const AFTERWORD: &str = "

First steps:
  spikelet demo                            train, compress and run a network on real data
  spikelet train quick/synthetic --out r   train in seconds, without data
  spikelet eval r                          measure what came of it";
#[cfg(not(feature = "train"))]
const AFTERWORD: &str =
    "\n\nThis binary was built without the feature `train`: it only runs trained models.";

const AFTER_HELP: &str = "\
Examples:
  spikelet doctor                what this machine offers and what is wrong
  spikelet COMMAND --help        options and examples of a command

Exit codes: 0 done, 1 not found or a check failed, 2 error.
With --json, standard output carries JSON only; messages and errors go to standard error.";

/// Trains spiking and event-based neural networks and runs them, event by event, on CPUs.
#[derive(Debug, Parser)]
#[command(name = "spikelet", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = format!("{AFTER_HELP}{AFTERWORD}"))]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
struct Global {
    /// Print JSON on standard output, errors as JSON on standard error.
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Say more (may be repeated).
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// Print errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Threads to compute with [default: all cores].
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Colour in messages.
    #[arg(long, global = true, value_name = "WHEN", help_heading = "Global options")]
    #[arg(default_value = "auto", hide_possible_values = false)]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "train")]
    Demo(demo::Args),
    #[cfg(feature = "train")]
    Train(train::Args),
    #[cfg(feature = "train")]
    Sweep(sweep::Args),
    #[cfg(feature = "train")]
    Tune(tune::Args),
    Eval(eval::Args),
    Run(run::Args),
    Generate(generate::Args),
    Embed(embed::Args),
    Profile(profile::Args),
    Compress(compress::Args),
    Convert(convert::Args),
    Export(export::Args),
    Map(map::Args),
    Simulate(simulate::Args),
    Inspect(inspect::Args),
    Data(data::Args),
    #[cfg(feature = "train")]
    Bench(bench::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[cfg(feature = "train")]
    #[command(hide = true)]
    Docs(docs::Args),
}

impl Command {
    fn run(self, ui: &Ui) -> Result {
        match self {
            #[cfg(feature = "train")]
            Command::Demo(args) => demo::run(&args, ui),
            #[cfg(feature = "train")]
            Command::Train(args) => train::run(&args, ui),
            #[cfg(feature = "train")]
            Command::Sweep(args) => sweep::run(&args, ui),
            #[cfg(feature = "train")]
            Command::Tune(args) => tune::run(&args, ui),
            #[cfg(feature = "train")]
            Command::Bench(args) => bench::run(&args, ui),
            Command::Convert(args) => convert::run(&args, ui),
            Command::Export(args) => export::run(&args, ui),
            Command::Map(args) => map::run(&args, ui),
            Command::Simulate(args) => simulate::run(&args, ui),
            Command::Eval(args) => eval::run(&args, ui),
            Command::Run(args) => run::run(&args, ui),
            Command::Generate(args) => generate::run(&args, ui),
            Command::Embed(args) => embed::run(&args, ui),
            Command::Profile(args) => profile::run(&args, ui),
            Command::Compress(args) => compress::run(&args, ui),
            Command::Inspect(args) => inspect::run(&args, ui),
            Command::Data(args) => data::run(&args, ui),
            Command::Doctor(args) => doctor::run(&args, ui),
            Command::Completions(args) => completions::run(&args, program()),
            #[cfg(feature = "train")]
            Command::Docs(args) => docs::run(&args, ui),
        }
    }
}

/// The whole program: reads the command line, runs the command, reports.
pub fn main() -> ExitCode {
    let read = program().try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    let cli = match read {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let verbosity = match cli.global.quiet {
        true => -1,
        false => i8::try_from(cli.global.verbose).unwrap_or(i8::MAX),
    };
    let ui = Ui::new(cli.global.json, verbosity, cli.global.color);
    let result = on_threads(cli.global.threads, || cli.command.run(&ui));
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::No) => ExitCode::from(1),
        Err(failure) => failure.report(&ui),
    }
}

/// The command line, with texts behind the options that flow to any width of a terminal.
fn program() -> clap::Command {
    fn flowing(command: clap::Command) -> clap::Command {
        let command = command.mut_subcommands(flowing);
        match command.get_after_help().map(ToString::to_string) {
            Some(text) => command.after_help(flowed(&text)),
            None => command,
        }
    }
    flowing(Cli::command())
}

/// Joins lines that were only broken for the source: in running text a line ends with a sentence.
fn flowed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        let Some(next) = lines.peek() else { break };
        let runs_on = |line: &str| !line.is_empty() && !line.starts_with(' ');
        let joined = runs_on(line) && runs_on(next) && !line.ends_with('.');
        out.push(if joined { ' ' } else { '\n' });
    }
    out
}

/// Help and version go to standard output with exit code 0, mistakes to standard error with 2.
fn usage(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // The command line could not be read, so `--json` is looked for by hand.
    if !asked_for && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let (message, help) = text.split_once('\n').unwrap_or((&text, ""));
        let failure = Failure::usage(message.trim_start_matches("error: ")).help(help.trim());
        return failure.report(&Ui::new(true, 0, ColorChoice::Never));
    }
    // A reader that has gone away is no error.
    let _ = error.print();
    if asked_for { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

/// Runs the command as a task of the threads it computes with: from outside of them, every kernel
/// would wait for a thread to wake up, which is as long as a small convolution takes.
fn on_threads(
    threads: Option<u16>,
    command: impl FnOnce() -> Result<Outcome> + Send,
) -> Result<Outcome> {
    let pool = rayon::ThreadPoolBuilder::new().stack_size(STACK);
    let pool = pool.num_threads(threads.map_or(0, usize::from));
    pool.build_global()?;
    rayon::scope(|_| command())
}

/// Bytes of the stack of a thread, those of a main thread on Linux.
const STACK: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sentences_flow_and_examples_stay() {
        let text = "Examples:\n  spikelet a\n  spikelet b\n\nOne that\ngoes on. Two\nends.\nThree";
        let found = flowed(text);
        let (_, behind) = found.split_once("\n\n").expect("two parts");
        assert_eq!(behind, "One that goes on. Two ends.\nThree");
        assert!(found.starts_with("Examples:\n  spikelet a\n  spikelet b\n"));
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        for command in program().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("spikelet {name}")), "{name} has no example");
        }
    }
}
