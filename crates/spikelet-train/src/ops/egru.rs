//! An EGRU layer over a whole sequence as one differentiable operation.

use super::finals::FinalGradients;
use super::flex::{contiguous, register, tensor, values};
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
use spikelet_kernels::egru::{
    OutputGradients, Outputs, Pass, PseudoDerivative, Saved, Shape, State, Weights, Zoneout,
    backward, forward,
};
use std::sync::Arc;

/// The parameters of a layer, in the official layout.
#[derive(Clone, Debug)]
pub struct EgruWeights {
    /// `[input, 3 hidden]`, gates in the order z, r, g.
    pub kernel: Tensor<2>,
    /// `[hidden, 3 hidden]`.
    pub recurrent: Tensor<2>,
    /// `[3 hidden]`.
    pub bias: Tensor<1>,
    /// `[3 hidden]`.
    pub recurrent_bias: Tensor<1>,
    /// `[hidden]`.
    pub threshold: Tensor<1>,
}

/// What a layer hands to the next step, `[batch, hidden]` each.
#[derive(Clone, Debug)]
pub struct EgruState {
    /// Events with their values.
    pub y: Tensor<2>,
    /// Internal state.
    pub h: Tensor<2>,
    /// Trace of the events.
    pub trace: Tensor<2>,
}

/// What a layer gives, `[time, batch, hidden]` each.
#[derive(Clone, Debug)]
pub struct EgruOutputs {
    /// Events with their values.
    pub y: Tensor<3>,
    /// State after the reset.
    pub h: Tensor<3>,
    /// 1 where there is an event, else 0.
    pub o: Tensor<3>,
    /// Trace of the events.
    pub trace: Tensor<3>,
}

/// What of a layer is not learned.
#[derive(Clone, Debug)]
pub struct EgruSettings {
    /// The stand-in for the derivative of events.
    pub pseudo: PseudoDerivative,
    /// The share of the new state under zoneout, 1 without.
    pub share: f32,
    /// Zoneout drawn for every unit and step, `[time, batch, hidden]`, in the place of the share.
    pub mask: Option<Arc<Vec<f32>>>,
}

impl EgruSettings {
    fn zoneout(&self) -> Zoneout<'_> {
        match &self.mask {
            Some(mask) => Zoneout::Mask(mask),
            None => Zoneout::Share(self.share),
        }
    }
}

/// A layer over `x` `[time, batch, input]` from a state; see [`spikelet_kernels::egru`].
/// Differentiable in `x`, the parameters and the state. On Flex, in f32, only.
pub fn egru_sequence(
    x: Tensor<3>,
    weights: EgruWeights,
    state: EgruState,
    settings: EgruSettings,
) -> EgruOutputs {
    let (y, h, o, trace) = Dispatch::egru_sequence(
        x.into_dispatch(),
        weights.kernel.into_dispatch(),
        weights.recurrent.into_dispatch(),
        weights.bias.into_dispatch(),
        weights.recurrent_bias.into_dispatch(),
        weights.threshold.into_dispatch(),
        state.y.into_dispatch(),
        state.h.into_dispatch(),
        state.trace.into_dispatch(),
        settings,
    );
    let [y, h, o, trace] = [y, h, o, trace].map(Tensor::from_dispatch);
    EgruOutputs { y, h, o, trace }
}

/// Backends that run the fused layer.
#[backend_extension(Flex, Autodiff)]
pub trait EgruBackend: Backend {
    /// See [`egru_sequence`].
    #[allow(clippy::too_many_arguments)]
    fn egru_sequence(
        x: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        recurrent_bias: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        y: FloatTensor<Self>,
        h: FloatTensor<Self>,
        trace: FloatTensor<Self>,
        settings: EgruSettings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The tensors of a call in the order of the trait, and its settings.
#[derive(Clone, Debug)]
struct Inputs {
    tensors: [FlexTensor; 9],
    settings: EgruSettings,
}

impl Inputs {
    fn shape(&self) -> Shape {
        let x = self.tensors[0].layout().shape().to_vec();
        let hidden = self.tensors[2].layout().shape().to_vec()[0];
        Shape { time: x[0], batch: x[1], input: x[2], hidden }
    }

    fn x(&self) -> &[f32] {
        values(&self.tensors[0])
    }

    fn weights(&self) -> Weights<'_> {
        let at = |k: usize| values(&self.tensors[k]);
        Weights {
            kernel: at(1),
            recurrent: at(2),
            bias: at(3),
            recurrent_bias: at(4),
            threshold: at(5),
        }
    }

    fn state(&self) -> State<'_> {
        let at = |k: usize| values(&self.tensors[k]);
        State { y: at(6), h: at(7), trace: at(8) }
    }

    fn run(&self) -> ([FlexTensor; 4], Saved) {
        let s = self.shape();
        let zoneout = self.settings.zoneout();
        let (out, saved) = forward(&s, &self.weights(), &self.state(), zoneout, self.x());
        let Outputs { y, h, o, trace } = out;
        ([y, h, o, trace].map(|values| tensor(values, [s.time, s.batch, s.hidden])), saved)
    }
}

impl EgruBackend for Flex {
    fn egru_sequence(
        x: FlexTensor,
        kernel: FlexTensor,
        recurrent: FlexTensor,
        bias: FlexTensor,
        recurrent_bias: FlexTensor,
        threshold: FlexTensor,
        y: FlexTensor,
        h: FlexTensor,
        trace: FlexTensor,
        settings: EgruSettings,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let tensors = [x, kernel, recurrent, bias, recurrent_bias, threshold, y, h, trace];
        Inputs { tensors: tensors.map(contiguous), settings }.run().0.into()
    }
}

/// What the backward pass keeps. `Saved` is shared because Burn asks for `Clone`.
#[derive(Clone)]
struct Kept {
    inputs: Inputs,
    saved: Arc<Saved>,
    beside: FinalGradients<3>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("shape", &self.inputs.shape()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct EgruBackward;

impl Backward<Flex, 9> for EgruBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 9>, grads: &mut Gradients, _: &mut Checkpointer) {
        let y = contiguous(grads.consume::<Flex>(&ops.node));
        let Kept { inputs, saved, beside } = &ops.state;
        let beside = beside.arrived();
        let [h, o, trace] = beside.each_ref().map(|g| g.as_ref().map(values));
        let g = OutputGradients { y: Some(values(&y)), h, o, trace };
        let pass = Pass {
            weights: inputs.weights(),
            state: inputs.state(),
            zoneout: inputs.settings.zoneout(),
            pseudo: inputs.settings.pseudo,
            x: inputs.x(),
            saved,
        };
        let found = backward(&inputs.shape(), &pass, &g, ops.parents[0].is_some());
        let found =
            [found.x.unwrap_or_default()].into_iter().chain(found.weights).chain(found.state);
        register(grads, &ops, found, &inputs.tensors);
    }
}

impl<C: CheckpointStrategy> EgruBackend for Autodiff<Flex, C> {
    fn egru_sequence(
        x: FloatTensor<Self>,
        kernel: FloatTensor<Self>,
        recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        recurrent_bias: FloatTensor<Self>,
        threshold: FloatTensor<Self>,
        y: FloatTensor<Self>,
        h: FloatTensor<Self>,
        trace: FloatTensor<Self>,
        settings: EgruSettings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (tensors, guards): (Vec<_>, Vec<_>) =
            [x, kernel, recurrent, bias, recurrent_bias, threshold, y, h, trace]
                .into_iter()
                .map(|t| {
                    let (primitive, guard) = t.into_parts();
                    (contiguous(primitive), guard)
                })
                .unzip();
        let tensors: [FlexTensor; 9] = tensors.try_into().expect("nine tensors");
        let guards = guards.try_into().unwrap_or_else(|_| unreachable!("nine guards"));
        let inputs = Inputs { tensors, settings };
        let ([y, h, o, trace], saved) = inputs.run();
        match EgruBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let shape = y.layout().shape().clone();
                let beside = FinalGradients::default();
                let kept = Kept { inputs, saved: Arc::new(saved), beside: beside.clone() };
                let y = prepared.finish(kept, y);
                let h = beside.child::<C>(0, h, &y, &shape);
                let o = beside.child::<C>(1, o, &y, &shape);
                let trace = beside.child::<C>(2, trace, &y, &shape);
                (y, h, o, trace)
            }
            OpsKind::UnTracked(prepared) => {
                let constant = <Self as AutodiffBackend>::from_inner;
                (prepared.finish(y), constant(h), constant(o), constant(trace))
            }
        }
    }
}
