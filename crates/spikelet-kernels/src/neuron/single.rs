//! One time step of many neurons that share their parameters, as convolutional networks take it.
//!
//! The general form fills arrays of coefficients and gradients for every block of columns: about
//! 26 KiB for 512 neurons, whose own values of one step are about 10 KiB. That pays off over many
//! steps only. The values are the same.

use super::backward::Run;
use super::dynamics::{Coefficients, Lif, Rule, keep, mask, update};
use super::{Model, NeuronSpec, Params, Reset};
use crate::columns::for_each;
use crate::simd::dispatch;
use alloc::vec::Vec;

/// Neurons worked on together.
const BLOCK: usize = 1 << 13;

/// The coefficients, where this form applies: IF and LIF, immediate reset, shared parameters.
pub(super) fn coefficients(spec: &NeuronSpec, params: &Params) -> Option<Coefficients> {
    let simple = matches!(spec.model, Model::If | Model::Lif { .. }) && !spec.delayed();
    if simple { Coefficients::shared(spec, params) } else { None }
}

/// Forward: `v` becomes the state after the step, `u` the potentials before the reset (if it is
/// not empty).
pub(super) fn forward(
    spec: &NeuronSpec,
    c: Coefficients,
    v: &mut [f32],
    current: &[f32],
    output: &mut [f32],
    u: &mut [f32],
) {
    let rule = Rule::new(spec);
    let mut rows = u.chunks_mut(BLOCK);
    let items: Vec<_> = v
        .chunks_mut(BLOCK)
        .zip(current.chunks(BLOCK))
        .zip(output.chunks_mut(BLOCK))
        .map(|((v, current), output)| (v, current, output, rows.next().unwrap_or_default()))
        .collect();
    for_each(items, current.len(), |(v, current, output, u)| {
        dispatch(
            #[inline(always)]
            || match u.is_empty() {
                true => block::<false>(rule, c, v, current, output, u),
                false => block::<true>(rule, c, v, current, output, u),
            },
        );
    });
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

/// Backward: `u` becomes the gradient of the current, `d_v` that of the state before the step.
pub(super) fn backward(run: &Run, c: Coefficients, u: &mut [f32], d_v: &mut [f32]) {
    let rule = Rule::new(run.spec);
    let subtracted = if run.spec.reset == Reset::Subtract { c.threshold } else { 0.0 };
    let (zero, attached) = (mask(run.spec.reset == Reset::Zero), mask(!run.detach_reset));
    let total = u.len();
    let items: Vec<_> =
        u.chunks_mut(BLOCK).zip(d_v.chunks_mut(BLOCK)).zip(run.d_output.chunks(BLOCK)).collect();
    for_each(items, total, |((u, d_v), d_output)| {
        dispatch(
            #[inline(always)]
            || {
                let mut slopes = [0.0; 256];
                let rows = u.chunks_mut(256).zip(d_v.chunks_mut(256)).zip(d_output.chunks(256));
                for ((u, d_v), d_output) in rows {
                    let len = u.len();
                    let (slopes, d_v, d_output) =
                        (&mut slopes[..len], &mut d_v[..len], &d_output[..len]);
                    for j in 0..len {
                        slopes[j] = u[j] - c.threshold;
                    }
                    run.surrogate.grad_in_place(slopes);
                    for j in 0..len {
                        let fired = rule.fires(u[j] - c.threshold);
                        let lost = subtracted + keep(zero, u[j]);
                        let d_spike = d_output[j] - keep(attached, lost * d_v[j]);
                        let d_u = keep(!(fired & zero), d_v[j]) + d_spike * slopes[j];
                        u[j] = c.drive * d_u;
                        d_v[j] = c.beta * d_u;
                    }
                }
            },
        );
    });
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
        let n = 20_000;
        let wave = |k: f32| (0..n).map(|i| (i as f32 * k).sin() * 1.5).collect::<Vec<f32>>();
        let (v0, current, d_output, d_last) = (wave(0.37), wave(0.91), wave(0.53), wave(0.29));
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
                        let (mut v, mut out, mut u) = (v0.clone(), vec![0.0; n], vec![0.0; n]);
                        let state = State { v: &mut v, second: &mut [] };
                        let saved = Some(Saved { u: &mut u, used: &mut [] });
                        sequence(&spec, &params, state, &current, &mut out, saved);
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
