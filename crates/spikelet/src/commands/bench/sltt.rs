//! Time and memory of one training step under each learning rule, over the number of time steps.

use super::Rows;
use crate::{failure::Result, memory::meter};
use spikelet_train::{
    models::convnet::ConvnetConfig,
    rule::LearningRule,
    training_step::{StepConfig, TrainingStep},
};
use std::time::Instant;

/// Name, shape of the input, batch size.
const NETWORKS: [(&str, [usize; 3], usize); 2] =
    [("vgg11", [48, 48, 2], 16), ("resnet18", [32, 32, 3], 32)];
const RULES: [&str; 4] = ["bptt", "bptt-checkpoint=1", "sltt", "sltt-k=1"];
const STEPS: [usize; 7] = [1, 2, 4, 6, 8, 16, 32];
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
    cases
}

/// Runs one of [`cases`].
pub(super) fn run(case: &str) -> Result<Rows> {
    let parts: Vec<&str> = case.split('/').collect();
    let (_, input, batch) =
        NETWORKS.into_iter().find(|(name, ..)| parts.first() == Some(name)).expect("a case");
    let rule: LearningRule = parts[1].parse().map_err(crate::failure::Failure::usage)?;
    let network = ConvnetConfig::new(parts[0].parse()?);
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
    let mut times: Vec<f64> = (0..REPEATS)
        .map(|_| {
            let start = Instant::now();
            step.run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    rows.push(("time", times[REPEATS / 2], "s"));
    rows.push(("fastest", times[0], "s"));
    let (least, most) = step.firing_rates();
    rows.push(("least_rate", 100.0 * f64::from(least), "%"));
    rows.push(("most_rate", 100.0 * f64::from(most), "%"));
    Ok(rows)
}
