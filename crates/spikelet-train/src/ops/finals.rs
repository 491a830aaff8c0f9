//! Operations with a final state beside their output.
//!
//! A node of Burn's autodiff graph has one output. The final state is made of children of the
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

/// Where the gradients of two final values arrive.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinalGradients(Arc<Mutex<[Option<FlexTensor>; 2]>>);

impl FinalGradients {
    /// The gradients, zeros where nothing depended on a value; `lens` are the numbers of values.
    pub(crate) fn take(&self, lens: [usize; 2]) -> [Vec<f32>; 2] {
        let [first, second] =
            std::mem::take(&mut *self.0.lock().expect("no panic while it is locked"));
        let of = |gradient: Option<FlexTensor>, len: usize| match gradient {
            Some(gradient) => values(&contiguous(gradient)).to_vec(),
            None => vec![0.0; len],
        };
        [of(first, lens[0]), of(second, lens[1])]
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
        match FinalBackward.prepare::<C>([output.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(state, value),
            OpsKind::UnTracked(prepared) => prepared.finish(value),
        }
    }
}

/// Passes the gradient of a final value to its parent, the output's node.
#[derive(Debug)]
struct FinalBackward;

impl Backward<Flex, 1> for FinalBackward {
    /// Which value, where its gradient goes, and the shape of the output.
    type State = (usize, FinalGradients, Shape);

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
