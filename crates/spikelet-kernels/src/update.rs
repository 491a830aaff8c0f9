//! Updates of weights, in one pass over memory on all threads.

use crate::{out::fill, simd::dispatch};
use alloc::vec::Vec;

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
}
