//! Adam and AdamW in one pass over the weights.

use crate::ops::flex::{is_f32_on_flex, primitive, tensor, values};
use burn::backend::{Flex, flex::FlexTensor};
use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor};
use spikelet_kernels::update;

/// Constants as PyTorch has them.
#[derive(Clone, Debug)]
pub(crate) struct Adam {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    pub(crate) epsilon: f32,
    pub(crate) weight_decay: f32,
    /// Whether weights shrink by themselves (AdamW), not through the gradient.
    pub(crate) decoupled: bool,
}

/// What a parameter carries from step to step.
#[derive(Clone)]
pub(crate) struct AdamState<const D: usize> {
    /// Steps so far.
    time: usize,
    mean: Tensor<D>,
    square: Tensor<D>,
}

impl<const D: usize> RecordState for AdamState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "time", self.time.into());
        out.push_tensor(prefix, "mean", self.mean.to_data());
        out.push_tensor(prefix, "square", self.square.to_data());
    }

    fn state_unflatten(prefix: &str, from: &mut StateSource, device: &Device) -> Option<Self> {
        let time = usize::try_from(from.take_scalar(prefix, "time")?).ok()?;
        let mut take = |leaf| from.take_tensor(prefix, leaf);
        let (mean, square) = (take("mean")?, take("square")?);
        let [mean, square] = [mean, square].map(|data| Tensor::from_data(data, device));
        Some(AdamState { time, mean, square })
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        let state = state.unwrap_or_else(|| AdamState {
            time: 0,
            mean: weights.zeros_like(),
            square: weights.zeros_like(),
        });
        let time = state.time + 1;
        let (penalty, shrink) = match self.decoupled {
            true => (0.0, lr as f32 * self.weight_decay),
            false => (self.weight_decay, 0.0),
        };
        let rule = update::Adam {
            lr: lr as f32,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            weight_decay: penalty,
            shrink,
            time: i32::try_from(time).unwrap_or(i32::MAX),
        };
        let (weights, [mean, square]) = match is_f32_on_flex(&weights) && is_f32_on_flex(&gradient)
        {
            true => fused(&rule, weights, gradient, [state.mean, state.square]),
            false => composed(&rule, weights, gradient, [state.mean, state.square]),
        };
        (weights, Some(AdamState { time, mean, square }))
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        let [mean, square] = [state.mean, state.square].map(|t| t.to_device(device));
        AdamState { mean, square, ..state }
    }
}

fn fused<const D: usize>(
    rule: &update::Adam,
    weights: Tensor<D>,
    gradient: Tensor<D>,
    moments: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let shape = weights.shape();
    let (weights, gradient) = (primitive(weights), primitive(gradient));
    let [mut mean, mut square] = moments.map(primitive);
    let out = {
        let [mean, square] = [&mut mean, &mut square].map(FlexTensor::storage_mut::<f32>);
        rule.step(values(&weights), values(&gradient), mean, square)
    };
    let wrap = Tensor::from_primitive::<Flex>;
    (wrap(tensor(out, shape)), [mean, square].map(wrap))
}

fn composed<const D: usize>(
    rule: &update::Adam,
    weights: Tensor<D>,
    gradient: Tensor<D>,
    [mean, square]: [Tensor<D>; 2],
) -> (Tensor<D>, [Tensor<D>; 2]) {
    let update::Adam { lr, beta_1, beta_2, epsilon, weight_decay, shrink, time } = *rule;
    let gradient = gradient + weights.clone().mul_scalar(weight_decay);
    let mean = mean.mul_scalar(beta_1) + gradient.clone().mul_scalar(1.0 - beta_1);
    let squared = gradient.clone() * gradient;
    let square = square.mul_scalar(beta_2) + squared.mul_scalar(1.0 - beta_2);
    let bias = (1.0 - beta_2.powi(time)).sqrt();
    let size = square.clone().sqrt().add_scalar(epsilon * bias);
    let change = mean.clone().mul_scalar(lr * bias / (1.0 - beta_1.powi(time))) / size;
    (weights.mul_scalar(1.0 - shrink) - change, [mean, square])
}
