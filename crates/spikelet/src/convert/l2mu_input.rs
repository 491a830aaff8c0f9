//! The input module of the HAR generation: real values to spikes, by populations of neurons.

use super::{
    ConvertError,
    weights::{Population, Weights},
};
use spikelet_graph::{GraphBuilder, Layout, Param, Reset, Tensor};

/// The channels in the order of the input, as hyper-parameters name them.
pub(super) const HAR_CHANNELS: [&str; 6] =
    ["x_acc", "x_gyro", "y_acc", "y_gyro", "z_acc", "z_gyro"];
/// The official code has six; a damaged file must not ask for a square of its size.
const MAX_CHANNELS: usize = 256;

/// What turns real values into spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModuleKind {
    Plain,
    Single,
    Stacked,
}

impl ModuleKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Single => "single",
            Self::Stacked => "stacked",
        }
    }
}

/// The input module: a population of neurons a channel; stacked, two more layers behind them.
pub(super) struct Module {
    pub kind: ModuleKind,
    /// None in plain input.
    pub channels: usize,
}

impl Module {
    pub fn find(weights: &Weights) -> Self {
        for kind in [ModuleKind::Stacked, ModuleKind::Single] {
            let module = Self { kind, channels: MAX_CHANNELS };
            let has = |&channel: &usize| weights.has(&format!("{}.weight", module.map(channel)));
            let channels = (0..MAX_CHANNELS).take_while(has).count();
            if channels > 0 {
                return Self { kind, channels };
            }
        }
        Self { kind: ModuleKind::Plain, channels: 0 }
    }

    /// The linear map of a channel.
    pub fn map(&self, channel: usize) -> String {
        let list = if self.kind == ModuleKind::Stacked { "hidden" } else { "pop" };
        format!("input_encoder.{list}_encoder_list.{channel}")
    }

    /// The neurons of a channel.
    pub fn neuron(&self, channel: usize) -> String {
        let list = if self.kind == ModuleKind::Stacked { "hidden" } else { "pop" };
        format!("input_encoder.spk_{list}_encoder_list.{channel}")
    }

    /// Adds the module behind the input; returns what feeds the cell with `inputs` spikes.
    pub fn lower(
        &self,
        weights: &mut Weights,
        graph: &mut GraphBuilder,
        inputs: usize,
    ) -> Result<String, ConvertError> {
        if self.kind == ModuleKind::Plain {
            return Ok("input".to_owned());
        }
        let population = self.lower_populations(weights, graph)?;
        if self.kind == ModuleKind::Single {
            return Ok("populations".to_owned());
        }
        let weight = weights.read("input_encoder.encoder.weight", 2)?;
        let encoding = weight.shape[0];
        if weight.shape[1] != population {
            let expected = format!("[_, {population}]");
            return Err(weights.shape("input_encoder.encoder.weight", weight.shape, expected));
        }
        let bias = weights.read_as("input_encoder.encoder.bias", &[encoding])?;
        graph.linear("to_encoder", "populations", &weight, Some(bias), Layout::ByInput);
        let encoder = weights.population("input_encoder.spk_encoder")?;
        graph.neuron("encoder", &["to_encoder"], encoder.neuron());
        let weight = weights.read_as("input_encoder.decoder.weight", &[inputs, encoding])?;
        let bias = weights.read_as("input_encoder.decoder.bias", &[inputs])?;
        graph.linear("to_decoder", "encoder", &weight, Some(bias), Layout::ByInput);
        let decoder = weights.population("input_encoder.spk_decoder")?;
        graph.neuron("decoder", &["to_decoder"], decoder.neuron());
        Ok("decoder".to_owned())
    }

    /// The maps of all channels as one matrix with one weight a row, and one population of all
    /// neurons. Returns their number.
    fn lower_populations(
        &self,
        weights: &mut Weights,
        graph: &mut GraphBuilder,
    ) -> Result<usize, ConvertError> {
        let first = weights.read(&format!("{}.weight", self.map(0)), 2)?;
        let size = first.shape[0];
        let neurons = size * self.channels;
        let (mut matrix, mut biases) = (Vec::new(), Vec::new());
        for channel in 0..self.channels {
            let map = self.map(channel);
            let weight = weights.read_as(&format!("{map}.weight"), &[size, 1])?;
            for value in weight.to_f32() {
                let mut row = vec![0.0; self.channels];
                row[channel] = value;
                matrix.extend(row);
            }
            biases.extend(weights.read_as(&format!("{map}.bias"), &[size])?.to_f32());
        }
        let matrix = Tensor::f32(&[neurons, self.channels], matrix)?;
        let biases = Tensor::f32(&[neurons], biases)?;
        graph.linear("channels", "input", &matrix, Some(biases), Layout::ByInput);

        let channels = self.channel_neurons(weights)?;
        let all = channels[0];
        if let Some(odd) = channels.iter().position(|neuron| neuron.reset != all.reset) {
            let name = format!("{}.reset_mechanism_val", self.neuron(odd));
            let problem = "all channels must reset the same way";
            return Err(weights.setting(&name, "different", problem));
        }
        let mut param = |name: &str, values: Vec<f32>| -> Result<Param, ConvertError> {
            let values = values.into_iter().flat_map(|value| vec![value; size]).collect();
            let tensor = Tensor::f32(&[neurons], values)?;
            Ok(Param::Tensor(graph.tensor(&format!("populations.{name}"), tensor)))
        };
        let beta = param("beta", channels.iter().map(|neuron| neuron.beta).collect())?;
        let threshold =
            param("threshold", channels.iter().map(|neuron| neuron.threshold).collect())?;
        let alphas: Vec<f32> = channels.iter().filter_map(|neuron| neuron.alpha).collect();
        let alpha = if alphas.is_empty() { None } else { Some(param("alpha", alphas)?) };
        graph.neuron("populations", &["channels"], all.neuron_with(beta, threshold, alpha));
        Ok(neurons)
    }

    /// In the single module the neurons are outside of the state dict: hyper-parameters.
    fn channel_neurons(&self, weights: &mut Weights) -> Result<Vec<Population>, ConvertError> {
        if weights.has(&format!("{}.threshold", self.neuron(0))) {
            return (0..self.channels).map(|c| weights.population(&self.neuron(c))).collect();
        }
        let cuba = weights.has("spk_u.alpha");
        let mut missing = Vec::new();
        let mut number = |name: &str, channel: usize| {
            let channel = HAR_CHANNELS.get(channel).map_or(channel.to_string(), |&c| c.to_owned());
            let name = format!("{name}_spk_{channel}");
            let found = weights.hyper_parameter(&name);
            if found.is_none() {
                missing.push(name);
            }
            found.unwrap_or(0.0) as f32
        };
        let mut neurons = Vec::with_capacity(self.channels);
        for channel in 0..self.channels {
            let (beta, threshold) = (number("beta", channel), number("threshold", channel));
            let alpha = cuba.then(|| number("alpha", channel));
            neurons.push(weights.population_of(beta, threshold, alpha, Reset::Subtract));
        }
        if missing.is_empty() {
            let note = "neurons of the input module taken from the hyper-parameters";
            weights.notes.push(note.into());
            return Ok(neurons);
        }
        Err(weights.missing_hyper_parameters(missing))
    }
}
