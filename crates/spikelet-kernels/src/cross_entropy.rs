//! Cross entropy of rows of logits, one class a row, without their probabilities in between.

use crate::{
    batch::map,
    dense::{LANES, tree_sum},
    fill::fill,
    math::exp,
    simd::dispatch,
};
use alloc::vec::Vec;

/// The largest logit of a row, where it first is, and the logarithm of the sum of all powers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The largest logit.
    pub largest: f32,
    /// Its class.
    pub at: usize,
    /// `ln sum e^logit`.
    pub log_sum: f32,
}

/// The mean over rows of `log_sum - logit[target]`, and the rows for [`backward`]. `logits` is
/// `[rows, classes]`.
///
/// # Panics
/// If there are no whole rows, one target a row, or a target is no class.
pub fn forward(logits: &[f32], targets: &[u32]) -> (f32, Vec<Row>) {
    let classes = classes(logits, targets);
    let starts: Vec<&[f32]> = logits.chunks_exact(classes).collect();
    let rows = map(&starts, |_, logits| row(logits));
    let lost = rows.iter().zip(&starts).zip(targets);
    let total: f64 = lost.map(|((row, l), t)| f64::from(row.log_sum - l[*t as usize])).sum();
    ((total / targets.len() as f64) as f32, rows)
}

/// The gradient of the logits: `d` times that of the mean, and `pull` times every row's largest
/// logit on that logit, divided by the rows as well (RWKV's `L2Wrap`).
///
/// # Panics
/// As [`forward`].
pub fn backward(logits: &[f32], targets: &[u32], rows: &[Row], d: f32, pull: f32) -> Vec<f32> {
    let classes = classes(logits, targets);
    assert_eq!(rows.len(), targets.len(), "cross entropy: rows of the forward pass");
    let scale = d / rows.len() as f32;
    let [out] = fill(logits.len(), classes, |index, [out]| {
        let (logits, row) = (&logits[index * classes..][..classes], rows[index]);
        dispatch(
            #[inline(always)]
            || {
                for j in 0..classes {
                    out[j] = scale * exp(logits[j] - row.log_sum);
                }
            },
        );
        out[targets[index] as usize] -= scale;
        out[row.at] += scale * pull * row.largest;
    });
    out
}

fn classes(logits: &[f32], targets: &[u32]) -> usize {
    let rows = targets.len();
    assert!(rows > 0 && logits.len().is_multiple_of(rows), "cross entropy: whole rows");
    let classes = logits.len() / rows;
    assert!(targets.iter().all(|t| (*t as usize) < classes), "cross entropy: targets are classes");
    classes
}

fn row(logits: &[f32]) -> Row {
    dispatch(
        #[inline(always)]
        || {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            for logits in logits.chunks(LANES) {
                for (lane, logit) in lanes.iter_mut().zip(logits) {
                    *lane = lane.max(*logit);
                }
            }
            let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let mut sums = [0.0; LANES];
            for logits in logits.chunks(LANES) {
                for (sum, logit) in sums.iter_mut().zip(logits) {
                    *sum += exp(logit - largest);
                }
            }
            // A row of NaN has no largest logit; its loss is NaN all the same.
            let at = logits.iter().position(|logit| *logit == largest).unwrap_or(0);
            Row { largest, at, log_sum: largest + tree_sum(sums).ln() }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_the_slope() {
        let classes = 37;
        let logits: Vec<f32> = (0..3 * classes).map(|i| ((i * 29) % 31) as f32 * 0.2).collect();
        let targets = [0, 36, 7];
        let (loss, rows) = forward(&logits, &targets);
        let mean: f64 = (logits.chunks_exact(classes).zip(&targets))
            .map(|(l, t)| {
                let sum: f64 = l.iter().map(|x| f64::from(*x).exp()).sum();
                sum.ln() - f64::from(l[*t as usize])
            })
            .sum::<f64>()
            / 3.0;
        assert!((f64::from(loss) - mean).abs() < 1e-5, "{loss} {mean}");
        let found = backward(&logits, &targets, &rows, 2.0, 0.0);
        for i in 0..logits.len() {
            let at = |by: f32| {
                let mut moved = logits.clone();
                moved[i] += by;
                forward(&moved, &targets).0
            };
            let slope = 2.0 * (at(0.05) - at(-0.05)) / 0.1;
            assert!((found[i] - slope).abs() < 1e-3, "{i}: {} {slope}", found[i]);
        }
        let pulled = backward(&logits, &targets, &rows, 2.0, 0.5);
        for (r, row) in rows.iter().enumerate() {
            let i = r * classes + row.at;
            assert!((pulled[i] - found[i] - 2.0 / 3.0 * 0.5 * logits[i]).abs() < 1e-6);
        }
    }

    #[test]
    fn large_logits_and_nan() {
        let (loss, _) = forward(&[1e4, -1e4], &[0]);
        assert_eq!(loss, 0.0);
        let (loss, rows) = forward(&[f32::NAN, f32::NAN], &[1]);
        assert!(loss.is_nan());
        assert!(backward(&[f32::NAN; 2], &[1], &rows, 1.0, 1.0).iter().all(|g| g.is_nan()));
    }
}
