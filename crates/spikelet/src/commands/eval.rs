//! `spikelet eval`.

use crate::{
    detection,
    evaluate::{Activity, Evaluation, evaluate_seen},
    failure::{Outcome, Result},
    labelled,
    model::Model,
    segment,
    table::Table,
    token_table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{
    metrics::{ClassFigures, Confusion, Language},
    npy,
};
use std::path::PathBuf;

/// Measure a model: accuracy, figures of every class, confusion matrix; bits per character of text, overlap of
/// segmented images
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet eval runs/braille                    on the part the model has not learned from
  spikelet eval model.safetensors --split all
  spikelet eval model.safetensors --data mine.csv --json
  spikelet eval runs/teacher --split all --logits teacher.npy
  spikelet eval msf.graph.safetensors --data imagenet/val --steps 8

A detector is measured by the average precision of its boxes, and of its masks if it has any.
A CSV file needs the model's channels as columns and the class in the column `label`.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    #[command(flatten)]
    source: labelled::Source,
    #[command(flatten)]
    shown: labelled::Shown,
    /// Write the scores of all samples as a NumPy file `[samples, classes]`: what a student learns from, with
    /// `--split all` and `train.distill.teacher`.
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// EGRU language models: work out what every token adds to the first layer before the first step.
    #[arg(long)]
    table: bool,
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    sequences: u64,
    correct: u64,
    accuracy: f64,
    /// Fraction whose class is among the five highest scores, where there are more than five.
    #[serde(skip_serializing_if = "Option::is_none")]
    top5: Option<f64>,
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
    let mut model = Model::load(&args.model)?;
    args.shown.set(&mut model.graph)?;
    if model.graph.task.detection.is_some() {
        return detection::eval(&model, &args.source, ui);
    }
    let labelled = args.source.load(&model.graph)?;
    if let Some(masked) = labelled.samples.masked() {
        let found = segment::evaluate(&model.graph, masked, &labelled.index, labelled.values)?;
        let report = Pixels::new(model.path, labelled.name, masked.classes(), found);
        ui.print(|| report.text(), &report)?;
        return Ok(Outcome::Done);
    }
    let mut scores = Vec::new();
    let mut seen = |some: &[f32]| {
        if args.logits.is_some() {
            scores.extend_from_slice(some);
        }
    };
    let executor = token_table::executor(&model.graph, args.table)?;
    let evaluation =
        evaluate_seen(&model.graph, &executor, &labelled.samples, &labelled.index, &mut seen)?;
    if let Some(path) = &args.logits {
        let classes = labelled.samples.classes().len();
        npy::save_f32(path, &[scores.len() / classes.max(1), classes], &scores)?;
    }
    let text = labelled.samples.text().zip(evaluation.language);
    if let Some((text, language)) = text {
        let unit = text.vocabulary.unit().name();
        let report = Report::of_text(model.path, labelled.name, language, evaluation);
        ui.print(|| format!("{}\n{}", language.text(unit), report.about_text()), &report)?;
        return Ok(Outcome::Done);
    }
    let classes = labelled.samples.classes();
    let confusion = evaluation.confusion(classes.len());
    let mut report = Report::new(model.path, labelled.name, classes, &confusion);
    report.top5 = evaluation.top5;
    ui.print(|| report.text(), &report)?;
    Ok(Outcome::Done)
}

/// Figures of a graph that gives every pixel a class.
#[derive(Serialize)]
struct Pixels {
    model: PathBuf,
    data: String,
    #[serde(flatten)]
    figures: segment::Figures,
    classes: Vec<PixelClass>,
}

#[derive(Serialize)]
struct PixelClass {
    name: String,
    overlap: Option<f64>,
    #[serde(flatten)]
    figures: ClassFigures,
}

impl Pixels {
    fn new(model: PathBuf, data: String, classes: &[String], figures: segment::Figures) -> Self {
        let per_class = figures.confusion.per_class();
        let classes =
            classes.iter().zip(&figures.segmentation.overlaps).zip(per_class).map(
                |((name, &overlap), figures)| PixelClass { name: name.clone(), overlap, figures },
            );
        Pixels { model, data, classes: classes.collect(), figures }
    }

    fn text(&self) -> String {
        let percent = |value: f64| format!("{:.2} %", 100.0 * value);
        let or_none = |value: Option<f64>| value.map_or("-".to_owned(), percent);
        let found = &self.figures;
        let mut text = format!(
            "mean overlap (mIoU) {}, pixel accuracy {}, {} images\n{}\n",
            percent(found.segmentation.mean_overlap),
            percent(found.segmentation.pixel_accuracy),
            found.images,
            self.data
        );
        if let (Some(otsu), Some(class)) = (found.otsu_overlap, self.classes.last()) {
            let overlap = or_none(class.overlap);
            text += &format!(
                "{}: overlap {overlap}, by Otsu's threshold {}\n",
                class.name,
                percent(otsu)
            );
        }
        if let Some(objects) = &found.instances {
            text += &format!(
                "objects that touch nothing else: mask AP {}, AP at 0.50 {}, at 0.75 {}\n",
                or_none(objects.ap),
                or_none(objects.ap50),
                or_none(objects.ap75)
            );
        }
        text.push('\n');
        let mut table = Table::new(["class", "overlap", "precision", "recall", "pixels"]);
        for class in &self.classes {
            let figures = &class.figures;
            table.row([
                class.name.clone(),
                or_none(class.overlap),
                percent(figures.precision),
                percent(figures.recall),
                figures.support.to_string(),
            ]);
        }
        text + &table.text()
    }
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
            top5: None,
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
            top5: None,
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
            "{} of {} right: accuracy {}{}, macro F1 {}\n{}\n\n",
            self.correct,
            self.sequences,
            percent(self.accuracy),
            self.top5.map(|top5| format!(", among five {}", percent(top5))).unwrap_or_default(),
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
