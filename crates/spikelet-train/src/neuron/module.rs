//! A population of neurons as a Burn module.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation};
use spikelet_graph as graph;
use spikelet_kernels::neuron::{Model, Reset};

use super::{
    Dynamics, NeuronConfig, NeuronConfigError, NeuronState, NeuronTensors, ParameterConfig,
    neuron_sequence, neuron_sequence_from, neuron_step,
};

/// A population of neurons with learned or fixed parameters, each `[1]` if shared, else
/// `[neurons]`.
#[derive(Module, Debug)]
pub struct Neurons {
    /// Decay of the potential per step (all but IF and parametric LIF).
    pub beta: Option<Param<Tensor<1>>>,
    /// Parametric LIF: `beta = 1 - sigmoid(w)`, the inverse time constant is `sigmoid(w)`
    /// (SpikingJelly's `w`).
    pub w: Option<Param<Tensor<1>>>,
    /// Decay of the synaptic current per step (CuBa-LIF).
    pub alpha: Option<Param<Tensor<1>>>,
    /// Decay of the adaptation per step (adaptive LIF).
    pub rho: Option<Param<Tensor<1>>>,
    /// What one unit of adaptation adds to the threshold (adaptive LIF).
    pub gain: Option<Param<Tensor<1>>>,
    /// Firing threshold.
    pub threshold: Param<Tensor<1>>,
    /// What the population does.
    #[module(skip)]
    pub dynamics: Dynamics,
}

impl NeuronConfig {
    /// A population of `neurons` (size of the last axis of its currents).
    ///
    /// # Errors
    /// When settings make no sense; see [`check`](Self::check).
    pub fn init(&self, neurons: usize, device: &Device) -> Result<Neurons, NeuronConfigError> {
        self.check()?;
        let param = |p: ParameterConfig| {
            let len = if p.per_neuron { neurons } else { 1 };
            Param::from_tensor(Tensor::full([len], p.value, device)).set_require_grad(p.learnable)
        };
        // w is the logit of 1 - beta
        let logit =
            |p: ParameterConfig| ParameterConfig { value: ((1.0 - p.value) / p.value).ln(), ..p };
        let parametric = |wanted: bool| self.beta.filter(|_| self.parametric == wanted);
        Ok(Neurons {
            beta: parametric(false).map(param),
            w: parametric(true).map(logit).map(param),
            alpha: self.alpha.map(param),
            rho: self.rho.map(param),
            gain: self.gain.map(param),
            threshold: param(self.threshold),
            dynamics: self.dynamics(),
        })
    }
}

impl Neurons {
    /// The parameters as the equations have them.
    pub fn tensors(&self) -> NeuronTensors {
        let threshold = self.threshold.val();
        let beta = match (&self.beta, &self.w) {
            (Some(beta), _) => beta.val(),
            (None, Some(w)) => activation::sigmoid(w.val().neg()),
            (None, None) => Tensor::ones([1], &threshold.device()),
        };
        NeuronTensors {
            beta,
            threshold,
            second_decay: self.alpha.as_ref().or(self.rho.as_ref()).map(Param::val),
            gain: self.gain.as_ref().map(Param::val),
        }
    }

    /// The state before the first step, for a current whose shape without time is `shape`.
    pub fn initial_state(&self, shape: &[usize], device: &Device) -> NeuronState {
        NeuronState::zeros(&self.dynamics.spec, shape, device)
    }

    /// One time step: `current`, `[.., neurons]`, to spikes (the potential, for LI).
    pub fn step<const D: usize>(
        &self,
        current: Tensor<D>,
        state: NeuronState,
    ) -> (Tensor<D>, NeuronState) {
        neuron_step(current, state, self.tensors(), self.dynamics)
    }

    /// All time steps from a zero state: `current`, `[time, .., neurons]`, to spikes (the
    /// potential, for LI).
    pub fn sequence<const D: usize>(&self, current: Tensor<D>) -> Tensor<D> {
        neuron_sequence(current, self.tensors(), self.dynamics)
    }

    /// [`sequence`](Self::sequence) from a given state; returns the final one too.
    pub fn sequence_from<const D: usize>(
        &self,
        current: Tensor<D>,
        state: NeuronState,
    ) -> (Tensor<D>, NeuronState) {
        neuron_sequence_from(current, state, self.tensors(), self.dynamics)
    }

    /// The population in an event graph. Parameters per neuron become tensors of the graph, named
    /// `name` and the name of the parameter, joined by a dot.
    pub fn lower(&self, name: &str, graph: &mut graph::GraphBuilder) -> graph::Neuron {
        let NeuronTensors { beta, threshold, second_decay, gain } = self.tensors();
        let mut param = |parameter: &str, tensor: Tensor<1>| {
            let values = tensor.into_data().try_into_vec::<f32>().expect("parameters are f32");
            match values[..] {
                [value] => graph::Param::Shared(value),
                _ => {
                    let tensor = graph::Tensor::f32(&[values.len()], values)
                        .expect("as many values as its size");
                    graph::Param::Tensor(graph.tensor(&format!("{name}.{parameter}"), tensor))
                }
            }
        };
        // A decay acts clamped.
        let beta = beta.clamp(0.0, 1.0);
        let second_decay = second_decay.map(|decay| decay.clamp(0.0, 1.0));
        let spec = self.dynamics.spec;
        let membrane = match (spec.model, second_decay, gain) {
            (Model::If, ..) => graph::Membrane::If,
            (Model::Lif { input_decay }, ..) => {
                graph::Membrane::Lif { beta: param("beta", beta), input_decay }
            }
            (Model::CubaLif, Some(alpha), _) => {
                graph::Membrane::CubaLif { alpha: param("alpha", alpha), beta: param("beta", beta) }
            }
            (Model::AdaptiveLif, Some(rho), Some(gain)) => graph::Membrane::AdaptiveLif {
                beta: param("beta", beta),
                rho: param("rho", rho),
                gain: param("gain", gain),
            },
            (Model::Li, ..) => graph::Membrane::Li { beta: param("beta", beta) },
            (Model::CubaLif | Model::AdaptiveLif, ..) => {
                unreachable!("a checked configuration has the parameters of its model")
            }
        };
        graph::Neuron {
            membrane,
            threshold: param("threshold", threshold),
            fires_at_threshold: spec.fires_at_threshold,
            reset: match spec.reset {
                Reset::None => graph::Reset::None,
                Reset::Subtract => graph::Reset::Subtract,
                Reset::Zero => graph::Reset::Zero,
            },
            reset_delayed: spec.reset_delayed,
        }
    }
}
