//! Sizes of a language model of LSTM or GRU layers.

use crate::models::{
    ModelError,
    egru::config::{check_weights, fraction, sizes},
    egru_lm::config::MAX_LAYERS,
    recurrent_lm::{Dropouts, Regularisers},
};
use serde::{Deserialize, Serialize};

/// A stack of layers between an embedding and a decoder that share their table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RnnLmConfig {
    /// What the layers are.
    pub cell: Cell,
    /// Layers.
    pub layers: usize,
    /// Channels of the embedding, and units of the last layer.
    pub embedding: usize,
    /// Units of every other layer.
    pub hidden: usize,
    /// Fraction of recurrent weights dropped in a pass of training (AWD-LSTM's weight drop).
    #[serde(default)]
    pub dropconnect: f32,
    /// What else is dropped in training.
    #[serde(default)]
    pub dropout: Dropouts,
    /// What is added to the loss.
    #[serde(default)]
    pub regularise: Regularisers,
}

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Long short-term memory.
    Lstm,
    /// Gated recurrent unit.
    Gru,
}

impl RnnLmConfig {
    /// Units of every layer.
    pub fn widths(&self) -> Vec<usize> {
        let inner = std::iter::repeat_n(self.hidden, self.layers.saturating_sub(1));
        inner.chain([self.embedding]).collect()
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
        fraction("dropconnect", self.dropconnect)?;
        self.dropout.check()?;
        self.regularise.check()?;
        if let Some(term) = self.regularise.activity {
            let (name, value) = ("regularise.activity.weight", term.weight);
            let range = "of use: LSTM and GRU layers have no events";
            return Err(ModelError::Setting { name, value, range });
        }
        check_weights(&[vocabulary, embedding])?;
        let widths = std::iter::once(embedding).chain(self.widths());
        check_weights(&widths.collect::<Vec<_>>())
    }
}
