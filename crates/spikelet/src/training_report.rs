//! The report of a training run: curves, confusion matrix, spikes of one sequence, firing rates.

use crate::{
    failure::Result,
    report::{Chart, Confusion, Line, Raster, Rates, Report},
    training::{RunResult, mean},
};
use spikelet_data::metrics;
use spikelet_graph::{Graph, Op};
use spikelet_runtime::{Executor, Output};
use spikelet_train::{
    evaluate::Evaluation,
    prepare::Prepared,
    sparsity::Sparsity,
    trainer::{EpochReport, metrics_path},
};
use std::{collections::BTreeMap, path::Path};

/// The page.
pub fn page(
    run: &Path,
    config: &str,
    result: &RunResult,
    evaluation: &Evaluation,
    graph: &Graph,
    data: &Prepared,
) -> Result<String> {
    let classes = data.samples.classes();
    // Of thousands of tokens a matrix shows nothing.
    let confusion = (data.samples.text().is_none() && data.samples.masked().is_none())
        .then(|| metrics::Confusion::of(classes.len(), &evaluation.labels, &evaluation.predicted));
    let part = if data.split.test.is_empty() { &data.split.val } else { &data.split.test };
    let (rasters, rates) = match part.first() {
        // Of hundred thousands of neurons a raster shows nothing.
        Some(_) if data.samples.masked().is_some() => (vec![], vec![]),
        Some(&sample) => spikes(graph, data, sample)?,
        None => (vec![], vec![]),
    };
    let raster_of = match part.first() {
        Some(_) if data.samples.text().is_some() => {
            format!("a window of the {} part", result.part)
        }
        Some(_) if data.samples.masked().is_some() => String::new(),
        Some(&sample) => {
            let class = &classes[data.samples.labels_of(&[sample])[0] as usize];
            format!("a sequence of the {} part, class {class}", result.part)
        }
        None => String::new(),
    };
    let report = Report {
        title: format!("{} on {}", result.model, data.dataset),
        summary: summary(result, data),
        charts: charts(&epochs(run)?),
        confusion: confusion.map(|confusion| Confusion {
            classes: classes.to_vec(),
            counts: crate::commands::eval::rows(&confusion),
        }),
        confusion_of: format!("{} part, {}", result.part, result.split),
        rasters,
        raster_of,
        rates,
        config: config.to_owned(),
    };
    Ok(report.html())
}

fn summary(result: &RunResult, data: &Prepared) -> Vec<(String, String)> {
    let percent = |x: f64| format!("{:.2} %", 100.0 * x);
    let language = result.language.zip(data.samples.text()).map(|(language, text)| {
        (format!("{} part", result.part), language.text(text.vocabulary.unit().name()))
    });
    let overlap = result.segmentation.as_ref().map(|found| {
        (format!("mean overlap (mIoU), {} part", result.part), percent(found.mean_overlap))
    });
    let figures = [
        (format!("accuracy, {} part", result.part), percent(result.accuracy)),
        ("best validation accuracy".into(), percent(result.val_accuracy)),
        ("units without an event".into(), layers(&result.sparsity, |s| s.activity)),
        ("outside the surrogate's window".into(), layers(&result.sparsity, |s| s.backward)),
        ("pruned".into(), result.pruned.map(percent).unwrap_or_default()),
        ("split".into(), result.split.clone()),
        ("best epoch".into(), format!("{} of {}", result.best_epoch, result.epochs)),
        ("parameters".into(), result.parameters.to_string()),
        ("sequences".into(), format!("{} training", result.train_sequences)),
        ("seconds of training".into(), format!("{:.1}", result.seconds)),
    ];
    let all = language.into_iter().chain(overlap).chain(figures);
    all.filter(|(_, figure)| !figure.is_empty()).collect()
}

/// A figure of every layer.
fn layers(sparsity: &[Sparsity], figure: fn(&Sparsity) -> f64) -> String {
    let layer = |s: &Sparsity| format!("{} {:.1} %", s.layer, 100.0 * figure(s));
    sparsity.iter().map(layer).collect::<Vec<_>>().join(", ")
}

/// What trials are compared by, after every epoch of a run so far.
pub fn scores(run: &Path) -> Result<Vec<f64>> {
    Ok(epochs(run)?.iter().map(EpochReport::score).collect())
}

/// The best of them among epochs that can be the best: not before pruning has reached its aim and all of
/// the loss is there. Nothing if there is none.
pub fn best_score(run: &Path) -> Result<Option<f64>> {
    let epochs = epochs(run)?;
    let count = epochs.iter().skip_while(|epoch| !epoch.best);
    Ok(count.map(EpochReport::score).max_by(f64::total_cmp))
}

fn epochs(run: &Path) -> Result<Vec<EpochReport>> {
    let text = std::fs::read_to_string(metrics_path(run)).unwrap_or_default();
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn charts(epochs: &[EpochReport]) -> Vec<Chart> {
    type Value = fn(&EpochReport) -> f64;
    let chart = |title: &str, lines: [(&str, Value); 2]| Chart {
        title: title.to_owned(),
        x_axis: "epoch".to_owned(),
        lines: lines
            .map(|(name, value)| Line {
                name: name.to_owned(),
                points: epochs.iter().map(|e| (e.epoch as f64, value(e))).collect(),
            })
            .to_vec(),
    };
    let mut charts = vec![
        chart("loss", [("training", |e| e.loss), ("validation", |e| e.val_loss)]),
        chart("accuracy", [("training", |e| e.train_accuracy), ("validation", |e| e.val_accuracy)]),
    ];
    if epochs.iter().any(|e| !e.sparsity.is_empty()) {
        charts.push(chart(
            "silent units, mean of the layers",
            [
                ("no event", |e| mean(&e.sparsity, |s| s.activity).unwrap_or_default()),
                ("no gradient", |e| mean(&e.sparsity, |s| s.backward).unwrap_or_default()),
            ],
        ));
    }
    charts
}

/// Spikes of every population over one sequence, and how often each neuron fired in it.
fn spikes(graph: &Graph, data: &Prepared, sample: usize) -> Result<(Vec<Raster>, Vec<Rates>)> {
    let executor = Executor::new(graph)?;
    let mut seen: BTreeMap<usize, Raster> = BTreeMap::new();
    let mut out = Vec::new();
    let x = data.samples.sample(sample);
    executor.run_observed(&mut [executor.state()], &x, &mut out, |o| {
        if let (Op::Neuron(_), Output::Spikes(events)) = (&graph.nodes[o.node].op, o.output) {
            let raster = seen.entry(o.node).or_insert_with(|| Raster {
                name: o.name.to_owned(),
                steps: data.samples.time(),
                neurons: o.shape.iter().product(),
                spikes: Vec::new(),
            });
            raster.spikes.extend(events.iter().map(|&neuron| (o.step as u32, neuron)));
        }
    })?;
    let rasters: Vec<Raster> = seen.into_values().collect();
    let rates = rasters.iter().map(|raster| {
        let mut per_neuron = vec![0.0; raster.neurons];
        for &(_, neuron) in &raster.spikes {
            per_neuron[neuron as usize] += 1.0 / raster.steps.max(1) as f64;
        }
        Rates { name: raster.name.clone(), per_neuron }
    });
    let rates = rates.collect();
    Ok((rasters, rates))
}
