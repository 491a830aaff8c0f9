//! Neurons that share their parameters, as those of convolutional networks do.
//!
//! The general form fills arrays of coefficients and gradients for every block of columns: about
//! 26 KiB for 512 neurons, whose own values of one step are about 10 KiB. Constants need none. The
//! values are the same.

use super::backward::Run;
use super::dynamics::{Coefficients, Lif, Rule, keep, mask, update};
use super::{Model, NeuronSpec, Params, Reset};
use crate::columns::{blocks_of, for_each};
#[cfg(feature = "std")]
use crate::fill::fill;
use crate::simd::dispatch;
use alloc::vec::Vec;

/// Neurons worked on together in a single step.
const BLOCK: usize = 1 << 13;

/// The same over several steps: fewer, whose values of all steps stay in the cache.
fn block_size(time: usize) -> usize {
    (BLOCK / time.max(1)).max(1 << 9)
}

/// The coefficients, where this form applies: IF and LIF, immediate reset, shared parameters.
pub(super) fn coefficients(spec: &NeuronSpec, params: &Params) -> Option<Coefficients> {
    let simple = matches!(spec.model, Model::If | Model::Lif { .. }) && !spec.delayed();
    if simple { Coefficients::shared(spec, params) } else { None }
}

/// Forward: `v` becomes the state after the last step, `u` the potentials before the reset (if it
/// is not empty).
pub(super) fn forward(
    spec: &NeuronSpec,
    c: Coefficients,
    v: &mut [f32],
    current: &[f32],
    output: &mut [f32],
    u: &mut [f32],
) {
    let (rule, width) = (Rule::new(spec), v.len());
    let size = block_size(current.len() / width);
    let mut saved = blocks_of(size, u, width).into_iter();
    let items: Vec<_> = v
        .chunks_mut(size)
        .zip(blocks_of(size, output, width))
        .enumerate()
        .map(|(at, (v, output))| (at * size, v, output, saved.next().unwrap_or_default()))
        .collect();
    for_each(items, current.len(), |(start, v, output, u)| {
        let mut u = u.into_iter();
        for (output, current) in output.into_iter().zip(current.chunks_exact(width)) {
            let (u, current) = (u.next().unwrap_or_default(), &current[start..][..v.len()]);
            dispatch(
                #[inline(always)]
                || match u.is_empty() {
                    true => block::<false>(rule, c, v, current, output, u),
                    false => block::<true>(rule, c, v, current, output, u),
                },
            );
        }
    });
}

/// One step from the potentials `v`: the spikes, the potentials after it and, if they are wanted, those
/// before the reset. Nothing if this form does not apply.
#[cfg(feature = "std")]
pub fn one_step(
    spec: &NeuronSpec,
    params: &Params,
    v: &[f32],
    current: &[f32],
    save: bool,
) -> Option<[Vec<f32>; 3]> {
    let (c, rule) = (coefficients(spec, params)?, Rule::new(spec));
    assert_eq!(v.len(), current.len(), "one potential per current");
    let from = |index: usize, len: usize| index * BLOCK..index * BLOCK + len;
    if !save {
        let [output, v] = fill(v.len(), BLOCK, |index, [output, new]| {
            let at = from(index, new.len());
            new.copy_from_slice(&v[at.clone()]);
            dispatch(
                #[inline(always)]
                || block::<false>(rule, c, new, &current[at], output, &mut []),
            );
        });
        return Some([output, v, Vec::new()]);
    }
    Some(fill(v.len(), BLOCK, |index, [output, new, u]| {
        let at = from(index, new.len());
        new.copy_from_slice(&v[at.clone()]);
        dispatch(
            #[inline(always)]
            || block::<true>(rule, c, new, &current[at], output, u),
        );
    }))
}

#[inline(always)]
fn block<const SAVE: bool>(
    rule: Rule,
    c: Coefficients,
    v: &mut [f32],
    current: &[f32],
    output: &mut [f32],
    u: &mut [f32],
) {
    let len = v.len();
    let (current, output) = (&current[..len], &mut output[..len]);
    let u = if SAVE { &mut u[..len] } else { u };
    for j in 0..len {
        let new = update::<Lif, false>(rule, c, v[j], 0.0, current[j]);
        v[j] = new.v;
        output[j] = keep(new.fired, 1.0);
        if SAVE {
            u[j] = new.u;
        }
    }
}

/// Backward: `u` becomes the gradient of the current, `d_v` that of the state before the first step.
pub(super) fn backward(run: &Run, c: Coefficients, u: &mut [f32], d_v: &mut [f32]) {
    let (total, width) = (u.len(), d_v.len());
    let size = block_size(total / width.max(1));
    let step = Backward {
        rule: Rule::new(run.spec),
        c,
        subtracted: if run.spec.reset == Reset::Subtract { c.threshold } else { 0.0 },
        zero: mask(run.spec.reset == Reset::Zero),
        attached: mask(!run.detach_reset),
    };
    let items: Vec<_> = d_v.chunks_mut(size).zip(blocks_of(size, u, width)).enumerate().collect();
    for_each(items, total, |(at, (d_v, u))| {
        let mut slopes = [0.0; 256];
        for (u, d_output) in u.into_iter().zip(run.d_output.chunks_exact(width)).rev() {
            let d_output = &d_output[at * size..][..u.len()];
            dispatch(
                #[inline(always)]
                || {
                    let pieces = u.chunks_mut(256).zip(d_v.chunks_mut(256));
                    for ((u, d_v), d_output) in pieces.zip(d_output.chunks(256)) {
                        let slopes = &mut slopes[..u.len()];
                        step.excess(u, slopes);
                        run.surrogate.grad_in_place(slopes);
                        step.gradients(u, d_v, d_output, slopes);
                    }
                },
            );
        }
    });
}

#[derive(Clone, Copy)]
struct Backward {
    rule: Rule,
    c: Coefficients,
    subtracted: f32,
    zero: u32,
    attached: u32,
}

impl Backward {
    #[inline(always)]
    fn excess(self, u: &[f32], excess: &mut [f32]) {
        for (excess, u) in excess.iter_mut().zip(u) {
            *excess = u - self.c.threshold;
        }
    }

    #[inline(always)]
    fn gradients(self, u: &mut [f32], d_v: &mut [f32], d_output: &[f32], slopes: &[f32]) {
        let Backward { rule, c, subtracted, zero, attached } = self;
        let len = u.len();
        let (d_v, d_output, slopes) = (&mut d_v[..len], &d_output[..len], &slopes[..len]);
        for j in 0..len {
            let fired = rule.fires(u[j] - c.threshold);
            let lost = subtracted + keep(zero, u[j]);
            let d_spike = d_output[j] - keep(attached, lost * d_v[j]);
            let d_u = keep(!(fired & zero), d_v[j]) + d_spike * slopes[j];
            u[j] = c.drive * d_u;
            d_v[j] = c.beta * d_u;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Param, Run, Saved, State, backward, sequence};
    use super::*;
    use crate::surrogate::Surrogate;
    use alloc::vec;

    /// Parameters that are equal for all neurons but not shared take the general form.
    #[test]
    fn same_bits_as_the_general_form() {
        of_steps(1);
        of_steps(3);
    }

    fn of_steps(time: usize) {
        let n = 20_000;
        let wave = |k: f32, n| (0..n).map(|i| (i as f32 * k).sin() * 1.5).collect::<Vec<f32>>();
        let (v0, current) = (wave(0.37, n), wave(0.91, time * n));
        let (d_output, d_last) = (wave(0.53, time * n), wave(0.29, n));
        let (betas, thresholds) = (vec![0.3; n], vec![0.8; n]);
        let shared = [Param::Shared(0.3), Param::Shared(0.8)];
        let each = [Param::PerNeuron(&betas), Param::PerNeuron(&thresholds)];
        for model in
            [Model::If, Model::Lif { input_decay: true }, Model::Lif { input_decay: false }]
        {
            for reset in [Reset::None, Reset::Subtract, Reset::Zero] {
                for detach_reset in [false, true] {
                    let spec =
                        NeuronSpec { model, reset, reset_delayed: false, fires_at_threshold: true };
                    let run = |[beta, threshold]: [Param; 2]| {
                        let (second_decay, gain) = (Param::Shared(0.0), Param::Shared(0.0));
                        let params = Params { threshold, beta, second_decay, gain };
                        let [mut out, mut u] = [vec![0.0; time * n], vec![0.0; time * n]];
                        let mut v = v0.clone();
                        let state = State { v: &mut v, second: &mut [] };
                        let saved = Some(Saved { u: &mut u, used: &mut [] });
                        sequence(&spec, &params, state, &current, &mut out, saved);
                        if time == 1 {
                            let step = |save| one_step(&spec, &params, &v0, &current, save);
                            let made = |u| Some([out.clone(), v.clone(), u]);
                            let shared = matches!(params.beta, Param::Shared(_));
                            let expected = [made(u.clone()), made(vec![])];
                            assert_eq!(
                                [step(true), step(false)],
                                expected.map(|e| e.filter(|_| shared))
                            );
                        }
                        let run = Run {
                            spec: &spec,
                            params,
                            surrogate: Surrogate::Triangle { peak: 1.0, slope: 1.0 },
                            detach_reset,
                            initial_v: &v0,
                            initial_second: &[],
                            current: &[],
                            used: &[],
                            d_output: &d_output,
                        };
                        let mut d_v = d_last.clone();
                        let d_state = State { v: &mut d_v, second: &mut [] };
                        backward(&run, &mut u, d_state, false);
                        (v, out, u, d_v)
                    };
                    assert_eq!(run(shared), run(each), "{spec:?}, detached {detach_reset}");
                }
            }
        }
    }
}
