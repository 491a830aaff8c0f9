//! Neurons composed of tensor operations, for every backend.

use burn::tensor::{Tensor, activation};
use spikelet_kernels::neuron::{Model, Reset};
use spikelet_kernels::surrogate::Surrogate;

use super::{Dynamics, NeuronState, NeuronTensors};

/// All time steps of `current`, `[time, .., neurons]`.
pub(super) fn sequence<const D: usize>(
    current: Tensor<D>,
    mut state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<D>, NeuronState) {
    let shape = current.dims();
    let [rows, neurons] = state.v.dims();
    let mut outputs = Vec::with_capacity(shape[0]);
    for current in current.reshape([shape[0], rows, neurons]).iter_dim(0) {
        let (output, next) = step(current.squeeze_dim(0), state, params.clone(), dynamics);
        outputs.push(output);
        state = next;
    }
    (Tensor::stack::<3>(outputs, 0).reshape(shape), state)
}

/// One time step of `current`, `[.., neurons]`.
pub(super) fn step_of_any_rank<const D: usize>(
    current: Tensor<D>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<D>, NeuronState) {
    let (shape, rows) = (current.dims(), state.v.dims());
    let (output, state) = step(current.reshape(rows), state, params, dynamics);
    (output.reshape(shape), state)
}

fn step(
    current: Tensor<2>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<2>, NeuronState) {
    let spec = dynamics.spec;
    let NeuronState { v, second } = state;
    let beta = params.beta.clamp(0.0, 1.0).unsqueeze::<2>();
    let base = params.threshold.unsqueeze::<2>();
    let decay = params.second_decay.map(|decay| decay.clamp(0.0, 1.0).unsqueeze::<2>());
    let decayed = |second: Option<Tensor<2>>| match (second, &decay) {
        (Some(second), Some(decay)) => second * decay.clone(),
        _ => panic!("{:?} needs a second state value and its decay", spec.model),
    };
    let gain = params.gain.map(|gain| gain.unsqueeze::<2>());
    let threshold = |a: &Option<Tensor<2>>| match (spec.model, a, &gain) {
        (Model::AdaptiveLif, Some(a), Some(gain)) => base.clone() + gain.clone() * a.clone(),
        (Model::AdaptiveLif, ..) => panic!("adaptive LIF needs an adaptation and its gain"),
        _ => base.clone(),
    };

    let (w, mut second_next) = match spec.model {
        Model::If => (v.clone() + current, None),
        Model::Lif { input_decay: true } => {
            let drive = (beta.clone().neg() + 1.0) * current;
            (v.clone() * beta + drive, None)
        }
        Model::CubaLif => {
            let synaptic = decayed(second.clone()) + current;
            (v.clone() * beta + synaptic.clone(), Some(synaptic))
        }
        Model::AdaptiveLif | Model::Lif { input_decay: false } | Model::Li => {
            (v.clone() * beta + current, None)
        }
    };
    if spec.model == Model::Li {
        return (w.clone(), NeuronState { v: w, second: None });
    }
    let adaptive = spec.model == Model::AdaptiveLif;
    if spec.reset_delayed && spec.reset != Reset::None {
        let crossed = threshold(&second);
        let before = spike(v - crossed.clone(), &dynamics);
        if adaptive {
            second_next = Some(decayed(second) + before.clone());
        }
        let v = reset(w, before, crossed, &dynamics);
        let output = spike(v.clone() - threshold(&second_next), &dynamics);
        (output, NeuronState { v, second: second_next })
    } else {
        let crossed = threshold(&second);
        let output = spike(w.clone() - crossed.clone(), &dynamics);
        if adaptive {
            second_next = Some(decayed(second) + output.clone());
        }
        let v = reset(w, output.clone(), crossed, &dynamics);
        (output, NeuronState { v, second: second_next })
    }
}

/// The potential after the reset of the neurons that spiked.
fn reset(v: Tensor<2>, spike: Tensor<2>, threshold: Tensor<2>, dynamics: &Dynamics) -> Tensor<2> {
    let spike = if dynamics.detach_reset { spike.detach() } else { spike };
    match dynamics.spec.reset {
        Reset::None => v,
        Reset::Subtract => v - spike * threshold,
        Reset::Zero => v * (spike.neg() + 1.0),
    }
}

/// Spikes where the excess of the potential over the threshold says so, with the surrogate as
/// derivative.
fn spike(excess: Tensor<2>, dynamics: &Dynamics) -> Tensor<2> {
    let x = excess.clone().detach();
    let fired = match dynamics.spec.fires_at_threshold {
        true => x.clone().greater_equal_elem(0.0),
        false => x.clone().greater_elem(0.0),
    };
    let fired = fired.float().cast(x.dtype());
    // Its value is exactly that of `fired`, because the two terms before cancel; its derivative is
    // the one of the first.
    let slanted = excess * slope(x, dynamics.surrogate);
    slanted.clone() - slanted.detach() + fired
}

/// The surrogate derivative at `x`.
fn slope(x: Tensor<2>, surrogate: Surrogate) -> Tensor<2> {
    match surrogate {
        Surrogate::Arctan { alpha } => {
            let z = x * (std::f32::consts::FRAC_PI_2 * alpha);
            (z.clone() * z + 1.0).recip() * (0.5 * alpha)
        }
        Surrogate::Sigmoid { slope } => {
            let s = activation::sigmoid(x * slope);
            s.clone() * (s.neg() + 1.0) * slope
        }
        Surrogate::FastSigmoid { slope } => {
            let z = x.abs() * slope + 1.0;
            (z.clone() * z).recip()
        }
        Surrogate::Triangle { peak, slope } => (x.abs() * -slope + 1.0).clamp_min(0.0) * peak,
        Surrogate::Rectangle { width } => {
            let dtype = x.dtype();
            x.abs().lower_equal_elem(0.5 * width).float().cast(dtype) * (1.0 / width)
        }
        Surrogate::StraightThrough => x.ones_like(),
    }
}
