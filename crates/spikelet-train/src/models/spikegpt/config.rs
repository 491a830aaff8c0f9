//! Sizes of a SpikeGPT, and what of the official code it follows.

use crate::models::{ModelError, classifier::Pooling};
use serde::{Deserialize, Serialize};

/// A SpikeGPT (Zhu et al. 2023).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpikeGptConfig {
    /// Blocks.
    pub layers: usize,
    /// Channels of the residual stream.
    pub width: usize,
    /// What the first block mixes with.
    #[serde(default)]
    pub blocks: Blocks,
    /// Where weights start.
    #[serde(default)]
    pub init: Initialisation,
    /// Fraction of the residual stream dropped behind every block in training.
    #[serde(default = "dropout")]
    pub dropout: f32,
    /// Without, the twin to compare with: embeddings stay real and mixes enter the residual stream
    /// as they are, which is RWKV-4 (Peng et al. 2023).
    #[serde(default = "spiking")]
    pub spiking: bool,
    /// How it classifies sentences.
    #[serde(default)]
    pub pooling: Pooling,
}

/// The two block types of the official code, by its names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blocks {
    /// Every block mixes over tokens, then over channels.
    #[default]
    #[serde(rename = "RWKV")]
    Rwkv,
    /// The first block mixes over channels twice.
    #[serde(rename = "RWKV-ffnPre")]
    FfnPre,
}

/// Where weights start. Decays, bonuses and mixes start the same way in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initialisation {
    /// PyTorch's defaults, which is what the official training script really uses: its own
    /// initialiser hangs on an environment variable that the script never sets.
    #[default]
    Torch,
    /// The initialiser the official code means to use (`RWKV_Init`): orthogonal matrices, and zero
    /// for those in front of a residual sum and for key and receptance of the time mix.
    RwkvInit,
}

fn dropout() -> f32 {
    0.03
}

fn spiking() -> bool {
    true
}

/// Four gigabytes of them.
const MAX_WEIGHTS: usize = 1 << 30;

impl SpikeGptConfig {
    /// A network of this size as the official script trains it.
    pub fn new(layers: usize, width: usize) -> Self {
        let (blocks, init) = (Blocks::default(), Initialisation::default());
        Self {
            layers,
            width,
            blocks,
            init,
            dropout: dropout(),
            spiking: spiking(),
            pooling: Pooling::default(),
        }
    }

    /// The 45M network of the paper's character models; its weights are 46.55 million with the 5458
    /// characters of enwik8.
    pub fn m45() -> Self {
        Self::new(12, 512)
    }

    /// The published 216M network; its weights are 215.4 million with 50277 tokens.
    pub fn m216() -> Self {
        Self::new(18, 768)
    }

    /// Learned values with a vocabulary of so many tokens, without `ffnPre`; nothing where the
    /// count overflows.
    pub fn parameters(&self, vocabulary: usize) -> Option<usize> {
        let c = self.width;
        let block = c.checked_mul(c)?.checked_mul(13)?.checked_add(c.checked_mul(11)?)?;
        let tables = vocabulary.checked_mul(c)?.checked_mul(2)?;
        block.checked_mul(self.layers)?.checked_add(tables)?.checked_add(c.checked_mul(4)?)
    }

    /// Whether a network can be made of these settings.
    ///
    /// # Errors
    /// Sizes of zero, drop-out out of range, more weights than any memory holds.
    pub fn check(&self, vocabulary: usize) -> Result<(), ModelError> {
        let sizes = [("layers", self.layers), ("width", self.width), ("vocabulary", vocabulary)];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(ModelError::Setting { name, value: 0.0, range: "1 or more" });
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let (name, value) = ("dropout", self.dropout);
            return Err(ModelError::Setting { name, value, range: "from 0 to below 1" });
        }
        match self.parameters(vocabulary) {
            Some(weights) if weights <= MAX_WEIGHTS => Ok(()),
            _ => Err(ModelError::TooLarge { layer: "blocks".to_owned() }),
        }
    }
}

/// What a network computes where the official training code and the official generator differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Semantics {
    /// Embeddings become spikes: 1 where they are not negative.
    pub binary_embedding: bool,
    /// The trick of RWKV against overflow in f16: the matrices in front of a residual sum are
    /// divided by two once more every six blocks, and the residual stream is halved behind them.
    /// Here neurons lie between, so that from the seventh block on spikes change.
    pub rescale: bool,
}

/// Blocks between two halvings of the residual stream.
const RESCALE_EVERY: usize = 6;

impl Semantics {
    /// What the training code computes.
    pub const EXACT: Self = Self { binary_embedding: true, rescale: false };

    /// What the published generator computes: embeddings are spikes for vocabularies of 77 tokens
    /// (its book models) only, and the residual stream is rescaled.
    pub fn official_runner(vocabulary: usize) -> Self {
        Self { binary_embedding: vocabulary == 77, rescale: true }
    }

    /// The factor of what block `layer` adds to the residual stream.
    pub(super) fn output_factor(self, layer: usize) -> f32 {
        match self.rescale {
            true => 0.5_f32.powi(i32::try_from(layer / RESCALE_EVERY).unwrap_or(i32::MAX)),
            false => 1.0,
        }
    }

    /// Whether the residual stream is halved behind block `layer`.
    pub(super) fn halves(self, layer: usize) -> bool {
        self.rescale && (layer + 1).is_multiple_of(RESCALE_EVERY)
    }
}
