//! Times the EGRU layers of the published language model (750 / 1350 x 3, 70 steps, batch 64):
//! `cargo bench -p spikelet-kernels --bench egru`.
//!
//! Prints for several activities (thresholds decide) milliseconds of the forward and the backward
//! pass of the three layers on two threads, and of the recurrent product of one step at batch 1.

use spikelet_kernels::{
    egru::{
        OutputGradients, Pass, PseudoDerivative, Shape, State, Weights, Zoneout, backward, forward,
    },
    events, gather,
};
use std::time::Instant;

const TIME: usize = 70;
const BATCH: usize = 64;
const SIZES: [usize; 4] = [750, 1350, 1350, 750];

fn main() {
    spikelet_kernels::memory::keep_freed_pages();
    for threshold in [0.55, 0.3, 0.0] {
        train(threshold);
    }
    for share in [0.01, 0.1, 0.5, 1.0] {
        step(share);
    }
}

/// Values in -1..1.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

struct Layer {
    shape: Shape,
    weights: [Vec<f32>; 5],
}

impl Layer {
    fn new(index: usize, threshold: f32) -> Layer {
        let (input, hidden) = (SIZES[index], SIZES[index + 1]);
        let scale = |n: usize, by: f32, seed| {
            noise(n, seed).into_iter().map(|w| w * by).collect::<Vec<f32>>()
        };
        let fan = |n: usize| 2.0 / (n as f32).sqrt();
        let weights = [
            scale(input * 3 * hidden, fan(input), 1),
            scale(hidden * 3 * hidden, fan(hidden), 2),
            scale(3 * hidden, 0.1, 3),
            scale(3 * hidden, 0.1, 4),
            vec![threshold; hidden],
        ];
        Layer { shape: Shape { time: TIME, batch: BATCH, input, hidden }, weights }
    }

    fn weights(&self) -> Weights<'_> {
        let [kernel, recurrent, bias, recurrent_bias, threshold] = &self.weights;
        Weights { kernel, recurrent, bias, recurrent_bias, threshold }
    }
}

fn train(threshold: f32) {
    let layers: Vec<Layer> = (0..3).map(|index| Layer::new(index, threshold)).collect();
    let input = noise(TIME * BATCH * SIZES[0], 7);
    let (mut fastest, mut parts) = (f64::MAX, String::new());
    for _ in 0..2 {
        let start = Instant::now();
        let (mut xs, mut saved, mut rates) = (vec![input.clone()], Vec::new(), String::new());
        for layer in &layers {
            let zero = vec![0.0; BATCH * layer.shape.hidden];
            let state = State { y: &zero, h: &zero, trace: &zero };
            let x = &xs[xs.len() - 1];
            let (out, kept) =
                forward(&layer.shape, &layer.weights(), &state, Zoneout::Share(1.0), x);
            let active = out.o.iter().sum::<f32>() / out.o.len() as f32;
            rates.push_str(&format!(" {:.0} %", 100.0 * active));
            xs.push(out.y);
            saved.push(kept);
        }
        let forward_time = start.elapsed().as_secs_f64();
        let mut d = noise(xs[3].len(), 9);
        for (index, layer) in layers.iter().enumerate().rev() {
            let zero = vec![0.0; BATCH * layer.shape.hidden];
            let pass = Pass {
                weights: layer.weights(),
                state: State { y: &zero, h: &zero, trace: &zero },
                zoneout: Zoneout::Share(1.0),
                pseudo: PseudoDerivative { dampening: 3.6, support: 3.6 },
                x: &xs[index],
                saved: &saved[index],
            };
            let g = OutputGradients { y: Some(&d), ..OutputGradients::default() };
            let found = backward(&layer.shape, &pass, &g, true);
            d = found.x.expect("asked for");
        }
        let all = start.elapsed().as_secs_f64();
        if all < fastest {
            fastest = all;
            parts = format!(
                "active{rates}: forward {:.0} ms, backward {:.0} ms",
                forward_time * 1e3,
                (all - forward_time) * 1e3
            );
        }
    }
    println!("training step, {parts}, together {:.0} ms", fastest * 1e3);
}

/// The recurrent product of the largest layer, batch 1, over four matrices in turn so that they do
/// not all stay in a cache.
fn step(share: f32) {
    let (hidden, width) = (SIZES[1], 3 * SIZES[1]);
    let matrices: Vec<Vec<f32>> = (0..4).map(|k| noise(hidden * width, k)).collect();
    let y: Vec<f32> =
        noise(hidden, 5).into_iter().map(|v| if v.abs() < share { v + 2.0 } else { 0.0 }).collect();
    let mut list = vec![0; hidden];
    let count = events::active(&y, &mut list);
    let mut out = vec![0.0; width];
    let mut times = Vec::new();
    for round in 0..40 {
        let start = Instant::now();
        gather::add_rows_graded(&mut out, &matrices[round % 4], &list[..count], &y);
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let bytes = (count * width * 4) as f64;
    println!(
        "recurrent product, {count} of {hidden} events: {:.0} us ({:.1} GB/s)",
        times[20] * 1e6,
        bytes / times[20] / 1e9
    );
    std::hint::black_box(&out);
}
