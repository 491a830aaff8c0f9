//! Wall time of single steps, and energy where the machine has a counter.

use crate::{
    failure::Result,
    machine::{EnergyCounter, EnergyMeter},
};
use serde::Serialize;
use spikelet_data::Samples;
use spikelet_graph::Graph;
use spikelet_runtime::Executor;
use std::time::{Duration, Instant};

/// Long enough to average over what else the machine does, short enough to wait for.
const LEAST_TIME: Duration = Duration::from_millis(500);

/// What single steps of one stream cost on one thread.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Median over sequences of the mean time of a step, in microseconds.
    pub microseconds_per_step: f64,
    /// The fastest sequence.
    pub fastest_microseconds_per_step: f64,
    /// Sequences timed.
    pub sequences: usize,
    /// Energy of the whole processor during the measurement over the number of steps, in
    /// microjoules; includes what the machine draws when idle.
    pub microjoules_per_step: Option<f64>,
}

/// Times steps of prepared sequences, one stream, one thread.
pub fn measure(graph: &Graph, samples: &Samples, index: &[usize]) -> Result<Measured> {
    let executor = Executor::new(graph)?;
    let meter = EnergyMeter::start(&EnergyCounter::find());
    let (started, mut times, mut steps) = (Instant::now(), Vec::new(), 0u64);
    // The first round warms caches and is not counted.
    let mut warm = false;
    while !warm || started.elapsed() < LEAST_TIME {
        for sample in index.iter().map(|index| samples.sample(*index)) {
            let mut state = executor.state();
            let start = Instant::now();
            let rows = sample.chunks_exact(samples.values().max(1));
            let time = rows.len();
            for x in rows {
                executor.step(&mut state, x)?;
            }
            steps += time as u64;
            if warm {
                times.push(start.elapsed().as_secs_f64() / time.max(1) as f64);
            }
        }
        if warm && index.is_empty() {
            break;
        }
        warm = true;
    }
    let energy = meter.and_then(|meter| meter.stop());
    times.sort_by(f64::total_cmp);
    let microseconds = |place: usize| times.get(place).map_or(0.0, |seconds| seconds * 1e6);
    Ok(Measured {
        microseconds_per_step: microseconds(times.len() / 2),
        fastest_microseconds_per_step: microseconds(0),
        sequences: times.len(),
        microjoules_per_step: energy.map(|microjoules| microjoules / steps.max(1) as f64),
    })
}

impl Measured {
    /// Lines for the terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "measured here, one stream, one thread: {:.2} us a step (fastest {:.2}), {} sequences\n",
            self.microseconds_per_step, self.fastest_microseconds_per_step, self.sequences
        );
        if let Some(energy) = self.microjoules_per_step {
            text += &format!("measured energy of the whole processor: {energy:.2} uJ a step\n");
        }
        text
    }
}
