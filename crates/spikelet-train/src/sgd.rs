//! Stochastic gradient descent in one pass over the weights.

use crate::ops::flex::{is_f32_on_flex, primitive, tensor, values};
use burn::backend::Flex;
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use spikelet_kernels::update;

/// With momentum and L2 penalty, as PyTorch has them (no dampening).
#[derive(Clone, Debug)]
pub(crate) struct Sgd {
    pub(crate) momentum: f32,
    pub(crate) weight_decay: f32,
}

/// What a parameter carries from step to step.
#[derive(Clone)]
pub(crate) struct SgdState<const D: usize> {
    velocity: Tensor<D>,
}

impl<const D: usize> RecordState for SgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, "velocity", self.velocity.to_data());
    }

    fn state_unflatten(prefix: &str, from: &mut StateSource, device: &Device) -> Option<Self> {
        let velocity = from.take_tensor(prefix, "velocity")?;
        Some(SgdState { velocity: Tensor::from_data(velocity, device) })
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<SgdState<D>>,
    ) -> (Tensor<D>, Option<SgdState<D>>) {
        let Sgd { momentum, weight_decay } = *self;
        if !is_f32_on_flex(&weights) || !is_f32_on_flex(&gradient) {
            let gradient = gradient + weights.clone().mul_scalar(weight_decay);
            let velocity = match state {
                Some(state) => state.velocity.mul_scalar(momentum) + gradient,
                None => gradient,
            };
            let weights = weights - velocity.clone().mul_scalar(lr);
            return (weights, Some(SgdState { velocity }));
        }
        let rule = update::Sgd { lr: lr as f32, momentum, weight_decay };
        let shape = weights.shape();
        let (weights, gradient) = (primitive(weights), primitive(gradient));
        let velocity = state.map(|state| primitive(state.velocity));
        let velocity = velocity.as_ref().map_or(&[][..], values);
        let [weights, velocity] = rule
            .step(values(&weights), values(&gradient), velocity)
            .map(|of| Tensor::from_primitive::<Flex>(tensor(of, shape.clone())));
        (weights, Some(SgdState { velocity }))
    }

    fn to_device<const D: usize>(state: SgdState<D>, device: &Device) -> SgdState<D> {
        SgdState { velocity: state.velocity.to_device(device) }
    }
}
