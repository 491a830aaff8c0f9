//! Running a graph over labelled sequences.

use crate::failure::{Failure, Result};
use spikelet_data::{
    Frames, Samples, Sequences,
    masked::Masked,
    metrics::{Confusion, Language, in_top},
    nearest::suggest,
    normalize::Normalization,
    tokenizer::Tokenizer,
    vocabulary::Vocabulary,
};
use spikelet_graph::{Graph, Task};
use spikelet_runtime::Executor;

/// Sequences run side by side.
const STREAMS: usize = 64;

/// What a graph made of labelled sequences.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Truth against prediction.
    pub confusion: Confusion,
    /// Figures of a language model.
    pub language: Option<Language>,
    /// Fraction whose class is among the five highest scores, where there are more than five.
    pub top5: Option<f64>,
}

/// Brings sequences into the form a graph wants: its channels in its order, its normalisation,
/// its classes in its order.
pub fn prepare(graph: &Graph, sequences: &Sequences) -> Result<Samples> {
    let task = &graph.task;
    let mut sequences = match task.channels.is_empty() {
        true => sequences.clone(),
        false => {
            let names: Vec<&str> = task.channels.iter().map(String::as_str).collect();
            sequences.select_channels(&names)?
        }
    };
    normalise(task, &mut sequences.x);
    if !task.classes.is_empty() && task.classes != sequences.classes {
        let order = class_order(&task.classes, &sequences.classes)?;
        sequences.y.iter_mut().for_each(|class| *class = order[*class as usize]);
        sequences.classes = task.classes.clone();
    }
    Ok(sequences.into())
}

/// The vocabulary of a graph that reads text.
pub fn vocabulary(graph: &Graph) -> Result<Option<Vocabulary>> {
    if let Some(json) = &graph.task.tokenizer {
        let tokenizer = Tokenizer::from_json(json, "the tokenizer of the model")?;
        return Ok(Some(Vocabulary::Tokens(tokenizer)));
    }
    let names = &graph.task.classes;
    Ok(if names.is_empty() { None } else { Some(Vocabulary::from_names(names)?) })
}

/// The vocabulary of a graph that reads sentences: without a tokenizer it reads bytes.
pub fn sentence_vocabulary(graph: &Graph) -> Result<Option<Vocabulary>> {
    match graph.task.tokenizer {
        Some(_) => vocabulary(graph),
        None => Ok(Some(Vocabulary::Bytes)),
    }
}

/// Brings frames into the form a graph wants: its normalisation, its classes in its order; still
/// images are shown for as many steps as its window has.
pub fn prepare_frames(graph: &Graph, mut frames: Frames) -> Result<Samples> {
    let task = &graph.task;
    let normalization = (!task.mean.is_empty())
        .then(|| Normalization { mean: task.mean.clone(), std: task.std.clone() });
    frames.normalize(normalization)?;
    if !task.classes.is_empty() && task.classes != frames.classes {
        let order = class_order(&task.classes, &frames.classes)?;
        frames.y.iter_mut().for_each(|class| *class = order[*class as usize]);
        frames.classes = task.classes.clone();
    }
    Ok(Samples::Frames { frames, shown: task.window })
}

/// Brings images with masks into the form a graph wants: its normalisation, and as many steps as its window has.
pub fn prepare_masked(graph: &Graph, mut masked: Masked) -> Result<Samples> {
    let task = &graph.task;
    let normalization = (!task.mean.is_empty())
        .then(|| Normalization { mean: task.mean.clone(), std: task.std.clone() });
    masked.normalize(normalization)?;
    if !task.classes.is_empty() && task.classes != masked.classes() {
        return Err(Failure::input(format!(
            "the model's classes are {}, those of the data {}",
            task.classes.join(", "),
            masked.classes().join(", ")
        )));
    }
    Ok(Samples::Masked(masked))
}

/// For every class of the data, its place among the classes of the graph.
fn class_order(graph: &[String], data: &[String]) -> Result<Vec<u32>> {
    data.iter()
        .map(|class| match graph.iter().position(|known| known == class) {
            Some(place) => Ok(place as u32),
            None => {
                let hint = suggest(class, graph.iter().map(String::as_str));
                Err(Failure::input(format!("the model has no class `{class}`{hint}")))
            }
        })
        .collect()
}

/// Normalises values `[.., channels]` as the training data was.
pub fn normalise(task: &Task, x: &mut [f32]) {
    if !task.mean.is_empty() {
        Normalization { mean: task.mean.clone(), std: task.std.clone() }.apply(x);
    }
}

/// Runs the graph over prepared sequences.
pub fn evaluate(graph: &Graph, samples: &Samples, index: &[usize]) -> Result<Evaluation> {
    evaluate_seen(graph, samples, index, &mut |_| {})
}

/// The same; `seen` is shown the scores of some sequences at a time, in their order.
pub fn evaluate_seen(
    graph: &Graph,
    samples: &Samples,
    index: &[usize],
    seen: &mut dyn FnMut(&[f32]),
) -> Result<Evaluation> {
    let executor = Executor::new(graph)?;
    check_channels(graph, &executor, samples.values())?;
    let classes = samples.classes().len();
    if executor.output_len() != classes {
        return Err(Failure::input(format!(
            "{} gives {} values, the data has {classes} classes",
            graph.name,
            executor.output_len()
        )));
    }
    let (mut labels, mut predicted) = (Vec::new(), Vec::with_capacity(index.len()));
    let (mut x, mut out) = (Vec::new(), Vec::new());
    let (mut loss, mut among_five) = (0.0, 0usize);
    // Sentences end at their own steps.
    let streams = if matches!(samples, Samples::Sentences(_)) { 1 } else { STREAMS };
    for index in index.chunks(streams) {
        samples.batch(index, &mut x);
        let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
        out.clear();
        let found = samples.labels_of(index);
        match samples.text() {
            Some(_) => {
                executor.run(&mut states, &x, &mut out)?;
                let rows = out.chunks_exact(classes).zip(&found);
                loss += rows.map(|(scores, &token)| surprise(scores, token)).sum::<f64>();
            }
            None => executor.run_to_end(&mut states, &x, &mut out)?,
        }
        seen(&out);
        let rows = || out.chunks_exact(classes);
        among_five += rows().zip(&found).filter(|(scores, y)| in_top(scores, **y, 5)).count();
        predicted.extend(rows().map(|scores| argmax(scores) as u32));
        labels.extend(found);
    }
    let mean = loss / labels.len().max(1) as f64;
    let language = samples.text().map(|text| Language::of(mean, text.bytes_per_token));
    let top5 = (classes > 5).then(|| among_five as f64 / labels.len().max(1) as f64);
    Ok(Evaluation { confusion: Confusion::of(classes, &labels, &predicted), language, top5 })
}

/// Cross entropy of logits and the token that came, in nats.
fn surprise(scores: &[f32], token: u32) -> f64 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().map(|score| f64::from(score - largest).exp()).sum();
    sum.ln() - f64::from(scores[token as usize] - largest)
}

/// An error if the data has another number of channels than the graph's input.
pub fn check_channels(graph: &Graph, executor: &Executor, channels: usize) -> Result<()> {
    if executor.input_len() == channels {
        return Ok(());
    }
    let names = match graph.task.channels.is_empty() {
        true => String::new(),
        false => format!(": {}", graph.task.channels.join(", ")),
    };
    Err(Failure::input(format!("the data has {channels} channels")).help(format!(
        "{} takes {} values a step{names}",
        graph.name,
        executor.input_len()
    )))
}

/// The first index of the largest value.
pub fn argmax(scores: &[f32]) -> usize {
    let mut best = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = index;
        }
    }
    best
}
