//! Weights of the official code: the same names, kernels and classes in PyTorch's order of axes.

use super::{config::ConvnetConfig, model::Convnet, network::Op};
use crate::{
    init::Init,
    lower::finish,
    model::SequenceModel,
    models::OfficialError,
    params::{self, LoadError, Tensors},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, GraphBuilder, Signal, Task};

/// How the official code lays a parameter out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfficialShape {
    /// As here.
    Same,
    /// `[out, in, kh, kw]` or `[out, in, kw]` where here it is `[kh, kw, in, out]`.
    Kernel,
    /// `[out, 1, 1, 1]` where here it is `[out]`.
    Gain,
    /// `[in, out, 2, 2]` where here it is `[1, 1, in, 4 out]`.
    Deconv,
    /// No axes where here it is `[1]`.
    Scalar,
    /// `[out, in * h * w]` where here it is `[out, h * w * in]`, of an image of this many
    /// positions.
    Classes {
        /// `h * w`.
        positions: usize,
    },
}

impl OfficialShape {
    /// Values as they lie here, from values as they lie there, and their shape here.
    pub(in crate::models) fn read(self, shape: &[usize], values: &[f32]) -> (Vec<usize>, Vec<f32>) {
        match (self, shape) {
            (OfficialShape::Kernel, &[outputs, inputs, h, w]) => {
                let taps = h * w;
                let mut turned = vec![0.0; values.len()];
                for (k, &value) in values.iter().enumerate() {
                    let (out, rest) = (k / (inputs * taps), k % (inputs * taps));
                    let (input, tap) = (rest / taps, rest % taps);
                    turned[(tap * inputs + input) * outputs + out] = value;
                }
                (vec![h, w, inputs, outputs], turned)
            }
            // One-dimensional convolutions of tokens.
            (OfficialShape::Kernel, &[outputs, inputs, taps]) => {
                self.read(&[outputs, inputs, 1, taps], values)
            }
            (OfficialShape::Classes { positions }, &[outputs, columns])
                if columns.is_multiple_of(positions.max(1)) =>
            {
                let channels = columns / positions.max(1);
                let mut turned = vec![0.0; values.len()];
                for (k, &value) in values.iter().enumerate() {
                    let (row, column) = (k / columns, k % columns);
                    let (channel, position) = (column / positions, column % positions);
                    turned[row * columns + position * channels + channel] = value;
                }
                (vec![outputs, columns], turned)
            }
            (OfficialShape::Deconv, &[inputs, outputs, 2, 2]) => {
                let mut turned = vec![0.0; values.len()];
                for (k, &value) in values.iter().enumerate() {
                    let (row, pixel) = (k / 4, k % 4);
                    let (input, out) = (row / outputs.max(1), row % outputs.max(1));
                    turned[(input * 4 + pixel) * outputs + out] = value;
                }
                (vec![1, 1, inputs, 4 * outputs], turned)
            }
            (OfficialShape::Gain, &[outputs, 1, 1, 1]) => (vec![outputs], values.to_vec()),
            (OfficialShape::Scalar, &[]) => (vec![1], values.to_vec()),
            _ => (shape.to_vec(), values.to_vec()),
        }
    }
}

impl Convnet {
    /// How the official code lays out the parameter of this name.
    pub fn official_shape(&self, name: &str) -> OfficialShape {
        for layer in self.layers() {
            let Some(part) = name.strip_prefix(&layer.name) else { continue };
            match (&layer.op, part) {
                (Op::Conv { .. }, ".weight") => return OfficialShape::Kernel,
                (Op::Deconv { .. }, ".weight") => return OfficialShape::Deconv,
                (Op::Conv { .. }, ".gain") => return OfficialShape::Gain,
                (Op::Gain { .. }, "") => return OfficialShape::Scalar,
                (Op::Linear { .. }, ".weight") => {
                    let [h, w, _] = self.layers()[layer.inputs[0]].shape;
                    return OfficialShape::Classes { positions: h * w };
                }
                _ => {}
            }
        }
        OfficialShape::Same
    }

    /// Values of the parameter of this name (or their gradients) as they lie here, from how they
    /// lie in the official code.
    pub fn from_official_order(
        &self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> (Vec<usize>, Vec<f32>) {
        self.official_shape(name).read(shape, values)
    }
}

/// The network with the weights and running statistics of an official state dictionary. Counters
/// of batches are passed over.
///
/// # Errors
/// Names or shapes that are not those of the network.
pub fn from_official(model: Convnet, official: &Tensors) -> Result<Convnet, LoadError> {
    let mut tensors = Tensors::new();
    for (name, (shape, values)) in official {
        if !name.ends_with(".num_batches_tracked") {
            tensors.insert(name.clone(), model.from_official_order(name, shape, values));
        }
    }
    params::load(model, &tensors)
}

/// The event graph of an official state dictionary.
///
/// # Errors
/// Tensors that are not those of the network.
pub fn official_graph(
    config: &ConvnetConfig,
    input: [usize; 3],
    classes: usize,
    official: &Tensors,
    task: Task,
) -> Result<Graph, OfficialError> {
    let mut init = Init::new(0, &Device::flex());
    // Sizes come from a file: fresh weights must not take more memory than the file's do.
    let given = official.values().map(|(_, values)| values.len()).sum();
    let fresh = Convnet::of_size(config, input, classes, given, &mut init)?;
    let model = from_official(fresh, official)?;
    let mut graph = GraphBuilder::new(&config.network.to_string());
    graph.input("input", Signal::Dense, &input);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    graph.task(task);
    Ok(finish(graph)?)
}
