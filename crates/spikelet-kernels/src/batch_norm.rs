//! Batch normalisation of rows of channels, forward and backward.
//!
//! Every value is read twice forward (statistics, result) and twice backward (sums, gradient).
//! Statistics of parts of a fixed size are merged in order (Chan et al. 1983), so that neither the
//! number of threads nor the length of the sums matters to the result.

use crate::{
    batch::{add, for_each_chunk, map},
    simd::dispatch,
};
use alloc::{vec, vec::Vec};

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
    let (mut mean, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
    dispatch(
        #[inline(always)]
        || {
            x.chunks_exact(channels).for_each(|row| add(&mut mean, row));
            let n = (x.len() / channels) as f32;
            mean.iter_mut().for_each(|m| *m /= n);
            for row in x.chunks_exact(channels) {
                for ((s, x), m) in squares.iter_mut().zip(row).zip(&mean) {
                    *s += (x - m) * (x - m);
                }
            }
        },
    );
    (mean, squares)
}

/// `out = (x - mean) scale weight + bias`, `[rows, channels]`.
pub fn normalize(x: &[f32], moments: &Moments, weight: &[f32], bias: &[f32], out: &mut [f32]) {
    let channels = weight.len();
    let factor: Vec<f32> = moments.scale.iter().zip(weight).map(|(s, w)| s * w).collect();
    let part = (PART / channels).max(1) * channels;
    for_each_chunk(out, part, |index, out| {
        let x = &x[index * part..][..out.len()];
        dispatch(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
                    for c in 0..channels {
                        out[c] = (x[c] - moments.mean[c]) * factor[c] + bias[c];
                    }
                }
            },
        );
    });
}

/// Gradients of the parameters: of the weight and of the bias.
pub fn parameter_gradients(x: &[f32], moments: &Moments, d_out: &[f32]) -> [Vec<f32>; 2] {
    let channels = moments.mean.len();
    let pairs: Vec<_> = parts(x, channels).into_iter().zip(parts(d_out, channels)).collect();
    let found = map(&pairs, |_, (x, d_out)| {
        let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
        dispatch(
            #[inline(always)]
            || {
                for (x, d) in x.chunks_exact(channels).zip(d_out.chunks_exact(channels)) {
                    for c in 0..channels {
                        bias[c] += d[c];
                        weight[c] += d[c] * (x[c] - moments.mean[c]);
                    }
                }
            },
        );
        (weight, bias)
    });
    let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
    for (part_weight, part_bias) in &found {
        add(&mut weight, part_weight);
        add(&mut bias, part_bias);
    }
    weight.iter_mut().zip(&moments.scale).for_each(|(w, s)| *w *= s);
    [weight, bias]
}

/// The gradient of `x` in `d_x`; the sums are those of [`parameter_gradients`].
pub fn input_gradient(
    x: &[f32],
    moments: &Moments,
    weight: &[f32],
    d_out: &[f32],
    [d_weight, d_bias]: [&[f32]; 2],
    d_x: &mut [f32],
) {
    let channels = weight.len();
    let rows = (x.len() / channels) as f32;
    let factor: Vec<f32> = moments.scale.iter().zip(weight).map(|(s, w)| s * w).collect();
    let slope: Vec<f32> = moments.scale.iter().zip(d_weight).map(|(s, d)| s * d / rows).collect();
    let shift: Vec<f32> = d_bias.iter().map(|d| d / rows).collect();
    let part = (PART / channels).max(1) * channels;
    for_each_chunk(d_x, part, |index, d_x| {
        let (x, d_out) = (&x[index * part..][..d_x.len()], &d_out[index * part..][..d_x.len()]);
        dispatch(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(channels).zip(d_out.chunks_exact(channels));
                for (d_x, (x, d)) in d_x.chunks_exact_mut(channels).zip(rows) {
                    for c in 0..channels {
                        let along = (x[c] - moments.mean[c]) * slope[c];
                        d_x[c] = factor[c] * (d[c] - shift[c] - along);
                    }
                }
            },
        );
    });
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
        let mut out = vec![0.0; x.len()];
        normalize(&x, &found, &weight, &bias, &mut out);
        let [d_weight, d_bias] = parameter_gradients(&x, &found, &d);
        let mut d_x = vec![0.0; x.len()];
        input_gradient(&x, &found, &weight, &d, [&d_weight, &d_bias], &mut d_x);

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
