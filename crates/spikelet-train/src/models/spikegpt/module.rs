//! The weights, under the names and with the shapes they have in the official code.

#![allow(non_snake_case)] // `ffnPre`, the official name

use super::config::{Blocks, Initialisation, Semantics, SpikeGptConfig};
use crate::{init::Init, models::ModelError};
use burn::module::{Module, Param};
use burn::tensor::Tensor;

/// A matrix without bias.
#[derive(Module, Debug)]
pub struct Matrix {
    /// `[out, in]`; of the embedding, `[vocabulary, channels]`.
    pub weight: Param<Tensor<2>>,
}

/// Scale and shift of a normalisation.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
}

/// Mixing over tokens.
#[derive(Module, Debug)]
pub struct TimeMix {
    /// Logarithm of what a channel's weights lose per token, `[channels]`: `w = -e^decay`.
    pub time_decay: Param<Tensor<1>>,
    /// Bonus of the present token, `[channels]`.
    pub time_first: Param<Tensor<1>>,
    /// Share of the present token in the key, `[1, 1, channels]`.
    pub time_mix_k: Param<Tensor<3>>,
    /// Share of the present token in the value, `[1, 1, channels]`.
    pub time_mix_v: Param<Tensor<3>>,
    /// Share of the present token in the receptance, `[1, 1, channels]`.
    pub time_mix_r: Param<Tensor<3>>,
    /// `[channels, channels]`.
    pub key: Matrix,
    /// `[channels, channels]`.
    pub value: Matrix,
    /// `[channels, channels]`.
    pub receptance: Matrix,
    /// `[channels, channels]`.
    pub output: Matrix,
}

/// Mixing over channels.
#[derive(Module, Debug)]
pub struct ChannelMix {
    /// Share of the present token in the key, `[1, 1, channels]`.
    pub time_mix_k: Param<Tensor<3>>,
    /// Share of the present token in the receptance, `[1, 1, channels]`.
    pub time_mix_r: Param<Tensor<3>>,
    /// `[4 channels, channels]`.
    pub key: Matrix,
    /// `[channels, channels]`.
    pub receptance: Matrix,
    /// `[channels, 4 channels]`.
    pub value: Matrix,
}

/// A block: one of `att` and `ffnPre`, then `ffn`.
#[derive(Module, Debug)]
pub struct Block {
    /// In front of the first block.
    pub ln0: Option<LayerNorm>,
    /// In front of the first mix.
    pub ln1: LayerNorm,
    /// In front of the second mix.
    pub ln2: LayerNorm,
    /// The first mix.
    pub att: Option<TimeMix>,
    /// The first mix of the first block of [`Blocks::FfnPre`].
    pub ffnPre: Option<ChannelMix>,
    /// The second mix.
    pub ffn: ChannelMix,
}

/// SpikeGPT.
#[derive(Module, Debug)]
pub struct SpikeGpt {
    /// `[vocabulary, channels]`.
    pub emb: Matrix,
    /// In the order in which they run.
    pub blocks: Vec<Block>,
    /// Behind the last block.
    pub ln_out: LayerNorm,
    /// `[vocabulary, channels]`.
    pub head: Matrix,
    /// Fraction of the residual stream dropped in training.
    #[module(skip)]
    pub dropout: f32,
    /// Whether embeddings and mixes become spikes.
    #[module(skip)]
    pub spiking: bool,
    /// What it computes where the official code contradicts itself.
    #[module(skip)]
    pub semantics: Semantics,
}

impl SpikeGpt {
    /// A fresh network for a vocabulary of so many tokens.
    ///
    /// # Errors
    /// Settings out of range, more weights than any memory holds.
    pub fn new(
        config: &SpikeGptConfig,
        vocabulary: usize,
        init: &mut Init,
    ) -> Result<SpikeGpt, ModelError> {
        config.check(vocabulary)?;
        let mut fresh = Fresh { config, init };
        let c = config.width;
        let emb = match config.init {
            Initialisation::Torch => fresh.init.normal(1.0, [vocabulary, c]),
            Initialisation::RwkvInit => {
                let gain = 1e-4 * (vocabulary.max(c) as f32).sqrt();
                fresh.init.orthogonal(gain, [vocabulary, c])
            }
        };
        Ok(SpikeGpt {
            emb: Matrix { weight: emb },
            blocks: (0..config.layers).map(|layer| fresh.block(layer)).collect(),
            ln_out: fresh.layer_norm(),
            head: fresh.matrix([vocabulary, c], 0.5),
            dropout: config.dropout,
            spiking: config.spiking,
            semantics: Semantics::EXACT,
        })
    }

    /// The same network with other semantics.
    pub fn with_semantics(self, semantics: Semantics) -> Self {
        Self { semantics, ..self }
    }

    /// Tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.emb.weight.dims()[0]
    }

    /// Channels of the residual stream.
    pub fn width(&self) -> usize {
        self.emb.weight.dims()[1]
    }
}

/// Draws initial values.
struct Fresh<'a> {
    config: &'a SpikeGptConfig,
    init: &'a mut Init,
}

impl Fresh<'_> {
    fn block(&mut self, layer: usize) -> Block {
        let first = layer == 0;
        let ffn_pre = first && self.config.blocks == Blocks::FfnPre;
        Block {
            ln0: first.then(|| self.layer_norm()),
            ln1: self.layer_norm(),
            ln2: self.layer_norm(),
            att: (!ffn_pre).then(|| self.time_mix(layer)),
            ffnPre: ffn_pre.then(|| self.channel_mix(layer)),
            ffn: self.channel_mix(layer),
        }
    }

    fn layer_norm(&self) -> LayerNorm {
        let c = self.config.width;
        LayerNorm { weight: self.init.constant(1.0, [c]), bias: self.init.constant(0.0, [c]) }
    }

    fn time_mix(&mut self, layer: usize) -> TimeMix {
        let c = self.config.width;
        let [up, down] = self.position(layer);
        let decay = (0..c).map(|i| {
            let along = i as f64 / (c.max(2) - 1) as f64;
            (-5.0 + 8.0 * along.powf(0.7 + 1.3 * up)) as f32
        });
        let first = (0..c).map(|i| {
            let zigzag = ((i + 1) % 3) as f64 - 1.0;
            (0.3_f64.ln() + 0.5 * zigzag) as f32
        });
        TimeMix {
            time_decay: self.init.values(decay.collect(), [c]),
            time_first: self.init.values(first.collect(), [c]),
            time_mix_k: self.mix(down, 0.0),
            time_mix_v: self.mix(down, 0.3 * up),
            time_mix_r: self.mix(0.5 * down, 0.0),
            key: self.matrix([c, c], 0.0),
            value: self.matrix([c, c], 1.0),
            receptance: self.matrix([c, c], 0.0),
            output: self.matrix([c, c], 0.0),
        }
    }

    fn channel_mix(&mut self, layer: usize) -> ChannelMix {
        let c = self.config.width;
        let [_, down] = self.position(layer);
        ChannelMix {
            time_mix_k: self.mix(down, 0.0),
            time_mix_r: self.mix(down, 0.0),
            key: self.matrix([4 * c, c], 1.0),
            receptance: self.matrix([c, c], 0.0),
            value: self.matrix([c, 4 * c], 0.0),
        }
    }

    /// Where a block stands: from 0 to 1 at the last one, and from 1 to nearly 0.
    fn position(&self, layer: usize) -> [f64; 2] {
        let layers = self.config.layers;
        [layer as f64 / (layers.max(2) - 1) as f64, 1.0 - layer as f64 / layers as f64]
    }

    /// `(i / channels)^power + shift`.
    fn mix(&self, power: f64, shift: f64) -> Param<Tensor<3>> {
        let c = self.config.width;
        let values = (0..c).map(|i| ((i as f64 / c as f64).powf(power) + shift) as f32);
        self.init.values(values.collect(), [1, 1, c])
    }

    /// A matrix `[out, in]`; `scale` is the factor the official initialiser gives it.
    fn matrix(&mut self, shape: [usize; 2], scale: f32) -> Matrix {
        let [rows, columns] = shape;
        let weight = match self.config.init {
            Initialisation::Torch => self.init.torch_linear(columns, shape),
            Initialisation::RwkvInit if scale == 0.0 => self.init.constant(0.0, shape),
            Initialisation::RwkvInit => {
                let gain = if rows > columns { (rows as f32 / columns as f32).sqrt() } else { 1.0 };
                self.init.orthogonal(gain * scale, shape)
            }
        };
        Matrix { weight }
    }
}
