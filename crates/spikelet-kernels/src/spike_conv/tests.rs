//! All three products against their definition, on small integers, where every sum is exact.

use super::*;
use crate::{conv::tests::shapes, window::Window};
use proptest::prelude::*;

/// Calls `visit(output, input, weight)` for every product of the definition.
fn products(conv: &Conv, batch: usize, mut visit: impl FnMut(usize, usize, usize)) {
    let (per_in, per_out) = (conv.inputs / conv.groups, conv.outputs / conv.groups);
    let w = &conv.window;
    for image in 0..batch {
        for position in 0..w.output[0] * w.output[1] {
            w.for_each_source(position, |tap, pixel| {
                for o in 0..conv.outputs {
                    for c in 0..per_in {
                        let channel = o / per_out * per_in + c;
                        visit(
                            image * output_len(conv) + position * conv.outputs + o,
                            image * input_len(conv) + pixel * conv.inputs + channel,
                            (tap * per_in + c) * conv.outputs + o,
                        );
                    }
                }
            });
        }
    }
}

/// Integers from -3 to 3.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as f32 % 7.0 - 3.0
        })
        .collect()
}

/// Zero where `numbers` give less than `least`, else 1 or the number.
fn events(n: usize, seed: u64, least: f32, binary: bool) -> Vec<f32> {
    numbers(n, seed)
        .into_iter()
        .map(|x| {
            if x < least {
                0.0
            } else if binary {
                1.0
            } else {
                x + 4.0
            }
        })
        .collect()
}

fn check(conv: &Conv, batch: usize, seed: u64, least: f32, binary: bool) {
    let x = events(batch * input_len(conv), seed, least, binary);
    let weights = numbers(weights_len(conv), seed ^ 77);
    let bias = numbers(conv.outputs, seed ^ 99);
    let d_out = numbers(batch * output_len(conv), seed ^ 55);
    let mut out: Vec<f32> = bias.iter().copied().cycle().take(d_out.len()).collect();
    let mut d_weights = vec![0.0; weights.len()];
    let mut d_x = vec![0.0; x.len()];
    products(conv, batch, |o, i, w| {
        out[o] += x[i] * weights[w];
        d_weights[w] += x[i] * d_out[o];
        d_x[i] += weights[w] * d_out[o];
    });
    let lists = EventLists::of(&x, conv.inputs, conv.groups);
    let packed = EventWeights::new(conv, &weights);
    assert_eq!(packed.unpack(), weights);
    for (x, out) in x.chunks(input_len(conv)).zip(out.chunks(output_len(conv))) {
        let places: Vec<u32> = (0..x.len() as u32).filter(|i| x[*i as usize] != 0.0).collect();
        let events = Events { places: &places, x: (!binary).then_some(x) };
        let mut found = vec![1.0; out.len()];
        packed.forward_into(conv, events, &bias, false, &mut found);
        assert_eq!(found, out);
        packed.forward_into(conv, events, &[], true, &mut found);
        let twice = out.iter().zip(bias.iter().cycle()).map(|(y, b)| 2.0 * y - b);
        assert_eq!(found, twice.collect::<Vec<_>>());
    }
    for input in [Input::Events(&lists), Input::Dense(&x)] {
        assert_eq!(forward(conv, input, batch, &weights, &bias), out);
        assert_eq!(weight_gradient(conv, input, batch, &d_out), d_weights);
    }
    assert_eq!(input_gradient(conv, batch, &weights, &d_out), d_x);
    let mut sums = vec![0.0; conv.outputs];
    d_out.chunks_exact(conv.outputs).for_each(|row| add(&mut sums, row));
    assert_eq!(bias_gradient(conv, &d_out), sums);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_shape(
        conv in shapes(),
        batch in 1_usize..4,
        seed: u64,
        least in -4_i32..5,
        binary: bool,
    ) {
        check(&conv, batch, seed, least as f32, binary);
    }
}

fn same(size: usize, kernel: usize, channels: [usize; 2], groups: usize) -> Conv {
    let window = Window {
        input: [size; 2],
        output: [size; 2],
        kernel: [kernel; 2],
        stride: [1; 2],
        padding: [kernel / 2; 2],
        dilation: [1; 2],
    };
    Conv { window, inputs: channels[0], outputs: channels[1], groups }
}

/// More channels than a block, more outputs than a row, more images than a tile.
#[test]
fn many_channels_and_images() {
    check(&same(3, 3, [300, 130], 1), 3, 1, 2.0, true);
    check(&same(2, 3, [140, 96], 1), 2, 2, 2.0, false);
    check(&same(5, 3, [40, 20], 1), 30, 3, 2.0, true);
    check(&same(1, 1, [200, 70], 1), 9, 4, 2.0, true);
    check(&same(4, 3, [260, 132], 2), 2, 5, 2.0, false);
    check(&same(9, 7, [130, 130], 130), 3, 6, 0.0, false);
}

#[test]
fn no_images_and_no_events() {
    let conv = same(4, 3, [3, 5], 1);
    check(&conv, 1, 1, 9.0, true);
    let lists = EventLists::of(&[], conv.inputs, conv.groups);
    let none = Input::Events(&lists);
    assert!(forward(&conv, none, 0, &numbers(135, 1), &[]).is_empty());
    assert_eq!(weight_gradient(&conv, none, 0, &[]), vec![0.0; 135]);
    assert!(input_gradient(&conv, 0, &numbers(135, 1), &[]).is_empty());
}

/// Lists where they pay off: not for few channels, not for many events.
#[test]
fn dense_inputs_have_no_lists() {
    let conv = same(8, 3, [64, 64], 1);
    let x = |least| events(input_len(&conv), 3, least, true);
    assert!(super::events(&conv, &x(2.0)).is_some_and(|lists| lists.len() > 500));
    assert!(super::events(&conv, &x(0.0)).is_none());
    assert!(super::events(&same(8, 3, [2, 64], 1), &[0.0; 128]).is_none());
}

/// A NaN is an event: it must reach the outputs that see it, and no others.
#[test]
fn a_nan_spreads() {
    let conv = same(3, 1, [2, 2], 1);
    let mut x = vec![0.0; 18];
    x[4] = f32::NAN;
    let lists = EventLists::of(&x, conv.inputs, conv.groups);
    let out = forward(&conv, Input::Events(&lists), 1, &[1.0; 4], &[]);
    let bad: Vec<usize> = (0..18).filter(|i| out[*i].is_nan()).collect();
    assert_eq!(bad, [4, 5]);
}
