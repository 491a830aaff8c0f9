//! Sizes of an LSTM language model.

use crate::models::{ModelError, classifier::Pooling};
use serde::{Deserialize, Serialize};

/// Layers of an LSTM between an embedding and a linear read-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmLmConfig {
    /// LSTM layers.
    pub layers: usize,
    /// Channels of the embedding, and hidden units of every layer.
    pub width: usize,
    /// How it classifies sentences.
    #[serde(default)]
    pub pooling: Pooling,
}

/// Four gigabytes of them.
const MAX_WEIGHTS: usize = 1 << 30;

impl LstmLmConfig {
    /// Whether a network can be made of these settings.
    ///
    /// # Errors
    /// Sizes of zero, more weights than any memory holds.
    pub fn check(&self, vocabulary: usize) -> Result<(), ModelError> {
        let sizes = [("layers", self.layers), ("width", self.width), ("vocabulary", vocabulary)];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(ModelError::Setting { name, value: 0.0, range: "1 or more" });
        }
        let layer = self.width.checked_mul(self.width).and_then(|square| square.checked_mul(8));
        let layers = layer.and_then(|layer| layer.checked_mul(self.layers));
        let tables = vocabulary.checked_mul(self.width).and_then(|table| table.checked_mul(2));
        match layers.zip(tables).and_then(|(layers, tables)| layers.checked_add(tables)) {
            Some(weights) if weights <= MAX_WEIGHTS => Ok(()),
            _ => Err(ModelError::TooLarge { layer: "layers".to_owned() }),
        }
    }
}
