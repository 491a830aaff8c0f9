//! What a command needs to talk to the user: output, messages, progress, Ctrl-C.

use crate::failure::{Failure, Kind, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::{
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How a command talks: the global options, resolved once.
#[derive(Clone, Debug)]
pub struct Ui {
    /// Standard output carries JSON and nothing else.
    pub json: bool,
    /// -1 quiet (errors only), 0 normal, 1 and more verbose.
    pub verbosity: i8,
    /// Whether messages may be coloured.
    pub colour: bool,
    /// Whether standard error is a terminal.
    pub stderr_is_terminal: bool,
    /// Columns of the terminal.
    pub width: usize,
    interrupted: Arc<AtomicBool>,
}

impl Ui {
    /// Looks at the terminal.
    pub fn new(json: bool, verbosity: i8, colour: clap::ColorChoice) -> Self {
        let stderr_is_terminal = io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match colour {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            clap::ColorChoice::Auto => stderr_is_terminal && !no_colour,
        };
        let width = terminal_size::terminal_size_of(io::stderr())
            .map_or(100, |(width, _)| usize::from(width.0));
        let interrupted = Arc::new(AtomicBool::new(false));
        Ui { json, verbosity, colour, stderr_is_terminal, width, interrupted }
    }

    /// The flag that the first Ctrl-C raises. The second one ends the process at once.
    ///
    /// Only commands that have something to save ask for it; all others end as usual.
    pub fn catch_ctrl_c(&self) -> Result<Arc<AtomicBool>> {
        let flag = self.interrupted.clone();
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(Kind::Interrupted.exit_code()));
            }
            eprintln!("stopping after this step; press Ctrl-C again to stop at once");
        })
        .map_err(|error| Failure::input(format!("cannot catch Ctrl-C: {error}")))?;
        Ok(self.interrupted.clone())
    }

    /// Standard output, buffered. Errors are returned by `?`: a closed pipe ends the command
    /// quietly.
    pub fn out(&self) -> BufWriter<StdoutLock<'static>> {
        BufWriter::new(io::stdout().lock())
    }

    /// Prints text, or the JSON document with `--json`.
    pub fn print(&self, text: impl FnOnce() -> String, json: &impl Serialize) -> Result<()> {
        let mut out = self.out();
        if self.json {
            serde_json::to_writer_pretty(&mut out, json).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let text = text();
            writeln!(out, "{}", text.trim_end())?;
        }
        out.flush()?;
        Ok(())
    }

    /// A message for the user on standard error, unless `--quiet`.
    pub fn note(&self, message: impl std::fmt::Display) {
        if self.verbosity >= 0 {
            // A closed standard error is no reason to stop.
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// A message that only `--verbose` shows.
    pub fn detail(&self, message: impl std::fmt::Display) {
        if self.verbosity >= 1 {
            let _ = writeln!(io::stderr(), "{message}");
        }
    }

    /// A progress bar with the time left, drawn only when standard error is a terminal.
    pub fn progress(&self, length: u64, what: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), self.draw_target());
        let template = "{msg} {wide_bar} {pos}/{len}  {elapsed} gone, {eta} left";
        // The template is a constant, so this only fails if it is wrong; the default bar remains.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }

    fn draw_target(&self) -> ProgressDrawTarget {
        if self.verbosity >= 0 && self.stderr_is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        }
    }
}
