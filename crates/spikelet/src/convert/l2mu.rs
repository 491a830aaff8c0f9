//! Official L2MU checkpoints (neuromorphic-polito/L2MU-Braille) of both generations.
//!
//! The HAR generation keeps its matrices as plain parameters (`e_x`), has LIF or CuBa-LIF neurons
//! and an input module for real values; the Braille generation has sub-modules (`e_x.weight`).
//! Both compute the same cell, with the stored A as a row-major matrix: the transpose of the
//! conventional Legendre update. Nodes are named as in graphs of networks trained here.

use super::{
    ConvertError,
    l2mu_input::{HAR_CHANNELS, Module, ModuleKind},
    weights::Weights,
};
use spikelet_data::{braille, checkpoint::Checkpoint, wisdm};
use spikelet_graph::{Graph, GraphBuilder, Layout, Readout, Signal, Task, Tensor};

const MATRICES: [&str; 8] = ["e_x", "e_h", "e_m", "A", "B", "W_x", "W_h", "W_m"];
const POPULATIONS: [&str; 4] = ["spk_u", "spk_h", "spk_m", "spk_output"];
/// Channels of the HAR generation in the order of its input, in the names of the data set.
const WISDM_CHANNELS: [&str; 6] = ["ax", "gx", "ay", "gy", "az", "gz"];

pub(super) fn root(checkpoint: &Checkpoint) -> Option<String> {
    let ends = ["spk_u.threshold", "e_x.weight", "e_x"];
    let all: Vec<&str> = checkpoint.names().collect();
    let roots = ends.iter().flat_map(|end| {
        let with_dot = move |root: &&str| root.is_empty() || root.ends_with('.');
        all.iter().filter_map(move |name| name.strip_suffix(end)).filter(with_dot)
    });
    // A file may hold the names twice, for instance with gradients: the root of most tensors.
    let tensors = |root: &&str| all.iter().filter(|name| name.starts_with(root)).count();
    roots.max_by_key(tensors).map(str::to_owned)
}

pub(super) fn convert(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let module = Module::find(weights);
    let is_braille = weights.has("e_x.weight");
    let matrix = |name: &str| if is_braille { format!("{name}.weight") } else { name.to_owned() };
    // The HAR generation imports what snnTorch 0.8 removed.
    weights.old_snntorch = !is_braille;
    weights.require(&required(weights, &module, matrix))?;

    let mut graph = GraphBuilder::new("l2mu");
    let e_x = weights.read(&matrix("e_x"), 2)?;
    let [memories, inputs] = [e_x.shape[0], e_x.shape[1]];
    let a = weights.read(&matrix("A"), 2)?;
    let order = a.shape[0];
    let a = square(weights, &matrix("A"), a)?;
    let b = weights.read_as(&matrix("B"), &[order, 1])?;
    let b = Tensor { shape: vec![order], ..b };
    let output = weights.read("output_transformation.weight", 2)?;
    let [classes, hidden] = [output.shape[0], output.shape[1]];
    let state = memories.saturating_mul(order);
    let e_h = weights.read_as(&matrix("e_h"), &[memories, hidden])?;
    let e_m = weights.read_as(&matrix("e_m"), &[memories, state])?;
    let w_x = weights.read_as(&matrix("W_x"), &[hidden, inputs])?;
    let w_h = weights.read_as(&matrix("W_h"), &[hidden, hidden])?;
    let w_m = weights.read_as(&matrix("W_m"), &[hidden, state])?;
    let bias = weights.read_as("output_transformation.bias", &[classes])?;

    let task = task(weights, &module, inputs, classes);
    let binary = task.dataset.as_deref() == Some("braille");
    let channels = if module.channels > 0 { module.channels } else { inputs };
    graph.input("input", if binary { Signal::Binary } else { Signal::Dense }, &[channels]);
    let input = module.lower(weights, &mut graph, inputs)?;
    graph.linear("e_x", &input, &e_x, None, Layout::ByInput);
    graph.linear("e_h", ("h", 1), &e_h, None, Layout::ByInput);
    graph.linear("e_m", ("m", 1), &e_m, None, Layout::ByInput);
    graph.neuron("u", &["e_x", "e_h", "e_m"], weights.population("spk_u")?.neuron());
    graph.legendre("legendre", "u", ("m", 1), memories, a, b);
    graph.neuron("m", &["legendre"], weights.population("spk_m")?.neuron());
    graph.linear("w_x", &input, &w_x, None, Layout::ByInput);
    graph.linear("w_h", ("h", 1), &w_h, None, Layout::ByInput);
    graph.linear("w_m", "m", &w_m, None, Layout::ByInput);
    graph.neuron("h", &["w_x", "w_h", "w_m"], weights.population("spk_h")?.neuron());
    graph.linear("w_o", "h", &output, Some(bias), Layout::ByInput);
    graph.neuron("out", &["w_o"], weights.population("spk_output")?.neuron());
    graph.readout("readout", "out", Readout::Sum);
    graph.output("output", "readout");
    graph.task(task);
    weights.notes.push(format!(
        "{} generation, {} input module: {channels} channels, {memories} memories of order {order}, \
         {hidden} hidden neurons, {classes} classes",
        if is_braille { "Braille" } else { "HAR" },
        module.kind.name(),
    ));
    Ok(graph.finish()?)
}

/// The tensors that must be there, given the input module and the kind of neuron.
fn required(weights: &Weights, module: &Module, matrix: impl Fn(&str) -> String) -> Vec<String> {
    let linear = ["weight", "bias"].as_slice();
    let cuba = weights.has("spk_u.alpha");
    let neuron: &[&str] =
        if cuba { &["beta", "threshold", "alpha"] } else { &["beta", "threshold"] };
    let mut names: Vec<String> = MATRICES.iter().map(|name| matrix(name)).collect();
    let mut part = |module: &str, parts: &[&str]| {
        names.extend(parts.iter().map(|part| format!("{module}.{part}")));
    };
    POPULATIONS.iter().for_each(|name| part(name, neuron));
    part("output_transformation", linear);
    (0..module.channels).for_each(|channel| part(&module.map(channel), linear));
    if module.kind == ModuleKind::Stacked {
        for layer in ["encoder", "decoder"] {
            part(&format!("input_encoder.{layer}"), linear);
            part(&format!("input_encoder.spk_{layer}"), neuron);
        }
        (0..module.channels).for_each(|channel| part(&module.neuron(channel), neuron));
    }
    names
}

fn square(weights: &Weights, name: &str, matrix: Tensor) -> Result<Tensor, ConvertError> {
    if matrix.shape[0] == matrix.shape[1] {
        return Ok(matrix);
    }
    Err(weights.shape(name, matrix.shape, "a square matrix".into()))
}

/// What the data was, as far as the sizes tell.
fn task(weights: &mut Weights, module: &Module, inputs: usize, classes: usize) -> Task {
    let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    if module.kind == ModuleKind::Plain
        && (inputs, classes) == (braille::CHANNELS, braille::CLASSES.len())
    {
        weights.notes.push("12 inputs and 7 classes: taken as the Braille task".into());
        return Task {
            dataset: Some("braille".into()),
            classes: strings(&braille::CLASSES),
            channels: (0..inputs).map(|channel| format!("taxel{channel}")).collect(),
            window: braille::STEPS,
            step_ms: Some(5.0),
            ..Task::default()
        };
    }
    if module.channels == HAR_CHANNELS.len() {
        weights.notes.push(
            "6 channels: taken as WISDM in the official order (acc x, gyro x, acc y, gyro y, acc z, \
             gyro z), raw units; the file does not name the classes"
                .into(),
        );
        return Task {
            dataset: Some("wisdm-watch".into()),
            channels: strings(&WISDM_CHANNELS),
            window: 40,
            step_ms: Some(wisdm::STEP_MS),
            ..Task::default()
        };
    }
    weights.notes.push("the file names neither channels nor classes".into());
    Task::default()
}
