//! Weights of the official code: the same names and shapes, with constants among them. And the way
//! back from an event graph.

use super::{
    config::{CellConfig, EgruConfig},
    convolutions::{Convolutions, ConvolutionsConfig, LAYERS},
    front::{Aggregate, Divide, FrontConfig},
    layer::EgruLayer,
    model::{Egru, Linear},
};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::{OfficialError, convnet::OfficialShape},
    params::{self, LoadError, Tensors},
    raise::{Raise, RaiseError, readout},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphBuilder, Op, Readout, Task};
use spikelet_kernels::egru::PseudoDerivative;

/// What an official state dictionary holds beside weights, by the end of its name. The third is the
/// norm that gradients of the CUDA path are clipped to.
const CONSTANTS: [&str; 3] = ["dampening_factor", "pseudo_derivative_support", "_max_norm"];

/// The official numbers of the convolutions, with those of what stands between them, and of the
/// matrix behind.
const CONVOLUTIONS: [usize; LAYERS] = [0, 3, 6, 9, 12];
const BEHIND: usize = 15;

/// The learned tensors of an official state dictionary, under the names and with the axes they have
/// here.
pub fn learned(official: &Tensors) -> Tensors {
    let constant = |name: &str| CONSTANTS.iter().any(|end| name.ends_with(end));
    let tensors = official.iter().filter(|(name, _)| !constant(name));
    tensors.map(|(name, tensor)| renamed(name, tensor)).collect()
}

fn renamed(
    name: &str,
    (shape, values): &(Vec<usize>, Vec<f32>),
) -> (String, (Vec<usize>, Vec<f32>)) {
    let as_it_is = || (name.to_owned(), (shape.clone(), values.clone()));
    let number = |rest: &str| {
        let (number, part) = rest.split_once('.')?;
        Some((number.parse::<usize>().ok()?, part.to_owned()))
    };
    let Some((number, part)) = name.strip_prefix("conv.").and_then(number) else {
        return as_it_is();
    };
    if number == BEHIND {
        return (format!("convolutions.linear.{part}"), (shape.clone(), values.clone()));
    }
    match CONVOLUTIONS.iter().position(|&known| known == number) {
        Some(at) => {
            (format!("convolutions.conv.{at}.{part}"), OfficialShape::Kernel.read(shape, values))
        }
        None => as_it_is(),
    }
}

/// What the events of layer `name` (with a dot at the end) were trained with.
pub fn pseudo(official: &Tensors, name: &str) -> PseudoDerivative {
    let first = |end: &str| official.get(&format!("{name}{end}"))?.1.first().copied();
    let CellConfig { dampening, support, .. } = CellConfig::default();
    PseudoDerivative {
        dampening: first(CONSTANTS[0]).unwrap_or(dampening),
        support: first(CONSTANTS[1]).unwrap_or(support),
    }
}

/// Inputs and units of layer `name` of an official state dictionary; nothing without such a layer.
///
/// # Errors
/// A kernel that is no matrix of three gates.
pub fn sizes(official: &Tensors, name: &str) -> Result<Option<[usize; 2]>, LoadError> {
    let name = format!("{name}kernel");
    let Some((shape, _)) = official.get(&name) else { return Ok(None) };
    match shape.as_slice() {
        &[inputs, gates] if gates.is_multiple_of(3) => Ok(Some([inputs, gates / 3])),
        _ => Err(LoadError::Shape { name, found: shape.clone(), expected: vec![0, 3] }),
    }
}

/// What an official state dictionary does not say about the frames in front of its convolutions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OfficialFrames {
    /// Side of a recorded frame.
    pub sensor: usize,
    /// Side of a frame after pooling.
    pub side: usize,
    /// What becomes of the two polarities: the convolutions see one channel.
    pub aggregate: Aggregate,
    /// What means are divided by.
    pub divide: Divide,
}

/// The event graph of an official state dictionary of the gesture network. With convolutions its
/// inputs are `frames` `[height, width, 2]` of event counts, without them the pooled frames.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(
    official: &Tensors,
    frames: OfficialFrames,
    task: Task,
) -> Result<Graph, OfficialError> {
    let missing = |name: &str| LoadError::Missing(name.to_owned());
    let first = "layers.0.";
    let [inputs, units] = sizes(official, first)?.ok_or_else(|| missing("layers.0.kernel"))?;
    let outputs = |name: &str| {
        let (shape, _) = official.get(name).ok_or_else(|| missing(name))?;
        Ok::<usize, LoadError>(shape.first().copied().unwrap_or(0))
    };
    let classes = outputs("fc.bias")?;
    let has = |layer: &usize| official.contains_key(&format!("layers.{layer}.kernel"));
    let front = match official.contains_key("conv.0.weight") {
        false => None,
        true => {
            let mut channels = [0; LAYERS];
            for (channels, number) in channels.iter_mut().zip(CONVOLUTIONS) {
                *channels = outputs(&format!("conv.{number}.bias"))?;
            }
            let features = outputs(&format!("conv.{BEHIND}.bias"))?;
            Some(FrontConfig {
                pool: (frames.sensor / frames.side.max(1)).max(1),
                aggregate: frames.aggregate,
                divide: frames.divide,
                convolutions: Some(ConvolutionsConfig { channels, features }),
            })
        }
    };
    let config = EgruConfig {
        units,
        layers: (0..official.len()).take_while(has).count(),
        dropout: 0.0,
        cell: CellConfig::default(),
        front,
        regularise: None,
        readout: Readout::Mean,
    };
    let learned = learned(official);
    // Sizes come from a file: fresh weights must not take far more memory than the file's do.
    let given: usize = learned.values().map(|(_, values)| values.len()).sum();
    let largest = front.and_then(|front| front.convolutions).map_or(0, |sizes| {
        let pairs = sizes.channels.windows(2).map(|pair| pair[0].saturating_mul(pair[1]));
        pairs.chain([sizes.channels[LAYERS - 1].saturating_mul(sizes.features)]).max().unwrap_or(0)
    });
    if units.saturating_mul(units).max(units.saturating_mul(classes)).max(largest) > given {
        return Err(missing("layers.0.recurrent_kernel").into());
    }
    let shape = match front {
        Some(_) => vec![frames.sensor, frames.sensor, 2],
        None => vec![inputs],
    };
    let fresh = Egru::new(&config, &shape, classes, &mut Init::new(0, &Device::flex()))?;
    let model = params::load(fresh, &learned)?;
    let mut graph = GraphBuilder::new("egru");
    graph.input("input", model.input_signal(), &shape);
    let last = SequenceModel::lower(&model, &mut graph, "input");
    graph.readout("readout", &last, model.readout);
    graph.output("output", "readout");
    graph.task(task);
    Ok(finish(graph)?)
}

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<Egru, RaiseError> {
    let raise = Raise::new(graph, device);
    let names = (0..).map(|index| format!("layers.{index}")).take_while(|name| raise.has(name));
    let layers = names.map(|name| layer(&raise, &name)).collect::<Result<Vec<_>, _>>()?;
    let fc = Linear { weight: raise.matrix("fc")?, bias: raise.bias("fc")? };
    let convolutions = Convolutions::from_graph(&raise)?;
    let readout = readout(graph)?;
    Ok(Egru { layers, fc, convolutions, dropout: 0.0, front: None, regularise: None, readout })
}

/// A layer of a graph; what only matters in training is as in a fresh one.
pub(in crate::models) fn layer(raise: &Raise<'_>, name: &str) -> Result<EgruLayer, RaiseError> {
    let Op::Egru {
        weight_input, weight_hidden, bias_input, bias_hidden, threshold, zoneout, ..
    } = raise.op(name)?
    else {
        return Err(RaiseError::Kind { node: name.to_owned(), expected: "an EGRU layer" });
    };
    let CellConfig { dampening, support, dropconnect, .. } = CellConfig::default();
    Ok(EgruLayer {
        kernel: raise.by_input(name, weight_input)?,
        recurrent_kernel: raise.by_input(name, weight_hidden)?,
        bias: raise.vector(name, bias_input)?,
        recurrent_bias: raise.vector(name, bias_hidden)?,
        thr: raise.vector(name, threshold)?,
        pseudo: PseudoDerivative { dampening, support },
        zoneout: *zoneout,
        dropconnect,
    })
}
