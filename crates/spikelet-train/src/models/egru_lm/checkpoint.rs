//! Weights of the official code.

use super::{config::EgruLmConfig, model::EgruLm};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::{
        OfficialError,
        egru::{CellConfig, checkpoint},
        recurrent_lm::{Carry, Dropouts, Regularisers},
    },
    params::{self, LoadError, Tensors},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphBuilder, Signal, Task};

/// The matrix of the decoder, which is the table of the embeddings.
const TIED: &str = "decoder.decoder.weight";

impl EgruLmConfig {
    /// The sizes of an official state dictionary, and its vocabulary.
    ///
    /// # Errors
    /// A dictionary without embedding or layers.
    pub fn of_official(official: &Tensors) -> Result<(Self, usize), LoadError> {
        let name = "embeddings.weight".to_owned();
        let Some((shape, _)) = official.get(&name) else { return Err(LoadError::Missing(name)) };
        let &[vocabulary, embedding] = shape.as_slice() else {
            return Err(LoadError::Shape { name, found: shape.clone(), expected: vec![0, 0] });
        };
        let Some([_, hidden]) = checkpoint::sizes(official, "rnns.0.")? else {
            return Err(LoadError::Missing("rnns.0.kernel".to_owned()));
        };
        let has = |layer: &usize| official.contains_key(&format!("rnns.{layer}.kernel"));
        let config = EgruLmConfig {
            layers: (0..official.len()).take_while(has).count(),
            embedding,
            hidden,
            projection: official.contains_key("decoder.projection.weight"),
            dropout: Dropouts::default(),
            regularise: Regularisers::default(),
            carry: Carry::default(),
            cell: CellConfig::default(),
        };
        Ok((config, vocabulary))
    }
}

impl EgruLm {
    /// The network of an official state dictionary, for windows of so many tokens.
    ///
    /// # Errors
    /// Tensors that are not those of the network, a decoder that does not share the embedding.
    pub fn of_official(
        official: &Tensors,
        window: usize,
        device: &Device,
    ) -> Result<EgruLm, OfficialError> {
        let (config, vocabulary) = EgruLmConfig::of_official(official)?;
        let mut learned = checkpoint::learned(official);
        if let Some(decoder) = learned.remove(TIED)
            && Some(&decoder) != official.get("embeddings.weight")
        {
            return Err(OfficialError::Untied);
        }
        // Sizes come from a file: fresh weights must not take far more memory than the file's do.
        // What is missing is named later.
        let given: usize = learned.values().map(|(_, values)| values.len()).sum();
        let (hidden, layers) = (config.hidden, config.layers);
        let inner = hidden.saturating_mul(hidden).saturating_mul(layers.saturating_sub(1));
        if inner > given {
            return Err(LoadError::Missing("rnns.0.recurrent_kernel".to_owned()).into());
        }
        let fresh = EgruLm::new(&config, vocabulary, window, &mut Init::new(0, device))?;
        let mut model = params::load(params::name_ids(fresh), &learned)?;
        for (index, layer) in model.rnns.iter_mut().enumerate() {
            layer.pseudo = checkpoint::pseudo(official, &format!("rnns.{index}."));
        }
        Ok(model.learned(Vec::new()))
    }
}

/// The event graph of an official state dictionary; `carry` and `window` say what goes from one
/// window to the next.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(
    official: &Tensors,
    carry: Carry,
    window: usize,
    task: Task,
) -> Result<Graph, OfficialError> {
    let model = EgruLm::of_official(official, window, &Device::flex())?;
    let model = EgruLm { carry, ..model };
    let mut graph = GraphBuilder::new("egru-lm");
    graph.input("input", Signal::Dense, &[1]);
    let last = SequenceModel::lower(&model, &mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    graph.task(task);
    Ok(finish(graph)?)
}
