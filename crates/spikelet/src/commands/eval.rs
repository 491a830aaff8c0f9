//! `spikelet eval`.

use crate::{
    evaluate::{Activity, Evaluation, evaluate},
    failure::{Outcome, Result},
    labelled,
    model::Model,
    table::Table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::metrics::{ClassFigures, Confusion, Language};
use std::path::PathBuf;

/// Measure a model: accuracy, figures of every class, confusion matrix; bits per character of text
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet eval runs/braille                    on the part the model has not learned from
  spikelet eval model.safetensors --split all
  spikelet eval model.safetensors --data mine.csv --json

A CSV file needs the model's channels as columns and the class in the column `label`.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    #[command(flatten)]
    source: labelled::Source,
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    sequences: u64,
    correct: u64,
    accuracy: f64,
    macro_f1: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Language>,
    /// Of every EGRU layer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    activity: Vec<Activity>,
    /// Not of text, as is the confusion matrix.
    classes: Vec<Class>,
    /// `[truth][prediction]`
    confusion: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct Class {
    name: String,
    #[serde(flatten)]
    figures: ClassFigures,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    let labelled = args.source.load(&model.graph)?;
    let evaluation = evaluate(&model.graph, &labelled.samples, &labelled.index)?;
    let text = labelled.samples.text().zip(evaluation.language);
    if let Some((text, language)) = text {
        let unit = text.vocabulary.unit().name();
        let report = Report::of_text(model.path, labelled.name, language, evaluation);
        ui.print(|| format!("{}\n{}", language.text(unit), report.about_text()), &report)?;
        return Ok(Outcome::Done);
    }
    let classes = labelled.samples.classes();
    let confusion = evaluation.confusion(classes.len());
    let report = Report::new(model.path, labelled.name, classes, &confusion);
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

impl Report {
    fn new(model: PathBuf, data: String, classes: &[String], confusion: &Confusion) -> Self {
        let named = classes.iter().zip(confusion.per_class());
        Report {
            model,
            data,
            sequences: confusion.total(),
            correct: confusion.correct(),
            accuracy: confusion.accuracy(),
            macro_f1: confusion.macro_f1(),
            language: None,
            activity: vec![],
            classes: named.map(|(name, figures)| Class { name: name.clone(), figures }).collect(),
            confusion: rows(confusion),
        }
    }

    fn of_text(model: PathBuf, data: String, language: Language, found: Evaluation) -> Self {
        Report {
            model,
            data,
            sequences: found.labels.len() as u64,
            correct: found.correct(),
            accuracy: found.accuracy(),
            macro_f1: 0.0,
            language: Some(language),
            activity: found.activity,
            classes: vec![],
            confusion: vec![],
        }
    }

    fn about_text(&self) -> String {
        let layer = |a: &Activity| format!("{} {:.1} %", a.layer, 100.0 * a.activity);
        let layers: Vec<String> = self.activity.iter().map(layer).collect();
        match layers.is_empty() {
            true => format!("{}\n", self.data),
            false => format!("units with an event: {}\n{}\n", layers.join(", "), self.data),
        }
    }

    fn text(&self) -> String {
        let percent = |value: f64| format!("{:.2} %", 100.0 * value);
        let mut text = format!(
            "{} of {} right: accuracy {}, macro F1 {}\n{}\n\n",
            self.correct,
            self.sequences,
            percent(self.accuracy),
            percent(self.macro_f1),
            self.data
        );
        let mut table = Table::new(["class", "precision", "recall", "F1", "sequences"]);
        for class in &self.classes {
            let figures = &class.figures;
            table.row([
                class.name.clone(),
                percent(figures.precision),
                percent(figures.recall),
                percent(figures.f1),
                figures.support.to_string(),
            ]);
        }
        text += &table.text();
        text.push_str("\nConfusion matrix (rows: truth; columns: prediction, in the same order)\n");
        let columns = (1..=self.classes.len()).map(|column| column.to_string());
        let mut table = Table::new(std::iter::once(String::new()).chain(columns));
        for (number, (class, row)) in self.classes.iter().zip(&self.confusion).enumerate() {
            let name = format!("{} {}", number + 1, class.name);
            table.row(std::iter::once(name).chain(row.iter().map(u64::to_string)));
        }
        text + &table.text()
    }
}

/// The matrix row by row.
pub fn rows(confusion: &Confusion) -> Vec<Vec<u64>> {
    confusion.counts.chunks(confusion.classes.max(1)).map(<[u64]>::to_vec).collect()
}
