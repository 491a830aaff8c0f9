//! A population over a whole sequence.

use alloc::vec::Vec;

use super::dynamics::{CoefficientArrays, Lanes, Membrane, Rule, keep, update, with_membrane};
use super::{Model, NeuronSpec, Params, State, shared};
use crate::columns::{WIDTH, blocks, for_each, pieces};
use crate::simd::dispatch;

/// What [`backward`](super::backward) needs of a forward run, both `[time, width]`.
#[derive(Debug)]
pub struct Saved<'a> {
    /// The potentials that were compared with the threshold.
    pub u: &'a mut [f32],
    /// The synaptic currents (CuBa-LIF), or the adaptations that were part of the thresholds
    /// (adaptive LIF); empty for the other models.
    pub used: &'a mut [f32],
}

/// Runs a population over `current`, `[time, width]`, where `width` is the number of potentials
/// (batch times neurons), and writes its output of the same shape. `state` is the initial state
/// on entry and the final one on return. The same values as [`step`](super::step) once for each
/// row, bit for bit.
///
/// # Panics
/// When `current` is not a whole number of rows, other slices do not fit its shape, or a
/// per-neuron parameter is empty.
pub fn sequence(
    spec: &NeuronSpec,
    params: &Params,
    state: State,
    current: &[f32],
    output: &mut [f32],
    saved: Option<Saved>,
) {
    let width = state.v.len();
    if current.is_empty() {
        return;
    }
    spec.check(width, state.second.len(), current.len());
    assert_eq!(output.len(), current.len(), "one output per current");
    let save = saved.is_some();
    let Saved { u, used } = saved.unwrap_or(Saved { u: &mut [], used: &mut [] });
    if save {
        assert_eq!(u.len(), current.len(), "one saved potential per current");
        let seconds = if spec.has_second() { current.len() } else { 0 };
        assert_eq!(used.len(), seconds, "one saved second value per current");
    }
    if let Some(c) = shared::coefficients(spec, params) {
        return shared::forward(spec, c, state.v, current, output, u);
    }
    let rule = Rule::new(spec);
    let items: Vec<_> = pieces(state.v, width)
        .into_iter()
        .zip(pieces(state.second, width))
        .zip(blocks(output, width))
        .zip(blocks(u, width))
        .zip(blocks(used, width))
        .enumerate()
        .collect();
    for_each(items, current.len(), |(block, ((((v, second), mut output), mut u), mut used))| {
        let (start, len) = (block * WIDTH, v.len());
        let mut lanes = CoefficientArrays::<WIDTH>::ZERO;
        lanes.fill(spec, params, start, len);
        with_membrane!(spec, |M, DELAYED| dispatch(
            #[inline(always)]
            || {
                for (t, output) in output.iter_mut().enumerate() {
                    let current = &current[t * width + start..][..len];
                    if save {
                        let used = if <M as Membrane>::SECOND { &mut *used[t] } else { &mut [] };
                        let u = &mut *u[t];
                        row_saving::<M, DELAYED>(rule, &lanes, v, second, current, output, u, used);
                    } else {
                        row::<M, DELAYED>(rule, &lanes, v, second, current, output);
                    }
                }
            },
        ));
    });
}

#[inline(always)]
fn output_of<M: Membrane>(u: f32, fired: u32) -> f32 {
    if M::LINEAR { u } else { keep(fired, 1.0) }
}

/// One time step of a block.
#[inline(always)]
fn row<M: Membrane, const DELAYED: bool>(
    rule: Rule,
    lanes: &CoefficientArrays<WIDTH>,
    v: &mut [f32],
    second: &mut [f32],
    current: &[f32],
    output: &mut [f32],
) {
    let len = v.len().min(WIDTH);
    let (v, current, output) = (&mut v[..len], &current[..len], &mut output[..len]);
    let second = if M::SECOND { &mut second[..len] } else { &mut [] };
    for j in 0..len {
        let x = if M::SECOND { second[j] } else { 0.0 };
        let new = update::<M, DELAYED>(rule, lanes.at(j), v[j], x, current[j]);
        v[j] = new.v;
        if M::SECOND {
            second[j] = new.second;
        }
        output[j] = output_of::<M>(new.u, new.fired);
    }
}

/// The same, keeping what the backward pass needs.
#[allow(clippy::too_many_arguments)] // slices that may not alias: only arguments say so
#[inline(always)]
fn row_saving<M: Membrane, const DELAYED: bool>(
    rule: Rule,
    lanes: &CoefficientArrays<WIDTH>,
    v: &mut [f32],
    second: &mut [f32],
    current: &[f32],
    output: &mut [f32],
    u: &mut [f32],
    used: &mut [f32],
) {
    let len = v.len().min(WIDTH);
    let (v, current, output) = (&mut v[..len], &current[..len], &mut output[..len]);
    let u = &mut u[..len];
    let (second, used) =
        if M::SECOND { (&mut second[..len], &mut used[..len]) } else { Default::default() };
    for j in 0..len {
        let x = if M::SECOND { second[j] } else { 0.0 };
        let new = update::<M, DELAYED>(rule, lanes.at(j), v[j], x, current[j]);
        v[j] = new.v;
        if M::SECOND {
            second[j] = new.second;
            used[j] = new.used;
        }
        u[j] = new.u;
        output[j] = output_of::<M>(new.u, new.fired);
    }
}
