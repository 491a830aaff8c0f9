//! `spikelet data`.

use super::data_synth as synth;
use crate::{
    failure::{Failure, Outcome, Result},
    table::Table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{
    atomic, check,
    find::Places,
    lines,
    nearest::suggest,
    registry::{self, DATA_SETS, DataSet},
    sequences_file,
    source::{DataConfig, SplitConfig},
    text,
    tokenizer::Tokenizer,
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
  spikelet data import mine.csv --window 50 --group subject --out mine.safetensors
  spikelet data tokenizer book.txt --size 4096 --out tokenizer.json
  spikelet data synth gestures             made-up recordings of a simulated event camera

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
    /// Convert data: a labelled CSV file to one file of sequences, wisdm-watch to its compact form.
    Import(Import),
    /// Train a tokenizer (byte-level BPE) on a text.
    Tokenizer(TokenizerArgs),
    /// Make synthetic recordings of an event camera; the data set's name says that they are.
    Synth(synth::Args),
}

#[derive(Debug, clap::Args)]
struct Import {
    /// A labelled CSV file, or the name wisdm-watch.
    source: String,
    /// File of sequences (.safetensors) to write; for wisdm-watch, a folder.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    #[command(flatten)]
    place: Where,
    /// Rows of a sequence.
    #[arg(long, default_value_t = 40)]
    window: usize,
    /// Overlap of successive sequences, 0 to below 1.
    #[arg(long, default_value_t = 0.0)]
    overlap: f64,
    /// Column of the class.
    #[arg(long, default_value = "label")]
    label: String,
    /// Column of the time; where it goes backwards, a new recording starts.
    #[arg(long)]
    time: Option<String>,
    /// Column of the subject or recording.
    #[arg(long)]
    group: Option<String>,
}

#[derive(Debug, clap::Args)]
struct TokenizerArgs {
    /// Text files (.txt, .jsonl, also .gz).
    #[arg(required = true, value_name = "TEXT")]
    texts: Vec<PathBuf>,
    /// Most tokens of the vocabulary; 256 of them are the bytes.
    #[arg(long, default_value_t = 8192)]
    size: usize,
    /// The tokenizer.json to write, as Hugging Face's programs read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl TokenizerArgs {
    fn run(&self, ui: &Ui) -> Result {
        let mut all = String::new();
        for path in &self.texts {
            all += &text::read(path)?;
            all.push('\n');
        }
        let tokenizer = Tokenizer::train(&all, self.size)?;
        let file = self.out.display().to_string();
        let tokens = tokenizer.encode(&all, &file)?.len();
        atomic::write(&self.out, tokenizer.json().as_bytes())?;
        let size = tokenizer.names().len();
        let bytes_per_token = all.len() as f64 / tokens.max(1) as f64;
        let text =
            || format!("{file}: {size} tokens, {bytes_per_token:.2} bytes a token of its text");
        let row = serde_json::json!({
            "file": file, "tokens": size, "bytes_per_token": bytes_per_token,
        });
        ui.print(text, &row)?;
        Ok(Outcome::Done)
    }
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

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    match &args.action {
        Action::List(place) => list(place.data.as_deref(), ui),
        Action::Info { name, place } => info(known(name)?, place.data.as_deref(), ui),
        Action::Check { name, place } => check(known(name)?, place.data.as_deref(), ui),
        Action::Import(import) => import.run(ui),
        Action::Tokenizer(args) => args.run(ui),
        Action::Synth(args) => synth::run(args, ui),
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
    let report = check::check(set.name, &Places::here(named).find(set.name)?)?;
    let text = || {
        let mut table = Table::new(["count", ""]);
        table.row(["files with the right hash".to_owned(), report.hashed.to_string()]);
        for (name, count) in &report.counts {
            table.row([name.clone(), count.to_string()]);
        }
        let problems: String =
            report.problems.iter().map(|problem| format!("PROBLEM {problem}\n")).collect();
        let verdict = if report.is_good() { "nothing is wrong\n" } else { "" };
        format!("{}\n\n{}\n{problems}{verdict}", report.folder.display(), table.text())
    };
    ui.print(text, &report)?;
    Ok(if report.is_good() { Outcome::Done } else { Outcome::No })
}

impl Import {
    fn run(&self, ui: &Ui) -> Result {
        match self.source.as_str() {
            "wisdm-watch" => self.pack_wisdm(ui),
            file => self.sequences(Path::new(file), ui),
        }
    }

    fn sequences(&self, file: &Path, ui: &Ui) -> Result {
        let split = SplitConfig::Random { validation: 0.2, test: 0.2, seed: 0 };
        let config = DataConfig {
            window: self.window,
            overlap: self.overlap,
            label: self.label.clone(),
            time: self.time.clone(),
            group: self.group.clone(),
            ..DataConfig::new("", split)
        };
        let sequences = config.csv_file(file, &[])?;
        sequences_file::save(&self.out, &sequences)?;
        let out = &self.out;
        let (n, classes) = (sequences.n, sequences.classes.len());
        let text = || format!("{n} sequences of {classes} classes: {}", out.display());
        ui.print(text, &serde_json::json!({ "sequences": n, "classes": classes, "out": out }))?;
        Ok(Outcome::Done)
    }

    /// Packs the raw text of every subject; what is there already is written again.
    fn pack_wisdm(&self, ui: &Ui) -> Result {
        let out = &self.out;
        let folder = Places::here(self.place.data.as_deref()).find("wisdm-watch")?;
        let subjects = wisdm_text::subjects(&folder)?;
        if subjects.is_empty() {
            let layout = known("wisdm-watch")?.layout;
            return Err(Failure::input(format!("{} holds no raw text", folder.display()))
                .help(format!("expected: {layout}")));
        }
        std::fs::create_dir_all(out).map_err(|error| {
            Failure::from(error).context(format!("cannot make the folder {}", out.display()))
        })?;
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
        let text =
            || format!("{count} subjects, {}: {}", crate::table::bytes(bytes), out.display());
        ui.print(text, &serde_json::json!({ "subjects": count, "bytes": bytes, "out": out }))?;
        Ok(Outcome::Done)
    }
}

fn text_of(path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = lines::open(path)?.take(MOST_TEXT).read_to_end(&mut text);
    read.map_err(|error| Failure::from(error).context(path.display()))?;
    Ok(text)
}
