//! Two-dimensional convolution, channels last, forward.
//!
//! Event-driven: every event adds, for each tap that sees it, one row of the weights
//! `[kh, kw, in / groups, out]` to the output position. Dense: every output is a dot product with
//! its row of `[out, kh, kw, in / groups]`. All functions add to `out`, `[h, w, out channels]`.
//! The order of sums is fixed by the events (or taps), not by the instruction set.

use crate::{
    dense::{LANES, tree_sum},
    simd::dispatch,
    window::Window,
};

/// The shape of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conv {
    /// Where the kernel goes.
    pub window: Window,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Groups of channels that do not mix; divides both.
    pub groups: usize,
}

impl Conv {
    /// Calls `visit(row, start, length, out)` for every row of weights that the event adds: `row`
    /// is an index into `[kh, kw, in / groups]`, of whose outputs `start..start + length` belong
    /// to the group of the event and go to `out..out + length`.
    #[inline(always)]
    pub fn for_each_row(&self, event: u32, mut visit: impl FnMut(usize, usize, usize, usize)) {
        let (position, channel) = (event as usize / self.inputs, event as usize % self.inputs);
        let (group_inputs, length) = (self.inputs / self.groups, self.outputs / self.groups);
        let (group, channel) = (channel / group_inputs, channel % group_inputs);
        self.window.for_each_target(position, |tap, target| {
            let start = group * length;
            visit(tap * group_inputs + channel, start, length, target * self.outputs + start);
        });
    }

    /// Adds, for every event and every row it adds, `values(event) * row` to `out`.
    #[inline(always)]
    fn scatter<W: Copy, T>(
        &self,
        out: &mut [T],
        weights: &[W],
        events: &[u32],
        add: impl Fn(&mut T, W, u32),
    ) {
        for &event in events {
            self.for_each_row(event, |row, start, length, to| {
                let from = row * self.outputs + start;
                let row = &weights[from..from + length];
                for (y, w) in out[to..to + length].iter_mut().zip(row) {
                    add(y, *w, event);
                }
            });
        }
    }
}

/// Binary events; `weights` `[kh, kw, in / groups, out]`.
///
/// # Panics
/// Here and below: when an event or a length does not fit the shape.
pub fn add_events(conv: &Conv, out: &mut [f32], weights: &[f32], events: &[u32]) {
    dispatch(
        #[inline(always)]
        || conv.scatter(out, weights, events, |y, w, _| *y += w),
    );
}

/// Events with values: event `e` has the value `x[e]`.
pub fn add_graded(conv: &Conv, out: &mut [f32], weights: &[f32], events: &[u32], x: &[f32]) {
    dispatch(
        #[inline(always)]
        || conv.scatter(out, weights, events, |y, w, e| *y += x[e as usize] * w),
    );
}

/// Binary events and 8-bit weights, before they are scaled; exact.
pub fn add_events_i8(conv: &Conv, acc: &mut [i32], weights: &[i8], events: &[u32]) {
    dispatch(
        #[inline(always)]
        || conv.scatter(acc, weights, events, |y, w, _| *y += i32::from(w)),
    );
}

/// Events with values and 8-bit weights, before they are scaled.
pub fn add_graded_i8(conv: &Conv, acc: &mut [f32], weights: &[i8], events: &[u32], x: &[f32]) {
    dispatch(
        #[inline(always)]
        || conv.scatter(acc, weights, events, |y, w, e| *y += x[e as usize] * f32::from(w)),
    );
}

/// Dense input; `weights` `[out, kh, kw, in / groups]`.
pub fn add_dense(conv: &Conv, out: &mut [f32], weights: &[f32], x: &[f32]) {
    dense(conv, out, weights, x, |w| *w, |_| 1.0);
}

/// Dense input and 8-bit weights with one scale per output channel.
pub fn add_dense_i8(conv: &Conv, out: &mut [f32], weights: &[i8], scale: &[f32], x: &[f32]) {
    dense(conv, out, weights, x, |w| f32::from(*w), |channel| scale[channel]);
}

#[inline(always)]
fn dense<W>(
    conv: &Conv,
    out: &mut [f32],
    weights: &[W],
    x: &[f32],
    weight: impl Fn(&W) -> f32,
    scale: impl Fn(usize) -> f32,
) {
    let (length, outputs) = (conv.inputs / conv.groups, conv.outputs / conv.groups);
    let row = conv.window.kernel[0] * conv.window.kernel[1] * length;
    dispatch(
        #[inline(always)]
        || {
            for position in conv.window.positions() {
                let out = &mut out[position * conv.outputs..(position + 1) * conv.outputs];
                for (channel, y) in out.iter_mut().enumerate() {
                    let weights = &weights[channel * row..(channel + 1) * row];
                    let first = channel / outputs * length;
                    let mut lanes = [0.0; LANES];
                    conv.window.for_each_source(position, |tap, from| {
                        let from = from * conv.inputs + first;
                        let weights = &weights[tap * length..(tap + 1) * length];
                        add_products(&mut lanes, weights, &x[from..from + length], &weight);
                    });
                    *y += scale(channel) * tree_sum(lanes);
                }
            }
        },
    );
}

/// Adds every eighth product to the same lane.
#[inline(always)]
fn add_products<W>(lanes: &mut [f32; LANES], weights: &[W], x: &[f32], weight: impl Fn(&W) -> f32) {
    for (weights, x) in weights.chunks(LANES).zip(x.chunks(LANES)) {
        for ((lane, w), x) in lanes.iter_mut().zip(weights).zip(x) {
            *lane += weight(w) * x;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::events::active;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    pub(crate) fn shapes() -> impl Strategy<Value = Conv> {
        let axis = || (1_usize..7, 1_usize..4, 1_usize..3, 0_usize..3, 1_usize..3);
        (axis(), axis(), 1_usize..4, 1_usize..4, 1_usize..4)
            .prop_filter("kernel fits", |(v, h, ..)| {
                [v, h].iter().all(|(n, k, _, p, d)| n + 2 * p > (k - 1) * d)
            })
            .prop_map(|(v, h, groups, per_in, per_out)| {
                let both = |f: fn((usize, usize, usize, usize, usize)) -> usize| [f(v), f(h)];
                let window = Window {
                    input: both(|a| a.0),
                    output: both(|(n, k, s, p, d)| (n + 2 * p - (k - 1) * d - 1) / s + 1),
                    kernel: both(|a| a.1),
                    stride: both(|a| a.2),
                    padding: both(|a| a.3),
                    dilation: both(|a| a.4),
                };
                Conv { window, inputs: groups * per_in, outputs: groups * per_out, groups }
            })
    }

    /// The definition, over a padded image; `weight(out, ky, kx, channel of the group)`.
    fn reference(
        conv: &Conv,
        x: &[f32],
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Vec<f32> {
        let w = &conv.window;
        let (per_in, per_out) = (conv.inputs / conv.groups, conv.outputs / conv.groups);
        let mut out = Vec::new();
        for oy in 0..w.output[0] {
            for ox in 0..w.output[1] {
                for o in 0..conv.outputs {
                    let mut sum = 0.0;
                    for ky in 0..w.kernel[0] {
                        for kx in 0..w.kernel[1] {
                            let y = (oy * w.stride[0] + ky * w.dilation[0]) as i64
                                - w.padding[0] as i64;
                            let xx = (ox * w.stride[1] + kx * w.dilation[1]) as i64
                                - w.padding[1] as i64;
                            if y < 0 || xx < 0 || y >= w.input[0] as i64 || xx >= w.input[1] as i64
                            {
                                continue;
                            }
                            for c in 0..per_in {
                                let channel = o / per_out * per_in + c;
                                let at =
                                    (y as usize * w.input[1] + xx as usize) * conv.inputs + channel;
                                sum += weight(o, ky, kx, c) * x[at];
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    proptest! {
        #[test]
        fn every_form_is_the_convolution(
            conv in shapes(),
            seeds in prop::collection::vec((any::<i8>(), -2_i8..3), 512),
        ) {
            let per_in = conv.inputs / conv.groups;
            let [kh, kw] = conv.window.kernel;
            let value = |o: usize, ky: usize, kx: usize, c: usize| {
                seeds[(((o * 5 + ky) * 7 + kx) * 11 + c) % seeds.len()].0 >> 3
            };
            let size = conv.window.input[0] * conv.window.input[1] * conv.inputs;
            let graded: Vec<f32> = (0..size).map(|i| f32::from(seeds[i * 3 % 512].1) / 2.0).collect();
            let spikes: Vec<f32> = graded.iter().map(|x| f32::from(*x > 0.0)).collect();
            let mut by_input = Vec::new();
            for ky in 0..kh { for kx in 0..kw { for c in 0..per_in { for o in 0..conv.outputs {
                by_input.push(value(o, ky, kx, c));
            }}}}
            let mut by_output = Vec::new();
            for o in 0..conv.outputs { for ky in 0..kh { for kx in 0..kw { for c in 0..per_in {
                by_output.push(value(o, ky, kx, c));
            }}}}
            let floats = |w: &[i8]| w.iter().map(|w| f32::from(*w)).collect::<Vec<f32>>();
            let list = |x: &[f32]| {
                let mut events = vec![0; x.len()];
                let count = active(x, &mut events);
                events.truncate(count);
                events
            };
            let weight = |o, ky, kx, c| f32::from(value(o, ky, kx, c));
            let want_spikes = reference(&conv, &spikes, weight);
            let want_graded = reference(&conv, &graded, weight);

            let mut out = vec![0.0; want_spikes.len()];
            add_events(&conv, &mut out, &floats(&by_input), &list(&spikes));
            prop_assert_eq!(&out, &want_spikes);
            let mut acc = vec![0; out.len()];
            add_events_i8(&conv, &mut acc, &by_input, &list(&spikes));
            let acc: Vec<f32> = acc.iter().map(|a| *a as f32).collect();
            prop_assert_eq!(&acc, &want_spikes);
            out.fill(0.0);
            add_graded(&conv, &mut out, &floats(&by_input), &list(&graded), &graded);
            prop_assert_eq!(&out, &want_graded);
            out.fill(0.0);
            add_graded_i8(&conv, &mut out, &by_input, &list(&graded), &graded);
            prop_assert_eq!(&out, &want_graded);
            out.fill(0.0);
            add_dense(&conv, &mut out, &floats(&by_output), &graded);
            prop_assert_eq!(&out, &want_graded);
            out.fill(1.0);
            add_dense_i8(&conv, &mut out, &by_output, &vec![2.0; conv.outputs], &graded);
            let scaled: Vec<f32> = want_graded.iter().map(|y| 1.0 + 2.0 * y).collect();
            prop_assert_eq!(&out, &scaled);
        }
    }
}
