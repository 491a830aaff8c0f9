//! Times the convolution kernels on the layers of the spiking VGG-11 (48 x 48 x 2, 16 samples),
//! then on depthwise and 1 x 1 layers of Meta-SpikeFormer:
//! `cargo bench -p spikelet-kernels --bench spike_conv [-- LAYER [PASS]]`.
//!
//! Prints milliseconds (the fastest of the runs) and billions of products a second of the dense
//! convolution; `RAYON_NUM_THREADS=1` for one thread. After the layers of VGG-11 comes their sum.

use spikelet_kernels::{
    conv::Conv,
    spike_conv::{Input, events, forward, input_gradient, weight_gradient},
    window::Window,
};
use std::time::Instant;

const BATCH: usize = 16;
const RUNS: usize = 7;
/// Side of the image, channels in and out, fraction of inputs that are active.
const LAYERS: [(usize, usize, usize, f32); 8] = [
    (48, 2, 64, 0.2),
    (24, 64, 128, 0.48),
    (12, 128, 256, 0.48),
    (12, 256, 256, 0.155),
    (6, 256, 512, 0.48),
    (6, 512, 512, 0.155),
    (3, 512, 512, 0.48),
    (3, 512, 512, 0.155),
];

/// Side of the kernel, of the image, channels in and out, fraction of inputs that are active, groups.
const OTHERS: [(usize, usize, usize, usize, f32, usize); 5] = [
    (7, 56, 128, 128, 0.15, 128),
    (3, 14, 384, 384, 0.15, 384),
    (1, 56, 64, 128, 0.15, 1),
    (1, 14, 384, 1536, 0.15, 1),
    (1, 1, 3136, 1024, 0.15, 1),
];

fn main() {
    spikelet_kernels::memory::keep_freed_pages();
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let (filter, pass) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    println!(
        "{:34} {:>8} {:>8} {:>8} {:>8}  ms (G products/s)",
        "layer", "lists", "forward", "weight", "input"
    );
    let mut total = [0.0; 4];
    let vgg = LAYERS.map(|(side, inputs, outputs, density)| (3, side, inputs, outputs, density, 1));
    for (index, (kernel, side, inputs, outputs, density, groups)) in
        vgg.into_iter().chain(OTHERS).enumerate()
    {
        let kind = if groups > 1 { "depthwise " } else { "" };
        let name = format!("{kind}{kernel}x{kernel} {side}x{side} {inputs}-{outputs} {density}");
        if index == LAYERS.len() {
            println!("{:34} {}", "sum", total.map(|t| format!("{:5.2}", t * 1e3)).join("       "));
        }
        if !name.contains(&filter) {
            continue;
        }
        let window = Window {
            input: [side; 2],
            output: [side; 2],
            kernel: [kernel; 2],
            stride: [1; 2],
            padding: [kernel / 2; 2],
            dilation: [1; 2],
        };
        let conv = Conv { window, inputs, outputs, groups };
        let positions = BATCH * side * side;
        let mut random = random();
        let x: Vec<f32> = (0..positions * inputs)
            .map(|_| if random() < density { if density < 0.4 { 1.0 } else { 0.25 } } else { 0.0 })
            .collect();
        let taps = kernel * kernel * inputs / groups;
        let weights: Vec<f32> = (0..taps * outputs).map(|_| random() - 0.5).collect();
        let d_out: Vec<f32> = (0..positions * outputs).map(|_| random() - 0.5).collect();
        let lists = events(&conv, &x);
        let input = lists.as_ref().map_or(Input::Dense(&x), Input::Events);
        let wanted = |name: &str| name.contains(&pass);
        let times = [
            wanted("lists").then(|| fastest(|| events(&conv, &x))),
            wanted("forward").then(|| fastest(|| forward(&conv, input, BATCH, &weights, &[]))),
            wanted("weight").then(|| fastest(|| weight_gradient(&conv, input, BATCH, &d_out))),
            (wanted("input") && inputs > 2)
                .then(|| fastest(|| input_gradient(&conv, BATCH, &weights, &d_out))),
        ]
        .map(Option::unwrap_or_default);
        let products = (positions * taps * outputs) as f64;
        print!("{name:34}");
        for (time, total) in times.iter().zip(&mut total) {
            *total += time;
            print!(" {:5.2} ({:3.0})", time * 1e3, products / time / 1e9);
        }
        println!();
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

/// Uniform numbers from 0 to 1, the same every time.
fn random() -> impl FnMut() -> f32 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1 << 24) as f32
    }
}
