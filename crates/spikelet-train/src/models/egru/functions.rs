//! A layer over a sequence: fused where the tensors lie in the memory of the CPU, else composed of
//! tensor operations.

use crate::ops::{
    egru::{EgruOutputs, EgruSettings, EgruState, EgruWeights, egru_sequence},
    flex::is_f32_on_flex,
};
use burn::tensor::{Tensor, TensorData, activation::sigmoid};
use spikelet_kernels::egru::{PseudoDerivative, TRACE_DECAY, TRACE_GAIN};

/// See [`egru_sequence`].
pub(super) fn layer(
    x: Tensor<3>,
    weights: EgruWeights,
    state: EgruState,
    settings: EgruSettings,
) -> EgruOutputs {
    match is_f32_on_flex(&x) {
        true => egru_sequence(x, weights, state, settings),
        false => composed(x, weights, state, &settings),
    }
}

fn composed(
    x: Tensor<3>,
    weights: EgruWeights,
    mut state: EgruState,
    settings: &EgruSettings,
) -> EgruOutputs {
    let [time, batch, _] = x.dims();
    let hidden = weights.threshold.dims()[0];
    let like = state.h.clone();
    let mask = settings.mask.as_ref().map(|mask| {
        let data = TensorData::new(mask.to_vec(), [time, batch, hidden]);
        Tensor::<3>::from_data(data, &like.device()).cast(like.dtype())
    });
    let [mut y, mut h, mut o, mut trace] = [const { Vec::new() }; 4];
    for (t, x) in x.iter_dim(0).enumerate() {
        let share = match &mask {
            Some(mask) => mask.clone().narrow(0, t, 1).squeeze_dim(0),
            None => like.ones_like().mul_scalar(settings.share),
        };
        let (next, events) = step(x.squeeze_dim(0), &weights, state, share, settings.pseudo);
        y.push(next.y.clone());
        h.push(next.h.clone());
        o.push(events);
        trace.push(next.trace.clone());
        state = next;
    }
    let [y, h, o, trace] = [y, h, o, trace].map(|steps| Tensor::stack(steps, 0));
    EgruOutputs { y, h, o, trace }
}

fn step(
    x: Tensor<2>,
    weights: &EgruWeights,
    before: EgruState,
    share: Tensor<2>,
    pseudo: PseudoDerivative,
) -> (EgruState, Tensor<2>) {
    let from_input = x.matmul(weights.kernel.clone()) + weights.bias.clone().unsqueeze();
    let recurrent_bias = weights.recurrent_bias.clone().unsqueeze();
    let from_events = before.y.matmul(weights.recurrent.clone()) + recurrent_bias;
    let gates = |all: Tensor<2>| <[Tensor<2>; 3]>::try_from(all.chunk(3, 1)).expect("three gates");
    let ([a_z, a_r, a_g], [b_z, b_r, b_g]) = (gates(from_input), gates(from_events));
    let z = sigmoid(a_z + b_z);
    let g = (a_g + sigmoid(a_r + b_r) * b_g).tanh();
    let c = g.clone() + z * (before.h.clone() - g);
    let c = before.h.clone() + share * (c - before.h);
    let threshold = weights.threshold.clone().unsqueeze();
    let o = events(c.clone() - threshold.clone(), pseudo);
    let y = o.clone() * c.clone();
    let trace = before.trace.mul_scalar(TRACE_DECAY) + y.clone().mul_scalar(TRACE_GAIN);
    (EgruState { h: c - o.clone() * threshold, y, trace }, o)
}

/// 1 where `u` is above zero, else 0, with the pseudo-derivative for the gradient.
fn events(u: Tensor<2>, pseudo: PseudoDerivative) -> Tensor<2> {
    let fires = u.clone().detach().greater_elem(0.0).float().cast(u.dtype());
    // Its integral, up to a constant, where it is not zero: D (u - S u |u| / 2).
    let inside = u.clamp(-1.0 / pseudo.support, 1.0 / pseudo.support);
    let bend = inside.clone() * inside.clone().abs();
    let smooth = (inside - bend.mul_scalar(pseudo.support / 2.0)).mul_scalar(pseudo.dampening);
    fires + (smooth.clone() - smooth.detach())
}
