//! Running a network: one time step, or all of them layer by layer.

pub use super::module::Convnet;
use super::{
    builder::{Builder, Draw},
    config::{Architecture, ConvnetConfig},
    functions::standardized,
    module::Settings,
    network::{Layer, Op, ParamId, Shape},
    nf_resnet,
    pass::{Mode, Pass},
    preact_resnet, vgg,
};
use crate::{
    init::Init,
    model::{SequenceModel, State, step_by_step},
    models::ModelError,
    neuron::Dynamics,
    params,
    raise::RaiseError,
    sparsity::Sparsity,
};
use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use spikelet_graph::{Graph, GraphBuilder, Readout};
use spikelet_kernels::neuron::{Model, NeuronSpec, Reset};
use std::sync::Arc;

/// The neuron of Meng et al.: `u[t] = (1 - 1/tau) (u[t-1] - s[t-1]) + x[t]`, `s[t] = [u[t] >= 1]`.
pub(super) const NEURON: NeuronSpec = NeuronSpec {
    model: Model::Lif { input_decay: false },
    reset: Reset::Subtract,
    reset_delayed: false,
    fires_at_threshold: true,
};

/// Four gigabytes of them.
pub(in crate::models) const MAX_WEIGHTS: usize = 1 << 30;

impl Convnet {
    /// A fresh network for images `[h, w, channels]`.
    ///
    /// # Errors
    /// Images too small for the network, settings out of range, more weights than any memory
    /// holds.
    pub fn new(
        config: &ConvnetConfig,
        input: Shape,
        classes: usize,
        init: &mut Init,
    ) -> Result<Convnet, ModelError> {
        Self::of_size(config, input, classes, MAX_WEIGHTS, init)
    }

    /// The same with at most so many weights.
    pub(super) fn of_size(
        config: &ConvnetConfig,
        input: Shape,
        classes: usize,
        limit: usize,
        init: &mut Init,
    ) -> Result<Convnet, ModelError> {
        let range = |name, value, range| Err(ModelError::Setting { name, value, range });
        if config.tau.is_nan() || config.tau < 1.0 {
            return range("tau", config.tau, "1 or more");
        }
        if !(0.0..1.0).contains(&config.dropout) {
            return range("dropout", config.dropout, "from 0 to below 1");
        }
        let dynamics = Dynamics { spec: NEURON, surrogate: config.surrogate, detach_reset: false };
        let (beta, norm_over_time) = (config.beta(), config.norm_over_time);
        let empty = Convnet::empty(Settings { dynamics, beta, norm_over_time });
        let mut builder = Builder::new(input, empty, limit, Draw::FanOut, init);
        match &config.network {
            Architecture::Chain(chain) => {
                vgg::build(&mut builder, chain, classes, config.dropout)?;
            }
            Architecture::PreactResnet(sizes) => {
                preact_resnet::build(&mut builder, sizes, classes, config.dropout)?;
            }
            Architecture::NfResnet(sizes) => nf_resnet::build(&mut builder, sizes, classes)?,
        }
        Ok(builder.finish())
    }

    /// A network without layers.
    pub(in crate::models) fn empty(settings: Settings) -> Convnet {
        Convnet {
            network: Arc::default(),
            settings,
            vectors: Vec::new(),
            matrices: Vec::new(),
            kernels: Vec::new(),
        }
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.network.layers
    }

    pub(super) fn vector(&self, id: ParamId) -> Tensor<1> {
        self.vectors[id].param.val()
    }

    /// The kernel of a convolution as it is applied.
    pub(super) fn kernel(&self, weight: ParamId, gain: Option<ParamId>) -> Tensor<4> {
        let kernel = self.kernels[weight].param.val();
        match gain {
            Some(gain) => standardized(kernel, self.vector(gain)),
            None => kernel,
        }
    }

    /// `x` `[time, batch, values]` from a state, layer by layer with time folded into the batch;
    /// `seen` is shown the output `[time * batch, h, w, channels]` of every layer.
    pub fn run(
        &self,
        x: Tensor<3>,
        state: State,
        seen: &mut dyn FnMut(&Layer, &Tensor<4>),
    ) -> (Tensor<3>, State) {
        let (out, pass) = self.pass(x, state, seen, Mode::default());
        (first(out, pass.batch), pass.next)
    }

    /// All outputs `[time * batch, h, w, channels]` of `x` `[time, batch, values]` from a state.
    pub fn outputs(&self, x: Tensor<3>, state: State) -> (Vec<Tensor<4>>, State) {
        let (outputs, pass) = self.pass(x, state, &mut |_, _| {}, Mode::default());
        (outputs, pass.next)
    }

    /// Adds the network to a graph behind `input`; returns the nodes of its outputs.
    pub fn lower_outputs(&self, graph: &mut GraphBuilder, input: &str) -> Vec<String> {
        super::lower::lower(self, graph, input)
    }

    /// The shapes of the outputs.
    pub fn output_shapes(&self) -> Vec<Shape> {
        self.network.outputs.iter().map(|&id| self.network.layers[id].shape).collect()
    }

    /// Thresholds at which all populations fire at a rate, those before them included.
    pub(super) fn thresholds_at(&self, x: Tensor<3>, rate: f32) -> Vec<f32> {
        let state = self.initial_state(x.dims()[1], &x.device());
        self.pass(x, state, &mut |_, _| {}, Mode { rate: Some(rate), detached: false }).1.thresholds
    }

    /// The same. What normalisations give is not seen in a detached step where their neurons
    /// follow.
    fn pass(
        &self,
        x: Tensor<3>,
        state: State,
        seen: &mut dyn FnMut(&Layer, &Tensor<4>),
        Mode { detached, rate }: Mode,
    ) -> (Vec<Tensor<4>>, Pass<'_>) {
        let [time, batch, _] = x.dims();
        let mut pass = Pass::new(self, batch, state, rate);
        let mut together = None;
        let last_readers = self.network.last_readers();
        let mut outputs: Vec<Option<Tensor<4>>> = Vec::new();
        for (id, layer) in self.network.layers.iter().enumerate() {
            if let Some(out) = together.take() {
                seen(layer, &out);
                outputs.push(Some(out));
                continue;
            }
            let mut inputs: Vec<Tensor<4>> = Vec::new();
            for &input in &layer.inputs {
                let value = match last_readers[input] == id {
                    true => outputs[input].take(),
                    false => outputs[input].clone(),
                };
                inputs.push(value.expect("kept until its last reader"));
            }
            if detached && pass.training && self.network.fires_next(id) {
                let neurons = &self.network.layers[id + 1].op;
                together = pass.normalized_neurons([&layer.op, neurons], &inputs[0]);
                if together.is_some() {
                    outputs.push(None);
                    continue;
                }
            }
            let [h, w, channels] = layer.shape;
            let out = match inputs.len() {
                0 => x.clone().reshape([time * batch, h, w, channels]),
                1 => pass.layer(&layer.op, layer.shape, inputs.remove(0)),
                _ => pass.join(&layer.op, inputs),
            };
            seen(layer, &out);
            outputs.push(Some(out));
        }
        let given = self.network.outputs.iter();
        let given = given.map(|&id| outputs[id].clone().expect("kept until the end")).collect();
        (given, pass)
    }
}

/// The first output `[time * batch, h, w, channels]` as `[time, batch, values]`.
fn first(mut outputs: Vec<Tensor<4>>, batch: usize) -> Tensor<3> {
    let out = outputs.swap_remove(0);
    let [rows, h, w, channels] = out.dims();
    out.reshape([rows / batch, batch, h * w * channels])
}

impl SequenceModel for Convnet {
    fn input_shape(&self, _: usize) -> Vec<usize> {
        self.network.layers[0].shape.to_vec()
    }

    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let layers = self.network.layers.iter().filter(|layer| layer.op.is_neurons());
        layers.map(|l| Tensor::zeros([batch, l.shape.iter().product()], device)).collect()
    }

    /// In the order of the layers: potentials, masks of drop-out, running mean and variance. Between
    /// detached steps, potentials behind a normalisation are those before the reset
    /// (`normalized_step`).
    fn training_state(&self, batch: usize, device: &Device, seed: u64) -> State {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let running = |id| self.vector(id).inner().unsqueeze::<2>();
        let mut state = State::new();
        for layer in &self.network.layers {
            let values = layer.shape.iter().product();
            match layer.op {
                Op::Lif(_) => state.push(Tensor::zeros([batch, values], device)),
                Op::Dropout(fraction) => {
                    let kept = 1.0 / (1.0 - fraction);
                    let mask = (0..batch * values)
                        .map(|_| if rng.random::<f32>() < fraction { 0.0 } else { kept });
                    let mask = TensorData::new(mask.collect(), [batch, values]);
                    state.push(Tensor::from_data(mask, device));
                }
                Op::BatchNorm { mean, variance, .. } => {
                    state.extend([mean, variance].map(running));
                }
                _ => {}
            }
        }
        state
    }

    fn learned(mut self, state: State) -> Self {
        let mut state = state.into_iter();
        let network = self.network.clone();
        if state.len() == network.count(Op::is_neurons) {
            return self;
        }
        for layer in &network.layers {
            match layer.op {
                Op::Lif(_) | Op::Dropout(_) => drop(state.next()),
                Op::BatchNorm { mean, variance, .. } => {
                    for id in [mean, variance] {
                        let value = state.next().expect("a training state of this network");
                        let named = &mut self.vectors[id];
                        named.param = follow(named.param.clone(), value);
                    }
                }
                _ => {}
            }
        }
        self
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (out, state) = self.run(x.unsqueeze(), state, &mut |_, _| {});
        (out.squeeze_dim(0), state)
    }

    fn detached_step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let state = match x.device().is_autodiff() {
            true => state.into_iter().map(Tensor::autodiff).collect(),
            false => state,
        };
        let mode = Mode { detached: true, ..Mode::default() };
        let (out, pass) = self.pass(x.unsqueeze(), state, &mut |_, _| {}, mode);
        (first(out, pass.batch).squeeze_dim(0), pass.next.into_iter().map(Tensor::inner).collect())
    }

    /// Step by step: activations of all steps together would take as many times the memory. What
    /// takes the mean over time needs them together.
    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        if !self.network.averages_time() {
            return step_by_step(self, x);
        }
        let state = self.initial_state(x.dims()[1], &x.device());
        self.run(x, state, &mut |_, _| {}).0
    }

    /// Layer by layer: backpropagation through time keeps all activations anyway.
    fn training_sequence(&self, x: Tensor<3>, seed: u64) -> (Tensor<3>, State) {
        let [_, batch, _] = x.dims();
        let state = self.training_state(batch, &x.device(), seed);
        self.run(x, state, &mut |_, _| {})
    }

    fn sparsity(&self, x: Tensor<3>) -> Vec<Sparsity> {
        self.silence(x)
    }

    /// The mean: its soft maximum is that of a step, and its largest value that of the sum.
    fn readout(&self) -> Readout {
        if self.network.averages_time() { Readout::Last } else { Readout::Mean }
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input).swap_remove(0)
    }

    fn from_graph(_: &Graph, _: &Device) -> Result<Self, RaiseError> {
        let expected = "trainable: its normalisation is folded into its weights (start from the \
                        folder of the run instead)";
        Err(RaiseError::Kind { node: "input".to_owned(), expected })
    }
}

/// The same parameter with the value that running statistics have now.
fn follow(param: Param<Tensor<1>>, value: Tensor<2>) -> Param<Tensor<1>> {
    let values = params::values(value.inner());
    param.map(|old| {
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &old.device())
    })
}
