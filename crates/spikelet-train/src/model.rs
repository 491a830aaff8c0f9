//! What the trainer asks of a model.

use crate::{
    raise::RaiseError,
    sparsity::{Counted, Sparsity},
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout, Signal};

/// Everything a step hands to the next, each tensor `[batch, values]` (running statistics are
/// `[1, values]`).
pub type State = Vec<Tensor<2>>;

/// A model that reads a sequence step by step and is read out over time.
///
/// Inputs are `[time, batch, channels]`, outputs `[time, batch, classes]`. Images come flattened,
/// channels last.
///
/// What a model does differently while it learns (statistics of the batch, drop-out) hangs on the
/// state: one made by [`training_state`](Self::training_state) holds what that needs, and
/// [`learned`](Self::learned) takes from it what is to be remembered.
pub trait SequenceModel: Module {
    /// The shape of one step of one sequence, whose flattened values have `channels` elements.
    fn input_shape(&self, channels: usize) -> Vec<usize> {
        vec![channels]
    }

    /// What its inputs are, unless they are all 0 or 1 or were normalised.
    fn input_signal(&self) -> Signal {
        Signal::Dense
    }

    /// The state before the first step.
    fn initial_state(&self, batch: usize, device: &Device) -> State;

    /// The state before the first step of a batch to learn from; `seed` decides what is random.
    fn training_state(&self, batch: usize, device: &Device, _seed: u64) -> State {
        self.initial_state(batch, device)
    }

    /// What the loss of a batch has beside that of its outputs, by the last state of a pass from a
    /// training state; its gradient goes back through sums over steps alone. Rules that look at
    /// single steps leave it out.
    fn penalty(&self, _state: &State) -> Option<Tensor<1>> {
        None
    }

    /// The epoch, maybe a fraction of one, at which the last term of [`penalty`](Self::penalty) begins.
    fn whole_from(&self) -> f64 {
        0.0
    }

    /// The model as it learns at this epoch: without the terms that begin later.
    fn at(self, _epoch: f64) -> Self {
        self
    }

    /// The model with what the last state of a batch says beside the gradients: running
    /// statistics.
    fn learned(self, _state: State) -> Self {
        self
    }

    /// One time step: `[batch, channels]` to `[batch, classes]`.
    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State);

    /// One time step through which no gradient reaches the state, as in SLTT: states are on the
    /// plain device. A faster form must agree with [`step`](Self::step).
    fn detached_step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        if !x.device().is_autodiff() {
            return self.step(x, state);
        }
        let (out, next) = self.step(x, state.into_iter().map(Tensor::autodiff).collect());
        (out, next.into_iter().map(Tensor::inner).collect())
    }

    /// All time steps of `x` from a state, and the last state. A faster form must agree with the
    /// steps.
    fn resume(&self, x: Tensor<3>, state: State) -> (Tensor<3>, State) {
        steps_from(self, x, state)
    }

    /// The same, and adds to `counted` how much of each event-based layer is silent; nothing for
    /// models that read no streams of windows.
    fn resume_counted(
        &self,
        x: Tensor<3>,
        state: State,
        _counted: &mut Counted,
    ) -> (Tensor<3>, State) {
        self.resume(x, state)
    }

    /// How much of each event-based layer or population of neurons is silent over `x`
    /// `[time, batch, channels]`; nothing for models that do not say.
    fn sparsity(&self, _x: Tensor<3>) -> Vec<Sparsity> {
        Vec::new()
    }

    /// All time steps from a zero state. A faster form must agree with the steps.
    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        step_by_step(self, x)
    }

    /// All time steps from a training state, and the last state as far as
    /// [`learned`](Self::learned), [`penalty`](Self::penalty) and [`carried`](Self::carried) need it.
    fn training_sequence(&self, x: Tensor<3>, _seed: u64) -> (Tensor<3>, State) {
        (self.sequence(x), State::new())
    }

    /// What the next window of a stream starts from, of the state behind one: without sums for the
    /// penalty and what decides what is dropped.
    fn carried(&self, state: State) -> State {
        state
    }

    /// A state to learn from that goes on with what [`carried`](Self::carried) gave.
    fn continued(&self, carried: State, _seed: u64) -> State {
        carried
    }

    /// How outputs over time become logits.
    fn readout(&self) -> Readout;

    /// Adds the model to an event graph behind the node `input`; returns the name of the node
    /// whose value is the output of a step.
    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String;

    /// The model of a graph that [`lower`](Self::lower) made.
    ///
    /// # Errors
    /// If the graph is not one of this model.
    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError>;
}

/// The outputs of all steps from a zero state.
pub fn step_by_step<M: SequenceModel>(model: &M, x: Tensor<3>) -> Tensor<3> {
    let [_, batch, _] = x.dims();
    steps_from(model, x.clone(), model.initial_state(batch, &x.device())).0
}

/// The outputs of all steps from a state, and the last state.
pub fn steps_from<M: SequenceModel>(
    model: &M,
    x: Tensor<3>,
    mut state: State,
) -> (Tensor<3>, State) {
    let mut outputs = Vec::new();
    for x in x.iter_dim(0) {
        let (out, next) = model.step(x.squeeze_dim::<2>(0), state);
        outputs.push(out);
        state = next;
    }
    (Tensor::stack(outputs, 0), state)
}

/// Logits `[batch, classes]` of outputs `[time, batch, classes]`.
pub fn read_out(readout: Readout, outputs: Tensor<3>) -> Tensor<2> {
    match readout {
        Readout::Sum => outputs.sum_dim(0).squeeze_dim(0),
        Readout::Mean => outputs.mean_dim(0).squeeze_dim(0),
        Readout::Max => outputs.max_dim(0).squeeze_dim(0),
        Readout::Last => {
            let last = outputs.dims()[0] - 1;
            outputs.narrow(0, last, 1).squeeze_dim(0)
        }
    }
}
