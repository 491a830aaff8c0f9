//! The published L2MU on Braille reading: a step, an epoch of training, an evaluation.

use super::Rows;
use crate::{
    config::Layers,
    convert,
    evaluate::evaluate,
    failure::{Failure, Result},
    measure::measure,
    training,
};
use spikelet_data::{braille, checkpoint::Checkpoint, find::find};
use spikelet_graph::Graph;
use spikelet_train::{
    config::SplitConfig,
    trainer::{EpochReport, Observer},
};
use std::{path::Path, time::Instant};

pub(super) const CASES: [&str; 3] = ["braille/step", "braille/epoch", "braille/eval"];
const CHECKPOINT: &str = "tests/golden/l2mu_braille/l2mu_braille7_best.safetensors";

/// Runs one of [`CASES`].
pub(super) fn run(case: &str, data: Option<&Path>) -> Result<Rows> {
    match case {
        "braille/step" => step(data),
        "braille/epoch" => epoch(data),
        _ => eval(data),
    }
}

/// The published network.
fn published() -> Result<Graph> {
    let checkpoint = Checkpoint::open(CHECKPOINT.as_ref()).map_err(|error| {
        Failure::from(error).help("run this in the repository, where the golden files are")
    })?;
    Ok(convert::convert(&checkpoint, Some("l2mu"))?.0)
}

/// A time step at batch 1 on one thread, over samples of the network's own validation split.
fn step(data: Option<&Path>) -> Result<Rows> {
    let braille = braille::load(&find("braille", data)?)?;
    let measured = measure(&published()?, &braille.sequences.into(), &braille.val_index[9])?;
    let state = spikelet_runtime::Executor::new(&published()?)?.state_bytes();
    Ok(vec![
        ("time", measured.microseconds_per_step, "us"),
        ("state_per_stream", state as f64, "bytes"),
    ])
}

/// All 280 samples at once.
fn eval(data: Option<&Path>) -> Result<Rows> {
    let braille = braille::load(&find("braille", data)?)?;
    let (graph, index) = (published()?, &braille.val_index[9]);
    let steps = (index.len() * braille.sequences.time) as f64;
    let samples = braille.sequences.into();
    let mut times = Vec::new();
    let mut correct = 0;
    for _ in 0..5 {
        let start = Instant::now();
        correct = evaluate(&graph, &samples, index)?.correct();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(vec![
        ("time", times[2] * 1e6 / steps, "us/step"),
        ("correct", correct as f64, "samples"),
        ("accuracy", 100.0 * correct as f64 / index.len() as f64, "%"),
    ])
}

/// The second training epoch with the official settings.
fn epoch(data: Option<&Path>) -> Result<Rows> {
    let mut config = training::configuration(Layers::from_argument("l2mu/braille")?)?;
    config.data.split = SplitConfig::official(9);
    config.train.epochs = 2;
    let folder = tempfile::tempdir()?;
    let mut clock = Clock { started: None, seconds: 0.0 };
    training::train(&config, data, folder.path(), &mut clock)?;
    Ok(vec![("time", clock.seconds, "s")])
}

/// Times the batches of the second epoch, without its validation.
struct Clock {
    started: Option<Instant>,
    seconds: f64,
}

impl Observer for Clock {
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, _: f32) -> bool {
        if let (1, Some(started)) = (epoch, self.started)
            && done == batches
        {
            self.seconds = started.elapsed().as_secs_f64();
        }
        true
    }

    fn epoch(&mut self, _: &EpochReport) {
        self.started = Some(Instant::now());
    }
}
