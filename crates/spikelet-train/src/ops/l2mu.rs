//! The L2MU cell over a whole sequence as one differentiable operation.

use super::flex::{contiguous, register, tensor, values};
use burn::backend::{
    Autodiff, Backend, Dispatch, Flex,
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
    l2mu::{Population, Saved, Shape, Spec, Weights, backward, forward},
    surrogate::Surrogate,
};
use std::sync::Arc;

/// What of the cell is not learned.
#[derive(Clone, Debug)]
pub struct Constants {
    /// Legendre state matrix `[order, order]` as it is applied, and input vector `[order]`.
    pub legendre: (Vec<f32>, Vec<f32>),
    /// CuBa-LIF instead of LIF.
    pub synaptic: bool,
    /// The soft reset comes after the decay of the next step, instead of at once.
    pub reset_delayed: bool,
    /// Pseudo-derivative of the spike.
    pub surrogate: Surrogate,
}

/// The learned tensors, in the order of the operation's parents.
///
/// `neurons` is `[3, 4]`: decay, threshold, synaptic decay of `u`, `m`, `h`, output.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// `[memories, input]`.
    pub e_x: Tensor<2>,
    /// `[memories, hidden]`.
    pub e_h: Tensor<2>,
    /// `[memories, memories * order]`.
    pub e_m: Tensor<2>,
    /// `[hidden, input]`.
    pub w_x: Tensor<2>,
    /// `[hidden, hidden]`.
    pub w_h: Tensor<2>,
    /// `[hidden, memories * order]`.
    pub w_m: Tensor<2>,
    /// `[output, hidden]`.
    pub w_o: Tensor<2>,
    /// `[output]`.
    pub b_o: Tensor<1>,
    /// `[3, 4]`.
    pub neurons: Tensor<2>,
}

/// Output spikes `[time, batch, output]` of the cell run from a zero state over `x`
/// `[time, batch, input]`, differentiable in `x` and every parameter. On Flex, in f32, only.
pub fn l2mu_sequence(x: Tensor<3>, p: Parameters, constants: Arc<Constants>) -> Tensor<3> {
    Tensor::from_dispatch(Dispatch::l2mu_sequence(
        x.into_dispatch(),
        p.e_x.into_dispatch(),
        p.e_h.into_dispatch(),
        p.e_m.into_dispatch(),
        p.w_x.into_dispatch(),
        p.w_h.into_dispatch(),
        p.w_m.into_dispatch(),
        p.w_o.into_dispatch(),
        p.b_o.into_dispatch(),
        p.neurons.into_dispatch(),
        constants,
    ))
}

/// Backends that run the fused cell.
#[backend_extension(Flex, Autodiff)]
pub trait L2muBackend: Backend {
    /// See [`l2mu_sequence`].
    #[allow(clippy::too_many_arguments)]
    fn l2mu_sequence(
        x: FloatTensor<Self>,
        e_x: FloatTensor<Self>,
        e_h: FloatTensor<Self>,
        e_m: FloatTensor<Self>,
        w_x: FloatTensor<Self>,
        w_h: FloatTensor<Self>,
        w_m: FloatTensor<Self>,
        w_o: FloatTensor<Self>,
        b_o: FloatTensor<Self>,
        neurons: FloatTensor<Self>,
        constants: Arc<Constants>,
    ) -> FloatTensor<Self>;
}

/// The inputs of one call, kept for the backward pass.
#[derive(Clone, Debug)]
struct Inputs {
    /// `x` and the parameters in the order of the trait.
    tensors: [FlexTensor; 10],
    constants: Arc<Constants>,
}

impl Inputs {
    fn spec(&self) -> Spec {
        let dims = |k: usize| self.tensors[k].layout().shape().to_vec();
        let (x, e_x, w_x, w_o) = (dims(0), dims(1), dims(4), dims(7));
        Spec {
            shape: Shape {
                time: x[0],
                batch: x[1],
                input: x[2],
                memories: e_x[0],
                order: self.constants.legendre.1.len(),
                hidden: w_x[0],
                output: w_o[0],
            },
            synaptic: self.constants.synaptic,
            reset_delayed: self.constants.reset_delayed,
            surrogate: self.constants.surrogate,
        }
    }

    fn x(&self) -> &[f32] {
        values(&self.tensors[0])
    }

    fn weights(&self) -> Weights<'_> {
        let at = |k: usize| values(&self.tensors[k]);
        let neurons = at(9);
        Weights {
            e_x: at(1),
            e_h: at(2),
            e_m: at(3),
            a: &self.constants.legendre.0,
            b: &self.constants.legendre.1,
            w_x: at(4),
            w_h: at(5),
            w_m: at(6),
            w_o: at(7),
            b_o: at(8),
            populations: std::array::from_fn(|k| Population {
                beta: neurons[k],
                threshold: neurons[4 + k],
                alpha: neurons[8 + k],
            }),
        }
    }

    fn run(&self, save: bool) -> (FlexTensor, Option<Saved>) {
        let spec = self.spec();
        let (out, saved) = forward(&spec, &self.weights(), self.x(), save);
        (tensor(out, [spec.shape.time, spec.shape.batch, spec.shape.output]), saved)
    }
}

impl L2muBackend for Flex {
    fn l2mu_sequence(
        x: FlexTensor,
        e_x: FlexTensor,
        e_h: FlexTensor,
        e_m: FlexTensor,
        w_x: FlexTensor,
        w_h: FlexTensor,
        w_m: FlexTensor,
        w_o: FlexTensor,
        b_o: FlexTensor,
        neurons: FlexTensor,
        constants: Arc<Constants>,
    ) -> FlexTensor {
        let tensors = [x, e_x, e_h, e_m, w_x, w_h, w_m, w_o, b_o, neurons].map(contiguous);
        Inputs { tensors, constants }.run(false).0
    }
}

/// What the backward pass keeps. `Saved` is shared because Burn asks for `Clone`.
#[derive(Clone)]
struct Kept {
    inputs: Inputs,
    saved: Arc<Saved>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("spec", &self.inputs.spec()).finish_non_exhaustive()
    }
}

impl<C: CheckpointStrategy> L2muBackend for Autodiff<Flex, C> {
    fn l2mu_sequence(
        x: FloatTensor<Self>,
        e_x: FloatTensor<Self>,
        e_h: FloatTensor<Self>,
        e_m: FloatTensor<Self>,
        w_x: FloatTensor<Self>,
        w_h: FloatTensor<Self>,
        w_m: FloatTensor<Self>,
        w_o: FloatTensor<Self>,
        b_o: FloatTensor<Self>,
        neurons: FloatTensor<Self>,
        constants: Arc<Constants>,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct L2muBackward;
        impl Backward<Flex, 10> for L2muBackward {
            type State = Kept;
            fn backward(
                self,
                ops: Ops<Self::State, 10>,
                grads: &mut Gradients,
                _: &mut Checkpointer,
            ) {
                let g_out = contiguous(grads.consume::<Flex>(&ops.node));
                let Kept { inputs, saved } = &ops.state;
                let need_x = ops.parents[0].is_some();
                let weights = inputs.weights();
                let g =
                    backward(&inputs.spec(), &weights, inputs.x(), saved, values(&g_out), need_x);
                let mut neurons = vec![0.0; 12];
                for (k, p) in g.populations.iter().enumerate() {
                    neurons[k] = p.beta;
                    neurons[4 + k] = p.threshold;
                    neurons[8 + k] = p.alpha;
                }
                let found = std::iter::once(g.x.unwrap_or_default())
                    .chain(g.weights)
                    .chain([g.b_o, neurons]);
                register(grads, &ops, found, &inputs.tensors);
            }
        }

        let (tensors, guards): (Vec<_>, Vec<_>) =
            [x, e_x, e_h, e_m, w_x, w_h, w_m, w_o, b_o, neurons]
                .into_iter()
                .map(|t| {
                    let (primitive, guard) = t.into_parts();
                    (contiguous(primitive), guard)
                })
                .unzip();
        let tensors: [FlexTensor; 10] = tensors.try_into().expect("ten tensors");
        let guards = guards.try_into().unwrap_or_else(|_| unreachable!("ten guards"));
        let inputs = Inputs { tensors, constants };
        match L2muBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, saved) = inputs.run(true);
                let saved = Arc::new(saved.expect("saved when asked to"));
                prep.finish(Kept { inputs, saved }, out)
            }
            OpsKind::UnTracked(prep) => prep.finish(inputs.run(false).0),
        }
    }
}
