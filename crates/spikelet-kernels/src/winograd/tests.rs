//! Against the definition in f64, over shapes that leave tiles, panels and parts unfilled.

use super::*;
use crate::window::Window;
use alloc::vec;
use proptest::prelude::*;

fn conv(size: [usize; 2], padding: usize, inputs: usize, outputs: usize) -> Conv {
    let window = Window {
        input: size,
        output: size.map(|n| n + 2 * padding - 2),
        kernel: [3; 2],
        stride: [1; 2],
        padding: [padding; 2],
        dilation: [1; 2],
    };
    Conv { window, inputs, outputs, groups: 1 }
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Largest difference over the root of the number of terms, which are of about 1/3.
fn worst(found: &[f32], want: &[f64], terms: usize) -> f64 {
    assert_eq!(found.len(), want.len());
    let differences = found.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs());
    differences.fold(0.0, f64::max) / (terms as f64).sqrt()
}

fn check<T: transform::Tile>(conv: &Conv, batch: usize, tolerance: f64) {
    let w = &conv.window;
    let (pixels, positions) = (w.input[0] * w.input[1], w.output[0] * w.output[1]);
    let x = numbers(batch * pixels * conv.inputs, 1);
    let weights = numbers(9 * conv.inputs * conv.outputs, 2);
    let bias = numbers(conv.outputs, 3);
    let d_out = numbers(batch * positions * conv.outputs, 4);
    let mut out: Vec<f64> = (0..d_out.len()).map(|i| f64::from(bias[i % conv.outputs])).collect();
    let (mut d_weights, mut d_x) = (vec![0.0; weights.len()], vec![0.0; x.len()]);
    for (image, position) in (0..batch).flat_map(|i| (0..positions).map(move |p| (i, p))) {
        let to = (image * positions + position) * conv.outputs;
        w.for_each_source(position, |tap, pixel| {
            for c in 0..conv.inputs {
                let from = (image * pixels + pixel) * conv.inputs + c;
                let row = (tap * conv.inputs + c) * conv.outputs;
                for o in 0..conv.outputs {
                    let (x, w) = (f64::from(x[from]), f64::from(weights[row + o]));
                    let d = f64::from(d_out[to + o]);
                    out[to + o] += x * w;
                    d_weights[row + o] += x * d;
                    d_x[from] += w * d;
                }
            }
        });
    }
    let kernel = weights::Kernel { weights: &weights, inputs: conv.inputs, outputs: conv.outputs };
    let tiles = Tiles::new::<T>(conv);
    let found = convolve::run::<T>(&tiles, &x, batch, |blocks| kernel.forward::<T>(blocks), &bias);
    let error = worst(&found, &out, 9 * conv.inputs);
    assert!(error < tolerance, "forward {conv:?}: {error}");
    let back = Tiles::new::<T>(&mirrored(conv));
    let found =
        convolve::run::<T>(&back, &d_out, batch, |blocks| kernel.mirrored::<T>(blocks), &[]);
    let error = worst(&found, &d_x, 9 * conv.outputs);
    assert!(error < tolerance, "input gradient {conv:?}: {error}");
    let found = weight_gradient::run::<T>(&tiles, conv, &x, batch, &d_out);
    let error = worst(&found, &d_weights, batch * positions);
    assert!(error < tolerance, "weight gradient {conv:?}: {error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_shape(
        height in 3_usize..12,
        width in 3_usize..12,
        padding in 0_usize..3,
        inputs in 1_usize..40,
        outputs in 1_usize..80,
        batch in 1_usize..4,
    ) {
        let conv = conv([height, width], padding, inputs, outputs);
        check::<Two>(&conv, batch, 1e-6);
        check::<Four>(&conv, batch, 3e-5);
    }
}

/// More depth and more columns than a panel, more lines than a part.
#[test]
fn many_channels() {
    check::<Two>(&conv([6, 6], 1, 140, 150), 5, 1e-6);
    check::<Four>(&conv([12, 12], 1, 140, 70), 5, 3e-5);
}

#[test]
fn no_images() {
    let conv = conv([8, 8], 1, 64, 64);
    assert!(applies(&conv));
    let weights = numbers(9 * 64 * 64, 1);
    assert!(forward(&conv, &[], 0, &weights, &[]).is_empty());
    assert!(input_gradient(&conv, 0, &weights, &[]).is_empty());
    assert_eq!(weight_gradient(&conv, &[], 0, &[]), vec![0.0; weights.len()]);
}

/// Where it saves too little, or the window is another, it is not used.
#[test]
fn sizes() {
    assert_eq!(size(&conv([24, 24], 1, 64, 128)), Some(4));
    assert_eq!(size(&conv([12, 12], 1, 256, 256)), Some(4));
    assert_eq!(size(&conv([6, 6], 1, 512, 512)), Some(2));
    assert_eq!(size(&conv([3, 3], 1, 512, 512)), None);
    assert_eq!(size(&conv([24, 24], 1, 2, 64)), None);
    let mut strided = conv([24, 24], 1, 64, 64);
    strided.window.stride = [2; 2];
    assert_eq!(size(&strided), None);
}
