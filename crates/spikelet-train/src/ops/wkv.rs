//! The WKV scan over a whole sequence as one differentiable operation.

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
use spikelet_kernels::{
    fill::zeros,
    wkv::{Params, Run, Saved, State, backward, sequence},
};

/// What a scan hands to the next token, `[batch, channels]` each; see [`spikelet_kernels::wkv`].
#[derive(Clone, Debug)]
pub struct WkvState {
    /// Weighted sums of values.
    pub p: Tensor<2>,
    /// Sums of weights.
    pub q: Tensor<2>,
    /// Largest exponents; they have no gradient.
    pub o: Tensor<2>,
}

/// The scan over keys and values `[time, batch, channels]` from a state, with the decay `w` and the
/// bonus `u`, `[channels]` each; differentiable in all of them but the exponents of the state. Also
/// the final state. On Flex, in f32, only.
pub fn wkv_sequence(
    k: Tensor<3>,
    v: Tensor<3>,
    decay: Tensor<1>,
    first: Tensor<1>,
    state: WkvState,
) -> (Tensor<3>, WkvState) {
    let (y, p, q, o) = Dispatch::wkv_sequence(
        k.into_dispatch(),
        v.into_dispatch(),
        decay.into_dispatch(),
        first.into_dispatch(),
        state.p.into_dispatch(),
        state.q.into_dispatch(),
        state.o.into_dispatch(),
    );
    let [p, q, o] = [p, q, o].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(y), WkvState { p, q, o })
}

/// Backends that run the fused scan.
#[backend_extension(Flex, Autodiff)]
pub trait WkvBackend: Backend {
    /// See [`wkv_sequence`].
    fn wkv_sequence(
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        decay: FloatTensor<Self>,
        first: FloatTensor<Self>,
        p: FloatTensor<Self>,
        q: FloatTensor<Self>,
        o: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Keys, values, decay, bonus, `p` and `q`.
#[derive(Clone, Debug)]
struct Inputs([FlexTensor; 6]);

/// Output, the three values of the final state, and the states before every token if saved.
type Forward = ([FlexTensor; 4], [Vec<f32>; 3]);

impl Inputs {
    fn params(&self) -> Params<'_> {
        Params { decay: values(&self.0[2]), first: values(&self.0[3]) }
    }

    fn run(&self, o: &FlexTensor, save: bool) -> Forward {
        let [k, v, _, _, p, q] = &self.0;
        let (mut p, mut q, mut last) = (values(p).to_vec(), values(q).to_vec(), values(o).to_vec());
        let len = values(k).len();
        let mut y = zeros(len);
        let mut kept = [(); 3].map(|()| zeros(if save { len } else { 0 }));
        let [all_p, all_q, all_o] = &mut kept;
        let saved = save.then_some(Saved { p: all_p, q: all_q, o: all_o });
        let state = State { p: &mut p, q: &mut q, o: &mut last };
        sequence(self.params(), state, values(k), values(v), &mut y, saved);
        let [like_y, like_state] = [k, o].map(|t| t.layout().shape().clone());
        let state = [p, q, last].map(|values| tensor(values, like_state.clone()));
        let [p, q, last] = state;
        ([tensor(y, like_y), p, q, last], kept)
    }
}

impl WkvBackend for Flex {
    fn wkv_sequence(
        k: FlexTensor,
        v: FlexTensor,
        decay: FlexTensor,
        first: FlexTensor,
        p: FlexTensor,
        q: FlexTensor,
        o: FlexTensor,
    ) -> (FlexTensor, FlexTensor, FlexTensor, FlexTensor) {
        let inputs = Inputs([k, v, decay, first, p, q].map(contiguous));
        inputs.run(&contiguous(o), false).0.into()
    }
}

/// What the backward pass keeps.
#[derive(Clone, Debug)]
struct Kept {
    inputs: Inputs,
    saved: [FlexTensor; 3],
    finals: FinalGradients,
}

#[derive(Debug)]
struct WkvBackward;

impl Backward<Flex, 6> for WkvBackward {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 6>, grads: &mut Gradients, _: &mut Checkpointer) {
        let d_y = contiguous(grads.consume::<Flex>(&ops.node));
        let Kept { inputs, saved, finals } = &ops.state;
        let width = values(&inputs.0[4]).len();
        let [mut d_p, mut d_q] = finals.take([width; 2]);
        let run = Run {
            params: inputs.params(),
            k: values(&inputs.0[0]),
            v: values(&inputs.0[1]),
            saved: [0, 1, 2].map(|i| values(&saved[i])),
            d_y: values(&d_y),
        };
        let d = backward(&run, &mut d_p, &mut d_q);
        register(grads, &ops, [d.k, d.v, d.decay, d.first, d_p, d_q], &inputs.0);
    }
}

impl<C: CheckpointStrategy> WkvBackend for Autodiff<Flex, C> {
    fn wkv_sequence(
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        decay: FloatTensor<Self>,
        first: FloatTensor<Self>,
        p: FloatTensor<Self>,
        q: FloatTensor<Self>,
        o: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let parts = [k, v, decay, first, p, q].map(|input| {
            let (input, guard) = input.into_parts();
            (contiguous(input), guard)
        });
        let [(k, g1), (v, g2), (decay, g3), (first, g4), (p, g5), (q, g6)] = parts;
        let inputs = Inputs([k, v, decay, first, p, q]);
        let o = contiguous(o.into_parts().0);
        let constant = <Self as AutodiffBackend>::from_inner;
        let guards = [g1, g2, g3, g4, g5, g6];
        match WkvBackward.prepare::<C>(guards).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let ([y, p, q, o], saved) = inputs.run(&o, true);
                let shape = y.layout().shape().clone();
                let saved = saved.map(|values| tensor(values, shape.clone()));
                let finals = FinalGradients::default();
                let y = prepared.finish(Kept { inputs, saved, finals: finals.clone() }, y);
                let p = finals.child::<C>(0, p, &y, &shape);
                let q = finals.child::<C>(1, q, &y, &shape);
                (y, p, q, constant(o))
            }
            OpsKind::UnTracked(prepared) => {
                let ([y, p, q, o], _) = inputs.run(&o, false);
                (prepared.finish(y), constant(p), constant(q), constant(o))
            }
        }
    }
}
