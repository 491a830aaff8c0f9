//! One time step of neurons behind a normalisation by the statistics of the batch, as one
//! differentiable operation whose state carries no gradient.

use super::flex::{contiguous, tensor, values};
use crate::neuron::Dynamics;
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, Dispatch, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    backend_extension,
    flex::FlexTensor,
    tensor::FloatTensor,
};
use burn::tensor::Tensor;
use spikelet_kernels::{
    batch_norm::Moments,
    neuron::{Param, Params, normalized::Normalized},
};
use std::sync::Arc;

/// What is not learned.
#[derive(Clone, Copy, Debug)]
pub struct Constants {
    /// Equation of the neurons and derivative of their spikes.
    pub dynamics: Dynamics,
    /// Decay of the potentials a step.
    pub beta: f32,
    /// Firing threshold.
    pub threshold: f32,
    /// Added to variances.
    pub epsilon: f32,
}

impl Constants {
    fn params(&self) -> Params<'static> {
        Params::lif(Param::Shared(self.beta), Param::Shared(self.threshold))
    }
}

/// Spikes `[rows, channels]` of neurons with the potentials `u` (not yet reset, without gradient) and
/// the currents `x`, both `[rows, channels]`, normalised and multiplied by `weight` plus `bias`;
/// differentiable in these three. Also, without gradient, the potentials before the reset of this step
/// and the mean and variance `[channels]` of the currents. On Flex, in f32, only.
pub fn normalized_neurons(
    x: Tensor<2>,
    u: Tensor<2>,
    [weight, bias]: [Tensor<1>; 2],
    constants: Constants,
) -> (Tensor<2>, Tensor<2>, [Tensor<1>; 2]) {
    let (x, u) = (x.into_dispatch(), u.into_dispatch());
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let (spikes, u, mean, variance) = Dispatch::normalized_neurons(x, u, weight, bias, constants);
    let statistics = [mean, variance].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(spikes), Tensor::from_dispatch(u), statistics)
}

/// Backends that run the fused step.
#[backend_extension(Flex, Autodiff)]
pub trait NormalizedNeuronsBackend: Backend {
    /// See [`normalized_neurons`].
    fn normalized_neurons(
        x: FloatTensor<Self>,
        u: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        constants: Constants,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Clone, Debug)]
struct Inputs {
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    constants: Constants,
}

impl Inputs {
    fn population(&self) -> Normalized<'_> {
        Normalized {
            spec: &self.constants.dynamics.spec,
            params: self.constants.params(),
            weight: values(&self.weight),
            bias: values(&self.bias),
        }
    }

    /// Spikes, potentials, mean, variance.
    fn run(&self, u: FlexTensor) -> ([FlexTensor; 4], Moments) {
        let u = contiguous(u);
        let x = values(&self.x);
        let stepped = self.population().forward(x, values(&u), self.constants.epsilon);
        let shape = self.x.layout().shape();
        let channels = [shape[1]];
        let moments = stepped.moments;
        let mean = tensor(moments.mean.clone(), channels);
        let variance = tensor(moments.variance.clone(), channels);
        let [spikes, u] = [stepped.spikes, stepped.u].map(|of| tensor(of, shape.clone()));
        ([spikes, u, mean, variance], moments)
    }
}

impl NormalizedNeuronsBackend for Flex {
    fn normalized_neurons(
        x: FlexTensor,
        u: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        constants: Constants,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let ([spikes, u, mean, variance], _) = Inputs { x, weight, bias, constants }.run(u);
        (spikes, u, mean, variance)
    }
}

#[derive(Debug)]
struct NormalizedNeuronsBackward;

impl Backward<Flex, 3> for NormalizedNeuronsBackward {
    /// The potentials are those that the step gave, in the same memory.
    type State = (Inputs, FlexTensor, Arc<Moments>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_spikes = contiguous(grads.consume::<Flex>(&ops.node));
        let (inputs, u, moments) = ops.state;
        let (x, u) = (values(&inputs.x), values(&u));
        let surrogate = inputs.constants.dynamics.surrogate;
        let found = inputs.population().backward(surrogate, x, u, &moments, values(&d_spikes));
        let shape = inputs.x.layout().shape().clone();
        let channels = [found.weight.len()];
        let [to_x, to_weight, to_bias] = ops.parents;
        if let Some(node) = to_x {
            grads.register::<Flex>(node.id, tensor(found.x, shape));
        }
        for (node, gradient) in [(to_weight, found.weight), (to_bias, found.bias)] {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, tensor(gradient, channels));
            }
        }
    }
}

impl<C: CheckpointStrategy> NormalizedNeuronsBackend for Autodiff<Flex, C> {
    fn normalized_neurons(
        x: FloatTensor<Self>,
        u: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        constants: Constants,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, gx), (u, _), (weight, gw), (bias, gb)) =
            (x.into_parts(), u.into_parts(), weight.into_parts(), bias.into_parts());
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let inputs = Inputs { x, weight, bias, constants };
        let ([spikes, u, mean, variance], moments) = inputs.run(u);
        let node = NormalizedNeuronsBackward.prepare::<C>([gx, gw, gb]);
        let spikes = match node.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, u.clone(), Arc::new(moments)), spikes),
            OpsKind::UnTracked(prep) => prep.finish(spikes),
        };
        let constant = <Self as AutodiffBackend>::from_inner;
        (spikes, constant(u), constant(mean), constant(variance))
    }
}
