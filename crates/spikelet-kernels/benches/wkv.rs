//! Times the WKV scan of one layer of the 45M network, 256 tokens of 4 texts:
//! `cargo bench -p spikelet-kernels --bench wkv`.
//!
//! Prints the fastest of the runs in nanoseconds a token and channel, with the bytes that must move
//! (forward 6 values, backward 8).

use spikelet_kernels::wkv::{NOTHING, Params, Run, Saved, State, backward, sequence};
use std::time::Instant;

const TIME: usize = 256;
const BATCH: usize = 4;
const CHANNELS: usize = 512;
const RUNS: usize = 20;

fn main() {
    spikelet_kernels::memory::keep_freed_pages();
    let (width, n) = (BATCH * CHANNELS, TIME * BATCH * CHANNELS);
    let wave = |k: f32, n: usize| (0..n).map(|i| (i as f32 * k).sin()).collect::<Vec<f32>>();
    let (k, v, d_y) = (wave(0.37, n), wave(0.91, n), wave(0.53, n));
    let decay: Vec<f32> = (0..CHANNELS).map(|c| -(c as f32) / 100.0).collect();
    let first = wave(0.2, CHANNELS);
    let params = Params { decay: &decay, first: &first };
    let mut y = vec![0.0; n];
    let mut saved = [vec![0.0; n], vec![0.0; n], vec![0.0; n]];
    let forward = fastest(|| {
        let mut state = [vec![0.0; width], vec![0.0; width], vec![NOTHING; width]];
        let [p, q, o] = &mut state;
        let state = State { p, q, o };
        let [p, q, o] = &mut saved;
        sequence(params, state, &k, &v, &mut y, Some(Saved { p, q, o }));
    });
    let [p, q, o] = &saved;
    let run = Run { params, k: &k, v: &v, saved: [p, q, o], d_y: &d_y };
    let backward = fastest(|| {
        std::hint::black_box(backward(&run, &mut vec![0.0; width], &mut vec![0.0; width]));
    });
    for (name, time, values) in [("forward", forward, 6.0), ("backward", backward, 8.0)] {
        let (each, rate) = (time / n as f64 * 1e9, values * 4.0 * n as f64 / time / 1e9);
        println!("{name}: {each:.2} ns a value ({rate:.1} GB/s)");
    }
}

/// Seconds of the fastest run.
fn fastest(mut run: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}
