//! Sizes of a recurrent language model, and what it forgets in training.

use crate::models::{
    ModelError,
    egru::{
        CellConfig,
        config::{check_weights, fraction, sizes},
    },
};
use serde::{Deserialize, Serialize};

/// A stack of EGRU layers between an embedding and a decoder that share their table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgruLmConfig {
    /// Layers.
    pub layers: usize,
    /// Channels of the embedding.
    pub embedding: usize,
    /// Units of every layer; the last one has as many as the embedding has channels, unless there
    /// is a projection.
    pub hidden: usize,
    /// A matrix between the last layer and the decoder.
    #[serde(default)]
    pub projection: bool,
    /// What is dropped in training.
    #[serde(default)]
    pub dropout: Dropouts,
    /// What a window of text takes over from the one before.
    #[serde(default)]
    pub carry: Carry,
    /// What every layer does.
    #[serde(default)]
    pub cell: CellConfig,
}

/// Fractions dropped in training; defaults are the official code's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropouts {
    /// Of the vocabulary, whose rows of the embedding are zero in a pass.
    #[serde(default)]
    pub words: f32,
    /// Of the channels of the embedding.
    #[serde(default)]
    pub embedding: f32,
    /// Of the events between layers.
    #[serde(default)]
    pub forward: f32,
    /// Of the input of the decoder. The official code always drops half, whatever its flags say.
    #[serde(default = "half")]
    pub output: f32,
    /// Which values are dropped together.
    #[serde(default)]
    pub axes: Axes,
}

impl Default for Dropouts {
    fn default() -> Self {
        let axes = Axes::default();
        Dropouts { words: 0.0, embedding: 0.0, forward: 0.0, output: half(), axes }
    }
}

fn half() -> f32 {
    0.5
}

/// Which values are dropped together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axes {
    /// As the official code does: one mask for all sequences of a batch, drawn anew in every step.
    /// Its table also gives the last row of the vocabulary no gradient as an input.
    #[default]
    Official,
    /// As AWD-LSTM means it: one mask for all steps of a window, drawn anew for every sequence.
    Intended,
}

/// What a window of text takes over from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carry {
    /// The events of the last step; internal states start from zero, as in the official code. What
    /// a model gives then depends on the length of a window.
    #[default]
    Events,
    /// Everything: a stream has no windows.
    Full,
}

impl EgruLmConfig {
    /// Units of every layer.
    pub fn widths(&self) -> Vec<usize> {
        let last = if self.projection { self.hidden } else { self.embedding };
        let inner = std::iter::repeat_n(self.hidden, self.layers.saturating_sub(1));
        inner.chain([last]).collect()
    }

    /// Whether a network can be made of these settings.
    ///
    /// # Errors
    /// Sizes of zero, numbers out of range, more weights than any memory holds.
    pub fn check(&self, vocabulary: usize) -> Result<(), ModelError> {
        let (layers, embedding, hidden) = (self.layers, self.embedding, self.hidden);
        sizes(&[
            ("layers", layers),
            ("embedding", embedding),
            ("hidden", hidden),
            ("vocabulary", vocabulary),
        ])?;
        if layers > MAX_LAYERS {
            let (name, value) = ("layers", layers as f32);
            return Err(ModelError::Setting { name, value, range: "256 or fewer" });
        }
        for (name, value) in [
            ("dropout.words", self.dropout.words),
            ("dropout.embedding", self.dropout.embedding),
            ("dropout.forward", self.dropout.forward),
            ("dropout.output", self.dropout.output),
        ] {
            fraction(name, value)?;
        }
        check_weights(&[vocabulary, embedding])?;
        let widths = std::iter::once(embedding).chain(self.widths());
        check_weights(&widths.collect::<Vec<_>>())?;
        self.cell.check()
    }
}

/// Each draws from streams of its own.
const MAX_LAYERS: usize = 256;
