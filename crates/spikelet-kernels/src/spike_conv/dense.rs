//! Inputs with few zeros: the windows of every output as rows of a matrix, and `gemm`.

use super::taps;
use crate::{
    batch::{add, map},
    conv::Conv,
    matmul::matmul_tn,
};
use alloc::{vec, vec::Vec};

/// See [`super::weight_gradient`].
pub(super) fn weight_gradient(conv: &Conv, x: &[f32], batch: usize, d_out: &[f32]) -> Vec<f32> {
    let positions = conv.window.output[0] * conv.window.output[1];
    let (k, n) = (columns(conv), conv.outputs / conv.groups);
    // Images in a fixed number of parts, whose sums are added in order.
    let parts: Vec<usize> = (0..8).collect();
    let sums = map(&parts, |part, _| {
        let mut sums = vec![0.0; conv.groups * k * n];
        let mut rows = vec![0.0; positions * n];
        // What lies outside of the image is the same in all of them, and stays zero.
        let mut seen = vec![0.0; positions * k];
        for image in batch * part / parts.len()..batch * (part + 1) / parts.len() {
            let d_out = &d_out[image * positions * conv.outputs..][..positions * conv.outputs];
            for (group, sums) in sums.chunks_exact_mut((k * n).max(1)).enumerate() {
                for (row, d) in rows.chunks_exact_mut(n).zip(d_out.chunks_exact(conv.outputs)) {
                    row.copy_from_slice(&d[group * n..(group + 1) * n]);
                }
                windows(conv, x, image, group, &mut seen);
                matmul_tn(sums, &seen, &rows, [k, n, positions], true);
            }
        }
        sums
    });
    let mut out = vec![0.0; k * conv.outputs];
    for part in &sums {
        for (group, part) in part.chunks_exact((k * n).max(1)).enumerate() {
            for (out, row) in out.chunks_exact_mut(conv.outputs).zip(part.chunks_exact(n)) {
                add(&mut out[group * n..(group + 1) * n], row);
            }
        }
    }
    out
}

/// Values in a window of a group.
fn columns(conv: &Conv) -> usize {
    taps(conv) * (conv.inputs / conv.groups)
}

/// `[position, tap, channel]`: what the windows of an image see of a group.
fn windows(conv: &Conv, x: &[f32], image: usize, group: usize, windows: &mut [f32]) {
    let (w, channels) = (&conv.window, conv.inputs / conv.groups);
    let [height, width] = w.input;
    let x = &x[image * height * width * conv.inputs..][..height * width * conv.inputs];
    let windows = windows.chunks_exact_mut(columns(conv).max(1));
    if conv.groups > 1 || w.dilation != [1, 1] {
        for (position, to) in w.positions().zip(windows) {
            w.for_each_source(position, |tap, pixel| {
                let from = &x[pixel * conv.inputs + group * channels..][..channels];
                to[tap * channels..(tap + 1) * channels].copy_from_slice(from);
            });
        }
        return;
    }
    // A row of the window is one piece of a row of the image.
    for (position, to) in windows.enumerate() {
        let at = [position / w.output[1], position % w.output[1]];
        let [top, left] = [0, 1].map(|axis| (at[axis] * w.stride[axis], w.padding[axis]));
        let inside = |(from, padding): (usize, usize), kernel: usize, size: usize| {
            padding.saturating_sub(from)..kernel.min((size + padding).saturating_sub(from))
        };
        let taps = inside(left, w.kernel[1], width);
        let rows = if taps.is_empty() { 0..0 } else { inside(top, w.kernel[0], height) };
        for row in rows {
            let pixel = (top.0 + row - top.1) * width + left.0 + taps.start - left.1;
            let from = &x[pixel * channels..][..taps.len() * channels];
            let to = &mut to[(row * w.kernel[1] + taps.start) * channels..][..from.len()];
            to.copy_from_slice(from);
        }
    }
}
