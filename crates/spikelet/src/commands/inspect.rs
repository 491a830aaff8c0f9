//! `spikelet inspect`.

#[cfg(feature = "nir")]
use super::{convert_nir::is_hdf5, inspect_nir::NirFile};
use crate::{
    failure::{Failure, Outcome, Result},
    model::Model,
    table::{Table, bytes, count},
    ui::Ui,
};
use serde_json::{Value, json};
use spikelet_data::{
    checkpoint::{Checkpoint, Format},
    lines, npy,
    stream::{self, TimeSteps},
    table as text_table,
};
use spikelet_graph::{Graph, Signal, file::METADATA_KEY, spike_driven::NotSpikes};
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

/// The most values of a checkpoint's other content that are shown.
const MOST_VALUES: usize = 200;
/// The most different words of a text column that are listed.
const MOST_WORDS: usize = 20;

#[cfg(feature = "nir")]
const NIR_EXAMPLE: &str =
    "\n  spikelet inspect network.nir                   its nodes, and whether they run here";
#[cfg(not(feature = "nir"))]
const NIR_EXAMPLE: &str = "";

/// Show what is in a graph, a checkpoint or a data file
#[derive(Debug, clap::Args)]
#[command(after_help = format!("\
Examples:
  spikelet inspect model.safetensors             nodes, shapes, parameters, task record
  spikelet inspect model.safetensors --dot | dot -Tsvg > model.svg
  spikelet inspect model.safetensors --spike-driven    what reads something that is no spike
  spikelet inspect official.ckpt --json          tensors and hyper-parameters of a checkpoint
  spikelet inspect recording.csv                 columns, rows, ranges{NIR_EXAMPLE}

--spike-driven leaves out neurons and the sums in front of them, which currents enter in every spiking
network, and what only moves values (flatten, concat, slice, border).

Nothing in a file is ever executed: a pickle is read as data."))]
pub struct Args {
    /// Graph, checkpoint, CSV, JSON lines, NPY, safetensors or NIR file, or the folder of a run.
    file: PathBuf,
    /// Print a graph in Graphviz's language.
    #[arg(long, conflicts_with = "json")]
    dot: bool,
    /// List the operations of a graph whose input is not spikes.
    #[arg(long, conflicts_with = "dot")]
    spike_driven: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let content = Content::read(&args.file)?;
    if args.spike_driven {
        let Content::Graph(graph) = content else {
            return Err(Failure::usage(format!("{} is no graph", args.file.display())).help(
                "--spike-driven looks at graphs; spikelet convert makes one of a checkpoint",
            ));
        };
        let found = graph.not_spike_driven()?;
        ui.print(|| not_spikes_text(&found), &found)?;
        return Ok(Outcome::Done);
    }
    match (content, args.dot) {
        (Content::Graph(graph), true) => {
            let dot = graph.dot()?;
            ui.print(|| dot, &())?;
        }
        #[cfg(feature = "nir")]
        (Content::Nir(file), true) => {
            let dot = file.dot()?;
            ui.print(|| dot, &())?;
        }
        (_, true) => {
            return Err(Failure::usage(format!("{} is no graph", args.file.display()))
                .help("--dot draws graphs; spikelet convert makes one of a checkpoint"));
        }
        (content, false) => {
            let json = content.json(&args.file)?;
            let text = content.text(&args.file)?;
            ui.print(|| text, &json)?;
        }
    }
    Ok(Outcome::Done)
}

enum Content {
    Graph(Box<Graph>),
    Checkpoint(Box<Checkpoint>),
    Columns(Columns),
    #[cfg(feature = "nir")]
    Nir(Box<NirFile>),
}

/// A data file, column by column.
struct Columns {
    format: String,
    rows: u64,
    columns: Vec<Column>,
}

/// One column: numbers, or words as soon as one of its values is no number.
#[derive(Default)]
struct Column {
    name: String,
    low: f64,
    high: f64,
    sum: f64,
    numbers: u64,
    words: BTreeMap<String, u64>,
    more_words: bool,
}

impl Content {
    fn read(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(Content::Graph(Box::new(Model::load(path)?.graph)));
        }
        #[cfg(feature = "nir")]
        if is_hdf5(path) {
            return Ok(Content::Nir(Box::new(NirFile::read(path)?)));
        }
        let mut start = Vec::new();
        lines::open(path)?.take(4096).read_to_end(&mut start)?;
        let format = stream::Format::of_name(path);
        match format.unwrap_or_else(|| stream::Format::of_content(&start)) {
            _ if start.is_empty() => Err(Failure::input(format!("{} is empty", path.display()))),
            stream::Format::Csv if is_text(&start) => Ok(Content::Columns(Columns::csv(path)?)),
            stream::Format::Jsonl => Ok(Content::Columns(Columns::steps(path, "JSON lines")?)),
            stream::Format::Npy => Ok(Content::Columns(Columns::npy(path)?)),
            _ => {
                let checkpoint = Checkpoint::open(path)?;
                let graph = checkpoint.format() == Format::Safetensors
                    && checkpoint.value().get(METADATA_KEY).is_some();
                match graph {
                    true => Ok(Content::Graph(Box::new(Graph::load(path)?))),
                    false => Ok(Content::Checkpoint(Box::new(checkpoint))),
                }
            }
        }
    }

    fn text(&self, path: &Path) -> Result<String> {
        match self {
            Content::Graph(graph) => Ok(graph.describe()?),
            Content::Checkpoint(checkpoint) => Ok(checkpoint_text(checkpoint, path)),
            Content::Columns(columns) => Ok(columns.text(path)),
            #[cfg(feature = "nir")]
            Content::Nir(file) => Ok(file.text(path)),
        }
    }

    fn json(&self, path: &Path) -> Result<Value> {
        match self {
            Content::Graph(graph) => Ok(json!({
                "file": path, "kind": "graph", "name": graph.name, "nodes": graph.nodes,
                "edges": graph.edges, "counts": graph.counts()?, "task": graph.task,
                "tensors": graph.tensors.iter().map(|(name, tensor)| json!({
                    "name": name, "shape": tensor.shape, "type": tensor.data_type(),
                    "bytes": tensor.bytes(),
                })).collect::<Vec<_>>(),
            })),
            Content::Checkpoint(checkpoint) => Ok(checkpoint_json(checkpoint, path)),
            Content::Columns(columns) => Ok(columns.json(path)),
            #[cfg(feature = "nir")]
            Content::Nir(file) => Ok(file.json(path)),
        }
    }
}

fn not_spikes_text(found: &[NotSpikes]) -> String {
    if found.is_empty() {
        return "spike-driven: every operation has spikes as input\n".to_owned();
    }
    let mut table = Table::new(["node", "op", "input", "operations"]);
    for NotSpikes { node, op, input, operations } in found {
        let input = match input {
            Signal::Binary => "spikes",
            Signal::Graded => "graded",
            Signal::Dense => "dense",
        };
        table.row([node.as_str(), *op, input, &count(*operations)]);
    }
    format!("{}{} operations whose input is not spikes\n", table.text(), found.len())
}

/// Text has no zero bytes.
fn is_text(start: &[u8]) -> bool {
    !start.contains(&0)
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::TorchZip => "PyTorch checkpoint",
        Format::TorchLegacy => "PyTorch checkpoint (before 1.6)",
        Format::Pickle => "pickle",
        Format::Safetensors => "safetensors",
    }
}

fn checkpoint_json(checkpoint: &Checkpoint, path: &Path) -> Value {
    let tensors: Vec<Value> = checkpoint
        .names()
        .map(|name| match checkpoint.info(name) {
            Ok(info) => json!({ "name": name, "shape": info.shape, "type": info.dtype.name() }),
            Err(error) => json!({ "name": name, "error": error.to_string() }),
        })
        .collect();
    json!({
        "file": path, "kind": "checkpoint", "format": format_name(checkpoint.format()),
        "tensors": tensors, "content": checkpoint.value().to_json(MOST_VALUES),
    })
}

fn checkpoint_text(checkpoint: &Checkpoint, path: &Path) -> String {
    let mut table = Table::new(["tensor", "type", "shape", "values"]);
    let mut values = 0u64;
    for name in checkpoint.names() {
        let Ok(info) = checkpoint.info(name) else {
            table.row([name, "cannot be read", "", ""]);
            continue;
        };
        let shape: Vec<String> = info.shape.iter().map(usize::to_string).collect();
        let size = info.shape.iter().fold(1u64, |size, axis| size.saturating_mul(*axis as u64));
        values = values.saturating_add(size);
        table.row([name, info.dtype.name(), &shape.join("x"), &count(size)]);
    }
    let mut text = format!(
        "{}: {}, {} tensors, {} values\n\n{}",
        path.display(),
        format_name(checkpoint.format()),
        checkpoint.names().count(),
        count(values),
        table.text()
    );
    let content = checkpoint.value().to_json(MOST_VALUES);
    let mut lines = Vec::new();
    leaves(&content, "", &mut lines);
    if !lines.is_empty() {
        text.push_str("\nother content\n");
        lines.iter().for_each(|line| text += &format!("  {line}\n"));
    }
    text
}

/// `path: value` for everything that is no tensor.
fn leaves(value: &Value, path: &str, lines: &mut Vec<String>) {
    let under = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| leaves(value, &under(key), lines));
        }
        Value::String(text) if text.starts_with("tensor") => {}
        value => lines.push(format!("{path}: {value}")),
    }
}

impl Columns {
    fn csv(path: &Path) -> Result<Self> {
        let mut table = text_table::Table::new(lines::open(path)?, &path.display().to_string())?;
        let mut columns: Vec<Column> =
            table.header().iter().map(|name| Column::new(name)).collect();
        let mut rows = 0;
        while table.next_row()? {
            rows += 1;
            for (index, field) in table.row().iter().enumerate() {
                if index == columns.len() {
                    columns.push(Column::new(&format!("column {}", index + 1)));
                }
                columns[index].add(field);
            }
        }
        Ok(Columns { format: "delimited text".to_owned(), rows, columns })
    }

    fn npy(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let header = npy::Header::read(&mut lines::open(path)?, &name)?;
        let shape: Vec<String> = header.shape.iter().map(usize::to_string).collect();
        Self::steps(path, &format!("NPY array [{}] of {:?}", shape.join(", "), header.number))
    }

    /// Of the channels, the first [`MOST_VALUES`] are looked at.
    fn steps(path: &Path, format: &str) -> Result<Self> {
        let mut input = TimeSteps::open(path, &[])?;
        let (mut columns, mut step) = (Vec::new(), Vec::new());
        while input.next_step(&mut step)? {
            // Only now is it known that the file really holds so many.
            if columns.is_empty() {
                let channels = 1..=step.len().min(MOST_VALUES);
                columns.extend(channels.map(|channel| Column::new(&format!("channel {channel}"))));
            }
            columns.iter_mut().zip(&step).for_each(|(column, x)| column.add_number(f64::from(*x)));
        }
        Ok(Columns { format: format.to_owned(), rows: input.steps(), columns })
    }

    fn text(&self, path: &Path) -> String {
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut table = Table::new(["column", "lowest", "mean", "highest", "words"]);
        for column in &self.columns {
            let words: Vec<&str> = column.words.keys().map(String::as_str).collect();
            let more = if column.more_words { ", ..." } else { "" };
            let (name, words) = (column.name.clone(), format!("{}{more}", words.join(", ")));
            match column.mean() {
                Some(mean) => table.row([
                    name,
                    format!("{:.4}", column.low),
                    format!("{mean:.4}"),
                    format!("{:.4}", column.high),
                    words,
                ]),
                None => table.row([name, String::new(), String::new(), String::new(), words]),
            }
        }
        let rows = count(self.rows);
        let (file, format, size) = (path.display(), &self.format, bytes(size));
        format!("{file}: {format}, {rows} rows, {size}\n\n{}", table.text())
    }

    fn json(&self, path: &Path) -> Value {
        let columns = self.columns.iter().map(|column| {
            let number = |value: f64| (column.numbers > 0).then_some(value);
            json!({
                "name": column.name, "low": number(column.low), "high": number(column.high),
                "mean": column.mean(), "words": column.words, "more_words": column.more_words,
            })
        });
        json!({
            "file": path, "kind": "data", "format": self.format, "rows": self.rows,
            "columns": columns.collect::<Vec<_>>(),
        })
    }
}

impl Column {
    fn new(name: &str) -> Self {
        let (low, high) = (f64::INFINITY, f64::NEG_INFINITY);
        Column { name: name.to_owned(), low, high, ..Column::default() }
    }

    fn add(&mut self, field: &str) {
        match field.trim().parse::<f64>() {
            Ok(number) => self.add_number(number),
            Err(_) if self.words.len() < MOST_WORDS || self.words.contains_key(field) => {
                *self.words.entry(field.to_owned()).or_insert(0) += 1;
            }
            Err(_) => self.more_words = true,
        }
    }

    fn add_number(&mut self, number: f64) {
        self.low = self.low.min(number);
        self.high = self.high.max(number);
        self.sum += number;
        self.numbers += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }
}
