//! Time of one step of the published Braille network at batch 1 on one thread.
//!
//! `cargo run --release -p spikelet-runtime --example l2mu_step`

#[path = "../tests/it/support/braille.rs"]
mod braille;

use spikelet_runtime::Executor;
use std::time::Instant;

const SAMPLES: usize = 64;
const REPEATS: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(events) = braille::events() else { return Ok(()) };
    let executor = Executor::new(&braille::network("l2mu_braille7_best.safetensors"))?;
    println!("{:?}", executor.memory_plan());
    let mut state = executor.state();
    // A sample takes less than a time slice of the scheduler, so that the fastest of many
    // repeats is one that ran undisturbed.
    let mut fastest = [f64::INFINITY; SAMPLES];
    let mut all = Vec::with_capacity(SAMPLES * REPEATS);
    for _ in 0..REPEATS {
        for (sample, fastest) in events.iter().zip(&mut fastest) {
            let start = Instant::now();
            state.reset();
            for x in sample.chunks_exact(braille::CHANNELS) {
                std::hint::black_box(executor.step(&mut state, x)?);
            }
            let step = start.elapsed().as_secs_f64() * 1e6 / braille::STEPS as f64;
            *fastest = fastest.min(step);
            all.push(step);
        }
    }
    all.sort_by(f64::total_cmp);
    println!(
        "microseconds a step: {:.3} (each sample's fastest run), {:.3} (median run)",
        fastest.iter().sum::<f64>() / SAMPLES as f64,
        all[all.len() / 2]
    );
    Ok(())
}
