//! EGRU (Subramoney et al. 2023, the code EvNN): language model and gesture network. All sizes come
//! from the shapes.

use super::{ConvertError, weights::Weights};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{Graph, Task};
use spikelet_train::models::{
    egru,
    egru_lm::{self, Carry},
};

/// Tokens of a window of the official evaluation.
const WINDOW: usize = 70;

pub(super) fn language_root(checkpoint: &Checkpoint) -> Option<String> {
    let names = ["embeddings.weight", "rnns.0.recurrent_kernel", "decoder.decoder.bias"];
    super::weights::root(checkpoint, &names)
}

pub(super) fn gestures_root(checkpoint: &Checkpoint) -> Option<String> {
    super::weights::root(checkpoint, &["layers.0.recurrent_kernel", "layers.0.thr", "fc.weight"])
}

/// As the official code evaluates it.
pub(super) fn windows(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = format!(
        "states start again every {WINDOW} tokens and only events go on, as in the official \
         evaluation; --arch egru-lm-stream carries everything"
    );
    language(weights, Carry::Events, note)
}

/// As one stream without windows.
pub(super) fn stream(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = "states are carried from token to token without end; the official evaluation starts \
                them again in every window (--arch egru-lm)";
    language(weights, Carry::Full, note.to_owned())
}

fn language(weights: &mut Weights, carry: Carry, note: String) -> Result<Graph, ConvertError> {
    weights.notes.push(note);
    let task = Task { window: WINDOW, ..Task::default() };
    let tensors = weights.read_all()?;
    egru_lm::official_graph(&tensors, carry, WINDOW, task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}

/// The gesture network behind its front end.
pub(super) fn gestures(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = "inputs are the values in front of the first layer: pooled and brought together, or \
                what a convolutional front end gives";
    weights.notes.push(note.to_owned());
    let tensors = weights.read_all()?;
    egru::official_graph(&tensors, Task::default())
        .map_err(|source| weights.not_this_network(source.to_string()))
}
