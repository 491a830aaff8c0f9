//! Times a step of normalised neurons on layers of the spiking VGG-11 (16 samples):
//! `cargo bench -p spikelet-kernels --bench neurons`.
//!
//! Prints milliseconds (the fastest of the runs) and, from the bytes that must move (forward 5 times
//! the layer, backward 7), billions of bytes a second; beside them those of a copy.

use spikelet_kernels::{
    neuron::{Model, NeuronSpec, Param, Params, Reset, normalized::Normalized},
    surrogate::Surrogate,
};
use std::time::Instant;

const RUNS: usize = 9;

fn main() {
    spikelet_kernels::memory::keep_freed_pages();
    for (side, channels) in [(48, 64), (24, 128), (12, 256), (6, 512)] {
        let n = 16 * side * side * channels;
        let wave = |k: f32| (0..n).map(|i| (i as f32 * k).sin() * 1.5).collect::<Vec<f32>>();
        let (x, u, d) = (wave(0.37), wave(0.91), wave(0.53));
        let (weight, bias) = (vec![1.0; channels], vec![0.0; channels]);
        let spec = NeuronSpec {
            model: Model::Lif { input_decay: false },
            reset: Reset::Subtract,
            reset_delayed: false,
            fires_at_threshold: true,
        };
        let params = Params::lif(Param::Shared(0.1), Param::Shared(1.0));
        let both = Normalized { spec: &spec, params, weight: &weight, bias: &bias };
        let moments = both.forward(&x, &u, 1e-5).moments;
        let forward = fastest(|| both.forward(&x, &u, 1e-5));
        let backward = fastest(|| both.backward(Surrogate::TRIANGLE, &x, &u, &moments, &d));
        let copy = fastest(|| x.clone());
        let rate = |passes: f64, time: f64| passes * 4.0 * n as f64 / time / 1e9;
        println!(
            "{side}x{side}x{channels}: forward {:.2} ms ({:.0} GB/s), backward {:.2} ms ({:.0} GB/s), \
             copy on one thread {:.0} GB/s",
            forward * 1e3,
            rate(5.0, forward),
            backward * 1e3,
            rate(7.0, backward),
            rate(2.0, copy),
        );
    }
}

/// Seconds of the fastest run.
fn fastest<T>(mut run: impl FnMut() -> T) -> f64 {
    (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(run());
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}
