//! The task record: what a graph needs besides its weights to turn raw data into a decision.

use crate::detection::Detection;
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The note that says how recordings of an event camera become frames, as the JSON of the settings
/// they were made with.
pub const EVENTS: &str = "events";

/// What the graph is for, so that `run` and `eval` need only the file and raw data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Name of the data set it was trained on, if any (as `spikelet data list` names it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Class names in the order of the outputs.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Names of the input channels, in order.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Steps in one decision; 0 when every step is one.
    #[serde(default)]
    pub window: usize,
    /// Duration of one time step in milliseconds, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<f32>,
    /// Normalisation fitted on the training split: `(x - mean) / std` per channel. Empty: none.
    #[serde(default)]
    pub mean: Vec<f32>,
    /// Standard deviation per channel.
    #[serde(default)]
    pub std: Vec<f32>,
    /// The `tokenizer.json` of a language model whose tokens are neither characters nor bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// What turns the outputs of a detector into boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
    /// Anything else worth keeping: the preset, the split, the accuracy measured.
    #[serde(default)]
    pub notes: BTreeMap<String, String>,
}
