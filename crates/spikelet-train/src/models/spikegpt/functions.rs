//! The operations of a block: fused where the tensors lie in the memory of the CPU, else composed
//! of tensor operations.

use crate::{
    neuron::{Dynamics, NeuronState, NeuronTensors, neuron_sequence_from},
    ops::{
        self,
        flex::is_f32_on_flex,
        layer_norm, token_shift,
        wkv::{WkvState, wkv_sequence},
    },
};
use burn::tensor::{
    Tensor,
    activation::{relu, sigmoid},
};
use spikelet_kernels::{
    layer_norm::EPSILON,
    neuron::{Model, NeuronSpec, Reset},
    surrogate::Surrogate,
};

/// The neuron behind every mix (SpikingJelly's `MultiStepLIFNode` with `tau` 2): the tokens are its
/// time steps. Gradients flow through its reset.
pub(super) const LIF: Dynamics = Dynamics {
    spec: NeuronSpec {
        model: Model::Lif { input_decay: true },
        reset: Reset::Zero,
        reset_delayed: false,
        fires_at_threshold: true,
    },
    surrogate: Surrogate::ARCTAN,
    detach_reset: false,
};
/// Decay of its potential, and its threshold.
pub(super) const LIF_PARAMETERS: [f32; 2] = [0.5, 1.0];

/// A spike where a value is not negative.
const HEAVISIDE: Dynamics =
    Dynamics { spec: NeuronSpec { model: Model::If, reset: Reset::None, ..LIF.spec }, ..LIF };

/// `[.., channels]`, every row of channels normalised.
pub(super) fn normalize(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<3> {
    if is_f32_on_flex(&x) {
        return layer_norm::layer_norm(x, weight, bias);
    }
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    centred / variance.add_scalar(EPSILON).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

/// `x` mixed with its own value one token before, for each of the shares `[1, 1, channels]` in
/// `mixes`; also the last token.
pub(super) fn shift<const N: usize>(
    x: Tensor<3>,
    before: Tensor<2>,
    mixes: [Tensor<3>; N],
) -> ([Tensor<3>; N], Tensor<2>) {
    let [time, _, _] = x.dims();
    let last = x.clone().narrow(0, time - 1, 1).squeeze_dim(0);
    if is_f32_on_flex(&x) {
        let mixed = mixes.map(|mix| {
            let mix = mix.squeeze_dim(1);
            token_shift::token_shift(x.clone(), before.clone(), mix).squeeze_dim(0)
        });
        return (mixed, last);
    }
    let before = Tensor::cat(vec![before.unsqueeze(), x.clone().narrow(0, 0, time - 1)], 0);
    let mixed =
        mixes.map(|mix| x.clone() * mix.clone() + before.clone() * mix.neg().add_scalar(1.0));
    (mixed, last)
}

/// `x` `[time, batch, in]` times the transpose of `weight` `[out, in]`.
pub(super) fn linear(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [time, batch, inputs] = x.dims();
    let [outputs, _] = weight.dims();
    let rows = x.reshape([time * batch, inputs]);
    let out = match is_f32_on_flex(&rows) {
        true => ops::linear::linear(rows, weight),
        false => rows.matmul(weight.transpose()),
    };
    out.reshape([time, batch, outputs])
}

/// `sigmoid(gate) x`.
pub(super) fn gated(gate: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
    match is_f32_on_flex(&x) {
        true => ops::gate::gated(gate, x),
        false => sigmoid(gate) * x,
    }
}

/// `max(x, 0)^2`.
pub(super) fn relu_squared(x: Tensor<3>) -> Tensor<3> {
    if is_f32_on_flex(&x) {
        return ops::gate::relu_squared(x);
    }
    let positive = relu(x);
    positive.clone() * positive
}

/// The WKV scan; see [`spikelet_kernels::wkv`].
pub(super) fn wkv(
    k: Tensor<3>,
    v: Tensor<3>,
    decay: Tensor<1>,
    first: Tensor<1>,
    state: WkvState,
) -> (Tensor<3>, WkvState) {
    match is_f32_on_flex(&k) {
        true => wkv_sequence(k, v, decay, first, state),
        false => composed_wkv(k, v, decay, first, state),
    }
}

fn composed_wkv(
    k: Tensor<3>,
    v: Tensor<3>,
    decay: Tensor<1>,
    first: Tensor<1>,
    mut state: WkvState,
) -> (Tensor<3>, WkvState) {
    let mut outputs = Vec::new();
    for (k, v) in k.iter_dim(0).zip(v.iter_dim(0)) {
        let (k, v) = (k.squeeze_dim::<2>(0), v.squeeze_dim::<2>(0));
        let bonus = k.clone() + first.clone().unsqueeze();
        let (_, before, now) = exponents(state.o.clone(), bonus);
        let sum = before.clone() * state.p.clone() + now.clone() * v.clone();
        outputs.push(sum / (before * state.q.clone() + now));
        let (o, before, now) = exponents(state.o + decay.clone().unsqueeze(), k);
        state = WkvState {
            p: before.clone() * state.p + now.clone() * v,
            q: before * state.q + now,
            o,
        };
    }
    (Tensor::stack(outputs, 0), state)
}

/// The larger one of two exponents, without gradient, and the powers of both relative to it.
fn exponents(a: Tensor<2>, b: Tensor<2>) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let largest = a.clone().max_pair(b.clone()).detach();
    (largest.clone(), (a - largest.clone()).exp(), (b - largest).exp())
}

/// Spikes of the neurons behind a mix, from their potentials `v` `[batch, channels]`.
pub(super) fn spikes(current: Tensor<3>, v: Tensor<2>) -> (Tensor<3>, Tensor<2>) {
    let [beta, threshold] = LIF_PARAMETERS;
    let params = neuron_tensors(&current, beta, threshold);
    let state = NeuronState { v, second: None };
    let (spikes, state) = neuron_sequence_from(current, state, params, LIF);
    (spikes, state.v)
}

/// 1 where a value is not negative, else 0; its derivative is the surrogate of the neurons.
pub(super) fn heaviside(x: Tensor<3>) -> Tensor<3> {
    let [time, batch, channels] = x.dims();
    let params = neuron_tensors(&x, 1.0, 0.0);
    let v = Tensor::<2>::zeros([time * batch, channels], &x.device()).cast(x.dtype());
    let state = NeuronState { v, second: None };
    let x = x.reshape([1, time * batch, channels]);
    let (spikes, _) = neuron_sequence_from(x, state, params, HEAVISIDE);
    spikes.reshape([time, batch, channels])
}

fn neuron_tensors(like: &Tensor<3>, beta: f32, threshold: f32) -> NeuronTensors {
    let constant =
        |value: f32| Tensor::<1>::from_floats([value], &like.device()).cast(like.dtype());
    let (beta, threshold) = (constant(beta), constant(threshold));
    NeuronTensors { beta, threshold, second_decay: None, gain: None }
}
