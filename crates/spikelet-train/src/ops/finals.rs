//! Operations with a final state, or other values, beside their output.
//!
//! A node of Burn's autodiff graph has one output. Everything else is made of children of the
//! output's node, which run before it in the backward pass and leave their gradients in a place
//! that the operation's own backward step looks into.

use super::flex::{contiguous, tensor, values};
use burn::backend::{
    Autodiff, Flex,
    autodiff::{
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    flex::FlexTensor,
    ops::FloatTensorOps,
    tensor::FloatTensor,
};
use burn::tensor::Shape;
use std::sync::{Arc, Mutex};

/// Where the gradients of the values beside an output arrive.
#[derive(Clone, Debug)]
pub(crate) struct FinalGradients<const N: usize = 2>(Arc<Mutex<[Option<FlexTensor>; N]>>);

impl<const N: usize> Default for FinalGradients<N> {
    fn default() -> Self {
        FinalGradients(Arc::new(Mutex::new([const { None }; N])))
    }
}

impl FinalGradients {
    /// The gradients, zeros where nothing depended on a value; `lens` are the numbers of values.
    pub(crate) fn take(&self, lens: [usize; 2]) -> [Vec<f32>; 2] {
        let [first, second] = self.arrived();
        let of = |gradient: Option<FlexTensor>, len: usize| match gradient {
            Some(gradient) => values(&gradient).to_vec(),
            None => vec![0.0; len],
        };
        [of(first, lens[0]), of(second, lens[1])]
    }
}

impl<const N: usize> FinalGradients<N> {
    /// The gradients, contiguous; nothing where nothing depended on a value.
    pub(crate) fn arrived(&self) -> [Option<FlexTensor>; N] {
        let mut all = self.0.lock().expect("no panic while it is locked");
        std::mem::replace(&mut *all, [const { None }; N]).map(|g| g.map(contiguous))
    }

    /// Final value `index` as a child of the operation's `output`, which has the shape `shape`.
    pub(crate) fn child<C: CheckpointStrategy>(
        &self,
        index: usize,
        value: FlexTensor,
        output: &FloatTensor<Autodiff<Flex, C>>,
        shape: &Shape,
    ) -> FloatTensor<Autodiff<Flex, C>> {
        let state = (index, self.clone(), shape.clone());
        match FinalBackward::<N>.prepare::<C>([output.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, value),
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        }
    }
}

/// Passes the gradient of a final value to its parent, the output's node.
#[derive(Debug)]
struct FinalBackward<const N: usize>;

impl<const N: usize> Backward<Flex, 1> for FinalBackward<N> {
    /// Which value, where its gradient goes, and the shape of the output.
    type State = (usize, FinalGradients<N>, Shape);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<Flex>(&ops.node);
        let (index, finals, shape) = ops.state;
        finals.0.lock().expect("no panic while it is locked")[index] = Some(gradient);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            // Nobody may have used the output, but its node must own a gradient.
            let zero = tensor(vec![0.0], vec![1_usize; shape.num_dims()]);
            grads.register::<Flex>(parent.id, Flex::float_expand(zero, shape));
        }
    }
}
