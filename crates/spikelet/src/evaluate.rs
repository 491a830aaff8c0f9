//! Running a graph over labelled sequences.

use crate::failure::{Failure, Result};
use serde::Serialize;
use spikelet_data::{
    Frames, Samples, Sequences,
    columns::{Reading, reading},
    masked::Masked,
    metrics::{Confusion, Language, in_top},
    nearest::suggest,
    normalize::Normalization,
    tokenizer::Tokenizer,
    vocabulary::Vocabulary,
};
use spikelet_graph::{Graph, Op, Task};
use spikelet_runtime::{Executor, Output, State};
use std::collections::BTreeMap;

/// Sequences run side by side.
const STREAMS: usize = 64;

/// What a graph made of labelled sequences.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The class of every sequence; of text, the token that came.
    pub labels: Vec<u32>,
    /// What the graph takes it for.
    pub predicted: Vec<u32>,
    /// Figures of a language model.
    pub language: Option<Language>,
    /// Fraction whose class is among the five highest scores, where there are more than five.
    pub top5: Option<f64>,
    /// Fraction of units with an event, of every EGRU layer.
    pub activity: Vec<Activity>,
}

/// How often the units of a layer have an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// The layer.
    pub layer: String,
    /// Fraction of units and steps.
    pub activity: f64,
}

impl Evaluation {
    /// Truth against prediction. Not for text: of thousands of tokens it says nothing and takes much
    /// memory.
    pub fn confusion(&self, classes: usize) -> Confusion {
        Confusion::of(classes, &self.labels, &self.predicted)
    }

    /// Right predictions.
    pub fn correct(&self) -> u64 {
        self.labels.iter().zip(&self.predicted).filter(|(y, p)| y == p).count() as u64
    }

    /// Fraction of right predictions; 0 without any.
    pub fn accuracy(&self) -> f64 {
        self.correct() as f64 / self.labels.len().max(1) as f64
    }
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
    evaluate_seen(graph, &Executor::new(graph)?, samples, index, &mut |_| {})
}

/// The same on the graph's `executor`; `seen` is shown the scores of some sequences at a time, in their order; of text in carried windows, in
/// the order in which it is read.
pub fn evaluate_seen(
    graph: &Graph,
    executor: &Executor,
    samples: &Samples,
    index: &[usize],
    seen: &mut dyn FnMut(&[f32]),
) -> Result<Evaluation> {
    check_channels(graph, executor, samples.values())?;
    let classes = samples.classes().len();
    if executor.output_len() != classes {
        return Err(Failure::input(format!(
            "{} gives {} values, the data has {classes} classes",
            graph.name,
            executor.output_len()
        )));
    }
    let mut found = Found::new(graph, executor, samples);
    if samples.text().is_some_and(|text| text.windows.carried()) {
        let Reading { rows, rest } = reading(index);
        let mut states: Vec<_> =
            rows.first().into_iter().flatten().map(|_| executor.state()).collect();
        for row in &rows {
            found.run(row, &mut states, seen)?;
        }
        // What is left goes on where the last column ends.
        for window in rest {
            let last = states.len().saturating_sub(1);
            found.run(&[window], &mut states[last..], seen)?;
        }
        return Ok(found.finished(index));
    }
    for index in index.chunks(streams(samples)) {
        let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
        found.run(index, &mut states, seen)?;
    }
    Ok(found.finished(index))
}

/// Samples that can run side by side: sentences end at their own steps.
pub fn streams(samples: &Samples) -> usize {
    if matches!(samples, Samples::Sentences(_)) { 1 } else { STREAMS }
}

/// What has been found so far.
struct Found<'a> {
    graph: &'a Graph,
    executor: &'a Executor,
    samples: &'a Samples,
    evaluation: Evaluation,
    /// Sum over tokens.
    loss: f64,
    /// Whose class is among the five highest scores.
    among_five: usize,
    /// Events and units of every EGRU layer, by its node.
    events: BTreeMap<usize, [u64; 2]>,
    x: Vec<f32>,
    out: Vec<f32>,
}

impl<'a> Found<'a> {
    fn new(graph: &'a Graph, executor: &'a Executor, samples: &'a Samples) -> Self {
        let layers = graph.nodes.iter().enumerate();
        let layers = layers.filter(|(_, node)| matches!(node.op, Op::Egru { .. }));
        let evaluation = Evaluation {
            labels: vec![],
            predicted: vec![],
            language: None,
            top5: None,
            activity: vec![],
        };
        let events = layers.map(|(node, _)| (node, [0, 0])).collect();
        let (x, out) = (Vec::new(), Vec::new());
        Found { graph, executor, samples, evaluation, loss: 0.0, among_five: 0, events, x, out }
    }

    /// Runs samples side by side, one from each state.
    fn run(
        &mut self,
        index: &[usize],
        states: &mut [State],
        seen: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let (samples, executor) = (self.samples, self.executor);
        let classes = samples.classes().len();
        samples.batch(index, &mut self.x);
        self.out.clear();
        let labels = samples.labels_of(index);
        match samples.text() {
            Some(_) => {
                if self.events.is_empty() {
                    executor.run(states, &self.x, &mut self.out)?;
                } else {
                    let events = &mut self.events;
                    executor.run_observed(states, &self.x, &mut self.out, |o| {
                        let (Some(sum), Output::Dense(values)) =
                            (events.get_mut(&o.node), o.output)
                        else {
                            return;
                        };
                        sum[0] += values.iter().filter(|value| **value != 0.0).count() as u64;
                        sum[1] += values.len() as u64;
                    })?;
                }
                let rows = self.out.chunks_exact(classes).zip(&labels);
                self.loss += rows.map(|(scores, &token)| surprise(scores, token)).sum::<f64>();
            }
            None => executor.run_to_end(states, &self.x, &mut self.out)?,
        }
        seen(&self.out);
        let rows = || self.out.chunks_exact(classes);
        self.among_five += rows().zip(&labels).filter(|(scores, y)| in_top(scores, **y, 5)).count();
        let found = &mut self.evaluation;
        found.predicted.extend(rows().map(|scores| argmax(scores) as u32));
        found.labels.extend(labels);
        Ok(())
    }

    fn finished(self, index: &[usize]) -> Evaluation {
        let all = self.evaluation.labels.len().max(1) as f64;
        let text = self.samples.text();
        let language = text.map(|text| Language::of(self.loss / all, text.bytes_per_token(index)));
        let five = self.samples.classes().len() > 5;
        let top5 = five.then(|| self.among_five as f64 / all);
        let activity = self.events.iter().filter(|(_, [_, units])| *units > 0);
        let activity = activity.map(|(&node, &[events, units])| Activity {
            layer: self.graph.nodes[node].name.clone(),
            activity: events as f64 / units as f64,
        });
        Evaluation { language, top5, activity: activity.collect(), ..self.evaluation }
    }
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
