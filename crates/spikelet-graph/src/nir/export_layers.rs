//! Layers of the event graph as NIR's.

use super::{
    export_neurons::Refused,
    model::{Field, FieldValues, NirNode},
    order::Form,
    report::{Fidelity, NodeReport},
};
use crate::{
    error::GraphError,
    graph::{Graph, Node},
    op::{Layout, Op, Pooling, Weight},
    tensor::{Tensor, Values},
};

/// The most values of a Legendre memory written as one matrix.
const MOST_VALUES: usize = 1 << 26;

/// One of the NIR nodes that a node becomes.
pub(super) struct Part {
    /// What its name has behind the node's.
    pub suffix: &'static str,
    /// The port of the node whose values it takes.
    pub port: usize,
    /// The NIR node.
    pub node: NirNode,
}

impl Part {
    /// The only one.
    pub fn whole(node: NirNode) -> Self {
        Part { suffix: "", port: 0, node }
    }
}

impl From<GraphError> for Refused {
    fn from(error: GraphError) -> Self {
        Refused::Error(error.into())
    }
}

/// The NIR nodes of a node that is no neuron; none for a read-out. `input` is the form at its
/// first port, `form` that of what it gives.
pub(super) fn parts(
    graph: &Graph,
    node: &Node,
    input: &Form,
    form: &Form,
    report: &mut NodeReport,
) -> Result<Vec<Part>, Refused> {
    let writer = Writer { graph, node, input, form };
    for weight in node.op.weights() {
        let tensor = graph.tensor(&node.name, &weight.tensor)?;
        if matches!(tensor.values, Values::I8(_) | Values::I4(_) | Values::F16(_)) {
            report.notes.push(format!(
                "{} weights are written as 32-bit floats of the same values: larger, and no \
                 field says that fewer bits are enough",
                tensor.data_type()
            ));
            report.fidelity = report.fidelity.max(Fidelity::Lossy);
        }
    }
    let no = |what: &str| Err(Refused::Inexpressible(format!("NIR has no {what}")));
    let whole = |node: NirNode| Ok(vec![Part::whole(node)]);
    match &node.op {
        Op::Input { .. } => whole(writer.marker("Input")),
        Op::Output => whole(writer.marker("Output")),
        Op::Readout { .. } => Ok(Vec::new()),
        Op::Linear { weight, bias } => whole(writer.linear(weight, bias.as_deref())?),
        Op::Conv2d { weight, bias, stride, padding, dilation, groups } => {
            let values = writer.kernel(weight)?;
            if values.shape[2] != values.shape[3] || *groups > 1 {
                let note = "nir 1.0.8 infers a wrong shape for kernels that are not square and \
                            for groups: read the file with type_check=False";
                report.notes.push(note.to_owned());
            }
            let fields = [
                ("stride", Field::sizes(stride)),
                ("padding", Field::sizes(padding)),
                ("dilation", Field::sizes(dilation)),
            ];
            whole(writer.conv(values, bias.as_deref(), *groups, fields)?)
        }
        Op::Pool2d { pooling, kernel, stride, padding } => match pooling {
            Pooling::Average => whole(writer.pool("AvgPool2d", [*kernel, *stride, *padding])),
            Pooling::Sum => whole(writer.pool("SumPool2d", [*kernel, *stride, *padding])),
            Pooling::Max => no("pooling by the largest value"),
        },
        Op::AdaptivePool2d { size } => match writer.regular(*size) {
            Some(kernel) => {
                report.notes.push("windows of one size: an AvgPool2d".into());
                whole(writer.pool("AvgPool2d", [kernel, kernel, [0, 0]]))
            }
            None => no("pooling over windows of different sizes"),
        },
        Op::Add => {
            report.notes.push("edges into one node add up: a Scale of ones".into());
            whole(writer.scale(&[1.0]))
        }
        Op::Flatten => whole(writer.flatten()),
        Op::Scale { factor, shift } => {
            let factor = graph.tensor(&node.name, factor)?.to_f32();
            match shift {
                None => whole(writer.scale(&factor)),
                Some(shift) => {
                    report.notes.push("NIR's Scale shifts nothing: a diagonal matrix".into());
                    whole(writer.diagonal(&factor, shift)?)
                }
            }
        }
        Op::Legendre { memories, order, a, b } => {
            report.notes.push(format!(
                "A and B of {memories} memories as block-diagonal matrices: their zeros take \
                 memory and, in a simulator that multiplies densely, time"
            ));
            writer.legendre([*memories, *order], a, b)
        }
        Op::Concat => no("concatenation"),
        Op::Slice { .. } => no("selection of channels"),
        Op::Activation { function } => {
            no(&format!("element-wise {}", format!("{function:?}").to_lowercase()))
        }
        Op::Lstm { .. } => no("LSTM cell"),
        Op::Gru { .. } => no("GRU cell"),
        Op::Egru { .. } => no("EGRU cell"),
        Op::Embedding { .. } => no("embedding"),
        Op::LayerNorm { .. } => no("layer normalisation"),
        Op::TokenShift { .. } => no("token shift"),
        Op::Wkv { .. } => no("WKV recurrence"),
        Op::Multiply => no("product of values"),
        Op::Interpolate2d { .. } => no("interpolation"),
        Op::Border { .. } => no("border of other values than zero"),
        Op::Attention { .. } => no("attention"),
        Op::Neuron(_) => no("place for a neuron among its layers"),
    }
}

struct Writer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    input: &'a Form,
    form: &'a Form,
}

impl Writer<'_> {
    fn marker(&self, kind: &str) -> NirNode {
        nir(kind, [("shape", Field::sizes(&self.form.shape))])
    }

    /// Over the channels of an image: a convolution of 1 x 1.
    fn linear(&self, weight: &Weight, bias: Option<&str>) -> Result<NirNode, Refused> {
        let tensor = self.graph.tensor(&self.node.name, &weight.tensor)?;
        let values = self.graph.weight(&self.node.name, weight)?;
        let stored = Tensor::f32(&tensor.shape, values)?;
        let rows = match weight.layout {
            Layout::ByOutput => stored,
            Layout::ByInput => stored.permuted(&[1, 0]).unwrap_or(stored),
        };
        let [outputs, inputs] = [rows.shape[0], rows.shape[1]];
        let values = rows.to_f32();
        if self.input.as_image().is_some() {
            let values = floats(&[outputs, inputs, 1, 1], values);
            return self.conv(values, bias, 1, one_by_one());
        }
        let values = values.chunks_exact(inputs).flat_map(|row| self.input.in_nir_order(row));
        let weight = floats(&[outputs, inputs], values.collect());
        match bias {
            None => Ok(nir("Linear", [("weight", weight)])),
            Some(bias) => {
                let bias = self.graph.tensor(&self.node.name, bias)?.to_f32();
                Ok(nir("Affine", [("weight", weight), ("bias", floats(&[outputs], bias))]))
            }
        }
    }

    /// A kernel as `[out, in / groups, kh, kw]`.
    fn kernel(&self, weight: &Weight) -> Result<Field, Refused> {
        let tensor = self.graph.tensor(&self.node.name, &weight.tensor)?;
        let values = self.graph.weight(&self.node.name, weight)?;
        let axes = match weight.layout {
            Layout::ByInput => [3, 2, 0, 1],
            Layout::ByOutput => [0, 3, 1, 2],
        };
        let stored = Tensor::f32(&tensor.shape, values)?;
        let kernel = stored.permuted(&axes).unwrap_or(stored);
        Ok(floats(&kernel.shape, kernel.to_f32()))
    }

    /// NIR's convolutions always have a bias.
    fn conv(
        &self,
        weight: Field,
        bias: Option<&str>,
        groups: usize,
        window: [(&'static str, Field); 3],
    ) -> Result<NirNode, Refused> {
        let outputs = weight.shape[0];
        let bias = match bias {
            Some(bias) => self.graph.tensor(&self.node.name, bias)?.to_f32(),
            None => vec![0.0; outputs],
        };
        let mut node = nir("Conv2d", window);
        let more = [
            ("input_shape", Field::sizes(&self.input.shape[1..])),
            ("weight", weight),
            ("bias", floats(&[outputs], bias)),
            // A count of groups fits in 63 bits.
            ("groups", Field::integer(groups as i64)),
        ];
        node.fields.extend(more.map(|(name, field)| (name.to_owned(), field)));
        Ok(node)
    }

    fn pool(&self, kind: &str, [kernel, stride, padding]: [[usize; 2]; 3]) -> NirNode {
        let fields = [
            ("kernel_size", Field::sizes(&kernel)),
            ("stride", Field::sizes(&stride)),
            ("padding", Field::sizes(&padding)),
        ];
        nir(kind, fields)
    }

    /// The size of the windows of adaptive pooling, if they have one size and do not overlap.
    fn regular(&self, size: [usize; 2]) -> Option<[usize; 2]> {
        let [_, height, width] = self.input.as_image()?;
        let fits = height.is_multiple_of(size[0]) && width.is_multiple_of(size[1]);
        fits.then(|| [height / size[0], width / size[1]])
    }

    fn flatten(&self) -> NirNode {
        let fields = [
            ("start_dim", Field::integer(0)),
            ("end_dim", Field::integer(-1)),
            ("input_type", Field::sizes(&self.input.shape)),
        ];
        nir("Flatten", fields)
    }

    /// One factor for all or one per channel.
    fn scale(&self, factors: &[f32]) -> NirNode {
        let values: Vec<f32> = factors.iter().copied().cycle().take(self.form.len()).collect();
        nir("Scale", [("scale", floats(&self.form.shape, self.form.in_nir_order(&values)))])
    }

    /// A factor and a shift per channel.
    fn diagonal(&self, factors: &[f32], shift_name: &str) -> Result<NirNode, Refused> {
        let len = factors.len();
        if len.saturating_mul(len) > MOST_VALUES {
            let problem = format!("a diagonal matrix of {len} rows is too large");
            return Err(Refused::Inexpressible(problem));
        }
        let image = self.input.as_image().is_some();
        let shift = self.graph.tensor(&self.node.name, shift_name)?.to_f32();
        let [factors, shift] = [factors, &shift]
            .map(|values| if image { values.to_vec() } else { self.form.in_nir_order(values) });
        let mut values = vec![0.0; len * len];
        for (row, factor) in factors.iter().enumerate() {
            values[row * len + row] = *factor;
        }
        if image {
            return self.conv(floats(&[len, len, 1, 1], values), Some(shift_name), 1, one_by_one());
        }
        let fields = [("weight", floats(&[len, len], values)), ("bias", floats(&[len], shift))];
        Ok(nir("Affine", fields))
    }

    /// `B` of the input and `A` of the memory, added up where they go.
    fn legendre(
        &self,
        [memories, order]: [usize; 2],
        a: &Weight,
        b: &Weight,
    ) -> Result<Vec<Part>, Refused> {
        let state = memories * order;
        if state.saturating_mul(state) > MOST_VALUES {
            let problem = format!("a matrix of {state} x {state} values is too large");
            return Err(Refused::Inexpressible(problem));
        }
        let a = self.graph.weight(&self.node.name, a)?;
        let b = self.graph.weight(&self.node.name, b)?;
        let (mut of_u, mut of_m) = (vec![0.0; state * memories], vec![0.0; state * state]);
        for memory in 0..memories {
            for i in 0..order {
                let row = memory * order + i;
                of_u[row * memories + memory] = b[i];
                let start = row * state + memory * order;
                of_m[start..start + order].copy_from_slice(&a[i * order..][..order]);
            }
        }
        let linear = |shape: &[usize], values| nir("Linear", [("weight", floats(shape, values))]);
        Ok(vec![
            Part { suffix: ".b", port: 0, node: linear(&[state, memories], of_u) },
            Part { suffix: ".a", port: 1, node: linear(&[state, state], of_m) },
        ])
    }
}

fn one_by_one() -> [(&'static str, Field); 3] {
    [("stride", [1, 1]), ("padding", [0, 0]), ("dilation", [1, 1])]
        .map(|(name, sizes)| (name, Field::sizes(&sizes)))
}

fn nir<const N: usize>(kind: &str, fields: [(&str, Field); N]) -> NirNode {
    let fields = fields.map(|(name, field)| (name.to_owned(), field)).into();
    NirNode { kind: kind.into(), fields, ..NirNode::default() }
}

fn floats(shape: &[usize], values: Vec<f32>) -> Field {
    Field { shape: shape.to_vec(), values: FieldValues::F32(values) }
}
