//! The input module: real values to spikes, by populations of neurons.

use super::config::{InputModule, L2muConfig};
use crate::{
    init::Init,
    models::ModelError,
    neuron::{NeuronTensors, Neurons, neuron_sequence},
};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// Populations of neurons a channel, and for the stacked module two layers behind them.
#[derive(Module, Debug)]
pub struct Encoder {
    /// `[channels, population]`.
    pub weight: Param<Tensor<2>>,
    /// `[channels, population]`.
    pub bias: Param<Tensor<2>>,
    /// One decay and threshold a channel.
    pub neurons: Neurons,
    /// The middle and the last layer of the stacked module.
    pub layers: Vec<Layer>,
}

/// A linear layer and its neurons.
#[derive(Module, Debug)]
pub struct Layer {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
    /// One decay and threshold for all.
    pub neurons: Neurons,
}

impl Encoder {
    /// The module of a configuration, or nothing for plain input, and its number of outputs.
    pub(super) fn new(
        config: &L2muConfig,
        channels: usize,
        init: &mut Init,
    ) -> Result<(Option<Encoder>, usize), ModelError> {
        let (population, sizes) = match config.input {
            InputModule::Plain => return Ok((None, channels)),
            InputModule::Single { population } => (population, vec![]),
            InputModule::Stacked { population, encoding, output } => {
                (population, vec![encoding, output])
            }
        };
        let weight = init.torch_linear(1, [channels, population]);
        let bias = init.torch_linear(1, [channels, population]);
        let neurons = config.population(&config.encoder, channels, init)?;
        let mut inputs = channels * population;
        let mut layers = Vec::new();
        for size in sizes {
            layers.push(Layer {
                weight: init.torch_linear(inputs, [size, inputs]),
                bias: init.torch_linear(inputs, [size]),
                neurons: config.population(&config.encoder, 1, init)?,
            });
            inputs = size;
        }
        Ok((Some(Encoder { weight, bias, neurons, layers }), inputs))
    }

    /// Input currents of the channel populations, `[rows, channels]` to
    /// `[rows, channels * population]`.
    pub(super) fn channel_current(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, channels] = x.dims();
        let [_, population] = self.weight.val().dims();
        let x = x.reshape([rows, channels, 1]);
        let current = x * self.weight.val().unsqueeze() + self.bias.val().unsqueeze();
        current.reshape([rows, channels * population])
    }

    /// Parameters per neuron: each channel's values for all of its neurons.
    pub(super) fn repeated(&self) -> NeuronTensors {
        let [channels, population] = self.weight.val().dims();
        let repeat = |value: Tensor<1>| {
            let value = value.reshape([-1, 1]).expand([channels, population]);
            value.reshape([channels * population])
        };
        let NeuronTensors { beta, threshold, second_decay, gain } = self.neurons.tensors();
        NeuronTensors {
            beta: repeat(beta),
            threshold: repeat(threshold),
            second_decay: second_decay.map(repeat),
            gain: gain.map(repeat),
        }
    }

    /// Spikes of the whole sequence, `[time, batch, channels]` to `[time, batch, outputs]`.
    pub(super) fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [time, batch, channels] = x.dims();
        let [_, population] = self.weight.val().dims();
        let current = self.channel_current(x.reshape([time * batch, channels]));
        let current = current.reshape([time, batch, channels * population]);
        let mut spikes = neuron_sequence(current, self.repeated(), self.neurons.dynamics);
        for layer in &self.layers {
            let [_, _, inputs] = spikes.dims();
            let current = layer.current(spikes.reshape([time * batch, inputs]));
            let [_, outputs] = current.dims();
            spikes = layer.neurons.sequence(current.reshape([time, batch, outputs]));
        }
        spikes
    }
}

impl Layer {
    /// `W x + b`, `[rows, in]` to `[rows, out]`.
    pub(super) fn current(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}
