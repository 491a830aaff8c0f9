//! Time and memory of one training step of SpikeGPT.

use super::{Rows, times};
use crate::failure::Result;
use spikelet_train::{language_step::LanguageStep, models::spikegpt::SpikeGptConfig};

/// The 45M network of the paper.
pub(super) const CASES: [&str; 1] = ["12x512/train"];
/// The characters of enwik8.
const VOCABULARY: usize = 5458;
const BATCH: usize = 4;
const TIME: usize = 256;
/// Steps timed; the median counts.
const REPEATS: usize = 3;

/// Runs one of [`CASES`].
pub(super) fn run(_case: &str) -> Result<Rows> {
    let mut step = LanguageStep::new(&SpikeGptConfig::m45(), VOCABULARY, BATCH, TIME)?;
    // The first step allocates the state of the optimiser and warms everything up.
    step.run();
    let times = times(REPEATS, || {
        step.run();
    });
    let speed = (BATCH * TIME) as f64 / times[REPEATS / 2];
    Ok(vec![
        ("time", times[REPEATS / 2], "s"),
        ("fastest", times[0], "s"),
        ("speed", speed, "tokens/s"),
    ])
}
