//! What a recurrent language model asks of its layers.

use crate::{
    draws::Draws,
    model::State,
    models::egru::RegulariserConfig,
    raise::{Raise, RaiseError},
    sparsity::Silence,
};
use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use spikelet_graph::GraphBuilder;

/// A recurrent layer.
pub trait LmLayer: Module + ModuleDisplay {
    /// Tensors of its state, `[batch, units]` each.
    const STATES: usize;
    /// How many of them, from the first on, hold what the layer gave in the last step; the first is
    /// what the next layer read.
    const GIVEN: usize;
    /// Whether most of what it gives is zero.
    const SPARSE: bool;
    /// What a pass over a sequence gives.
    type Outputs;

    /// Units.
    fn units(&self) -> usize;

    /// Runs over `x` `[time, batch, input]` from a state. With `draws`, as in training, things are
    /// dropped; they are those of layer `index`.
    fn pass(
        &self,
        x: Tensor<3>,
        state: State,
        draws: Option<&Draws>,
        index: usize,
    ) -> Self::Outputs;

    /// What the next layer reads of a pass, `[time, batch, units]`.
    fn given(out: &Self::Outputs) -> Tensor<3>;

    /// The state behind a pass.
    fn last(out: &Self::Outputs) -> State;

    /// The layer with parameters brought back into their range after a step of the optimiser.
    fn clamped(self) -> Self {
        self
    }

    /// How much of a pass was silent, of layers with events.
    fn silence(&self, _out: &Self::Outputs) -> Option<Silence> {
        None
    }

    /// What a pass of a layer with events, number `index` of `layers`, adds to the sums of the
    /// regulariser of activity.
    fn regularised(
        &self,
        _term: &RegulariserConfig,
        sums: Tensor<2>,
        _out: &Self::Outputs,
        [_index, _layers]: [usize; 2],
    ) -> Tensor<2> {
        sums
    }

    /// Adds the layer to a graph behind `input`; `sparse` says whether most of that is zero. After
    /// `restart` steps what the layer has not given starts again from zero.
    fn lower(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        input: &str,
        sparse: bool,
        restart: Option<usize>,
    );

    /// The layer of a graph.
    ///
    /// # Errors
    /// A node that is not such a layer.
    fn raise(raise: &Raise<'_>, name: &str) -> Result<Self, RaiseError>;

    /// The state before the first step.
    fn start(&self, batch: usize, device: &Device) -> State {
        vec![Tensor::zeros([batch, self.units()], device); Self::STATES]
    }
}

/// The last step `[batch, units]` of `[time, batch, units]`.
pub(in crate::models) fn last_step(x: &Tensor<3>) -> Tensor<2> {
    let [time, ..] = x.dims();
    x.clone().narrow(0, time - 1, 1).squeeze_dim(0)
}

/// The outputs of all steps of `x` `[time, batch, input]` from a state, and the last state.
pub(in crate::models) fn step_by_step<const N: usize>(
    x: Tensor<3>,
    mut state: [Tensor<2>; N],
    mut step: impl FnMut(Tensor<2>, [Tensor<2>; N]) -> (Tensor<2>, [Tensor<2>; N]),
) -> (Tensor<3>, [Tensor<2>; N]) {
    let mut outputs = Vec::new();
    for x in x.iter_dim(0) {
        let (out, next) = step(x.squeeze_dim(0), state);
        outputs.push(out);
        state = next;
    }
    (Tensor::stack(outputs, 0), state)
}
