//! Time and memory of an image through Meta-SpikeFormer, at chosen firing rates, RepConvs as their
//! parts and as one convolution, and time of a training step of the small preset.

use super::{Rows, times};
use crate::{
    config::Layers,
    failure::{Failure, Result},
    training::configuration,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spikelet_graph::Graph;
use spikelet_runtime::{Executor, Output, State};
use spikelet_train::{
    models::{
        ModelConfig,
        metaspikeformer::{MetaSpikeformerConfig, graph_at_rate},
    },
    rule::LearningRule,
    training_step::{Layered, StepConfig, TrainingStep},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

const SIZES: [(&str, [usize; 4]); 3] = [
    ("15m", MetaSpikeformerConfig::M15),
    ("31m", MetaSpikeformerConfig::M31),
    ("55m", MetaSpikeformerConfig::M55),
];
const STEPS: [usize; 2] = [1, 4];
/// Percent.
const RATES: [usize; 3] = [10, 15, 20];
const IMAGE: [usize; 3] = [224, 224, 3];
const CLASSES: usize = 1000;
/// Of a case whose RepConvs are one convolution each.
const FUSED: &str = "fused";
const TRAINING: &str = "training";
/// What the training step is one of.
const PRESET: &str = "metaspikeformer/fashion-mnist";
/// Images timed; the median counts.
const REPEATS: usize = 5;

/// `size/steps/rate`, of one step with `/fused` too, and `training`.
pub(super) fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for (size, _) in SIZES {
        for steps in STEPS {
            cases.extend(RATES.iter().map(|rate| format!("{size}/{steps}/{rate}")));
        }
        cases.extend(RATES.iter().map(|rate| format!("{size}/1/{rate}/{FUSED}")));
    }
    cases.push(TRAINING.to_owned());
    cases
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    if case == TRAINING {
        return training();
    }
    // The graph is made by another process, so that peak memory is that of running it.
    let file =
        Temporary(std::env::temp_dir().join(format!("spikelet-{}.graph", std::process::id())));
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["bench", "metaspikeformer", "--case", case, "--prepare"]).arg(&file.0);
    if !child.status()?.success() {
        return Err(Failure::input(format!("preparing case {case} failed")));
    }
    inference(&file.0, steps_of(case)?)
}

fn steps_of(case: &str) -> Result<usize> {
    Ok(case.split('/').nth(1).unwrap_or_default().parse()?)
}

/// A file that goes with its owner.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes the graph of a case.
pub(super) fn prepare(case: &str, file: &Path) -> Result<()> {
    let parts: Vec<&str> = case.split('/').collect();
    let widths = SIZES.into_iter().find(|(name, _)| parts.first() == Some(name));
    let (Some((_, widths)), Some(rate)) = (widths, parts.get(2)) else {
        return Err(Failure::usage(format!("no case `{case}` to prepare")));
    };
    let (steps, rate) = (steps_of(case)?, rate.parse::<f32>()? / 100.0);
    let config = MetaSpikeformerConfig { steps, ..MetaSpikeformerConfig::new(widths) };
    let mut graph = graph_at_rate(&config, &image(), IMAGE, CLASSES, rate)?;
    if parts.get(3) == Some(&FUSED) {
        graph.fuse_convolutions(|_| true)?;
    }
    graph.save(file)?;
    Ok(())
}

/// Values about as those of a normalised photograph.
fn image() -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut random = || rng.random::<f32>() + rng.random::<f32>() + rng.random::<f32>();
    (0..IMAGE.iter().product()).map(|_| 2.0 * random() - 3.0).collect()
}

fn inference(file: &Path, steps: usize) -> Result<Rows> {
    let executor = Executor::new(&Graph::load(file)?)?;
    let x = image();
    let mut state = executor.state();
    let times = times(REPEATS + 1, || {
        state.reset();
        for _ in 0..steps {
            executor.step(&mut state, &x).expect("an input of this network");
        }
    });
    let memory = super::peak_memory().map(|mib| ("run_memory", mib, "MiB"));
    let mut rows: Rows =
        vec![("time", 1e3 * times[REPEATS / 2], "ms"), ("fastest", 1e3 * times[0], "ms")];
    rows.extend(memory);
    state.reset();
    rows.extend(rates(&executor, state, &x.repeat(steps))?);
    Ok(rows)
}

/// The least, the mean and the highest firing rate of a population.
fn rates(executor: &Executor, state: State, x: &[f32]) -> Result<Rows> {
    let mut fired: BTreeMap<usize, [usize; 2]> = BTreeMap::new();
    executor.run_observed(&mut [state], x, &mut Vec::new(), |node| {
        if let Output::Spikes(events) = node.output {
            let [spikes, neurons] = fired.entry(node.node).or_default();
            *spikes += events.len();
            *neurons += node.shape.iter().product::<usize>();
        }
    })?;
    let all = || fired.values().map(|[spikes, neurons]| 100.0 * *spikes as f64 / *neurons as f64);
    let [spikes, neurons] =
        fired.values().fold([0, 0], |sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    Ok(vec![
        ("least_rate", all().fold(100.0, f64::min), "%"),
        ("mean_rate", 100.0 * spikes as f64 / neurons as f64, "%"),
        ("most_rate", all().fold(0.0, f64::max), "%"),
    ])
}

/// Forward, backward and one step of the optimiser, of the network and the batch of a preset.
fn training() -> Result<Rows> {
    let preset = configuration(Layers::from_argument(PRESET)?)?;
    let ModelConfig::MetaSpikeformer(network) = preset.model else {
        return Err(Failure::input(format!("{PRESET} trains something else")));
    };
    let (input, classes) = ([64, 64, 1], 10);
    let (batch, time) = (preset.train.batch_size, network.steps);
    let network = Layered::MetaSpikeformer(network);
    let rule = LearningRule::Bptt;
    let mut step = TrainingStep::new(StepConfig { network, input, classes, batch, time, rule })?;
    let times = times(REPEATS + 1, || {
        step.run();
    });
    Ok(vec![("time", times[REPEATS / 2], "s"), ("fastest", times[0], "s")])
}
