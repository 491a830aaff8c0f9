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
        for image in batch * part / parts.len()..batch * (part + 1) / parts.len() {
            let d_out = &d_out[image * positions * conv.outputs..][..positions * conv.outputs];
            for (group, sums) in sums.chunks_exact_mut((k * n).max(1)).enumerate() {
                for (row, d) in rows.chunks_exact_mut(n).zip(d_out.chunks_exact(conv.outputs)) {
                    row.copy_from_slice(&d[group * n..(group + 1) * n]);
                }
                let windows = windows(conv, x, image, group);
                matmul_tn(sums, &windows, &rows, [k, n, positions], true);
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
fn windows(conv: &Conv, x: &[f32], image: usize, group: usize) -> Vec<f32> {
    let w = &conv.window;
    let channels = conv.inputs / conv.groups;
    let x = &x[image * w.input[0] * w.input[1] * conv.inputs..];
    let columns = columns(conv);
    let mut windows = vec![0.0; w.output[0] * w.output[1] * columns];
    for (position, to) in w.positions().zip(windows.chunks_exact_mut(columns.max(1))) {
        w.for_each_source(position, |tap, pixel| {
            let from = &x[pixel * conv.inputs + group * channels..][..channels];
            to[tap * channels..(tap + 1) * channels].copy_from_slice(from);
        });
    }
    windows
}
