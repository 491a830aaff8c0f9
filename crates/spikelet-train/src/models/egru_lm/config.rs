//! Sizes of a language model of EGRU layers.

use crate::models::{
    ModelError,
    egru::{
        CellConfig,
        config::{check_weights, sizes},
    },
    recurrent_lm::{Carry, Dropouts, Regularisers},
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
    /// What is added to the loss.
    #[serde(default)]
    pub regularise: Regularisers,
    /// What a window of text takes over from the one before.
    #[serde(default)]
    pub carry: Carry,
    /// What every layer does.
    #[serde(default)]
    pub cell: CellConfig,
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
        self.dropout.check()?;
        self.regularise.check()?;
        check_weights(&[vocabulary, embedding])?;
        let widths = std::iter::once(embedding).chain(self.widths());
        check_weights(&widths.collect::<Vec<_>>())?;
        self.cell.check()
    }
}

/// Each draws from streams of its own.
pub(in crate::models) const MAX_LAYERS: usize = 256;
