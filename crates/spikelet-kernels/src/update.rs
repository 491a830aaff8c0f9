//! Updates of weights, in one pass over memory on all threads.

use crate::{
    batch::map,
    dense::{LANES, tree_sum},
    fill::fill,
    math::sqrt,
    simd::dispatch,
};
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use rayon::prelude::*;

/// Values worked on by one thread at a time.
const PART: usize = 1 << 14;

/// Constants of stochastic gradient descent, as PyTorch applies them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Of the velocity; 0 for none.
    pub momentum: f32,
    /// L2 penalty added to the gradient.
    pub weight_decay: f32,
}

impl Sgd {
    /// Weights and velocities after a step, `v = momentum v + g + weight_decay w`, `w = w - lr v`;
    /// without velocities (an empty slice) they start as the gradient.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn step(&self, weights: &[f32], gradient: &[f32], velocity: &[f32]) -> [Vec<f32>; 2] {
        let n = weights.len();
        assert!(gradient.len() == n && (velocity.is_empty() || velocity.len() == n), "lengths");
        fill(n, PART, |index, [w, v]| {
            let at = index * PART..index * PART + w.len();
            let (old, g) = (&weights[at.clone()], &gradient[at.clone()]);
            dispatch(
                #[inline(always)]
                || {
                    if !velocity.is_empty() {
                        v.copy_from_slice(&velocity[at]);
                        v.iter_mut().for_each(|v| *v *= self.momentum);
                    }
                    self.row(w, v, old, g);
                },
            );
        })
    }

    #[inline(always)]
    fn row(&self, w: &mut [f32], v: &mut [f32], old: &[f32], g: &[f32]) {
        let Sgd { lr, weight_decay, .. } = *self;
        let n = w.len();
        let (v, old, g) = (&mut v[..n], &old[..n], &g[..n]);
        for i in 0..n {
            v[i] += g[i] + weight_decay * old[i];
            w[i] = old[i] - lr * v[i];
        }
    }
}

/// Constants of Adam for one step, as PyTorch applies them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the mean of gradients.
    pub beta_1: f32,
    /// Decay of the mean of their squares.
    pub beta_2: f32,
    /// Added to the denominator.
    pub epsilon: f32,
    /// L2 penalty added to the gradient.
    pub weight_decay: f32,
    /// Fraction by which weights shrink first (AdamW: learning rate times decay).
    pub shrink: f32,
    /// Which step this is, from 1.
    pub time: i32,
}

impl Adam {
    /// Weights after a step; `mean` and `square`, the means of gradients and of their squares, zero
    /// before the first one, go on in place.
    ///
    /// # Panics
    /// If lengths differ.
    pub fn step(
        &self,
        weights: &[f32],
        gradient: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) -> Vec<f32> {
        let n = weights.len();
        assert!(gradient.len() == n && mean.len() == n && square.len() == n, "lengths");
        let mut out = Vec::with_capacity(n);
        out.spare_capacity_mut()[..n]
            .par_chunks_mut(PART)
            .zip(mean.par_chunks_mut(PART))
            .zip(square.par_chunks_mut(PART))
            .zip(weights.par_chunks(PART).zip(gradient.par_chunks(PART)))
            .for_each(|(((out, mean), square), (w, g))| {
                dispatch(
                    #[inline(always)]
                    || self.row(out, mean, square, w, g),
                );
            });
        // SAFETY: the parts, which have all `n` values, were written by `row`.
        #[allow(unsafe_code)]
        unsafe {
            out.set_len(n);
        }
        out
    }

    /// Writes every value of `out`.
    #[inline(always)]
    fn row(
        &self,
        out: &mut [MaybeUninit<f32>],
        mean: &mut [f32],
        square: &mut [f32],
        w: &[f32],
        g: &[f32],
    ) {
        let n = out.len();
        let (mean, square, w, g) = (&mut mean[..n], &mut square[..n], &w[..n], &g[..n]);
        let Adam { beta_1, beta_2, epsilon, weight_decay, .. } = *self;
        // Means that began at zero are too small by these factors.
        let square_bias = sqrt(1.0 - beta_2.powi(self.time));
        let rate = self.lr * square_bias / (1.0 - beta_1.powi(self.time));
        let (epsilon, kept) = (epsilon * square_bias, 1.0 - self.shrink);
        for i in 0..n {
            let g = g[i] + weight_decay * w[i];
            mean[i] = beta_1 * mean[i] + (1.0 - beta_1) * g;
            square[i] = beta_2 * square[i] + (1.0 - beta_2) * (g * g);
            out[i].write(kept * w[i] - rate * mean[i] / (sqrt(square[i]) + epsilon));
        }
    }
}

/// The sum of the squares of all values, in parts of a fixed size.
pub fn squares(values: &[f32]) -> f64 {
    let parts: Vec<&[f32]> = values.chunks(PART).collect();
    let sums = map(&parts, |_, part| {
        dispatch(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for values in part.chunks(LANES) {
                    for (lane, value) in lanes.iter_mut().zip(values) {
                        *lane += value * value;
                    }
                }
                f64::from(tree_sum(lanes))
            },
        )
    });
    sums.into_iter().sum()
}

/// Multiplies all values by `factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(PART).for_each(|part| part.iter_mut().for_each(|v| *v *= factor));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn two_steps_as_the_equations_say() {
        let n = 3 * PART + 5;
        let rule = Sgd { lr: 0.5, momentum: 0.25, weight_decay: 2.0 };
        let (w, g) = (vec![1.0; n], vec![3.0; n]);
        let [w, v] = rule.step(&w, &g, &[]);
        assert_eq!((w[0], v[0]), (1.0 - 0.5 * 5.0, 5.0));
        let [w, v] = rule.step(&w, &g, &v);
        assert_eq!((w[n - 1], v[n - 1]), (-1.5 - 0.5 * 1.25, 1.25));
        assert!(w.iter().all(|x| *x == w[0]) && v.iter().all(|x| *x == v[0]));
    }

    #[test]
    fn adam_as_the_equations_say() {
        let n = PART + 7;
        let (mut w, g) = (vec![1.0_f32; n], vec![0.5; n]);
        let (mut mean, mut square) = (vec![0.0; n], vec![0.0; n]);
        let (mut expected, mut m, mut v) = (1.0_f64, 0.0, 0.0);
        for time in 1..=3 {
            let rule = Adam {
                lr: 0.1,
                beta_1: 0.9,
                beta_2: 0.99,
                epsilon: 0.01,
                weight_decay: 0.2,
                shrink: 0.05,
                time,
            };
            w = rule.step(&w, &g, &mut mean, &mut square);
            let g = 0.5 + 0.2 * expected;
            (m, v) = (0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g);
            let (unbiased, size) =
                (m / (1.0 - 0.9_f64.powi(time)), v / (1.0 - 0.99_f64.powi(time)));
            expected = 0.95 * expected - 0.1 * unbiased / (size.sqrt() + 0.01);
            assert!((f64::from(w[n - 1]) - expected).abs() < 1e-6, "{} {expected}", w[n - 1]);
            assert!(w.iter().all(|x| *x == w[0]));
        }
        let mut values = vec![2.0; n];
        assert_eq!(squares(&values), 4.0 * n as f64);
        scale(&mut values, 0.5);
        assert_eq!(squares(&values), n as f64);
    }
}
