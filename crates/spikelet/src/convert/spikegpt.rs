//! SpikeGPT (Zhu et al. 2023). All sizes come from the shapes.

use super::{ConvertError, weights::Weights};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{Graph, Task};
use spikelet_train::{
    models::spikegpt::{Semantics, official_graph},
    params::Tensors,
};

pub(super) fn root(checkpoint: &Checkpoint) -> Option<String> {
    let names = ["emb.weight", "blocks.0.ln0.weight", "blocks.0.ffn.time_mix_k", "head.weight"];
    super::weights::root(checkpoint, &names)
}

/// As the official training code computes it.
pub(super) fn exact(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = "embeddings become spikes, as in the official training code; the published generator \
                differs from it (--arch spikegpt-runner)";
    convert(weights, |_| Semantics::EXACT, note)
}

/// As the official generator computes it.
pub(super) fn runner(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = "as the published generator computes: embeddings become spikes only in a vocabulary \
                of 77, and the residual stream is halved every six blocks";
    convert(weights, Semantics::official_runner, note)
}

/// The weights of a checkpoint of the authors, by the names they have in training, if it is one.
pub(crate) fn weights_of(checkpoint: &Checkpoint) -> Option<Result<Tensors, ConvertError>> {
    let root = root(checkpoint)?;
    Some(Weights::new(checkpoint, "spikegpt", root).read_all())
}

fn convert(
    weights: &mut Weights,
    semantics: fn(usize) -> Semantics,
    note: &str,
) -> Result<Graph, ConvertError> {
    weights.notes.push(note.to_owned());
    let tensors = weights.read_all()?;
    official_graph(&tensors, semantics, Task::default())
        .map_err(|source| weights.not_this_network(source.to_string()))
}
