//! `spikelet run`.

use crate::{
    classify, detection,
    evaluate::{argmax, check_channels, normalise},
    failure::{Failure, Outcome, Result},
    files::AtomicFile,
    labelled::{self, Shown},
    model::Model,
    segment,
    steps::Steps,
    token_table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::image_file::ENDINGS;
use spikelet_graph::Task;
use spikelet_runtime::Executor;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Run a model over a stream of time steps, in constant memory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet run model.safetensors --input recording.csv
  sensor | spikelet run model.safetensors --input - --stream --json
  spikelet run model.safetensors --input x.npy --output decisions.csv
  spikelet run nuclei.safetensors --input cells.png --draw painted.png
  spikelet run runs/detector --input photo.jpg --draw found.png
  spikelet run msf.graph.safetensors --input photo.jpg --steps 8
  spikelet run gestures.safetensors --input user01_led.aedat

The input is CSV, JSON lines, NPY or safetensors, also gzipped; every row is a time step. Columns are
found by the names of the model's channels; values are normalised as the training data was.
A decision is printed for every window of the model, or for every step if it has none. Every window starts
anew; those of a language model that was trained in carried windows go on from each other.
For a convolutional model a row is a whole frame: rows of pixels from the top, channels last, images
from 0 to 1; a still image is repeated for all steps of the window. A model of event frames also takes
recordings (.aedat, .es, .raw, .bin), which become frames as in training.
The input of a detector is a PNG or JPEG picture of any size; objects are printed, best first. So is that of a
model that gives pixels classes; the share of each class is printed. A model that gives images classes takes
pictures too, brought to its size as the data it learned from was; the five likeliest classes are printed.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// File of time steps, or - for standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Print what the model says after every step, not only at the end of a window.
    #[arg(long)]
    stream: bool,
    /// Write decisions to a file: CSV if its name says so, otherwise JSON lines.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Detectors: paint boxes and masks on a copy of the picture, a PNG file. Models that give pixels classes: paint these.
    #[arg(long, value_name = "FILE")]
    draw: Option<PathBuf>,
    /// Detectors: leave out objects of a lower score.
    #[arg(long, value_name = "SCORE", default_value_t = 0.3)]
    least: f32,
    /// EGRU language models: work out what every token adds to the first layer before the first step.
    #[arg(long)]
    table: bool,
    #[command(flatten)]
    shown: Shown,
}

/// What the model says.
#[derive(Serialize)]
struct Decision<'a> {
    /// Windows before this one.
    window: u64,
    /// Steps read so far.
    step: u64,
    /// Name of the class with the highest score, if the model has classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'a str>,
    scores: &'a [f32],
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let mut model = Model::load(&args.model)?;
    args.shown.set(&mut model.graph)?;
    if model.graph.task.detection.is_some() {
        return detection::run(&model, &args.input, args.draw.as_deref(), args.least, ui);
    }
    if segment::shape(&model.graph).is_some() && is_image(&args.input) {
        return draw(args, &model, ui);
    }
    if args.draw.is_some() {
        let problem =
            "--draw: for detectors, and for models that give the pixels of an image classes";
        return Err(Failure::usage(problem));
    }
    if is_image(&args.input) {
        return classified(args, &model, ui);
    }
    let task = &model.graph.task;
    let executor = token_table::executor(&model.graph, args.table)?;
    // Without a window the stream is one sequence that never ends.
    let carried = executor.vocabulary().is_some() && labelled::carries_windows(&model.graph)?;
    let restarts = task.window > 0 && !carried;
    let mut input = Steps::open(&args.input, task)?;
    if input.channels() > 0 {
        check_channels(&model.graph, &executor, input.channels())?;
    }
    match &args.output {
        None => {
            let format = if ui.json { Format::Json } else { Format::Text };
            stream(args, task, &executor, restarts, &mut input, format, &mut ui.out())?;
        }
        Some(path) => {
            let csv = path.extension().is_some_and(|extension| extension == "csv");
            let format = if csv { Format::Csv } else { Format::Json };
            let mut file = AtomicFile::create(path)?;
            let steps = stream(args, task, &executor, restarts, &mut input, format, &mut file)?;
            file.commit()?;
            report(path, steps, ui)?;
        }
    }
    if task.window > 0 && !args.stream {
        let rest = input.steps() % task.window as u64;
        if rest > 0 {
            ui.note(format!("the last {rest} steps are no whole window of {}", task.window));
        }
    }
    Ok(Outcome::Done)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.contains(&ending.to_lowercase().as_str())
}

/// Share of the image that a class has.
#[derive(Serialize)]
struct Share<'a> {
    class: &'a str,
    share: f64,
}

/// What a segmenting model sees in one image.
fn draw(args: &Args, model: &Model, ui: &Ui) -> Result {
    let (shares, painted) = segment::see(&model.graph, &args.input)?;
    if let Some(path) = &args.draw {
        painted.save(path)?;
    }
    let named = model.graph.task.classes.iter().zip(shares);
    let mut shares: Vec<Share> =
        named.filter(|(_, n)| *n > 0.0).map(|(class, share)| Share { class, share }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    let text = || {
        let lines = shares.iter().map(|s| format!("{:6.2} %  {}\n", 100.0 * s.share, s.class));
        let written = args.draw.iter().map(|path| format!("written: {}\n", path.display()));
        lines.chain(written).collect()
    };
    ui.print(text, &serde_json::json!({ "classes": shares, "draw": args.draw }))?;
    Ok(Outcome::Done)
}

/// What a classifier sees in one picture.
fn classified(args: &Args, model: &Model, ui: &Ui) -> Result {
    if args.stream || args.output.is_some() {
        return Err(Failure::usage("--stream and --output are for time steps, not for a picture"));
    }
    let found = classify::see(&model.graph, &args.input)?;
    let line = |g: &classify::Guess| format!("{:6.2} %  {}\n", 100.0 * g.share, g.class);
    let text = || found.iter().map(line).collect();
    ui.print(text, &serde_json::json!({ "steps": model.graph.task.window, "classes": found }))?;
    Ok(Outcome::Done)
}

fn report(path: &Path, steps: u64, ui: &Ui) -> Result<()> {
    let text = || format!("{steps} steps, written: {}", path.display());
    ui.print(text, &serde_json::json!({ "steps": steps, "output": path }))
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Json,
    Csv,
}

/// Runs the whole stream, from a new state in every window if it `restarts`; gives the number of steps.
fn stream(
    args: &Args,
    task: &Task,
    executor: &Executor,
    restarts: bool,
    input: &mut Steps,
    format: Format,
    out: &mut impl Write,
) -> Result<u64> {
    let window = task.window.max(1) as u64;
    let mut state = executor.state();
    let mut x = Vec::new();
    if let Format::Csv = format {
        writeln!(out, "{}", header(task, executor.output_len()))?;
    }
    while input.next_step(&mut x)? {
        let step = input.steps();
        normalise(task, &mut x);
        let scores = executor.step(&mut state, &x).map_err(|error| {
            Failure::from(error).context(format!("{}, step {step}", args.input.display()))
        })?;
        let ends = step.is_multiple_of(window);
        if ends || args.stream {
            let class = task.classes.get(argmax(scores)).map(String::as_str);
            let decision = Decision { window: (step - 1) / window, step, class, scores };
            decision.write(format, out)?;
            // Someone waits at the other end of a stream.
            if args.stream || args.input.as_os_str() == "-" {
                out.flush()?;
            }
        }
        if ends && restarts {
            state = executor.state();
        }
    }
    out.flush()?;
    Ok(input.steps())
}

fn header(task: &Task, outputs: usize) -> String {
    let mut names = vec!["window".to_owned(), "step".to_owned(), "class".to_owned()];
    names.extend((0..outputs).map(|index| match task.classes.get(index) {
        Some(class) => quoted(class),
        None => format!("output {index}"),
    }));
    names.join(",")
}

/// A CSV field.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

impl Decision<'_> {
    fn write(&self, format: Format, out: &mut impl Write) -> Result<()> {
        match format {
            Format::Json => {
                serde_json::to_writer(&mut *out, self).map_err(std::io::Error::from)?;
                writeln!(out)?;
            }
            Format::Csv => {
                write!(out, "{},{},{}", self.window, self.step, quoted(self.class.unwrap_or("")))?;
                self.scores.iter().try_for_each(|score| write!(out, ",{score}"))?;
                writeln!(out)?;
            }
            Format::Text => {
                let scores: Vec<String> = self.scores.iter().map(f32::to_string).collect();
                let class = self.class.unwrap_or("-");
                writeln!(out, "step {:>8}  {class:<16}  {}", self.step, scores.join(" "))?;
            }
        }
        Ok(())
    }
}
