//! Time and memory of one training step under each learning rule, over the number of time steps,
//! and time of a step of inference.

use super::{Rows, times};
use crate::{failure::Result, memory::meter};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spikelet_runtime::Executor;
use spikelet_train::{
    models::convnet::ConvnetConfig,
    rule::LearningRule,
    training_step::{Layered, StepConfig, TrainingStep},
};

/// Name, shape of the input, batch size.
const NETWORKS: [(&str, [usize; 3], usize); 2] =
    [("vgg11", [48, 48, 2], 16), ("resnet18", [32, 32, 3], 32)];
const RULES: [&str; 4] = ["bptt", "bptt-checkpoint=1", "sltt", "sltt-k=1"];
const STEPS: [usize; 7] = [1, 2, 4, 6, 8, 16, 32];
/// One sample of the VGG-11, followed by the number of time steps.
const INFERENCE: &str = "vgg11/inference/";
/// Steps timed; the median counts.
const REPEATS: usize = 3;

/// `network/rule/time`.
pub(super) fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for (network, ..) in NETWORKS {
        for rule in RULES {
            cases.extend(STEPS.iter().map(|time| format!("{network}/{rule}/{time}")));
        }
    }
    cases.extend(STEPS.iter().map(|time| format!("{INFERENCE}{time}")));
    cases
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    if let Some(time) = case.strip_prefix(INFERENCE) {
        return inference(time.parse()?);
    }
    let parts: Vec<&str> = case.split('/').collect();
    let (_, input, batch) =
        NETWORKS.into_iter().find(|(name, ..)| parts.first() == Some(name)).expect("a case");
    let rule: LearningRule = parts[1].parse().map_err(crate::failure::Failure::usage)?;
    let network = Layered::Convnet(ConvnetConfig::new(parts[0].parse()?));
    let time = parts[2].parse()?;
    let mut step =
        TrainingStep::new(StepConfig { network, input, classes: 10, batch, time, rule })?;
    // The first step allocates the state of the optimiser and warms everything up.
    step.run();
    let mut rows: Rows = Vec::new();
    if let Some(meter) = meter() {
        const MIB: f64 = (1 << 20) as f64;
        let before = (meter.live)();
        (meter.reset_peak)();
        step.run();
        let extra = (meter.peak)().saturating_sub(before);
        rows.push(("model", before as f64 / MIB, "MiB live"));
        rows.push(("step_memory", extra as f64 / MIB, "MiB live"));
    }
    let times = times(REPEATS, || {
        step.run();
    });
    rows.push(("time", times[REPEATS / 2], "s"));
    rows.push(("fastest", times[0], "s"));
    rows.extend(rates(step.firing_rates()));
    Ok(rows)
}

/// Microseconds of a time step of one sample in the runtime: of all its steps given at once, and
/// step by step as in a stream.
fn inference(time: usize) -> Result<Rows> {
    let (name, input, batch) = NETWORKS[0];
    let network = Layered::Convnet(ConvnetConfig::new(name.parse()?));
    let rule = LearningRule::Sltt;
    let config = StepConfig { network, input, classes: 10, batch, time, rule };
    let (graph, found) = TrainingStep::new(config)?.inference()?;
    let executor = Executor::new(&graph)?;
    let len = input.iter().product::<usize>();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let x: Vec<f32> =
        (0..time * len).map(|_| if rng.random::<f32>() < 0.2 { 1.0 } else { 0.0 }).collect();
    // The first runs warm everything up.
    let whole = times(REPEATS + 1, || {
        let mut results = Vec::new();
        executor.run(&mut [executor.state()], &x, &mut results).expect("an input of this network");
    });
    let single = times(REPEATS + 1, || {
        let mut state = executor.state();
        for x in x.chunks_exact(len) {
            executor.step(&mut state, x).expect("an input of this network");
        }
    });
    let step = |seconds: f64| 1e6 * seconds / time as f64;
    let mut rows = vec![
        ("time", step(whole[REPEATS / 2]), "us/step"),
        ("fastest", step(whole[0]), "us/step"),
        ("single_step", step(single[REPEATS / 2]), "us/step"),
    ];
    rows.extend(rates(found));
    Ok(rows)
}

fn rates((least, most): (f32, f32)) -> [(&'static str, f64, &'static str); 2] {
    [("least_rate", 100.0 * f64::from(least), "%"), ("most_rate", 100.0 * f64::from(most), "%")]
}
