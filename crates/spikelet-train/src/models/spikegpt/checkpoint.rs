//! Weights of the official code: the same names and shapes, so that only sizes are worked out.

use super::{
    config::{Blocks, Semantics, SpikeGptConfig},
    model::SpikeGpt,
};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::{ModelError, OfficialError},
    params::{self, LoadError, Tensors},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphBuilder, Signal, Task};

impl SpikeGptConfig {
    /// The sizes of an official state dictionary, and its vocabulary.
    ///
    /// # Errors
    /// A dictionary without embedding.
    pub fn of_official(official: &Tensors) -> Result<(Self, usize), LoadError> {
        let name = "emb.weight";
        let Some((shape, _)) = official.get(name) else {
            return Err(LoadError::Missing(name.to_owned()));
        };
        let &[vocabulary, width] = shape.as_slice() else {
            let (name, expected) = (name.to_owned(), vec![0, 0]);
            return Err(LoadError::Shape { name, found: shape.clone(), expected });
        };
        let has = |layer: &usize| official.contains_key(&format!("blocks.{layer}.ln1.weight"));
        let layers = (0..official.len()).take_while(has).count();
        let ffn_pre = official.contains_key("blocks.0.ffnPre.key.weight");
        let blocks = if ffn_pre { Blocks::FfnPre } else { Blocks::Rwkv };
        Ok((Self { blocks, ..Self::new(layers, width) }, vocabulary))
    }
}

/// The event graph of an official state dictionary; `semantics` is given the vocabulary.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(
    official: &Tensors,
    semantics: fn(usize) -> Semantics,
    task: Task,
) -> Result<Graph, OfficialError> {
    let (config, vocabulary) = SpikeGptConfig::of_official(official)?;
    // Sizes come from a file: fresh weights must not take far more memory than the file's do. What
    // is missing is named later.
    let given: usize = official.values().map(|(_, values)| values.len()).sum();
    if config.parameters(vocabulary).is_none_or(|needed| needed / 4 > given) {
        return Err(ModelError::TooLarge { layer: "blocks".to_owned() }.into());
    }
    let mut init = Init::new(0, &Device::flex());
    let fresh = SpikeGpt::new(&config, vocabulary, &mut init)?;
    let model = params::load(fresh, official)?.with_semantics(semantics(vocabulary));
    graph_of(&model, &config, task)
}

/// The event graph of a network with the weights that training starts from.
///
/// # Errors
/// Sizes no network can be made of.
pub fn untrained_graph(
    config: &SpikeGptConfig,
    vocabulary: usize,
    seed: u64,
    task: Task,
) -> Result<Graph, OfficialError> {
    let model = SpikeGpt::new(config, vocabulary, &mut Init::new(seed, &Device::flex()))?;
    graph_of(&model, config, task)
}

fn graph_of(model: &SpikeGpt, config: &SpikeGptConfig, task: Task) -> Result<Graph, OfficialError> {
    let name = format!("spikegpt-{}x{}", config.layers, config.width);
    let mut graph = GraphBuilder::new(&name);
    graph.input("input", Signal::Dense, &[1]);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    graph.task(task);
    Ok(finish(graph)?)
}
