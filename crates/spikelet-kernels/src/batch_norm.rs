//! Batch normalisation of rows of channels, forward and backward.
//!
//! Every value is read twice forward (statistics, result) and twice backward (sums, gradient).
//! Statistics of parts of a fixed size are merged in order (Chan et al. 1983), so that neither the
//! number of threads nor the length of the sums matters to the result.

use crate::{
    batch::{add, map},
    fill::fill,
    simd::dispatch,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Mean, variance (divided by the count) and reciprocal standard deviation of every channel.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// Means.
    pub mean: Vec<f32>,
    /// Variances.
    pub variance: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)`.
    pub scale: Vec<f32>,
}

/// Values of a part, about; it stays in the second-level cache between its mean and its variance.
pub(crate) const PART: usize = 1 << 16;

/// Constants of channels are repeated to about so many, and whole rows worked on together that have
/// as many values: a loop over a row of 8 or 32 ends before it is fast.
const WIDE: usize = 64;

/// Constants of channels for several rows in one.
pub(crate) fn wide(values: &[f32]) -> Vec<f32> {
    values.repeat((WIDE / values.len().max(1)).max(1))
}

/// The sums of channels, of those of several rows in one.
pub(crate) fn folded(wide: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0; channels];
    wide.chunks_exact(channels).for_each(|row| add(&mut sums, row));
    sums
}

/// The moments of `x` `[rows, channels]`.
///
/// # Panics
/// If there are no channels or rows.
pub fn moments(x: &[f32], channels: usize, epsilon: f32) -> Moments {
    let parts = parts(x, channels);
    let found = map(&parts, |_, x| part_moments(x, channels));
    let mut count = 0.0_f32;
    let (mut mean, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    for ((part_mean, part_squares), x) in found.iter().zip(&parts) {
        let n = (x.len() / channels) as f32;
        let total = count + n;
        for c in 0..channels {
            let delta = part_mean[c] - mean[c];
            mean[c] += delta * (n / total);
            squares[c] += part_squares[c] + delta * delta * (count * n / total);
        }
        count = total;
    }
    let variance: Vec<f32> = squares.iter().map(|s| s / count).collect();
    let scale = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    Moments { mean, variance, scale }
}

/// Parts of whole rows.
fn parts(x: &[f32], channels: usize) -> Vec<&[f32]> {
    x.chunks((PART / channels).max(1) * channels).collect()
}

/// Means, and sums of squared distances from them.
fn part_moments(x: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let zeros = wide(&vec![0.0; channels]);
    let width = zeros.len();
    let (mut sums, mut squares) = (zeros.clone(), zeros);
    dispatch(
        #[inline(always)]
        || x.chunks(width).for_each(|rows| add(&mut sums, rows)),
    );
    let n = (x.len() / channels) as f32;
    let mut mean = folded(&sums, channels);
    mean.iter_mut().for_each(|m| *m /= n);
    let means = wide(&mean);
    dispatch(
        #[inline(always)]
        || {
            for rows in x.chunks(width) {
                for ((s, x), m) in squares.iter_mut().zip(rows).zip(&means) {
                    *s += (x - m) * (x - m);
                }
            }
        },
    );
    (mean, folded(&squares, channels))
}

/// `(x - mean) scale weight + bias` for `x` `[groups, rows, channels]` and the moments of each group.
pub fn normalize(x: &[f32], moments: &[Moments], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let channels = weight.len();
    let of_group = |m: &Moments| (wide(&m.mean), wide(&product(&m.scale, weight)));
    let constants: Vec<_> = moments.iter().map(of_group).collect();
    let bias = wide(bias);
    let width = bias.len();
    let parts = Parts::new(x.len(), moments.len(), channels);
    let [out] = fill(x.len(), parts.size, |index, [out]| {
        dispatch(
            #[inline(always)]
            || {
                for (group, at, from) in parts.of(index, out.len()) {
                    let (mean, factor) = &constants[group];
                    for (out, x) in out[at].chunks_mut(width).zip(x[from].chunks(width)) {
                        normalize_rows(out, x, [mean, factor, &bias]);
                    }
                }
            },
        );
    });
    out
}

fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// Values of whole rows worked on together, which belong to one group or to two.
struct Parts {
    /// Values.
    size: usize,
    /// Values of a group.
    group: usize,
}

impl Parts {
    fn new(len: usize, groups: usize, channels: usize) -> Parts {
        Parts { size: (PART / channels).max(1) * channels, group: (len / groups.max(1)).max(1) }
    }

    /// What a part of `len` values has of each group: the group, the place in the part and in all
    /// values.
    fn of(
        &self,
        index: usize,
        len: usize,
    ) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
        let (first, end, size) = (index * self.size, index * self.size + len, self.group);
        (first / size..end.div_ceil(size)).map(move |group| {
            let from = first.max(group * size)..end.min((group + 1) * size);
            (group, from.start - first..from.end - first, from)
        })
    }
}

/// Gradients of the parameters: of the weight and of the bias.
pub fn parameter_gradients(x: &[f32], moments: &Moments, d_out: &[f32]) -> [Vec<f32>; 2] {
    let channels = moments.mean.len();
    let pairs: Vec<_> = parts(x, channels).into_iter().zip(parts(d_out, channels)).collect();
    let mean = wide(&moments.mean);
    let width = mean.len();
    let found = map(&pairs, |_, (x, d_out)| {
        let (mut weight, mut bias) = (vec![0.0; width], vec![0.0; width]);
        dispatch(
            #[inline(always)]
            || {
                for (x, d) in x.chunks(width).zip(d_out.chunks(width)) {
                    add_rows(&mut weight, &mut bias, x, d, &mean);
                }
            },
        );
        (folded(&weight, channels), folded(&bias, channels))
    });
    let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
    for (part_weight, part_bias) in &found {
        add(&mut weight, part_weight);
        add(&mut bias, part_bias);
    }
    weight.iter_mut().zip(&moments.scale).for_each(|(w, s)| *w *= s);
    [weight, bias]
}

/// The gradient of `x` `[groups, rows, channels]`; `sums` are those of [`parameter_gradients`], of
/// the weight and of the bias, for each group.
pub fn input_gradient(
    x: &[f32],
    moments: &[Moments],
    weight: &[f32],
    d_out: &[f32],
    sums: &[[Vec<f32>; 2]],
) -> Vec<f32> {
    let channels = weight.len();
    let parts = Parts::new(x.len(), moments.len(), channels);
    let rows = (parts.group / channels) as f32;
    let of_group = |(m, [d_weight, d_bias]): (&Moments, &[Vec<f32>; 2])| {
        let slope: Vec<f32> = m.scale.iter().zip(d_weight).map(|(s, d)| s * d / rows).collect();
        let shift: Vec<f32> = d_bias.iter().map(|d| d / rows).collect();
        [m.mean.clone(), product(&m.scale, weight), slope, shift].map(|values| wide(&values))
    };
    let constants: Vec<_> = moments.iter().zip(sums).map(of_group).collect();
    let width = wide(weight).len();
    let [d_x] = fill(x.len(), parts.size, |index, [d_x]| {
        dispatch(
            #[inline(always)]
            || {
                for (group, at, from) in parts.of(index, d_x.len()) {
                    let rows = x[from.clone()].chunks(width).zip(d_out[from].chunks(width));
                    let [mean, factor, slope, shift] = &constants[group];
                    for (d_x, (x, d)) in d_x[at].chunks_mut(width).zip(rows) {
                        input_rows(d_x, x, d, mean, factor, [slope, shift]);
                    }
                }
            },
        );
    });
    d_x
}

// The loops over rows are functions of their own: slices that are arguments do not overlap, and the
// compiler must know that, and their lengths, to use whole registers (without: 4 GB/s instead of 14).

#[inline(always)]
fn normalize_rows(out: &mut [f32], x: &[f32], [mean, factor, bias]: [&[f32]; 3]) {
    let n = out.len();
    let (x, mean, factor, bias) = (&x[..n], &mean[..n], &factor[..n], &bias[..n]);
    for c in 0..n {
        out[c] = (x[c] - mean[c]) * factor[c] + bias[c];
    }
}

/// Adds rows to the sums of the gradients of the parameters.
#[inline(always)]
pub(crate) fn add_rows(weight: &mut [f32], bias: &mut [f32], x: &[f32], d: &[f32], mean: &[f32]) {
    let n = x.len();
    let (weight, bias) = (&mut weight[..n], &mut bias[..n]);
    let (d, mean) = (&d[..n], &mean[..n]);
    for c in 0..n {
        bias[c] += d[c];
        weight[c] += d[c] * (x[c] - mean[c]);
    }
}

/// Rows of the gradient of the input.
#[inline(always)]
pub(crate) fn input_rows(
    d_x: &mut [f32],
    x: &[f32],
    d: &[f32],
    mean: &[f32],
    factor: &[f32],
    [slope, shift]: [&[f32]; 2],
) {
    let n = d_x.len();
    let (x, d, mean, factor) = (&x[..n], &d[..n], &mean[..n], &factor[..n]);
    let (slope, shift) = (&slope[..n], &shift[..n]);
    for c in 0..n {
        let along = (x[c] - mean[c]) * slope[c];
        d_x[c] = factor[c] * (d[c] - shift[c] - along);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many rows over several parts, against the textbook formulas in f64.
    #[test]
    fn agrees_with_the_definition() {
        let (rows, channels) = (3000, 50);
        let wave = |k: f64| -> Vec<f32> {
            (0..rows * channels).map(|i| ((i as f64 * k).sin() * 2.0 + 1.0) as f32).collect()
        };
        let (x, d) = (wave(0.7123), wave(0.3391));
        let weight: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32 / 50.0).collect();
        let bias: Vec<f32> = (0..channels).map(|c| c as f32 / 10.0 - 2.0).collect();
        let found = moments(&x, channels, 1e-5);
        let of = core::slice::from_ref(&found);
        let out = normalize(&x, of, &weight, &bias);
        let [d_weight, d_bias] = parameter_gradients(&x, &found, &d);
        let sums = [[d_weight.clone(), d_bias.clone()]];
        let d_x = input_gradient(&x, of, &weight, &d, &sums);

        let n = rows as f64;
        for c in 0..channels {
            let column = |v: &[f32]| -> Vec<f64> {
                (0..rows).map(|r| f64::from(v[r * channels + c])).collect()
            };
            let (xs, ds) = (column(&x), column(&d));
            let mean = xs.iter().sum::<f64>() / n;
            let variance = xs.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            let hat: Vec<f64> = xs.iter().map(|x| (x - mean) * scale).collect();
            let (w, b) = (f64::from(weight[c]), f64::from(bias[c]));
            let sum_d = ds.iter().sum::<f64>();
            let sum_dh = ds.iter().zip(&hat).map(|(d, h)| d * h).sum::<f64>();
            let near = |a: f32, b: f64| (f64::from(a) - b).abs() < 1e-4 * (1.0 + b.abs());
            assert!(near(found.mean[c], mean) && near(found.variance[c], variance), "moments {c}");
            // Sums of 3000 terms of about 1, which may cancel.
            let close = |a: f32, b: f64| (f64::from(a) - b).abs() < 4e-6 * n;
            assert!(close(d_weight[c], sum_dh) && close(d_bias[c], sum_d), "parameters {c}");
            for r in 0..rows {
                let at = r * channels + c;
                assert!(near(out[at], hat[r] * w + b), "out {r} {c}");
                let want = w * scale * (ds[r] - sum_d / n - hat[r] * sum_dh / n);
                assert!(near(d_x[at], want), "d_x {r} {c}");
            }
        }
    }
}
