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

    /// Whether [`normalized_neurons`] can step such neurons.
    pub fn apply(&self) -> bool {
        Normalized::applies(&self.dynamics.spec, &self.params())
    }
}

/// Spikes `[rows, channels]` of neurons with the potentials `v` (without gradient) and the currents
/// `x`, both `[rows, channels]`, normalised and multiplied by `weight` plus `bias`; differentiable
/// in these three. Also, without gradient, the potentials after the step and the mean and variance
/// `[channels]` of the currents. On Flex, in f32, only.
pub fn normalized_neurons(
    x: Tensor<2>,
    v: Tensor<2>,
    [weight, bias]: [Tensor<1>; 2],
    constants: Constants,
) -> (Tensor<2>, Tensor<2>, [Tensor<1>; 2]) {
    let (x, v) = (x.into_dispatch(), v.into_dispatch());
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let (spikes, v, mean, variance) = Dispatch::normalized_neurons(x, v, weight, bias, constants);
    let statistics = [mean, variance].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(spikes), Tensor::from_dispatch(v), statistics)
}

/// Backends that run the fused step.
#[backend_extension(Flex, Autodiff)]
pub trait NormalizedNeuronsBackend: Backend {
    /// See [`normalized_neurons`].
    fn normalized_neurons(
        x: FloatTensor<Self>,
        v: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        constants: Constants,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

#[derive(Clone, Debug)]
struct Inputs {
    x: FlexTensor,
    v: FlexTensor,
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
    fn run(&self) -> ([FlexTensor; 4], Moments) {
        let (x, v) = (values(&self.x), values(&self.v));
        let stepped = self.population().forward(x, v, self.constants.epsilon);
        let shape = self.x.layout().shape();
        let channels = [shape[1]];
        let moments = stepped.moments;
        let mean = tensor(moments.mean.clone(), channels);
        let variance = tensor(moments.variance.clone(), channels);
        let [spikes, v] = [stepped.spikes, stepped.v].map(|of| tensor(of, shape.clone()));
        ([spikes, v, mean, variance], moments)
    }
}

impl NormalizedNeuronsBackend for Flex {
    fn normalized_neurons(
        x: FlexTensor,
        v: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        constants: Constants,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let [x, v, weight, bias] = [x, v, weight, bias].map(contiguous);
        let ([spikes, v, mean, variance], _) = Inputs { x, v, weight, bias, constants }.run();
        (spikes, v, mean, variance)
    }
}

#[derive(Debug)]
struct NormalizedNeuronsBackward;

impl Backward<Flex, 3> for NormalizedNeuronsBackward {
    type State = (Inputs, Arc<Moments>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_spikes = contiguous(grads.consume::<Flex>(&ops.node));
        let (inputs, moments) = ops.state;
        let (x, v) = (values(&inputs.x), values(&inputs.v));
        let surrogate = inputs.constants.dynamics.surrogate;
        let found = inputs.population().backward(surrogate, x, v, &moments, values(&d_spikes));
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
        v: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        constants: Constants,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, gx), (v, _), (weight, gw), (bias, gb)) =
            (x.into_parts(), v.into_parts(), weight.into_parts(), bias.into_parts());
        let [x, v, weight, bias] = [x, v, weight, bias].map(contiguous);
        let inputs = Inputs { x, v, weight, bias, constants };
        let ([spikes, v, mean, variance], moments) = inputs.run();
        let node = NormalizedNeuronsBackward.prepare::<C>([gx, gw, gb]);
        let spikes = match node.compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((inputs, Arc::new(moments)), spikes),
            OpsKind::UnTracked(prep) => prep.finish(spikes),
        };
        let constant = <Self as AutodiffBackend>::from_inner;
        (spikes, constant(v), constant(mean), constant(variance))
    }
}
