//! Neurons as one operation on Flex, with autodiff.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use spikelet_kernels::fill::zeros;
use spikelet_kernels::neuron::{Param, Params, Run, Saved, State, backward, one_step, sequence};

use super::{Dynamics, NeuronState, NeuronTensors};
use crate::ops::finals::FinalGradients;
use crate::ops::flex::{contiguous, is_f32_on_flex, tensor, values};

/// Whether the fused operation can take this current and state: f32 in Flex memory.
pub(super) fn applies<const D: usize>(current: &Tensor<D>, state: &NeuronState) -> bool {
    is_f32_on_flex(current) && state.v.dtype() == DType::F32
}

/// Runs over `current`: as many steps as it is times larger than the state.
pub(super) fn run<const D: usize>(
    current: Tensor<D>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<D>, NeuronState) {
    let [_, neurons] = state.v.dims();
    let expected = dynamics.spec.has_second();
    assert_eq!(state.second.is_some(), expected, "second state value of {:?}", dynamics.spec.model);
    for param in [
        Some(&params.threshold),
        Some(&params.beta),
        params.second_decay.as_ref(),
        params.gain.as_ref(),
    ] {
        let len = param.map_or(1, |param| param.dims()[0]);
        assert!(len == 1 || len == neurons, "{len} parameter values for {neurons} neurons");
    }
    let unused = || Tensor::<1>::zeros([1], &current.device().inner());
    let second = match state.second {
        Some(second) => second.into_dispatch(),
        None => unused().into_dispatch(),
    };
    let second_decay = params.second_decay.unwrap_or_else(unused);
    let gain = params.gain.unwrap_or_else(unused);
    let (output, v, second) = Dispatch::neurons(
        current.into_dispatch(),
        state.v.into_dispatch(),
        second,
        params.threshold.into_dispatch(),
        params.beta.into_dispatch(),
        second_decay.into_dispatch(),
        gain.into_dispatch(),
        dynamics,
    );
    let second = expected.then(|| Tensor::from_dispatch(second));
    (Tensor::from_dispatch(output), NeuronState { v: Tensor::from_dispatch(v), second })
}

/// Backends with the fused operation.
#[backend_extension(Flex, Autodiff)]
pub trait NeuronBackend: Backend {
    /// Output, final potentials and final second values (those given, if the model has none).
    #[allow(clippy::too_many_arguments)] // one for each parent in the autodiff graph
    fn neurons(
        current: FloatTensor<Self>,
        v: FloatTensor<Self>,
        second: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        second_decay: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        dynamics: Dynamics,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Everything but the current, in the order of the operation.
#[derive(Clone, Debug)]
struct Inputs {
    v: FlexTensor,
    second: FlexTensor,
    threshold: FlexTensor,
    beta: FlexTensor,
    second_decay: FlexTensor,
    gain: FlexTensor,
    dynamics: Dynamics,
}

impl Inputs {
    fn params(&self) -> Params<'_> {
        fn param(tensor: &FlexTensor) -> Param<'_> {
            match values(tensor) {
                [value] => Param::Shared(*value),
                values => Param::PerNeuron(values),
            }
        }
        Params {
            threshold: param(&self.threshold),
            beta: param(&self.beta),
            second_decay: param(&self.second_decay),
            gain: param(&self.gain),
        }
    }

    fn second(&self) -> &[f32] {
        if self.dynamics.spec.has_second() { values(&self.second) } else { &[] }
    }

    /// Output, final state, and what the backward pass needs: potentials and second values.
    fn forward(&self, current: &FlexTensor, save: bool) -> ([FlexTensor; 3], [Vec<f32>; 2]) {
        let currents = values(current);
        let shape = |of: &FlexTensor| of.layout().shape().clone();
        let (spec, v) = (&self.dynamics.spec, values(&self.v));
        if v.len() == currents.len()
            && let Some([output, v, u]) = one_step(spec, &self.params(), v, currents, save)
        {
            let (output, v) = (tensor(output, shape(current)), tensor(v, shape(&self.v)));
            return ([output, v, self.second.clone()], [u, Vec::new()]);
        }
        let (mut v, mut second) = (v.to_vec(), self.second().to_vec());
        let mut output = zeros(currents.len());
        let buffer = |wanted: bool| zeros(if wanted { currents.len() } else { 0 });
        let (mut u, mut used) = (buffer(save), buffer(save && !second.is_empty()));
        let state = State { v: &mut v, second: &mut second };
        let saved = save.then(|| Saved { u: &mut u, used: &mut used });
        sequence(spec, &self.params(), state, currents, &mut output, saved);
        let second = match second.is_empty() {
            true => self.second.clone(),
            false => tensor(second, shape(&self.second)),
        };
        ([tensor(output, shape(current)), tensor(v, shape(&self.v)), second], [u, used])
    }
}

impl NeuronBackend for Flex {
    fn neurons(
        current: FlexTensor,
        v: FlexTensor,
        second: FlexTensor,
        threshold: FlexTensor,
        beta: FlexTensor,
        second_decay: FlexTensor,
        gain: FlexTensor,
        dynamics: Dynamics,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [v, second, threshold, beta, second_decay, gain] =
            [v, second, threshold, beta, second_decay, gain].map(contiguous);
        let inputs = Inputs { v, second, threshold, beta, second_decay, gain, dynamics };
        let ([output, v, second], _) = inputs.forward(&contiguous(current), false);
        (output, v, second)
    }
}

/// A finished forward run.
#[derive(Clone, Debug)]
struct Forward {
    inputs: Inputs,
    /// The currents, if the backward pass needs them.
    current: Option<FlexTensor>,
    u: FlexTensor,
    used: Option<FlexTensor>,
    finals: FinalGradients,
}

#[derive(Debug)]
struct NeuronsBackward;

impl Backward<Flex, 7> for NeuronsBackward {
    type State = Forward;

    fn backward(self, ops: Ops<Forward, 7>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_output = contiguous(grads.consume::<Flex>(&ops.node));
        let Forward { inputs, current, mut u, used, finals } = ops.state;
        let lens = [values(&inputs.v).len(), inputs.second().len()];
        let [mut d_v, mut d_second] = finals.take(lens);
        let [to_current, to_v, to_second, to_params @ ..] = ops.parents;
        let run = Run {
            spec: &inputs.dynamics.spec,
            params: inputs.params(),
            surrogate: inputs.dynamics.surrogate,
            detach_reset: inputs.dynamics.detach_reset,
            initial_v: values(&inputs.v),
            initial_second: inputs.second(),
            current: current.as_ref().map_or(&[], values),
            used: used.as_ref().map_or(&[], values),
            d_output: values(&d_output),
        };
        // Made for this step alone and in one piece: the gradient overwrites it.
        let gradient = u.storage_mut::<f32>();
        let d_state = State { v: &mut d_v, second: &mut d_second };
        let d_params = backward(&run, gradient, d_state, to_params.iter().any(Option::is_some));

        let shape = |of: &FlexTensor| of.layout().shape().clone();
        if let Some(node) = to_current {
            grads.register::<Flex>(node.id, u);
        }
        if let Some(node) = to_v {
            grads.register::<Flex>(node.id, tensor(d_v, shape(&inputs.v)));
        }
        if let (Some(node), false) = (to_second, d_second.is_empty()) {
            grads.register::<Flex>(node.id, tensor(d_second, shape(&inputs.second)));
        }
        let Some(d) = d_params else { return };
        let params = [
            (d.threshold, &inputs.threshold),
            (d.beta, &inputs.beta),
            (d.second_decay, &inputs.second_decay),
            (d.gain, &inputs.gain),
        ];
        for (node, (gradient, param)) in to_params.into_iter().zip(params) {
            if let Some(node) = node {
                // A parameter the model ignores has no gradient of its own.
                let len = values(param).len();
                let gradient = if gradient.is_empty() { vec![0.0; len] } else { gradient };
                grads.register::<Flex>(node.id, tensor(gradient, shape(param)));
            }
        }
    }
}

impl<C: CheckpointStrategy> NeuronBackend for Autodiff<Flex, C> {
    fn neurons(
        current: FloatTensor<Self>,
        v: FloatTensor<Self>,
        second: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        second_decay: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        dynamics: Dynamics,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let learned = [&threshold, &beta, &second_decay, &gain].iter().any(|p| p.is_tracked());
        let (current, current_guard) = current.into_parts();
        let parts = [v, second, threshold, beta, second_decay, gain].map(|input| {
            let (input, guard) = input.into_parts();
            (contiguous(input), guard)
        });
        let current = contiguous(current);
        let [(v, g1), (second, g2), (threshold, g3), (beta, g4), (second_decay, g5), (gain, g6)] =
            parts;
        let inputs = Inputs { v, second, threshold, beta, second_decay, gain, dynamics };
        let guards = [current_guard, g1, g2, g3, g4, g5, g6];
        let prepared = NeuronsBackward.prepare::<C>(guards).compute_bound().stateful();
        let OpsKind::Tracked(prepared) = prepared else {
            let ([output, v, second], _) = inputs.forward(&current, false);
            let OpsKind::UnTracked(prepared) = prepared else { unreachable!() };
            let constant = <Self as burn::backend::AutodiffBackend>::from_inner;
            return (prepared.finish(output), constant(v), constant(second));
        };
        let ([output, v, second], [u, used]) = inputs.forward(&current, true);
        let shape = current.layout().shape().clone();
        let finals = FinalGradients::default();
        let has_second = dynamics.spec.has_second();
        let keep = dynamics.spec.needs_current(dynamics.detach_reset, learned);
        let forward = Forward {
            inputs,
            u: tensor(u, shape.clone()),
            used: has_second.then(|| tensor(used, shape.clone())),
            current: keep.then_some(current),
            finals: finals.clone(),
        };
        let output = prepared.finish(forward, output);
        let v = finals.child::<C>(0, v, &output, &shape);
        let second = match has_second {
            true => finals.child::<C>(1, second, &output, &shape),
            false => <Self as burn::backend::AutodiffBackend>::from_inner(second),
        };
        (output, v, second)
    }
}
