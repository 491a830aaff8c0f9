//! The operations a node can be.

use crate::neuron::Neuron;
use alloc::{string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// What flows along an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Spikes: 0 or 1.
    Binary,
    /// Sparse events with values.
    Graded,
    /// Dense real values.
    Dense,
}

/// How a weight matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `[input, output]`: an event adds one contiguous row. For convolutions `[kh, kw, in, out]`.
    ByInput,
    /// `[output, input]`: a dense dot product reads one contiguous row. For convolutions
    /// `[out, kh, kw, in]`.
    ByOutput,
}

/// Weights that may share a scale.
pub const GROUP: usize = 64;

/// A weight tensor with its quantisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// The tensor's name.
    pub tensor: String,
    /// For integer weights: the name of an f32 tensor with one scale per output channel, or, for a
    /// matrix whose last axis is a multiple of [`GROUP`], one per [`GROUP`] consecutive weights of
    /// a row: `[rows, last / GROUP]`. With the latter, dense inputs of weights that lie by output
    /// are rounded to 8 bits per group of inputs themselves, so that products are sums of integers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// How it lies in memory.
    pub layout: Layout,
}

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// Rectifier.
    Relu,
    /// The square of the rectifier.
    ReluSquared,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Sigmoid,
}

/// How a pooling window is reduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the window (padding counts as zero).
    Average,
    /// Sum over the window.
    Sum,
    /// Largest value.
    Max,
}

/// How a read-out turns a sequence into one result. Its value is valid after every step, for
/// the steps since the last reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// Sum over time: spike counts.
    Sum,
    /// Mean over time.
    Mean,
    /// The last step.
    Last,
    /// The largest value over time.
    Max,
}

/// The operation of a node. Shapes are per stream and step; images are channels-last `[h, w, c]`.
///
/// Several edges into one port add up. All ports are 0 unless stated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Where data enters.
    Input {
        /// What the data is.
        signal: Signal,
    },
    /// `y = W x + b` over the last axis.
    Linear {
        /// `[in, out]` or `[out, in]`.
        weight: Weight,
        /// Name of a tensor `[out]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
    },
    /// Two-dimensional convolution, channels last. One-dimensional ones have height 1.
    Conv2d {
        /// `[kh, kw, in / groups, out]` or `[out, kh, kw, in / groups]`.
        weight: Weight,
        /// Name of a tensor `[out]`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bias: Option<String>,
        /// Vertical, horizontal.
        stride: [usize; 2],
        /// Zero padding on both sides: vertical, horizontal.
        padding: [usize; 2],
        /// Spacing of the kernel's taps.
        dilation: [usize; 2],
        /// Groups of channels that do not mix.
        groups: usize,
    },
    /// Pooling over windows.
    Pool2d {
        /// How a window is reduced.
        pooling: Pooling,
        /// Height, width.
        kernel: [usize; 2],
        /// Vertical, horizontal.
        stride: [usize; 2],
        /// Padding on both sides.
        padding: [usize; 2],
    },
    /// Mean over as many windows as the output has positions: output `o` of `n` covers the inputs
    /// from `floor(o size / n)` to before `ceil((o + 1) size / n)` (PyTorch's
    /// `AdaptiveAvgPool2d`). There may be more outputs than inputs.
    AdaptivePool2d {
        /// Height, width of the output.
        size: [usize; 2],
    },
    /// Bilinear interpolation between the middles of pixels (PyTorch's `interpolate` without aligned
    /// corners).
    Interpolate2d {
        /// Height, width of the output.
        size: [usize; 2],
    },
    /// The sum of the edges into its port, under a name: for sums that have several readers.
    Add,
    /// To one axis. `[h, w, c]` is flattened in memory order.
    Flatten,
    /// One after the other along the last axis, in the order of the ports.
    Concat,
    /// The channels `start..start + length` of the last axis.
    Slice {
        /// First channel.
        start: usize,
        /// How many.
        length: usize,
    },
    /// `y = x * factor + shift`, per channel of the last axis.
    Scale {
        /// Name of a tensor of one value per channel.
        factor: String,
        /// Name of a tensor of one value per channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        shift: Option<String>,
    },
    /// An element-wise function.
    Activation {
        /// Which.
        function: Function,
    },
    /// A population of neurons.
    Neuron(Neuron),
    /// One step of `memories` independent Legendre memories that share A and B:
    /// `y[k, :] = A m[k, :] + B u[k]`. Port 0: `u`, shape `[memories]`. Port 1: `m`, shape
    /// `[memories * order]`, memory-major; a feedback edge with delay 1 from this node
    /// (classical LMU) or from the neurons behind it (L2MU).
    Legendre {
        /// Number of memories.
        memories: usize,
        /// States of one memory.
        order: usize,
        /// `[order, order]`, row-major, applied as `(A m)_i = sum_j A[i][j] m_j`: always
        /// [`Layout::ByOutput`].
        a: Weight,
        /// `[order]`.
        b: Weight,
    },
    /// PyTorch's LSTM cell; gates in the order input, forget, cell, output.
    Lstm {
        /// `[in, 4 hidden]` or `[4 hidden, in]`.
        weight_input: Weight,
        /// `[hidden, 4 hidden]` or `[4 hidden, hidden]`.
        weight_hidden: Weight,
        /// `[4 hidden]`, the sum of both biases.
        bias: String,
    },
    /// PyTorch's GRU cell; gates in the order reset, update, new.
    Gru {
        /// `[in, 3 hidden]` or `[3 hidden, in]`.
        weight_input: Weight,
        /// `[hidden, 3 hidden]` or `[3 hidden, hidden]`.
        weight_hidden: Weight,
        /// `[3 hidden]`.
        bias_input: String,
        /// `[3 hidden]`; the part of the new gate is inside the product with the reset gate.
        bias_hidden: String,
    },
    /// The event-based GRU (Subramoney et al. 2023, as its official code computes it); gates in the
    /// order `z`, `r`, `g`. With `A = W x + b` of port 0 and `B = R y + b'` of port 1, as a rule an
    /// edge with delay 1 from the same node: `z, r = sigmoid(A + B)`, `g = tanh(A + r B)`,
    /// `c = z h + (1 - z) g`, mixed with `h` by `zoneout`. Where `c > threshold` there is an event of
    /// value `c`, and `h` becomes `c - threshold`; elsewhere the output is 0 and `h` becomes `c`.
    Egru {
        /// `W`, `[in, 3 hidden]` or `[3 hidden, in]`.
        weight_input: Weight,
        /// `R`, `[hidden, 3 hidden]` or `[3 hidden, hidden]`.
        weight_hidden: Weight,
        /// `b`, `[3 hidden]`.
        bias_input: String,
        /// `b'`, `[3 hidden]`; the part of `g` is inside the product with `r`.
        bias_hidden: String,
        /// Name of a tensor `[hidden]`.
        threshold: String,
        /// The share of the old state in the new one: `zoneout h + (1 - zoneout) c`.
        #[serde(default)]
        zoneout: f32,
        /// After so many steps the state, not the events, starts again from zero: the official
        /// language model carries nothing but events from one window of text to the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart: Option<usize>,
    },
    /// The row of a table that a token names. Its source is an input of shape `[1]` with the number
    /// of the token, from 0.
    Embedding {
        /// `[tokens, channels]`: always [`Layout::ByInput`].
        weight: Weight,
    },
    /// The last axis by its own mean and variance (PyTorch's epsilon of 1e-5), times `weight` plus
    /// `bias`.
    LayerNorm {
        /// Name of a tensor of one value per channel.
        weight: String,
        /// Name of a tensor of one value per channel.
        bias: String,
    },
    /// RWKV's mix with the token before: `y = x mix + before (1 - mix)`, per channel of the last
    /// axis. Port 0: `x`. Port 1: `before`, as a rule an edge with delay 1 from the same node.
    TokenShift {
        /// Name of a tensor of one value per channel.
        mix: String,
    },
    /// RWKV's attention as a recurrence, every channel on its own: the mean of all values so far,
    /// weighted by the powers of their keys, which lose `decay` per step. With `k` and `v` of this
    /// step, `y = (a + e^(first + k) v) / (b + e^(first + k))`, then `a = e^decay a + e^k v` and
    /// `b = e^decay b + e^k`. Port 0: keys. Port 1: values. Both of shape `[channels]`.
    Wkv {
        /// Name of a tensor `[channels]` of what exponents change by per step, as a rule negative.
        decay: String,
        /// Name of a tensor `[channels]`: the bonus of the present step.
        first: String,
    },
    /// The product of its ports, value by value.
    Multiply,
    /// One position more on every side of an image.
    Border {
        /// Name of a tensor `[channels]`: the values there.
        value: String,
    },
    /// Linear attention between spikes, `y = scale q (k^T v)` in every head, over all positions of
    /// an image (SDSA-3 of Yao et al. 2024). Port 0: queries, port 1: keys, port 2: values, each one
    /// edge from neurons. The channels of a head lie side by side.
    Attention {
        /// How many; divides the channels.
        heads: usize,
        /// Factor of the counts.
        scale: f32,
    },
    /// Reduces over time.
    Readout {
        /// How.
        readout: Readout,
    },
    /// What the graph returns. Exactly one incoming edge.
    Output,
}

impl Op {
    /// The name of the operation, as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input { .. } => "input",
            Op::Linear { .. } => "linear",
            Op::Conv2d { .. } => "conv2d",
            Op::Pool2d { .. } => "pool2d",
            Op::AdaptivePool2d { .. } => "adaptive_pool2d",
            Op::Interpolate2d { .. } => "interpolate2d",
            Op::Add => "add",
            Op::Flatten => "flatten",
            Op::Concat => "concat",
            Op::Slice { .. } => "slice",
            Op::Scale { .. } => "scale",
            Op::Activation { .. } => "activation",
            Op::Neuron(_) => "neuron",
            Op::Legendre { .. } => "legendre",
            Op::Lstm { .. } => "lstm",
            Op::Gru { .. } => "gru",
            Op::Egru { .. } => "egru",
            Op::Embedding { .. } => "embedding",
            Op::LayerNorm { .. } => "layer_norm",
            Op::TokenShift { .. } => "token_shift",
            Op::Wkv { .. } => "wkv",
            Op::Multiply => "multiply",
            Op::Border { .. } => "border",
            Op::Attention { .. } => "attention",
            Op::Readout { .. } => "readout",
            Op::Output => "output",
        }
    }

    /// The weights of this operation, in a fixed order.
    pub fn weights(&self) -> Vec<&Weight> {
        match self {
            Op::Linear { weight, .. } | Op::Conv2d { weight, .. } | Op::Embedding { weight } => {
                Vec::from([weight])
            }
            Op::Legendre { a, b, .. } => Vec::from([a, b]),
            Op::Lstm { weight_input, weight_hidden, .. }
            | Op::Gru { weight_input, weight_hidden, .. }
            | Op::Egru { weight_input, weight_hidden, .. } => {
                Vec::from([weight_input, weight_hidden])
            }
            _ => Vec::new(),
        }
    }

    /// The weights of this operation, to change them.
    pub fn weights_mut(&mut self) -> Vec<&mut Weight> {
        match self {
            Op::Linear { weight, .. } | Op::Conv2d { weight, .. } | Op::Embedding { weight } => {
                Vec::from([weight])
            }
            Op::Legendre { a, b, .. } => Vec::from([a, b]),
            Op::Lstm { weight_input, weight_hidden, .. }
            | Op::Gru { weight_input, weight_hidden, .. }
            | Op::Egru { weight_input, weight_hidden, .. } => {
                Vec::from([weight_input, weight_hidden])
            }
            _ => Vec::new(),
        }
    }

    /// The names of the tensors this operation uses, in a fixed order.
    pub fn tensors(&self) -> Vec<&str> {
        let mut names = Vec::new();
        match self {
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. } => {
                weight.push_names(&mut names);
                names.extend(bias.as_deref());
            }
            Op::Scale { factor, shift } => {
                names.push(factor.as_str());
                names.extend(shift.as_deref());
            }
            Op::Neuron(neuron) => neuron.push_names(&mut names),
            Op::Legendre { a, b, .. } => {
                a.push_names(&mut names);
                b.push_names(&mut names);
            }
            Op::Lstm { weight_input, weight_hidden, bias } => {
                weight_input.push_names(&mut names);
                weight_hidden.push_names(&mut names);
                names.push(bias);
            }
            Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } => {
                weight_input.push_names(&mut names);
                weight_hidden.push_names(&mut names);
                names.push(bias_input);
                names.push(bias_hidden);
            }
            Op::Egru {
                weight_input, weight_hidden, bias_input, bias_hidden, threshold, ..
            } => {
                weight_input.push_names(&mut names);
                weight_hidden.push_names(&mut names);
                names.extend([bias_input.as_str(), bias_hidden.as_str(), threshold.as_str()]);
            }
            Op::Embedding { weight } => weight.push_names(&mut names),
            Op::LayerNorm { weight, bias } => names.extend([weight.as_str(), bias.as_str()]),
            Op::TokenShift { mix } => names.push(mix),
            Op::Wkv { decay, first } => names.extend([decay.as_str(), first.as_str()]),
            Op::Border { value } => names.push(value),
            Op::Multiply
            | Op::Attention { .. }
            | Op::Input { .. }
            | Op::Pool2d { .. }
            | Op::AdaptivePool2d { .. }
            | Op::Interpolate2d { .. }
            | Op::Add
            | Op::Flatten
            | Op::Concat
            | Op::Slice { .. }
            | Op::Activation { .. }
            | Op::Readout { .. }
            | Op::Output => {}
        }
        names
    }
}

impl Weight {
    fn push_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        names.push(&self.tensor);
        names.extend(self.scale.as_deref());
    }
}
