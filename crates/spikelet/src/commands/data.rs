//! `spikelet data`.

use crate::{
    failure::{Failure, Kind, Outcome, Result},
    table::Table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{
    braille,
    find::Places,
    nearest::suggest,
    registry::{self, DATA_SETS, DataSet},
    wisdm::{self, WisdmConfig},
};
use std::path::{Path, PathBuf};

/// Show where data sets are and how to get them; check a local copy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet data list                       every data set and where it was found
  spikelet data info braille               what it is, its licence, where to get it
  spikelet data check wisdm-watch --data ~/wisdm

A data set is looked for in --data, then in $SPIKELET_DATA, then in data/ of the repository, then in
../shared/data, then in the user's cache folder.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every data set and where it was found.
    List(Where),
    /// What a data set is, its licence, where to get it.
    Info {
        /// Name of the data set.
        name: String,
        #[command(flatten)]
        place: Where,
    },
    /// Read a local copy from end to end; exit code 1 if it is missing.
    Check {
        /// Name of the data set.
        name: String,
        #[command(flatten)]
        place: Where,
    },
}

#[derive(Debug, clap::Args)]
struct Where {
    /// Folder of the data set, or the folder that holds it.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// A data set and where it is.
#[derive(Serialize)]
pub struct Found {
    #[serde(flatten)]
    set: &'static DataSet,
    folder: Option<PathBuf>,
}

/// What a whole read of a data set gave.
#[derive(Serialize)]
struct Checked {
    name: &'static str,
    folder: PathBuf,
    sequences: usize,
    steps: usize,
    channels: usize,
    groups: usize,
    classes: Vec<(String, usize)>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    match &args.action {
        Action::List(place) => list(place.data.as_deref(), ui),
        Action::Info { name, place } => info(known(name)?, place.data.as_deref(), ui),
        Action::Check { name, place } => check(known(name)?, place.data.as_deref(), ui),
    }
}

/// Every data set and where it is.
pub fn found(named: Option<&Path>) -> Vec<Found> {
    let places = Places::here(named);
    DATA_SETS.iter().map(|set| Found { set, folder: places.find(set.name).ok() }).collect()
}

impl Found {
    /// Name and folder, or that it is missing.
    pub fn line(&self) -> (&'static str, String) {
        let folder = self.folder.as_ref().map(|folder| folder.display().to_string());
        (self.set.name, folder.unwrap_or_else(|| "not here".to_owned()))
    }
}

fn known(name: &str) -> Result<&'static DataSet> {
    registry::by_name(name).ok_or_else(|| {
        let hint = suggest(name, DATA_SETS.iter().map(|set| set.name));
        Failure::usage(format!("no data set is called `{name}`{hint}"))
    })
}

fn list(named: Option<&Path>, ui: &Ui) -> Result {
    let found = found(named);
    let text = || {
        let mut table = Table::new(["name", "task", "folder"]);
        for set in &found {
            let (name, folder) = set.line();
            table.row([name, set.set.task, &folder]);
        }
        table.text()
    };
    ui.print(text, &found)?;
    Ok(Outcome::Done)
}

fn info(set: &'static DataSet, named: Option<&Path>, ui: &Ui) -> Result {
    let folder = Places::here(named).find(set.name).ok();
    let found = Found { set, folder };
    let text = || {
        let lines = [
            ("name", set.name.to_owned()),
            ("what", set.what.to_owned()),
            ("task", set.task.to_owned()),
            ("licence", set.licence.to_owned()),
            ("layout", set.layout.to_owned()),
            ("get it", set.get.to_owned()),
            ("folder", found.line().1),
        ];
        lines.iter().map(|(name, value)| format!("{name:8} {value}\n")).collect()
    };
    ui.print(text, &found)?;
    Ok(Outcome::Done)
}

fn check(set: &'static DataSet, named: Option<&Path>, ui: &Ui) -> Result {
    let folder = Places::here(named).find(set.name)?;
    let sequences = match set.name {
        "wisdm-watch" => wisdm::load(&folder, &WisdmConfig::default())?,
        "braille" => braille::load(&folder)?.sequences,
        name => {
            return Err(Failure::new(Kind::Usage, format!("no reader for `{name}` yet")));
        }
    };
    sequences.validate()?;
    let classes = sequences.classes.iter().cloned().zip(sequences.class_counts()).collect();
    let checked = Checked {
        name: set.name,
        folder,
        sequences: sequences.n,
        steps: sequences.time,
        channels: sequences.channels,
        groups: sequences.groups().len(),
        classes,
    };
    ui.print(|| checked.text(), &checked)?;
    Ok(Outcome::Done)
}

impl Checked {
    fn text(&self) -> String {
        let mut table = Table::new(["class", "sequences"]);
        for (class, count) in &self.classes {
            table.row([class.clone(), count.to_string()]);
        }
        format!(
            "{}: {} sequences of {} steps x {} channels, {} groups, every value finite\n{}\n\n{}",
            self.name,
            self.sequences,
            self.steps,
            self.channels,
            self.groups,
            self.folder.display(),
            table.text()
        )
    }
}
