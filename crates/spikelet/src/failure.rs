//! How a command ends: the exit codes and the error report, the only place that defines them.
//!
//! The contract is written down in `docs/cli-contract.md` and tested on the real binary in
//! `tests/it/cli_contract.rs`.

use crate::ui::Ui;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use spikelet_data::DataError;
use std::{
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// How a command that did not fail ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: the command answered, and the answer is no (a check failed).
    No,
}

/// What a command returns.
pub type Result<T = Outcome> = std::result::Result<T, Failure>;

/// What kind of failure it is; `--json` prints the name, and the exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or a configuration says something that cannot be done. Exit code 2.
    Usage,
    /// A file, a checkpoint or data is wrong, or the system refused. Exit code 2.
    Input,
    /// A data set is not on this machine. Exit code 1.
    NotFound,
    /// Ctrl-C, after the work done so far was saved. Exit code 2.
    Interrupted,
    /// Whoever read our output stopped reading: not an error. Exit code 0.
    OutputClosed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Usage => "usage",
            Kind::Input => "input",
            Kind::NotFound => "not_found",
            Kind::Interrupted => "interrupted",
            Kind::OutputClosed => "output_closed",
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Kind::OutputClosed => 0,
            Kind::NotFound => 1,
            Kind::Usage | Kind::Input | Kind::Interrupted => 2,
        }
    }
}

/// A place in a text that the user wrote.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the file, or of the command-line option.
    pub file: String,
    /// The whole text.
    pub text: String,
    /// The bytes that are wrong.
    pub span: std::ops::Range<usize>,
    /// What is wrong with them, in a few words.
    pub label: String,
}

/// Why a command failed.
///
/// Not a [`std::error::Error`] itself, so that `?` turns every library error into one.
#[derive(Debug)]
pub struct Failure(Box<Report>);

#[derive(Debug)]
struct Report {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    help: Option<String>,
    place: Option<Place>,
}

impl Failure {
    /// A failure of the given kind.
    pub fn new(kind: Kind, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Failure(Box::new(Report { kind, message, causes: Vec::new(), help: None, place: None }))
    }

    /// A mistake on the command line or in a configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something is wrong with a file or with data.
    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(Kind::Input, message)
    }

    /// Adds what the user can do about it.
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.0.help = Some(help.to_string());
        self
    }

    /// How to go on after Ctrl-C, where what was interrupted is a part of something.
    pub fn resumed_by(self, command: impl fmt::Display) -> Self {
        match self.0.kind {
            Kind::Interrupted => self.help(format!("go on with: {command}")),
            _ => self,
        }
    }

    /// Shows the place in a text.
    pub fn at(mut self, place: Place) -> Self {
        self.0.place = Some(place);
        self
    }

    /// Says what was being done when it failed: the old message becomes the first cause.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        let cause = std::mem::replace(&mut self.0.message, doing.to_string());
        self.0.causes.insert(0, cause);
        self
    }

    #[cfg(test)]
    /// The message without causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    #[cfg(test)]
    /// The kind of failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The failure as one line of JSON.
    pub fn json(&self) -> String {
        self.0.json()
    }

    /// Writes the failure to standard error, for people or as JSON, and gives the exit code.
    pub fn report(&self, ui: &Ui) -> ExitCode {
        let report = &self.0;
        if report.kind != Kind::OutputClosed {
            let text = if ui.json { self.json() } else { report.text(ui) };
            // Nowhere left to complain to if this fails.
            let _ = io::stderr().write_all(text.as_bytes());
        }
        ExitCode::from(report.kind.exit_code())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut kind = Kind::Input;
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(cause) = next {
            if let Some(io) = cause.downcast_ref::<io::Error>()
                && io.kind() == io::ErrorKind::BrokenPipe
            {
                kind = Kind::OutputClosed;
            }
            if let Some(DataError::NotFound { .. }) = cause.downcast_ref() {
                kind = Kind::NotFound;
            }
            causes.push(cause.to_string());
            next = cause.source();
        }
        let message = causes.remove(0);
        // Library errors often repeat their source in their own message.
        causes.retain(|cause| !message.contains(cause.as_str()));
        Failure(Box::new(Report { kind, message, causes, help: None, place: None }))
    }
}

impl Report {
    fn json(&self) -> String {
        let place = self.place.as_ref().map(|place| {
            let (line, column) = place.line_and_column();
            serde_json::json!({ "file": place.file, "line": line, "column": column })
        });
        let error = serde_json::json!({ "error": {
            "kind": self.kind.name(),
            "exit_code": self.kind.exit_code(),
            "message": self.message,
            "causes": self.causes,
            "place": place,
            "help": self.help,
        }});
        format!("{error}\n")
    }

    fn text(&self, ui: &Ui) -> String {
        let mut theme = match (ui.stderr_is_terminal, ui.colour) {
            (true, true) => GraphicalTheme::unicode(),
            (true, false) => GraphicalTheme::unicode_nocolor(),
            (false, _) => GraphicalTheme::none(),
        };
        theme.characters.error = "error:".to_owned();
        // Not wrapped when it goes to a file: a message is one line that can be searched for.
        let width = if ui.stderr_is_terminal { ui.width.max(40) } else { 10_000 };
        let handler =
            GraphicalReportHandler::new_themed(theme).with_width(width).with_break_words(false);
        let mut text = String::new();
        match handler.render_report(&mut text, &Chain::new(self)) {
            Ok(()) => format!("{}\n", text.trim()),
            Err(fmt::Error) => format!("error: {}\n", self.message),
        }
    }
}

impl Place {
    fn line_and_column(&self) -> (usize, usize) {
        let before = self.text.get(..self.span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// A message and its causes as the linked list that [`Error::source`] wants.
#[derive(Debug)]
struct Chain<'a> {
    message: &'a str,
    source: Option<Box<Cause>>,
    report: &'a Report,
    source_code: Option<miette::NamedSource<String>>,
}

#[derive(Debug)]
struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl<'a> Chain<'a> {
    fn new(report: &'a Report) -> Self {
        let source = report.causes.iter().rev().fold(None, |source, message| {
            Some(Box::new(Cause { message: message.clone(), source }))
        });
        let source_code = report
            .place
            .as_ref()
            .map(|place| miette::NamedSource::new(&place.file, place.text.clone()));
        Chain { message: &report.message, source, report, source_code }
    }
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message)
    }
}

impl Error for Chain<'_> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl Diagnostic for Chain<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.report.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source_code.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.report.place.as_ref()?;
        let label =
            LabeledSpan::new(Some(place.label.clone()), place.span.start, place.span.len().max(1));
        Some(Box::new(std::iter::once(label)))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}
