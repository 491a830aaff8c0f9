//! Gradients of a population over a sequence, by hand.
//!
//! Time runs backwards through the transitions `t -> t + 1`; the one from the initial state is
//! the last. With `u` the potential that is compared with the threshold `th`, a transition is
//!
//! ```text
//! immediate   u[t+1] = beta reset(u[t], s[t], th[t]) + drive[t+1]
//! delayed     u[t+1] = reset(beta u[t] + drive[t+1], s[t], th[t])
//! ```
//!
//! with `s[t]` the spikes, whose derivative by `u[t] - th[t]` is the surrogate, and
//! `reset(v, s, th)` one of `v`, `v - s th`, `(1 - s) v`. A detached reset takes `s` in it as a
//! constant; the threshold in it keeps its gradient, as in snnTorch. The adaptation
//! `a[t+1] = rho a[t] + s[t]` is never detached.

use alloc::{vec, vec::Vec};

use super::dynamics::{CoefficientArrays, Lanes, Membrane, Rule, keep, mask, with_membrane};
use super::{Model, NeuronSpec, Param, Params, Reset, State, shared};
use crate::columns::{WIDTH, blocks, for_each, pieces};
use crate::{simd::dispatch, surrogate::Surrogate};

/// A finished forward run, seen from the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The dynamics.
    pub spec: &'a NeuronSpec,
    /// The parameters.
    pub params: Params<'a>,
    /// The derivative of a spike.
    pub surrogate: Surrogate,
    /// Takes the spikes in the reset as constants.
    pub detach_reset: bool,
    /// Potentials before the first step, `[width]`.
    pub initial_v: &'a [f32],
    /// Second state values before the first step, `[width]`, or empty.
    pub initial_second: &'a [f32],
    /// The input currents, `[time, width]`, where [`needs_current`](NeuronSpec::needs_current).
    pub current: &'a [f32],
    /// The second values the forward run saved, `[time, width]`, or empty.
    pub used: &'a [f32],
    /// Gradient with respect to the output, `[time, width]`.
    pub d_output: &'a [f32],
}

/// Gradients with respect to the parameters: one value for a shared parameter, as many as it has
/// for one per neuron, none for a parameter the model does not have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamGradients {
    /// With respect to the threshold.
    pub threshold: Vec<f32>,
    /// With respect to `beta`, zero where it was clamped.
    pub beta: Vec<f32>,
    /// With respect to `alpha` or `rho`, zero where it was clamped.
    pub second_decay: Vec<f32>,
    /// With respect to the gain.
    pub gain: Vec<f32>,
}

impl NeuronSpec {
    /// Whether the backward pass reads the input currents.
    pub fn needs_current(&self, detach_reset: bool, param_gradients: bool) -> bool {
        let decayed = self.model == (Model::Lif { input_decay: true }) && param_gradients;
        // A potential that a delayed reset erased is not in what the forward pass saved.
        decayed || self.keeps_erased(detach_reset) && self.model != Model::CubaLif
    }

    /// Whether the gradient of a reset needs the potential it erased.
    fn keeps_erased(&self, detach_reset: bool) -> bool {
        self.delayed() && self.reset == Reset::Zero && !detach_reset
    }
}

/// Back-propagates through a [`sequence`](super::sequence).
///
/// `u` are the potentials the forward run saved; on return it holds the gradient with respect to
/// the current. `d_state` is the gradient
/// with respect to the final state on entry, to the initial state on return. Sums over time and
/// batch have a fixed order, so that the result does not depend on the number of threads.
///
/// # Panics
/// When slices do not fit the shape of `u`, or the currents are missing.
pub fn backward(
    run: &Run,
    u: &mut [f32],
    d_state: State,
    param_gradients: bool,
) -> Option<ParamGradients> {
    let (spec, width, total) = (run.spec, d_state.v.len(), u.len());
    let constants = shared::coefficients(spec, &run.params);
    if let (true, false, Some(c)) = (total > 0, param_gradients, constants) {
        spec.check(width, d_state.second.len(), total);
        run.check(total, width, param_gradients);
        shared::backward(run, c, u, d_state.v);
        return None;
    }
    let count = |wanted: bool| if wanted { width } else { 0 };
    let [adaptive, second] = [spec.model == Model::AdaptiveLif, spec.has_second()];
    // Sums over time of the gradients of every column, in the order of `ParamGradients`.
    let mut sums = [
        vec![0.0; count(param_gradients && spec.model != Model::Li)],
        vec![0.0; count(param_gradients && spec.model != Model::If)],
        vec![0.0; count(param_gradients && second)],
        vec![0.0; count(param_gradients && adaptive)],
    ];
    if total > 0 {
        spec.check(width, d_state.second.len(), total);
        run.check(total, width, param_gradients);
        let mut sum_pieces: Vec<[&mut [f32]; 4]> = {
            let [a, b, c, d] = sums.each_mut().map(|sum| pieces(sum, width).into_iter());
            a.zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [a, b, c, d]).collect()
        };
        let items: Vec<_> = blocks(u, width)
            .into_iter()
            .zip(pieces(d_state.v, width))
            .zip(pieces(d_state.second, width))
            .zip(sum_pieces.drain(..))
            .enumerate()
            .collect();
        for_each(items, total, |(block, (((mut u, d_v), d_second), sums))| {
            let mut work = Work::new(run, block * WIDTH, d_v, d_second);
            with_membrane!(spec, |M, DELAYED| dispatch(
                #[inline(always)]
                || if param_gradients {
                    work.block::<M, DELAYED, true>(run, width, &mut u);
                } else {
                    work.block::<M, DELAYED, false>(run, width, &mut u);
                },
            ));
            work.finish(d_v, d_second, sums);
        });
    }
    param_gradients.then(|| {
        let [threshold, beta, second_decay, gain] = &sums;
        let p = &run.params;
        ParamGradients {
            threshold: reduce(p.threshold, threshold, false),
            beta: reduce(p.beta, beta, true),
            second_decay: reduce(p.second_decay, second_decay, true),
            gain: reduce(p.gain, gain, false),
        }
    })
}

/// The gradient of a parameter from those of the columns it serves.
fn reduce(param: Param, columns: &[f32], clamped: bool) -> Vec<f32> {
    if columns.is_empty() {
        return Vec::new();
    }
    let values = match &param {
        Param::Shared(value) => core::slice::from_ref(value),
        Param::PerNeuron(values) => values,
    };
    let mut sums = vec![0.0_f64; values.len()];
    for row in columns.chunks(values.len()) {
        for (sum, column) in sums.iter_mut().zip(row) {
            *sum += f64::from(*column);
        }
    }
    let passes = |value: &f32| !clamped || (0.0..=1.0).contains(value);
    sums.iter().zip(values).map(|(sum, v)| if passes(v) { *sum as f32 } else { 0.0 }).collect()
}

impl Run<'_> {
    fn check(&self, total: usize, width: usize, param_gradients: bool) {
        let second = |len| if self.spec.has_second() { len } else { 0 };
        assert_eq!(self.used.len(), second(total), "one saved second value per current");
        assert_eq!(self.d_output.len(), total, "one output gradient per current");
        assert_eq!(self.initial_v.len(), width, "one initial potential per neuron");
        assert_eq!(self.initial_second.len(), second(width), "initial second value per neuron");
        if self.spec.needs_current(self.detach_reset, param_gradients) {
            assert_eq!(self.current.len(), total, "the currents of the forward run");
        }
    }
}

/// Where a transition stands in time.
const LAST: u8 = 0;
const MIDDLE: u8 = 1;
const FIRST: u8 = 2;

/// The arrays of one block of columns.
struct Work {
    lanes: CoefficientArrays<WIDTH>,
    rule: Rule,
    subtract: u32,
    zero: u32,
    /// Set where the spikes in the reset are not constants.
    attached: u32,
    /// Set where the potential a reset erased counts.
    erased: u32,
    /// Set where the current enters as `(1 - beta) I`.
    input_decay: u32,
    start: usize,
    len: usize,
    /// Surrogate derivatives of one row.
    slope: [f32; WIDTH],
    /// Gradients with respect to `u[t + 1]`; on entry to the last step, to the final potential.
    d_u: [f32; WIDTH],
    /// Gradients with respect to the second value, as far as later steps give it.
    d_second: [f32; WIDTH],
    /// Gradients of the parameters, in the order of `ParamGradients`.
    d_threshold: [f32; WIDTH],
    d_beta: [f32; WIDTH],
    d_second_decay: [f32; WIDTH],
    d_gain: [f32; WIDTH],
}

impl Work {
    fn new(run: &Run, start: usize, d_v: &[f32], d_second: &[f32]) -> Self {
        let zeros = [0.0; WIDTH];
        let mut work = Self {
            lanes: CoefficientArrays::ZERO,
            rule: Rule::new(run.spec),
            subtract: mask(run.spec.reset == Reset::Subtract),
            zero: mask(run.spec.reset == Reset::Zero),
            attached: mask(!run.detach_reset),
            erased: mask(run.spec.keeps_erased(run.detach_reset)),
            input_decay: mask(run.spec.model == (Model::Lif { input_decay: true })),
            start,
            len: d_v.len(),
            slope: zeros,
            d_u: zeros,
            d_second: zeros,
            d_threshold: zeros,
            d_beta: zeros,
            d_second_decay: zeros,
            d_gain: zeros,
        };
        work.lanes.fill(run.spec, &run.params, start, d_v.len());
        work.d_u[..d_v.len()].copy_from_slice(d_v);
        work.d_second[..d_second.len()].copy_from_slice(d_second);
        work
    }

    fn finish(&self, d_v: &mut [f32], d_second: &mut [f32], sums: [&mut [f32]; 4]) {
        d_v.copy_from_slice(&self.d_u[..d_v.len()]);
        d_second.copy_from_slice(&self.d_second[..d_second.len()]);
        let columns = [&self.d_threshold, &self.d_beta, &self.d_second_decay, &self.d_gain];
        for (sum, column) in sums.into_iter().zip(columns) {
            sum.copy_from_slice(&column[..sum.len()]);
        }
    }

    /// Runs the block backwards; rows of `u` become rows of the gradient of the current.
    #[inline(always)]
    fn block<M: Membrane, const DELAYED: bool, const PARAMS: bool>(
        &mut self,
        run: &Run,
        width: usize,
        u: &mut [&mut [f32]],
    ) {
        let (start, len, time) = (self.start, self.len, u.len());
        let zeros = [0.0; WIDTH];
        let piece = |t: usize| t * width + start..t * width + start + len;
        let current =
            |t: usize| if run.current.is_empty() { &zeros[..len] } else { &run.current[piece(t)] };
        let second = |t: usize| if M::SECOND { &run.used[piece(t)] } else { &zeros[..len] };
        let last = time - 1;
        self.find_slopes::<M>(run.surrogate, u[last], second(last));
        let output = &run.d_output[piece(last)];
        self.transition::<M, DELAYED, PARAMS, LAST>(
            u[last],
            second(last),
            &zeros,
            &zeros,
            output,
            &mut [],
        );
        for t in (0..last).rev() {
            let (head, tail) = u.split_at_mut(t + 1);
            let (row, d_current) = (&*head[t], &mut *tail[0]);
            self.find_slopes::<M>(run.surrogate, row, second(t));
            let output = &run.d_output[piece(t)];
            self.transition::<M, DELAYED, PARAMS, MIDDLE>(
                row,
                second(t),
                second(t + 1),
                current(t + 1),
                output,
                d_current,
            );
        }
        let v = &run.initial_v[start..start + len];
        let x = if M::SECOND { &run.initial_second[start..start + len] } else { &zeros[..len] };
        if DELAYED {
            self.find_slopes::<M>(run.surrogate, v, x);
        }
        self.transition::<M, DELAYED, PARAMS, FIRST>(v, x, second(0), current(0), &zeros, u[0]);
    }

    #[inline(always)]
    fn threshold<M: Membrane>(&self, j: usize, used: f32) -> f32 {
        let c = self.lanes.at(j);
        if M::ADAPTATION { c.threshold + c.gain * used } else { c.threshold }
    }

    /// Surrogate derivatives of a row of potentials.
    #[inline(always)]
    fn find_slopes<M: Membrane>(&mut self, surrogate: Surrogate, u: &[f32], used: &[f32]) {
        if M::LINEAR {
            return;
        }
        let len = self.len.min(WIDTH);
        let (u, used) = (&u[..len], &used[..len]);
        for j in 0..len {
            self.slope[j] = u[j] - self.threshold::<M>(j, used[j]);
        }
        surrogate.grad_in_place(&mut self.slope[..len]);
    }

    /// Goes back over the transition `t -> t + 1`, of which there is none in the last step, and
    /// over the spikes of step `t`, of which there are none before the first.
    ///
    /// `u` and `used` belong to step `t` (the initial state before the first), `used_next`,
    /// `current_next` and `d_current` to step `t + 1`.
    #[inline(always)]
    fn transition<M: Membrane, const DELAYED: bool, const PARAMS: bool, const PHASE: u8>(
        &mut self,
        u: &[f32],
        used: &[f32],
        used_next: &[f32],
        current_next: &[f32],
        d_output: &[f32],
        d_current: &mut [f32],
    ) {
        let len = self.len.min(WIDTH);
        let (u, used, used_next) = (&u[..len], &used[..len], &used_next[..len]);
        let (current_next, d_output) = (&current_next[..len], &d_output[..len]);
        let d_current = if PHASE == LAST { &mut [] } else { &mut d_current[..len] };
        // Copies: stores to `self` may not stand between the loop and its constants.
        let (rule, subtract, zero) = (self.rule, self.subtract, self.zero);
        let (attached, erased, input_decay) = (self.attached, self.erased, self.input_decay);
        // The initial potential of an immediate reset has its reset behind it.
        let resets = !M::LINEAR && (DELAYED || PHASE != FIRST);
        for j in 0..len {
            let c = self.lanes.at(j);
            let th = self.threshold::<M>(j, used[j]);
            let fired = if resets { rule.fires(u[j] - th) } else { 0 };
            let (next, next_second) = (self.d_u[j], self.d_second[j]);

            // To the stored potential and the second value, from step t + 1.
            let (mut d_v, mut d_second) = (next, next_second);
            if PHASE != LAST {
                let d_w = if DELAYED { keep(!(fired & zero), next) } else { next };
                let d_drive = if M::CURRENT { d_w + next_second } else { c.drive * d_w };
                d_current[j] = d_drive;
                d_v = c.beta * d_w;
                if M::CURRENT {
                    d_second = c.second_decay * d_drive;
                }
                if PARAMS {
                    let stored = if DELAYED { u[j] } else { rule.reset(u[j], fired, th) };
                    let decayed = stored - keep(input_decay, current_next[j]);
                    self.d_beta[j] += d_w * decayed;
                    if M::CURRENT {
                        self.d_second_decay[j] += d_drive * used[j];
                    }
                }
            }
            if M::LINEAR && PHASE != FIRST {
                d_v += d_output[j];
            }

            // To the potential and the threshold before the reset, and to the spike.
            if resets {
                let (d_reset, lost) = if !DELAYED {
                    (d_v, keep(zero, u[j]))
                } else if PHASE == LAST {
                    (0.0, 0.0)
                } else {
                    let drive = if M::CURRENT { used_next[j] } else { c.drive * current_next[j] };
                    (next, keep(erased, c.beta * u[j] + drive))
                };
                let mut d_spike = -keep(attached, (keep(subtract, th) + lost) * d_reset);
                let mut d_th = -keep(fired & subtract, d_reset);
                if !DELAYED {
                    d_v = keep(!(fired & zero), d_v);
                }
                if PHASE != FIRST {
                    d_spike += d_output[j];
                }
                if M::ADAPTATION && !(DELAYED && PHASE == LAST) {
                    d_spike += next_second;
                    d_second = c.second_decay * next_second;
                    if PARAMS {
                        self.d_second_decay[j] += next_second * used[j];
                    }
                }
                let through = d_spike * self.slope[j];
                d_v += through;
                d_th -= through;
                if M::ADAPTATION {
                    d_second += c.gain * d_th;
                }
                if PARAMS {
                    self.d_threshold[j] += d_th;
                    if M::ADAPTATION {
                        self.d_gain[j] += d_th * used[j];
                    }
                }
            }
            self.d_u[j] = d_v;
            self.d_second[j] = d_second;
        }
    }
}
