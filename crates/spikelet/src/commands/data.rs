//! `spikelet data`.

use crate::{
    failure::{Failure, Outcome, Result},
    table::Table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{
    Sequences, atomic, braille,
    find::Places,
    idx, lines,
    nearest::suggest,
    registry::{self, DATA_SETS, DataSet},
    wisdm::{self, WisdmConfig},
    wisdm_pack::Packed,
    wisdm_text,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// The largest text of one subject and sensor that is read: some hundred times a real one.
const MOST_TEXT: u64 = 1 << 30;

/// Show where data sets are and how to get them; check a local copy
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet data list                       every data set and where it was found
  spikelet data info braille               what it is, its licence, where to get it
  spikelet data check wisdm-watch --data ~/wisdm
  spikelet data import wisdm-watch --data ~/wisdm-dataset --out data/wisdm-watch

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
    /// Turn the raw text of wisdm-watch into the compact lossless form.
    Import {
        /// Name of the data set.
        #[arg(value_parser = ["wisdm-watch"])]
        name: String,
        #[command(flatten)]
        place: Where,
        /// Folder to write to; a file for each subject.
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
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
    samples: usize,
    /// Of a sample: steps and channels, or height and width.
    shape: Vec<usize>,
    groups: usize,
    classes: Vec<(String, usize)>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    match &args.action {
        Action::List(place) => list(place.data.as_deref(), ui),
        Action::Info { name, place } => info(known(name)?, place.data.as_deref(), ui),
        Action::Check { name, place } => check(known(name)?, place.data.as_deref(), ui),
        Action::Import { name, place, out } => import(name, place.data.as_deref(), out, ui),
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
    let checked = match set.name {
        "wisdm-watch" => {
            let sequences = wisdm::load(&folder, &WisdmConfig::default())?;
            Checked::sequences(set.name, folder, &sequences)?
        }
        "braille" => {
            Checked::sequences(set.name, folder.clone(), &braille::load(&folder)?.sequences)?
        }
        _ => Checked::images(set.name, folder)?,
    };
    ui.print(|| checked.text(), &checked)?;
    Ok(Outcome::Done)
}

/// Packs the raw text of every subject; what is there already is written again.
fn import(name: &str, named: Option<&Path>, out: &Path, ui: &Ui) -> Result {
    let folder = Places::here(named).find(name)?;
    let subjects = wisdm_text::subjects(&folder)?;
    if subjects.is_empty() {
        return Err(Failure::input(format!("{} holds no raw text", folder.display()))
            .help(known(name)?.layout));
    }
    std::fs::create_dir_all(out)
        .map_err(|error| Failure::from(error).context(format!("cannot make {}", out.display())))?;
    let progress = ui.progress(subjects.len() as u64, "subjects");
    let mut bytes = 0;
    for (subject, [accel, gyro]) in &subjects {
        let packed = Packed::from_text(*subject, &text_of(accel)?, &text_of(gyro)?).encode();
        atomic::write(&out.join(format!("{subject}.wisdm")), &packed)?;
        bytes += packed.len() as u64;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let count = subjects.len();
    let text = || format!("{count} subjects, {}: {}", crate::table::bytes(bytes), out.display());
    ui.print(text, &serde_json::json!({ "subjects": count, "bytes": bytes, "out": out }))?;
    Ok(Outcome::Done)
}

fn text_of(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = lines::open(path)?.take(MOST_TEXT).read_to_end(&mut text);
    read.map_err(|error| Failure::from(error).context(path.display()))?;
    Ok(text)
}

impl Checked {
    fn sequences(name: &'static str, folder: PathBuf, sequences: &Sequences) -> Result<Self> {
        sequences.validate()?;
        Ok(Checked {
            name,
            folder,
            samples: sequences.n,
            shape: vec![sequences.time, sequences.channels],
            groups: sequences.groups().len(),
            classes: sequences.classes.iter().cloned().zip(sequences.class_counts()).collect(),
        })
    }

    fn images(name: &'static str, folder: PathBuf) -> Result<Self> {
        let train = idx::load(&folder, idx::Part::Train)?;
        let test = idx::load(&folder, idx::Part::Test)?;
        let mut counts = vec![0; idx::CLASSES];
        let labels = train.labels.iter().chain(&test.labels);
        labels.for_each(|label| counts[usize::from(*label)] += 1);
        Ok(Checked {
            name,
            folder,
            samples: counts.iter().sum(),
            shape: vec![train.height, train.width],
            groups: 1,
            classes: counts.into_iter().enumerate().map(|(k, n)| (k.to_string(), n)).collect(),
        })
    }

    fn text(&self) -> String {
        let mut table = Table::new(["class", "samples"]);
        for (class, count) in &self.classes {
            table.row([class.clone(), count.to_string()]);
        }
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        format!(
            "{}: {} samples of {}, {} groups; every file whole, every value finite\n{}\n\n{}",
            self.name,
            self.samples,
            shape.join(" x "),
            self.groups,
            self.folder.display(),
            table.text()
        )
    }
}
