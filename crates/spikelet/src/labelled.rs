//! The labelled data of a command: what the user names with `--data` and `--split`, or what the
//! model was trained on.

use crate::{
    evaluate::{prepare, prepare_frames, prepare_masked, sentence_vocabulary, vocabulary},
    failure::{Failure, Result},
    ui::Ui,
};
use clap::ValueEnum;
use spikelet_data::{
    Samples,
    columns::Windows,
    mask_folders::MaskValues,
    source::{DataConfig, SplitConfig},
};
use spikelet_graph::{Graph, Op, Signal, task::EVENTS};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The note in a task record that holds the model's data configuration as JSON.
pub const DATA_NOTE: &str = "data";

/// Options that choose labelled data.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// Folder of the data set, or a labelled CSV or sequences file [default: where the model's data is found].
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Part of the data [default: test, or validation where there is no test part].
    #[arg(long, value_name = "PART")]
    pub split: Option<Part>,
}

/// Option that says for how many steps still images are shown.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Shown {
    /// Show still images for so many steps [default: as many as the model was trained or converted for].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    steps: Option<u8>,
}

impl Shown {
    /// Sets the window of a graph that looks at still images.
    ///
    /// # Errors
    /// Another number of steps for a graph that looks at anything else.
    pub fn set(self, graph: &mut Graph) -> Result<()> {
        let Some(steps) = self.steps.map(usize::from) else { return Ok(()) };
        if steps == graph.task.window {
            return Ok(());
        }
        let mut inputs = graph.nodes.iter().filter(|node| matches!(node.op, Op::Input { .. }));
        let frames = inputs.any(|node| node.shape.len() == 3);
        if !frames || graph.task.window == 0 || graph.task.notes.contains_key(EVENTS) {
            return Err(Failure::usage(format!(
                "--steps: {} looks at no still images",
                graph.name
            ))
            .help("how long recordings and sequences are is in the data"));
        }
        graph.task.window = steps;
        Ok(())
    }
}

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What the model learned from.
    Train,
    /// What chose the best epoch.
    Validation,
    /// What neither saw.
    Test,
    /// Everything.
    All,
}

/// Samples in the form a graph wants.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// All samples.
    pub samples: Samples,
    /// Those of the part.
    pub index: Vec<usize>,
    /// Data set, split and part in words.
    pub name: String,
    /// What the values of masks mean, if these are images with masks.
    pub values: MaskValues,
}

impl Source {
    /// Loads the data for a graph.
    pub fn load(&self, graph: &Graph) -> Result<Labelled> {
        // Data that is made up, or found elsewhere, must not hide a mistyped path.
        if let Some(path) = self.data.as_deref().filter(|path| !path.exists()) {
            return Err(Failure::input(format!("--data: there is no {}", path.display())));
        }
        if graph.task.detection.is_some() {
            return Err(Failure::usage(format!("{} is a detector: it needs scenes", graph.name))
                .help("`eval`, `profile`, `compress` and `run` take detectors"));
        }
        if let Some(config) = converted_language_model(graph)? {
            return match self.data.as_deref().filter(|path| path.is_file()) {
                Some(file) => own_text(graph, &config, file),
                None => Err(Failure::usage(format!(
                    "{} does not say which text it has learned from",
                    graph.name
                ))
                .help("name a text with --data FILE")),
            };
        }
        let config = recorded(graph)?;
        if let Some(file) = self.data.as_deref().filter(|path| path.is_file()) {
            return own_file(graph, &config, file);
        }
        let folder = self.data.as_deref();
        let (samples, split, split_name) = if config.has_text() {
            let divided = config.load_text(folder, vocabulary(graph)?.as_ref())?;
            (Samples::Text(divided.text), divided.split, divided.split_name)
        } else if config.has_sentences() {
            let divided = config.load_sentences(folder, sentence_vocabulary(graph)?.as_ref())?;
            (Samples::Sentences(divided.sentences), divided.split, divided.split_name)
        } else if config.has_masks() {
            let divided = config.load_masked(folder, graph.task.window)?;
            (prepare_masked(graph, divided.masked)?, divided.split, divided.split_name)
        } else if config.has_frames() {
            let divided = config.load_frames_to_measure(folder)?;
            (prepare_frames(graph, divided.frames)?, divided.split, divided.split_name)
        } else {
            let divided = config.load(folder)?;
            (prepare(graph, &divided.sequences)?, divided.split, divided.split_name)
        };
        let own = match &samples {
            Samples::Frames { frames, .. } => frames.time,
            _ => 1,
        };
        if own > 1 && graph.task.window > 0 && own != graph.task.window {
            return Err(Failure::usage(format!(
                "{} looks at {} steps, recordings of {} have {own}",
                graph.name, graph.task.window, config.dataset
            )));
        }
        let (part, index) = match self.split {
            Some(Part::Train) => ("training part", split.train.clone()),
            Some(Part::Validation) => ("validation part", split.val.clone()),
            Some(Part::Test) => ("test part", split.test.clone()),
            Some(Part::All) => ("all parts", (0..samples.len()).collect()),
            None if split.test.is_empty() => ("validation part", split.val.clone()),
            None => ("test part", split.test.clone()),
        };
        if index.is_empty() {
            return Err(Failure::usage(format!("the {part} is empty: {split_name}"))
                .help("choose another part with --split"));
        }
        let name = format!("{}, {}, {part}", config.dataset, split_name);
        Ok(Labelled { samples, index, name, values: config.mask_values() })
    }
}

/// The most sequences that are looked at for the range of an input.
const CALIBRATION: usize = 512;

/// The largest magnitude of the input over the training part of a model's data, by input node;
/// empty for spikes and where there is no data. Only a path that the user names must be there.
pub fn largest_inputs(graph: &Graph, source: &Source, ui: &Ui) -> Result<BTreeMap<String, f32>> {
    let is_number = |op: &Op| matches!(op, Op::Input { signal } if *signal != Signal::Binary);
    let Some(input) = graph.nodes.iter().find(|node| is_number(&node.op)) else {
        return Ok(BTreeMap::new());
    };
    let training = Source { data: source.data.clone(), split: Some(Part::Train) };
    let labelled = match training.load(graph) {
        Ok(labelled) => labelled,
        Err(failure) if source.data.is_some() => return Err(failure),
        Err(_) => {
            ui.note(
                "the model's data is not here: the range of its input is a guess of 32 deviations",
            );
            return Ok(BTreeMap::new());
        }
    };
    let every = labelled.index.len().div_ceil(CALIBRATION);
    let index: Vec<usize> = labelled.index.iter().copied().step_by(every.max(1)).collect();
    let mut x = Vec::new();
    labelled.samples.batch(&index, &mut x);
    let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    Ok(BTreeMap::from([(input.name.clone(), largest)]))
}

/// Whether the windows of the text that a language model reads go on from each other: as its data
/// record says, or without one as its layers do, which then start again by themselves.
///
/// # Errors
/// A data record that cannot be read.
pub fn carries_windows(graph: &Graph) -> Result<bool> {
    if graph.task.notes.contains_key(DATA_NOTE) {
        return Ok(recorded(graph)?.text.windows.carried());
    }
    Ok(graph.nodes.iter().any(|node| matches!(node.op, Op::Egru { restart: Some(_), .. })))
}

/// A file of the user's own is not divided.
fn own_file(graph: &Graph, config: &DataConfig, file: &Path) -> Result<Labelled> {
    if config.has_text() {
        return own_text(graph, config, file);
    }
    let config = DataConfig { channels: graph.task.channels.clone(), ..config.clone() };
    let samples = prepare(graph, &config.file(file, &graph.task.classes)?)?;
    let index = (0..samples.len()).collect();
    let (name, values) = (file.display().to_string(), MaskValues::default());
    Ok(Labelled { samples, index, name, values })
}

fn own_text(graph: &Graph, config: &DataConfig, file: &Path) -> Result<Labelled> {
    let text = config.text_file(file, vocabulary(graph)?.as_ref())?.text;
    let index = (0..text.len()).collect();
    let (name, values) = (file.display().to_string(), MaskValues::default());
    Ok(Labelled { samples: Samples::Text(text), index, name, values })
}

/// Tokens of a window of the published SpikeGPTs.
const CONTEXT: usize = 1024;

/// How a language model reads a text if no run but a checkpoint made it, which says nothing of texts.
fn converted_language_model(graph: &Graph) -> Result<Option<DataConfig>> {
    let task = &graph.task;
    let has = |of: fn(&Op) -> bool| graph.nodes.iter().any(|node| of(&node.op));
    let trained = task.notes.contains_key(DATA_NOTE) || task.dataset.is_some();
    if trained || !has(|op| matches!(op, Op::Embedding { .. })) {
        return Ok(None);
    }
    let Some(vocabulary) = vocabulary(graph)? else {
        let message = format!("{} does not say what its tokens are", graph.name);
        return Err(Failure::input(message).help("convert the checkpoint with --tokenizer"));
    };
    // All of a file is measured, whatever part it is in.
    let mut config = DataConfig::new("", SplitConfig::Contiguous { validation: 0.5, test: 0.0 });
    config.window = if task.window > 0 { task.window } else { CONTEXT };
    config.text.unit = vocabulary.unit();
    // EGRU networks begin their windows anew themselves.
    if has(|op| matches!(op, Op::Egru { .. })) {
        config.text.windows = Windows::Carried;
    }
    Ok(Some(config))
}

/// The data configuration a graph remembers, or one made of its task record.
pub fn recorded(graph: &Graph) -> Result<DataConfig> {
    let task = &graph.task;
    if let Some(text) = task.notes.get(DATA_NOTE) {
        return serde_json::from_str(text).map_err(|error| {
            Failure::from(error).context(format!("note `{DATA_NOTE}` of {}", graph.name))
        });
    }
    let dataset = task.dataset.clone().unwrap_or_default();
    let split = match dataset.as_str() {
        "braille" => SplitConfig::official(0),
        _ => SplitConfig::Subject { fold: 0, folds: 5, validation: 0.1, seed: 0 },
    };
    let mut config = DataConfig::new(&dataset, split);
    if task.window > 0 {
        config.window = task.window;
    }
    if dataset == "wisdm-watch" {
        config.classes = task.classes.join(",");
    }
    Ok(config)
}
