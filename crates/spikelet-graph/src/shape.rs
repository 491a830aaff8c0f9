//! What shape an operation gives, from the shapes of its inputs and tensors.

use crate::{
    error::GraphError,
    graph::{Graph, Node},
    op::{Layout, Op, Weight},
    tensor::{Tensor, elements},
};
use alloc::{format, string::String, vec::Vec};
use core::ops::Range;

/// The most tokens of an embedding: their numbers are exact as 32-bit floats.
pub const MAX_TOKENS: usize = 1 << 24;

/// The number of input ports of an operation. `connected` is one more than the highest port an
/// edge goes to: a concatenation has as many ports as are used.
pub fn ports(op: &Op, connected: usize) -> usize {
    match op {
        Op::Input { .. } => 0,
        Op::Legendre { .. } | Op::TokenShift { .. } | Op::Wkv { .. } | Op::Egru { .. } => 2,
        Op::Attention { .. } => 3,
        Op::Multiply => connected.max(2),
        Op::Concat => connected.max(1),
        _ => 1,
    }
}

/// The shape of a node's output; `None` while an input it depends on has no known shape.
/// `inputs` holds one entry per port.
///
/// # Errors
/// Tensors that are missing or do not fit each other or the inputs.
pub fn infer(
    graph: &Graph,
    node: &Node,
    inputs: &[Option<&[usize]>],
) -> Result<Option<Vec<usize>>, GraphError> {
    let at = At { graph, node };
    let first = inputs.first().copied().flatten();
    if let Op::Legendre { memories, order, a, b } = &node.op {
        return at.legendre([*memories, *order], a, b, inputs).map(Some);
    }
    if let Op::Egru { .. } = &node.op {
        return at.egru(inputs);
    }
    if let Op::Concat = &node.op {
        let known: Option<Vec<&[usize]>> = inputs.iter().copied().collect();
        return known.map(|shapes| at.concat(&shapes)).transpose();
    }
    if let Op::Input { .. } = &node.op {
        return Ok(Some(node.shape.clone()));
    }
    if let Op::TokenShift { .. } | Op::Wkv { .. } | Op::Multiply | Op::Attention { .. } = &node.op {
        return at.alike(inputs);
    }
    let Some(input) = first else { return Ok(None) };
    let Some((&channels, outer)) = input.split_last() else {
        return Err(
            at.field("shape", String::from("the input is a scalar; at least one axis is needed"))
        );
    };
    match &node.op {
        Op::Linear { weight, bias } => {
            let (takes, gives) = at.matrix(weight)?;
            at.fits("weight", takes, channels)?;
            at.bias(bias.as_deref(), gives)?;
            Ok(Some([outer, &[gives]].concat()))
        }
        Op::Conv2d { weight, bias, stride, padding, dilation, groups } => {
            let window = Window { stride: *stride, padding: *padding, dilation: *dilation };
            let shape = at.convolution(weight, window, *groups, input)?;
            at.bias(bias.as_deref(), shape[2])?;
            Ok(Some(shape))
        }
        Op::Pool2d { kernel, stride, padding, .. } => {
            at.pooling(*kernel, *stride, *padding, input).map(Some)
        }
        Op::AdaptivePool2d { size } | Op::Interpolate2d { size } => {
            let &[_, _, channels] = input else { return Err(at.image(input)) };
            if size.contains(&0) {
                return Err(at.field("size", format!("{size:?} has no positions")));
            }
            Ok(Some(Vec::from([size[0], size[1], channels])))
        }
        Op::Border { value } => {
            let &[height, width, _] = input else { return Err(at.image(input)) };
            at.vector(value, channels)?;
            let framed = |size: usize| size.checked_add(2);
            match (framed(height), framed(width)) {
                (Some(height), Some(width)) => Ok(Some(Vec::from([height, width, channels]))),
                _ => Err(at.image(input)),
            }
        }
        Op::Flatten => {
            elements(input).map(|len| Some(Vec::from([len]))).ok_or_else(|| GraphError::TooLarge {
                what: format!("node `{}`", node.name),
                limit: isize::MAX as usize,
            })
        }
        Op::Slice { start, length } => {
            if *length == 0 || start.checked_add(*length).is_none_or(|end| end > channels) {
                let problem =
                    format!("{length} channels from {start} are not within 0..{channels}");
                return Err(at.field("start", problem));
            }
            Ok(Some([outer, &[*length]].concat()))
        }
        Op::Scale { factor, shift } => {
            at.vector(factor, channels)?;
            at.bias(shift.as_deref(), channels)?;
            Ok(Some(input.to_vec()))
        }
        Op::Lstm { weight_input, weight_hidden, bias } => {
            let hidden = at.cell(weight_input, weight_hidden, 4, input)?;
            at.vector(bias, 4 * hidden)?;
            Ok(Some(Vec::from([hidden])))
        }
        Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } => {
            let hidden = at.cell(weight_input, weight_hidden, 3, input)?;
            at.vector(bias_input, 3 * hidden)?;
            at.vector(bias_hidden, 3 * hidden)?;
            Ok(Some(Vec::from([hidden])))
        }
        Op::Embedding { weight } => at.embedding(weight, input).map(Some),
        Op::LayerNorm { weight, bias } => {
            at.vector(weight, channels)?;
            at.vector(bias, channels)?;
            Ok(Some(input.to_vec()))
        }
        Op::Input { .. }
        | Op::Legendre { .. }
        | Op::Concat
        | Op::TokenShift { .. }
        | Op::Wkv { .. }
        | Op::Egru { .. }
        | Op::Multiply
        | Op::Attention { .. } => Ok(None),
        Op::Activation { .. } | Op::Neuron(_) | Op::Readout { .. } | Op::Output | Op::Add => {
            Ok(Some(input.to_vec()))
        }
    }
}

/// Kernel height and width, and input channels per group, of a convolution's weight.
pub(crate) fn kernel(tensor: &Tensor, layout: Layout) -> Option<([usize; 2], usize)> {
    match (layout, tensor.shape.as_slice()) {
        (Layout::ByInput, &[height, width, inputs, _])
        | (Layout::ByOutput, &[_, height, width, inputs]) => Some(([height, width], inputs)),
        _ => None,
    }
}

/// The inputs along one axis that an output position of adaptive pooling covers.
pub fn adaptive_window(size: usize, outputs: usize, output: usize) -> Range<usize> {
    let scaled = |position: usize| position as u128 * size as u128;
    let start = scaled(output) / outputs as u128;
    let end = scaled(output + 1).div_ceil(outputs as u128);
    start as usize..end as usize
}

/// Positions a window takes along one axis; `None` where it does not fit or a size overflows.
pub(crate) fn positions(
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Option<usize> {
    let extent = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let padded = padding.checked_mul(2)?.checked_add(size)?;
    (padded.checked_sub(extent)? / stride).checked_add(1)
}

struct Window {
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
}

/// A node in its graph: where errors point to.
struct At<'a> {
    graph: &'a Graph,
    node: &'a Node,
}

impl At<'_> {
    fn legendre(
        &self,
        [memories, order]: [usize; 2],
        a: &Weight,
        b: &Weight,
        inputs: &[Option<&[usize]>],
    ) -> Result<Vec<usize>, GraphError> {
        let state = memories.checked_mul(order).filter(|&len| len > 0).ok_or_else(|| {
            self.field("memories", format!("{memories} memories of order {order} are no size"))
        })?;
        if a.layout != Layout::ByOutput {
            let problem = String::from("A is stored row-major as [order, order]: use `by_output`");
            return Err(self.field("a", problem));
        }
        self.shaped(&a.tensor, &[order, order])?;
        self.vector(&b.tensor, order)?;
        for (port, expected) in [memories, state].into_iter().enumerate() {
            match inputs.get(port).copied().flatten() {
                Some(found) if *found != [expected] => {
                    let problem =
                        format!("port {port} takes shape [{expected}] but gets {found:?}");
                    return Err(self.field("memories", problem));
                }
                _ => {}
            }
        }
        Ok(Vec::from([state]))
    }

    fn concat(&self, inputs: &[&[usize]]) -> Result<Vec<usize>, GraphError> {
        let mut shape = inputs.first().map(|first| first.to_vec()).unwrap_or_default();
        for (port, input) in inputs.iter().enumerate() {
            let same_outer = input.len() == shape.len()
                && !input.is_empty()
                && input[..input.len() - 1] == shape[..shape.len() - 1];
            if !same_outer {
                let problem = format!("port {port} has {input:?}, which does not fit {shape:?}");
                return Err(self.field("port", problem));
            }
        }
        let total = inputs
            .iter()
            .try_fold(0_usize, |sum, input| sum.checked_add(input.last().copied().unwrap_or(0)));
        match (shape.last_mut(), total) {
            (Some(last), Some(total)) => *last = total,
            _ => return Err(self.field("port", String::from("nothing to join"))),
        }
        Ok(shape)
    }

    fn embedding(&self, weight: &Weight, input: &[usize]) -> Result<Vec<usize>, GraphError> {
        if weight.layout != Layout::ByInput {
            let problem = String::from("a table is stored as [tokens, channels]: use `by_input`");
            return Err(self.field("weight", problem));
        }
        let (tokens, gives) = self.matrix(weight)?;
        if tokens > MAX_TOKENS {
            let problem = format!("{tokens} tokens are over {MAX_TOKENS}");
            return Err(self.field("weight", problem));
        }
        self.fits("weight", 1, input.iter().product())?;
        Ok(Vec::from([gives]))
    }

    /// The shape of a node whose ports and output are all alike.
    fn alike(&self, inputs: &[Option<&[usize]>]) -> Result<Option<Vec<usize>>, GraphError> {
        let mut known =
            inputs.iter().enumerate().filter_map(|(port, shape)| Some((port, (*shape)?)));
        let Some((_, first)) = known.next() else { return Ok(None) };
        if let Some((port, found)) = known.find(|(_, shape)| *shape != first) {
            let problem = format!("port {port} has {found:?} where another one has {first:?}");
            return Err(self.field("port", problem));
        }
        let channels = first.last().copied().unwrap_or(1);
        match &self.node.op {
            Op::TokenShift { mix } => self.vector(mix, channels)?,
            Op::Wkv { decay, first: bonus } => {
                if first.len() != 1 {
                    let problem = format!("the keys must have one axis, not {first:?}");
                    return Err(self.field("decay", problem));
                }
                self.vector(decay, channels)?;
                self.vector(bonus, channels)?;
            }
            Op::Attention { heads, scale } => {
                if first.len() != 3 {
                    return Err(self.image(first));
                }
                if *heads == 0 || !channels.is_multiple_of(*heads) {
                    let problem = format!("{heads} heads do not divide {channels} channels");
                    return Err(self.field("heads", problem));
                }
                if !scale.is_finite() {
                    return Err(self.field("scale", format!("{scale} is not finite")));
                }
            }
            _ => {}
        }
        Ok(Some(first.to_vec()))
    }

    fn convolution(
        &self,
        weight: &Weight,
        window: Window,
        groups: usize,
        input: &[usize],
    ) -> Result<Vec<usize>, GraphError> {
        let tensor = self.graph.tensor(&self.node.name, &weight.tensor)?;
        let Some((size, per_group)) = kernel(tensor, weight.layout) else {
            return Err(self.tensor_shape(&weight.tensor, tensor, String::from("four axes")));
        };
        let outputs = tensor.output_channels(weight.layout);
        let &[height, width, channels] = input else { return Err(self.image(input)) };
        if groups == 0 || !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let problem = format!(
                "{groups} groups do not divide {channels} input and {outputs} output channels"
            );
            return Err(self.field("groups", problem));
        }
        self.fits("weight", per_group, channels / groups)?;
        self.windows([height, width], size, &window).map(|[h, w]| Vec::from([h, w, outputs]))
    }

    fn pooling(
        &self,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        input: &[usize],
    ) -> Result<Vec<usize>, GraphError> {
        let &[height, width, channels] = input else { return Err(self.image(input)) };
        // Otherwise a window could lie in the padding alone, or be of any size.
        let over =
            |axis: usize| padding[axis] > kernel[axis] / 2 || padding[axis] > [height, width][axis];
        if over(0) || over(1) {
            let problem =
                format!("{padding:?} is over half of the kernel {kernel:?}, or over the image");
            return Err(self.field("padding", problem));
        }
        let window = Window { stride, padding, dilation: [1, 1] };
        self.windows([height, width], kernel, &window).map(|[h, w]| Vec::from([h, w, channels]))
    }

    fn windows(
        &self,
        size: [usize; 2],
        kernel: [usize; 2],
        window: &Window,
    ) -> Result<[usize; 2], GraphError> {
        let zero = |values: [usize; 2]| values.contains(&0);
        if zero(window.stride) || zero(window.dilation) || zero(kernel) {
            let problem = String::from("stride, dilation and kernel sizes start at 1");
            return Err(self.field("stride", problem));
        }
        let along = |axis: usize| {
            let (stride, padding) = (window.stride[axis], window.padding[axis]);
            positions(size[axis], kernel[axis], stride, padding, window.dilation[axis])
        };
        match (along(0), along(1)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => {
                let padding = window.padding;
                let problem =
                    format!("a kernel of {kernel:?} does not fit {size:?} padded by {padding:?}");
                Err(self.field("padding", problem))
            }
        }
    }

    fn egru(&self, inputs: &[Option<&[usize]>]) -> Result<Option<Vec<usize>>, GraphError> {
        let Op::Egru { weight_input, weight_hidden, bias_input, bias_hidden, threshold, .. } =
            &self.node.op
        else {
            return Ok(None);
        };
        let Some(input) = inputs.first().copied().flatten() else { return Ok(None) };
        let hidden = self.cell(weight_input, weight_hidden, 3, input)?;
        self.vector(bias_input, 3 * hidden)?;
        self.vector(bias_hidden, 3 * hidden)?;
        self.vector(threshold, hidden)?;
        if let Some(found) = inputs.get(1).copied().flatten()
            && *found != [hidden]
        {
            let problem = format!("port 1 takes shape [{hidden}] but gets {found:?}");
            return Err(self.field("weight_hidden", problem));
        }
        Ok(Some(Vec::from([hidden])))
    }

    /// Hidden units of an LSTM, GRU or EGRU cell with this many gates.
    fn cell(
        &self,
        weight_input: &Weight,
        weight_hidden: &Weight,
        gates: usize,
        input: &[usize],
    ) -> Result<usize, GraphError> {
        let &[channels] = input else {
            let problem = format!("the input must have one axis, not {input:?}");
            return Err(self.field("weight_input", problem));
        };
        let (hidden, wide) = self.matrix(weight_hidden)?;
        if hidden.checked_mul(gates) != Some(wide) {
            let problem =
                format!("takes {hidden} units, so it must give {gates} x {hidden}, not {wide}");
            return Err(self.field("weight_hidden", problem));
        }
        let (takes, gives) = self.matrix(weight_input)?;
        self.fits("weight_input", takes, channels)?;
        if gives != wide {
            let problem = format!("gives {gives} values where weight_hidden gives {wide}");
            return Err(self.field("weight_input", problem));
        }
        Ok(hidden)
    }

    /// Inputs and outputs of a matrix.
    fn matrix(&self, weight: &Weight) -> Result<(usize, usize), GraphError> {
        let tensor = self.graph.tensor(&self.node.name, &weight.tensor)?;
        match (weight.layout, tensor.shape.as_slice()) {
            (Layout::ByInput, &[takes, gives]) | (Layout::ByOutput, &[gives, takes]) => {
                Ok((takes, gives))
            }
            _ => Err(self.tensor_shape(&weight.tensor, tensor, String::from("two axes"))),
        }
    }

    fn bias(&self, name: Option<&str>, len: usize) -> Result<(), GraphError> {
        name.map_or(Ok(()), |name| self.vector(name, len))
    }

    fn vector(&self, name: &str, len: usize) -> Result<(), GraphError> {
        self.shaped(name, &[len])
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<(), GraphError> {
        let tensor = self.graph.tensor(&self.node.name, name)?;
        if tensor.shape == shape {
            Ok(())
        } else {
            Err(self.tensor_shape(name, tensor, format!("{shape:?}")))
        }
    }

    fn fits(&self, field: &'static str, takes: usize, channels: usize) -> Result<(), GraphError> {
        if takes == channels {
            Ok(())
        } else {
            Err(self.field(field, format!("takes {takes} input channels but gets {channels}")))
        }
    }

    fn image(&self, input: &[usize]) -> GraphError {
        self.field("shape", format!("the input must be [height, width, channels], not {input:?}"))
    }

    fn tensor_shape(&self, name: &str, tensor: &Tensor, expected: String) -> GraphError {
        GraphError::TensorShape {
            node: self.node.name.clone(),
            tensor: name.into(),
            found: tensor.shape.clone(),
            expected,
        }
    }

    fn field(&self, field: &'static str, problem: String) -> GraphError {
        GraphError::Field { node: self.node.name.clone(), field, problem }
    }
}
