//! Time of one step of the published Braille network at batch 1 on one thread.
//!
//! `cargo run --release -p spikelet-runtime --example l2mu_step`

#[path = "../tests/support/braille.rs"]
mod braille;

use spikelet_runtime::Executor;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(events) = braille::events() else { return Ok(()) };
    let executor = Executor::new(&braille::network("l2mu_braille7_best.safetensors"))?;
    println!("{:?}", executor.memory_plan());
    let mut state = executor.state();
    let samples = &events[..64];
    let mut microseconds: Vec<f64> = (0..40)
        .map(|_| {
            let start = Instant::now();
            for sample in samples {
                state.reset();
                for x in sample.chunks_exact(braille::CHANNELS) {
                    std::hint::black_box(executor.step(&mut state, x)?);
                }
            }
            let steps = samples.len() * braille::STEPS;
            Ok(start.elapsed().as_secs_f64() * 1e6 / steps as f64)
        })
        .collect::<Result<_, spikelet_runtime::Error>>()?;
    microseconds.sort_by(f64::total_cmp);
    println!(
        "step: {:.3} us (fastest), {:.3} us (median of {} runs)",
        microseconds[0],
        microseconds[microseconds.len() / 2],
        microseconds.len()
    );
    Ok(())
}
