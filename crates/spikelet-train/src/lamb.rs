//! LAMB (You et al. 2020): Adam whose step on a tensor is at most as long as the learning rate times
//! the tensor.

use burn::optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource};
use burn::tensor::{Device, Tensor, TensorData};

/// As timm has it with `trust_clip`: the ratio of the norms of weights and step is at most 1.
/// Vectors (biases, normalisations) neither shrink nor have their step scaled. Its limit of 1 on the
/// norm of all gradients is `train.clip_norm = 1.0` here.
#[derive(Clone, Debug)]
pub(crate) struct Lamb {
    pub(crate) beta_1: f32,
    pub(crate) beta_2: f32,
    pub(crate) epsilon: f32,
    pub(crate) weight_decay: f32,
}

/// What a parameter carries from step to step.
#[derive(Clone)]
pub(crate) struct LambState<const D: usize> {
    first: Tensor<D>,
    second: Tensor<D>,
    steps: i32,
}

impl<const D: usize> RecordState for LambState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_tensor(prefix, "first", self.first.to_data());
        out.push_tensor(prefix, "second", self.second.to_data());
        out.push_tensor(prefix, "steps", TensorData::new(vec![self.steps], [1]));
    }

    fn state_unflatten(prefix: &str, from: &mut StateSource, device: &Device) -> Option<Self> {
        let first = Tensor::from_data(from.take_tensor(prefix, "first")?, device);
        let second = Tensor::from_data(from.take_tensor(prefix, "second")?, device);
        let steps = from.take_tensor(prefix, "steps")?.try_into_vec::<i32>().ok()?;
        Some(LambState { first, second, steps: *steps.first()? })
    }
}

impl Optimizer for Lamb {
    type State<const D: usize> = LambState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        weights: Tensor<D>,
        gradient: Tensor<D>,
        state: Option<LambState<D>>,
    ) -> (Tensor<D>, Option<LambState<D>>) {
        let Lamb { beta_1, beta_2, epsilon, weight_decay } = *self;
        let squared = gradient.clone() * gradient.clone();
        let (first, second) = (gradient.mul_scalar(1.0 - beta_1), squared.mul_scalar(1.0 - beta_2));
        let (first, second, steps) = match state {
            None => (first, second, 1),
            Some(before) => (
                before.first.mul_scalar(beta_1) + first,
                before.second.mul_scalar(beta_2) + second,
                before.steps + 1,
            ),
        };
        let unbiased = |beta: f32| 1.0 - f64::from(beta).powi(steps);
        let root = second.clone().sqrt().div_scalar(unbiased(beta_2).sqrt()).add_scalar(epsilon);
        let mut step = first.clone().div_scalar(unbiased(beta_1)) / root;
        if D > 1 && weight_decay > 0.0 {
            step = step + weights.clone().mul_scalar(weight_decay);
            let norm = |t: Tensor<D>| (t.clone() * t).sum().sqrt().into_scalar::<f32>();
            let (weight_norm, step_norm) = (norm(weights.clone()), norm(step.clone()));
            if weight_norm > 0.0 && step_norm > 0.0 {
                step = step.mul_scalar((weight_norm / step_norm).min(1.0));
            }
        }
        (weights - step.mul_scalar(lr), Some(LambState { first, second, steps }))
    }

    fn to_device<const D: usize>(state: LambState<D>, device: &Device) -> LambState<D> {
        LambState {
            first: state.first.to_device(device),
            second: state.second.to_device(device),
            steps: state.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lamb;
    use crate::params;
    use burn::optim::Optimizer;
    use burn::tensor::{Device, Tensor, TensorData};

    const GRADIENTS: [[f32; 4]; 2] = [[0.1, -0.2, 0.3, 0.0], [0.05, 0.1, -0.4, 0.2]];

    /// Two steps at the rate 0.1, worked out in double precision by the equations of timm's `Lamb`.
    fn two_steps<const D: usize>(start: [f32; 4], shape: [usize; D]) -> [Vec<f32>; 2] {
        let lamb = Lamb { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-6, weight_decay: 0.05 };
        let tensor = |values: [f32; 4]| -> Tensor<D> {
            Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
        };
        let (mut weights, mut state) = (tensor(start), None);
        GRADIENTS.map(|gradient| {
            let (next, kept) = lamb.step(0.1, weights.clone(), tensor(gradient), state.take());
            (weights, state) = (next, kept);
            params::values(weights.clone())
        })
    }

    fn near(found: &[f32], expected: [f64; 4]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} and {expected}");
        }
    }

    #[test]
    fn steps_are_as_long_as_the_weights_are_large() {
        let [first, second] = two_steps([0.5, -0.25, 0.125, 1.0], [2, 2]);
        near(&first, [0.432809968, -0.183629039, 0.059038629, 0.996722405]);
        near(&second, [0.350920095, -0.159974353, 0.075399111, 0.928555763]);
        // Ten times the weights: the ratio of the norms is clipped at 1.
        let [first, second] = two_steps([5.0, -2.5, 1.25, 10.0], [2, 2]);
        near(&first, [4.875000999, -2.387500499, 1.143750333, 9.95]);
        near(&second, [4.757409210, -2.348929462, 1.157382567, 9.825836843]);
    }

    #[test]
    fn vectors_are_only_adapted() {
        let [first, second] = two_steps([0.5, -0.25, 0.125, 1.0], [4]);
        near(&first, [0.400000999, -0.150000499, 0.025000333, 1.0]);
        near(&second, [0.306784215, -0.123366964, 0.044351319, 0.925586843]);
    }
}
