//! What a recurrent language model forgets in training, and what it takes along.

use crate::models::{ModelError, egru::config::fraction};
use serde::{Deserialize, Serialize};

/// Fractions dropped in training; defaults are those of EGRU's official code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropouts {
    /// Of the vocabulary, whose rows of the embedding are zero in a pass.
    #[serde(default)]
    pub words: f32,
    /// Of the channels of the embedding.
    #[serde(default)]
    pub embedding: f32,
    /// Of what layers hand on to each other.
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

impl Dropouts {
    /// Whether these are fractions.
    ///
    /// # Errors
    /// Numbers out of range.
    pub fn check(&self) -> Result<(), ModelError> {
        fraction("dropout.words", self.words)?;
        fraction("dropout.embedding", self.embedding)?;
        fraction("dropout.forward", self.forward)?;
        fraction("dropout.output", self.output)
    }
}

fn half() -> f32 {
    0.5
}

/// Which values are dropped together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axes {
    /// As EGRU's official code does: one mask for all sequences of a batch, drawn anew in every step.
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
    /// The events of the last step; internal states start from zero, as in EGRU's official code. What
    /// a model gives then depends on the length of a window.
    #[default]
    Events,
    /// Everything: a stream has no windows.
    Full,
}
