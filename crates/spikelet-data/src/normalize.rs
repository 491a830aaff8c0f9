//! Per-channel normalisation, fitted on the training part only.

use crate::error::{DataError, Result};
use crate::sequences::Sequences;

/// Mean and standard deviation of each channel; normalised values are `(x - mean) / std`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Normalization {
    /// Mean of each channel, in the unit of the channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, in the unit of the channel; 1 where the channel never changes.
    pub std: Vec<f32>,
}

impl Normalization {
    /// Fits mean and (population) standard deviation on the sequences of `train` only.
    pub fn fit(data: &Sequences, train: &[usize]) -> Result<Self> {
        if train.is_empty() || data.time == 0 {
            return Err(DataError::request("normalisation needs at least one training sequence"));
        }
        let rows = || train.iter().flat_map(|&i| data.sample(i).chunks_exact(data.channels));
        let n = (train.len() * data.time) as f64;
        // Two passes in f64: the sum of squares of raw sensor values would cancel.
        let mut mean = vec![0.0f64; data.channels];
        for row in rows() {
            row.iter().zip(&mut mean).for_each(|(&v, m)| *m += f64::from(v));
        }
        mean.iter_mut().for_each(|m| *m /= n);
        let mut var = vec![0.0f64; data.channels];
        for row in rows() {
            for ((&v, m), s) in row.iter().zip(&mean).zip(&mut var) {
                *s += (f64::from(v) - m).powi(2);
            }
        }
        let std = var.iter().map(|s| (s / n).sqrt() as f32).map(|s| if s > 0.0 { s } else { 1.0 });
        Ok(Self { std: std.collect(), mean: mean.iter().map(|&m| m as f32).collect() })
    }

    /// Normalises values `[.., channels]` in place.
    ///
    /// # Panics
    /// If `x` is no whole number of time steps.
    pub fn apply(&self, x: &mut [f32]) {
        assert_eq!(x.len() % self.mean.len().max(1), 0, "values are [.., channels]");
        for row in x.chunks_exact_mut(self.mean.len().max(1)) {
            for ((v, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *v = (*v - m) / s;
            }
        }
    }

    /// Turns normalised values `[.., channels]` back into raw ones in place.
    ///
    /// # Panics
    /// If `x` is no whole number of time steps.
    pub fn undo(&self, x: &mut [f32]) {
        assert_eq!(x.len() % self.mean.len().max(1), 0, "values are [.., channels]");
        for row in x.chunks_exact_mut(self.mean.len().max(1)) {
            for ((v, m), s) in row.iter_mut().zip(&self.mean).zip(&self.std) {
                *v = *v * s + m;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_training_part_counts() {
        let mut data = Sequences::empty(2, vec!["a".into(), "b".into()], vec!["c".into()], 1.0);
        data.push(&[1.0, 5.0, 3.0, 5.0], 0, 0);
        data.push(&[1e9, -1e9, 1e9, 1e9], 0, 1);
        let norm = Normalization::fit(&data, &[0]).unwrap();
        assert_eq!(norm, Normalization { mean: vec![2.0, 5.0], std: vec![1.0, 1.0] });
        let mut x = data.sample(0).to_vec();
        norm.apply(&mut x);
        assert_eq!(x, [-1.0, 0.0, 1.0, 0.0]);
        norm.undo(&mut x);
        assert_eq!(x, data.sample(0));
        assert!(Normalization::fit(&data, &[]).is_err());
    }

    #[test]
    fn far_from_zero_nothing_cancels() {
        let mut data = Sequences::empty(1, vec!["a".into()], vec!["c".into()], 1.0);
        (0..1000).for_each(|i| data.push(&[1e4 + (i % 2) as f32], 0, 0));
        let norm = Normalization::fit(&data, &(0..1000).collect::<Vec<_>>()).unwrap();
        assert_eq!((norm.mean[0], norm.std[0]), (10000.5, 0.5));
    }
}
