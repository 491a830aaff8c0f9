//! One time step of batch-normalised currents and the neurons they drive, in one pass over memory
//! forward and two backward. The state carries no gradient, as in SLTT (Meng et al. 2023).
//!
//! Normalising, then stepping the neurons, moves eight times the size of the layer forward and
//! ten times backward; in one go it is five and seven, and the normalised currents are not kept.
//! Between steps the potentials are those before the reset, which happens when the next step
//! begins: the backward pass needs just these, so that a step keeps them and its currents and nothing
//! else. The values are the same to the bit.

use super::dynamics::{Coefficients, Lif, Rule, keep, update};
use super::{NeuronSpec, Params, shared};
use crate::{
    batch::{add, map},
    batch_norm::{Moments, PART, add_rows, folded, input_rows, moments, wide},
    fill::fill,
    simd::dispatch,
    surrogate::Surrogate,
};
use alloc::{vec, vec::Vec};

/// A population behind a normalisation over `[rows, channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Normalized<'a> {
    /// The dynamics: IF or LIF with an immediate reset and a threshold above 0.
    pub spec: &'a NeuronSpec,
    /// Shared parameters.
    pub params: Params<'a>,
    /// Scale of every channel.
    pub weight: &'a [f32],
    /// Shift of every channel.
    pub bias: &'a [f32],
}

/// A step forward.
pub struct Stepped {
    /// Spikes `[rows, channels]`.
    pub spikes: Vec<f32>,
    /// Potentials before the reset, `[rows, channels]`.
    pub u: Vec<f32>,
    /// Of the currents.
    pub moments: Moments,
}

/// Gradients of a step.
pub struct Gradients {
    /// Of the currents before the normalisation, `[rows, channels]`.
    pub x: Vec<f32>,
    /// Of the scale of every channel.
    pub weight: Vec<f32>,
    /// Of the shift of every channel.
    pub bias: Vec<f32>,
}

impl Normalized<'_> {
    /// Whether this form can step such a population.
    pub fn applies(spec: &NeuronSpec, params: &Params) -> bool {
        shared::coefficients(spec, params).is_some_and(|c| c.threshold > 0.0)
    }

    /// Steps from the potentials `u`, not yet reset, with the currents `x`, both `[rows, channels]`;
    /// the first step begins with zeros.
    ///
    /// # Panics
    /// Here and below: if this form does not [apply](Self::applies) or shapes do not fit.
    pub fn forward(&self, x: &[f32], u: &[f32], epsilon: f32) -> Stepped {
        assert!(Self::applies(self.spec, &self.params), "a population that this form can step");
        assert_eq!(x.len(), u.len(), "one potential per current");
        let channels = self.weight.len();
        let moments = moments(x, channels, epsilon);
        let step = self.step(&moments);
        let part = step.part();
        let [spikes, u] = fill(x.len(), part, |index, [spikes, new]| {
            let at = index * part..index * part + new.len();
            let (x, u) = (&x[at.clone()], &u[at]);
            dispatch(
                #[inline(always)]
                || step.forward(x, u, spikes, new),
            );
        });
        Stepped { spikes, u, moments }
    }

    /// Gradients, given those of the spikes; `x` are the currents of the step, `u` the potentials it
    /// gave.
    pub fn backward(
        &self,
        surrogate: Surrogate,
        x: &[f32],
        u: &[f32],
        moments: &Moments,
        d_spikes: &[f32],
    ) -> Gradients {
        assert!(x.len() == u.len() && x.len() == d_spikes.len(), "shapes");
        let channels = self.weight.len();
        let step = self.step(moments);
        let part = step.part();
        let parts: Vec<_> = (0..x.len()).step_by(part).map(|a| a..x.len().min(a + part)).collect();
        let width = step.bias.len();
        let sums = map(&parts, |_, at| {
            let (mut weight, mut bias) = (vec![0.0; width], vec![0.0; width]);
            let (x, u, d) = (&x[at.clone()], &u[at.clone()], &d_spikes[at.clone()]);
            dispatch(
                #[inline(always)]
                || {
                    step.currents(
                        surrogate,
                        [x, u, d],
                        #[inline(always)]
                        |x, d, _| add_rows(&mut weight, &mut bias, x, d, &step.mean),
                    );
                },
            );
            (folded(&weight, channels), folded(&bias, channels))
        });
        let (mut weight, mut bias) = (vec![0.0; channels], vec![0.0; channels]);
        for (part_weight, part_bias) in &sums {
            add(&mut weight, part_weight);
            add(&mut bias, part_bias);
        }
        weight.iter_mut().zip(&moments.scale).for_each(|(w, s)| *w *= s);

        let rows = (x.len() / channels.max(1)) as f32;
        let slope: Vec<f32> =
            moments.scale.iter().zip(&weight).map(|(s, d)| s * d / rows).collect();
        let shift: Vec<f32> = bias.iter().map(|d| d / rows).collect();
        let (slope, shift) = (wide(&slope), wide(&shift));
        let [d_x] = fill(x.len(), part, |index, [d_x]| {
            let at = index * part..index * part + d_x.len();
            let (x, u, d) = (&x[at.clone()], &u[at.clone()], &d_spikes[at]);
            dispatch(
                #[inline(always)]
                || {
                    step.currents(
                        surrogate,
                        [x, u, d],
                        #[inline(always)]
                        |x, d, first| {
                            let d_x = &mut d_x[first..first + x.len()];
                            input_rows(d_x, x, d, &step.mean, &step.factor, [&slope, &shift]);
                        },
                    );
                },
            );
        });
        Gradients { x: d_x, weight, bias }
    }

    fn step(&self, moments: &Moments) -> Step {
        let constants = shared::coefficients(self.spec, &self.params);
        let factor: Vec<f32> = moments.scale.iter().zip(self.weight).map(|(s, w)| s * w).collect();
        Step {
            constants: constants.expect("a population that this form can step"),
            rule: Rule::new(self.spec),
            channels: self.bias.len().max(1),
            mean: wide(&moments.mean),
            factor: wide(&factor),
            bias: wide(self.bias),
        }
    }
}

/// Constants of channels are those of several rows in one.
struct Step {
    constants: Coefficients,
    rule: Rule,
    channels: usize,
    mean: Vec<f32>,
    factor: Vec<f32>,
    bias: Vec<f32>,
}

impl Step {
    /// Values of whole rows worked on together.
    fn part(&self) -> usize {
        (PART / self.channels).max(1) * self.channels
    }

    #[inline(always)]
    fn forward(&self, x: &[f32], u: &[f32], spikes: &mut [f32], new: &mut [f32]) {
        let n = self.bias.len();
        let channels = [&self.mean[..], &self.factor, &self.bias];
        let rows = x.chunks(n).zip(u.chunks(n));
        let results = spikes.chunks_mut(n).zip(new.chunks_mut(n));
        for ((x, u), (spikes, new)) in rows.zip(results) {
            fire_rows((self.rule, self.constants), [x, u], channels, spikes, new);
        }
    }

    /// Calls `visit(x, gradient of the normalised currents, start)` for rows and rows.
    #[inline(always)]
    fn currents(
        &self,
        surrogate: Surrogate,
        [x, u, d_spikes]: [&[f32]; 3],
        mut visit: impl FnMut(&[f32], &[f32], usize),
    ) {
        let n = self.bias.len();
        let mut buffer = vec![0.0; n];
        let rows = x.chunks(n).zip(u.chunks(n)).zip(d_spikes.chunks(n));
        for (row, ((x, u), d_spikes)) in rows.enumerate() {
            let d = &mut buffer[..x.len()];
            let Coefficients { drive, threshold, .. } = self.constants;
            for (excess, u) in d.iter_mut().zip(u) {
                *excess = u - threshold;
            }
            surrogate.grad_in_place(d);
            for (d, d_spike) in d.iter_mut().zip(d_spikes) {
                *d = drive * (d_spike * *d);
            }
            visit(x, d, row * n);
        }
    }
}

// The loops over rows are functions of their own: slices that are arguments do not overlap, and
// constants that are arguments do not change, which the compiler must know to use whole registers.

/// A step of rows of neurons.
#[inline(always)]
fn fire_rows(
    (rule, constants): (Rule, Coefficients),
    [x, u]: [&[f32]; 2],
    [mean, factor, bias]: [&[f32]; 3],
    spikes: &mut [f32],
    new: &mut [f32],
) {
    let n = new.len();
    let (x, u, spikes) = (&x[..n], &u[..n], &mut spikes[..n]);
    let (mean, factor, bias) = (&mean[..n], &factor[..n], &bias[..n]);
    let threshold = constants.threshold;
    for c in 0..n {
        let current = (x[c] - mean[c]) * factor[c] + bias[c];
        let v = rule.reset(u[c], rule.fires(u[c] - threshold), threshold);
        let step = update::<Lif, false>(rule, constants, v, 0.0, current);
        new[c] = step.u;
        spikes[c] = keep(step.fired, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Model, Param, Reset, Run, Saved, State, backward, sequence};
    use super::*;
    use crate::batch_norm;

    /// Normalisation and neurons one after the other, over several parts.
    #[test]
    fn same_bits_as_one_after_the_other() {
        let (rows, channels) = (3000, 50);
        let n = rows * channels;
        let wave = |k: f32| (0..n).map(|i| (i as f32 * k).sin() * 1.5).collect::<Vec<f32>>();
        let (x, u0, d_spikes) = (wave(0.37), wave(0.91), wave(0.53));
        let weight: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32 / 50.0).collect();
        let bias: Vec<f32> = (0..channels).map(|c| c as f32 / 40.0 - 0.5).collect();
        let params = Params::lif(Param::Shared(0.3), Param::Shared(0.8));
        let surrogate = Surrogate::TRIANGLE;
        for kind in [Reset::None, Reset::Subtract, Reset::Zero] {
            let model = Model::Lif { input_decay: true };
            let spec =
                NeuronSpec { model, reset: kind, reset_delayed: false, fires_at_threshold: true };
            assert!(Normalized::applies(&spec, &params));
            let both = Normalized { spec: &spec, params, weight: &weight, bias: &bias };
            let rule = Rule::new(&spec);
            let reset = |u: &f32| rule.reset(*u, rule.fires(u - 0.8), 0.8);
            let v0: Vec<f32> = u0.iter().map(reset).collect();
            let found = both.forward(&x, &u0, 1e-5);
            let gradients = both.backward(surrogate, &x, &found.u, &found.moments, &d_spikes);

            let moments = moments(&x, channels, 1e-5);
            let group = std::slice::from_ref(&moments);
            let current = batch_norm::normalize(&x, group, &weight, &bias);
            let (mut v, mut out, mut u) = (v0.clone(), vec![0.0; n], vec![0.0; n]);
            let state = State { v: &mut v, second: &mut [] };
            let saved = Some(Saved { u: &mut u, used: &mut [] });
            sequence(&spec, &params, state, &current, &mut out, saved);
            assert_eq!(found.u.iter().map(reset).collect::<Vec<f32>>(), v, "{kind:?}");
            assert_eq!((found.spikes, found.u), (out, u.clone()), "{kind:?}");
            let run = Run {
                spec: &spec,
                params,
                surrogate,
                detach_reset: false,
                initial_v: &v0,
                initial_second: &[],
                current: &[],
                used: &[],
                d_output: &d_spikes,
            };
            let mut d_v = vec![0.0; n];
            backward(&run, &mut u, State { v: &mut d_v, second: &mut [] }, false);
            let [d_weight, d_bias] = batch_norm::parameter_gradients(&x, &moments, &u);
            let sums = [[d_weight.clone(), d_bias.clone()]];
            let d_x = batch_norm::input_gradient(&x, group, &weight, &u, &sums);
            let Gradients { x: found_x, weight: found_weight, bias: found_bias } = gradients;
            assert_eq!((found_weight, found_bias), (d_weight, d_bias), "{kind:?}");
            assert_eq!(found_x, d_x, "{kind:?}");
        }
    }
}
