//! Weights of the official code: state dictionaries of its classification models, whose sizes are
//! in the shapes of their tensors.

use super::{
    config::MetaSpikeformerConfig,
    model::{network, of_size},
};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::{
        OfficialError,
        convnet::{Convnet, from_official},
    },
    params::{self, LoadError, Tensors},
};
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{Graph, GraphBuilder, GraphError, Signal, Task};

/// What the names of the second head's tensors begin with.
const SECOND_HEAD: &str = "head_kd.";

/// What the tensors say.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Widths, and whether there is a second head.
    pub config: MetaSpikeformerConfig,
    /// Channels of an image.
    pub channels: usize,
    /// Classes.
    pub classes: usize,
}

/// The sizes of an official state dictionary.
///
/// # Errors
/// A tensor that says a size is missing or has another number of axes.
pub fn sizes(official: &Tensors) -> Result<Sizes, LoadError> {
    let shape = |name: &str, axes: usize| match official.get(name) {
        None => Err(LoadError::Missing(name.to_owned())),
        Some((shape, _)) if shape.len() == axes => Ok(shape.clone()),
        Some((found, _)) => {
            let (name, found) = (name.to_owned(), found.clone());
            Err(LoadError::Shape { name, found, expected: vec![0; axes] })
        }
    };
    let conv = |stage: &str| shape(&format!("{stage}.encode_conv.weight"), 4);
    let mut widths = [0; 4];
    for (width, stage) in
        widths.iter_mut().zip(["downsample1_2", "downsample2", "downsample3", "downsample4"])
    {
        *width = conv(stage)?[0];
    }
    let config = MetaSpikeformerConfig {
        distilled: has_second_head(official),
        ..MetaSpikeformerConfig::new(widths)
    };
    let (channels, classes) = (conv("downsample1_1")?[1], shape("head.weight", 2)?[0]);
    Ok(Sizes { config, channels, classes })
}

/// The event graph of an official state dictionary, for images of `size` height and width.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(
    official: &Tensors,
    size: [usize; 2],
    task: Task,
) -> Result<Graph, OfficialError> {
    let Sizes { config, channels, classes } = sizes(official)?;
    let mut init = Init::new(0, &Device::flex());
    // Sizes come from a file: fresh weights must not take more memory than the file's do.
    let given = official.values().map(|(_, values)| values.len()).sum();
    let input = [size[0], size[1], channels];
    let fresh = of_size(&config, input, classes, given, &mut init)?;
    let model = from_official(fresh, official)?;
    Ok(graph_of(&model, input, task)?)
}

/// The network with the weights of one that has no second head: its own stays fresh, as where the official code
/// begins to distill.
///
/// # Errors
/// Other names or shapes than those of the network.
pub fn with_second_head(model: Convnet, weights: &Tensors) -> Result<Convnet, LoadError> {
    let mut all = weights.clone();
    let fresh = params::collect(&model);
    all.extend(fresh.into_iter().filter(|(name, _)| name.starts_with(SECOND_HEAD)));
    params::load(model, &all)
}

/// Whether weights have a second head.
pub fn has_second_head(weights: &Tensors) -> bool {
    weights.keys().any(|name| name.starts_with(SECOND_HEAD))
}

/// A fresh network at a firing rate (0 to 1) on the image `x` `[h, w, channels]`, shown for as many
/// steps as the configuration says: for measurements.
///
/// # Errors
/// Sizes that make no network.
pub fn graph_at_rate(
    config: &MetaSpikeformerConfig,
    x: &[f32],
    input: [usize; 3],
    classes: usize,
    rate: f32,
) -> Result<Graph, OfficialError> {
    let device = Device::flex();
    let model = network(config, input, classes, &mut Init::new(1, &device))?;
    let x: Tensor<3> = Tensor::from_data(TensorData::new(x.to_vec(), [1, 1, x.len()]), &device);
    let model = model.at_rate(x.repeat_dim(0, config.steps), rate);
    Ok(graph_of(&model, input, Task::default())?)
}

fn graph_of(model: &Convnet, input: [usize; 3], task: Task) -> Result<Graph, GraphError> {
    let mut graph = GraphBuilder::new("metaspikeformer");
    graph.input("input", Signal::Dense, &input);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    graph.task(task);
    finish(graph)
}
