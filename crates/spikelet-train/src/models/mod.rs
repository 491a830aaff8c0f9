//! The model zoo: one folder a model, with the same file names in each.

pub mod bag_of_words;
pub mod classifier;
pub mod convnet;
pub mod egru;
pub mod egru_lm;
pub mod gru;
pub mod l2mu;
pub mod lmu;
pub mod lstm;
pub mod lstm_lm;
pub mod metaspikeformer;
pub mod recurrent_lm;
pub mod rnn_lm;
pub mod spike_detector;
pub mod spikegpt;

use crate::{neuron::NeuronConfigError, params::LoadError};
use serde::{Deserialize, Serialize};
use spikelet_graph::GraphError;
use spikelet_kernels::legendre::LegendreError;

/// Settings no model can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The Legendre memory.
    #[error(transparent)]
    Legendre(#[from] LegendreError),
    /// A population.
    #[error(transparent)]
    Neuron(#[from] NeuronConfigError),
    /// Images that a window does not fit.
    #[error("layer `{layer}`: a window of {kernel} x {kernel} does not fit {size:?} positions")]
    Image {
        /// Which layer.
        layer: String,
        /// Its window.
        kernel: usize,
        /// What it should look at.
        size: [usize; 2],
    },
    /// More weights than there may be.
    #[error("layer `{layer}` takes more weights than there may be")]
    TooLarge {
        /// The layer that goes over the limit.
        layer: String,
    },
    /// Settings of a detector.
    #[error("`{field}`: {problem}")]
    Detection {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A number that makes no network.
    #[error("`{name}` = {value} is not {range}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        range: &'static str,
    },
}

/// An official state dictionary that is not the network it should be.
#[derive(Debug, thiserror::Error)]
pub enum OfficialError {
    /// No such network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Names or shapes.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A decoder with a matrix of its own.
    #[error("`decoder.decoder.weight` is not `embeddings.weight`: only tied decoders are known")]
    Untied,
    /// Values that form no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// A model with its sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelConfig {
    /// L2MU: a Legendre Memory Unit of spiking neurons.
    L2mu(l2mu::L2muConfig),
    /// The classical Legendre Memory Unit.
    Lmu(lmu::LmuConfig),
    /// Long short-term memory.
    Lstm(lstm::LstmConfig),
    /// Gated recurrent unit.
    Gru(gru::GruConfig),
    /// Convolutional spiking network.
    Convnet(convnet::ConvnetConfig),
    /// Spiking transformer of images.
    #[serde(rename = "metaspikeformer")]
    MetaSpikeformer(metaspikeformer::MetaSpikeformerConfig),
    /// Spiking transformer that gives every pixel a class.
    SpikeSegmenter(metaspikeformer::SegmentationConfig),
    /// Event-based gated recurrent units.
    Egru(egru::EgruConfig),
    /// Language model of EGRU layers.
    EgruLm(egru_lm::EgruLmConfig),
    /// Spiking language model.
    Spikegpt(spikegpt::SpikeGptConfig),
    /// Language model of LSTM layers.
    LstmLm(lstm_lm::LstmLmConfig),
    /// Language model of LSTM or GRU layers that shares its table and drops what AWD-LSTM drops.
    RnnLm(rnn_lm::RnnLmConfig),
    /// Logistic regression on counts of tokens.
    BagOfWords(bag_of_words::BagOfWordsConfig),
}

impl ModelConfig {
    /// How many steps the model wants to be shown a still image for.
    pub fn steps(&self) -> usize {
        match self {
            ModelConfig::Convnet(c) => c.steps,
            ModelConfig::MetaSpikeformer(c) => c.steps,
            ModelConfig::SpikeSegmenter(c) => c.backbone.steps,
            _ => 1,
        }
    }

    /// The name `kind` has in a configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            ModelConfig::L2mu(_) => "l2mu",
            ModelConfig::Lmu(_) => "lmu",
            ModelConfig::Lstm(_) => "lstm",
            ModelConfig::Gru(_) => "gru",
            ModelConfig::Convnet(_) => "convnet",
            ModelConfig::MetaSpikeformer(_) => "metaspikeformer",
            ModelConfig::SpikeSegmenter(_) => "spike-segmenter",
            ModelConfig::Egru(_) => "egru",
            ModelConfig::EgruLm(_) => "egru-lm",
            ModelConfig::Spikegpt(_) => "spikegpt",
            ModelConfig::LstmLm(_) => "lstm-lm",
            ModelConfig::RnnLm(_) => "rnn-lm",
            ModelConfig::BagOfWords(_) => "bag-of-words",
        }
    }

    /// Whether the model gives every pixel of an image a class.
    pub fn segments(&self) -> bool {
        matches!(self, ModelConfig::SpikeSegmenter(_))
    }

    /// Whether the model reads token numbers, one a step.
    pub fn reads_tokens(&self) -> bool {
        matches!(
            self,
            ModelConfig::Spikegpt(_)
                | ModelConfig::LstmLm(_)
                | ModelConfig::EgruLm(_)
                | ModelConfig::RnnLm(_)
                | ModelConfig::BagOfWords(_)
        )
    }
}
