//! Weights of the official code: the same names and shapes, with constants among them. And the way
//! back from an event graph.

use super::{
    config::{CellConfig, EgruConfig},
    layer::EgruLayer,
    model::{Egru, Linear},
};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::OfficialError,
    params::{self, LoadError, Tensors},
    raise::{Raise, RaiseError, readout},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphBuilder, Op, Readout, Signal, Task};
use spikelet_kernels::egru::PseudoDerivative;

/// What an official state dictionary holds beside weights, by the end of its name. The third is the
/// norm that gradients of the CUDA path are clipped to.
const CONSTANTS: [&str; 3] = ["dampening_factor", "pseudo_derivative_support", "_max_norm"];

/// The learned tensors of an official state dictionary.
pub fn learned(official: &Tensors) -> Tensors {
    let constant = |name: &str| CONSTANTS.iter().any(|end| name.ends_with(end));
    let tensors = official.iter().filter(|(name, _)| !constant(name));
    tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
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

/// The event graph of an official state dictionary of the gesture network without convolutional
/// front end. Inputs are the pooled frames.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(official: &Tensors, task: Task) -> Result<Graph, OfficialError> {
    let missing = |name: &str| LoadError::Missing(name.to_owned());
    let first = "layers.0.";
    let [inputs, units] = sizes(official, first)?.ok_or_else(|| missing("layers.0.kernel"))?;
    let (shape, _) = official.get("fc.bias").ok_or_else(|| missing("fc.bias"))?;
    let classes = shape.first().copied().unwrap_or(0);
    let has = |layer: &usize| official.contains_key(&format!("layers.{layer}.kernel"));
    let config = EgruConfig {
        units,
        layers: (0..official.len()).take_while(has).count(),
        dropout: 0.0,
        cell: CellConfig::default(),
        front: None,
        readout: Readout::Mean,
    };
    let learned = learned(official);
    // Sizes come from a file: fresh weights must not take far more memory than the file's do.
    let given: usize = learned.values().map(|(_, values)| values.len()).sum();
    if units.saturating_mul(units).max(units.saturating_mul(classes)) > given {
        return Err(missing("layers.0.recurrent_kernel").into());
    }
    let fresh = Egru::new(&config, &[inputs], classes, &mut Init::new(0, &Device::flex()))?;
    let model = params::load(fresh, &learned)?;
    let mut graph = GraphBuilder::new("egru");
    graph.input("input", Signal::Dense, &[inputs]);
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
    Ok(Egru { layers, fc, dropout: 0.0, front: None, readout: readout(graph)? })
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
