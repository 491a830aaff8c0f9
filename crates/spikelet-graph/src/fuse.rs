//! Fusing the linear parts of a RepConv into one convolution.

use crate::{
    compress::uses,
    error::GraphError,
    graph::Graph,
    op::{Layout, Op, Signal, Weight},
    tensor::{Tensor, Values},
    topology::Topology,
};
use alloc::{collections::BTreeSet, format, string::String, vec, vec::Vec};

/// The nodes of a RepConv by index: 1 x 1, border, depthwise, 1 x 1.
pub(crate) type Chain = [usize; 4];

/// Taps of the convolution that a chain amounts to.
const TAPS: f64 = 9.0;

/// A RepConv that reads spikes.
#[derive(Clone, Debug, PartialEq)]
pub struct RepConv {
    /// The last of its nodes; [`Graph::fuse_convolutions`] gives this name to what it makes.
    pub name: String,
    /// The node whose spikes it reads.
    pub source: String,
    /// The firing rate of the source below which one convolution takes fewer operations than the
    /// parts. With `i`, `m` and `o` channels in front, inside and behind, a position takes
    /// `9 i o` additions per spike of a neuron as one convolution, and as parts `i m` such additions
    /// and, whatever fires, `9 m + m o` products: `m (9 + o) / (i (9 o - m))`, with `c` channels
    /// everywhere `1/8 + 9 / (8 c)`.
    pub break_even: f64,
}

impl Graph {
    /// The chains that [`Graph::fuse_convolutions`] would replace and whose input is spikes. For
    /// other input one convolution never takes fewer operations.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn rep_convs(&self) -> Result<Vec<RepConv>, GraphError> {
        let topology = self.validate()?;
        let signals = self.signals(&topology);
        let channels = |index: usize| self.nodes[index].shape.last().map_or(0.0, |c| *c as f64);
        let found = (0..self.nodes.len()).filter_map(|last| {
            let [first, ..] = self.chain(&topology, last)?;
            let [link] = topology.sources[first][..] else { return None };
            let [i, m, o] = [link.node, first, last].map(channels);
            let more = i * (TAPS * o - m);
            let break_even = if more > 0.0 { m * (TAPS + o) / more } else { 1.0 };
            let [name, source] = [last, link.node].map(|index| self.nodes[index].name.clone());
            let spikes = signals[link.node] == Signal::Binary;
            spikes.then_some(RepConv { name, source, break_even })
        });
        Ok(found.collect())
    }

    /// Replaces every chain of a 1 x 1 convolution, a border of what that convolution makes of
    /// zeros, a depthwise convolution without padding and another 1 x 1 convolution by the one
    /// convolution they amount to, with zeros as padding. It has the name of the last of them; the
    /// names of these are returned.
    ///
    /// The result does the same with fewer layers and, for dense input, more products: per output
    /// position and channel `k k c` in place of `2 c + k k`. Where the input is spikes only active
    /// ones count, so that of 3 x 3 taps it costs less below a firing rate of about 12 %
    /// ([`RepConv::break_even`]).
    ///
    /// # Errors
    /// A graph that is not valid, or products that overflow.
    pub fn fuse_convolutions(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, GraphError> {
        let topology = self.validate()?;
        let chains: Vec<Chain> = (0..self.nodes.len())
            .filter_map(|last| self.chain(&topology, last))
            .filter(|chain| wanted(&self.nodes[chain[3]].name))
            .collect();
        let mut fused = Vec::new();
        for chain in &chains {
            fused.push(self.fuse(&topology, *chain)?);
        }
        let gone: BTreeSet<String> = chains
            .iter()
            .flat_map(|chain| chain[..3].iter().map(|index| self.nodes[*index].name.clone()))
            .collect();
        self.nodes.retain(|node| !gone.contains(&node.name));
        self.edges.retain(|edge| !gone.contains(&edge.to));
        let used: BTreeSet<String> = uses(self).into_keys().map(String::from).collect();
        self.tensors.retain(|name, _| used.contains(name));
        self.validate()?;
        Ok(fused)
    }

    /// The chain that ends at this node.
    pub(crate) fn chain(&self, topology: &Topology, last: usize) -> Option<Chain> {
        let before = |index: usize| -> Option<usize> {
            let [link] = topology.sources[index][..] else { return None };
            let alone = topology.targets[link.node].len() == 1 && link.delay == 0;
            alone.then_some(link.node)
        };
        let depthwise = before(last)?;
        let border = before(depthwise)?;
        let first = before(border)?;
        let point = |index: usize| match &self.nodes[index].op {
            Op::Conv2d { weight, stride: [1, 1], padding: [0, 0], groups: 1, .. } => {
                self.kernel_size(weight) == Some([1, 1])
            }
            _ => false,
        };
        let channels = *self.nodes[depthwise].shape.last()?;
        let Op::Conv2d { weight, bias: None, stride: [1, 1], padding: [0, 0], dilation, groups } =
            &self.nodes[depthwise].op
        else {
            return None;
        };
        // A border of one keeps the positions of three taps.
        let keeps = self.kernel_size(weight) == Some([3, 3]) && *dilation == [1, 1];
        let Op::Border { value } = &self.nodes[border].op else { return None };
        let same = self.tensors.get(value)?.to_f32() == self.bias_of(first)?;
        (point(first) && point(last) && keeps && *groups == channels && same)
            .then_some([first, border, depthwise, last])
    }

    fn kernel_size(&self, weight: &Weight) -> Option<[usize; 2]> {
        let tensor = self.tensors.get(&weight.tensor)?;
        if !matches!(tensor.values, Values::F32(_) | Values::F16(_)) {
            return None;
        }
        match (weight.layout, tensor.shape.as_slice()) {
            (Layout::ByInput, &[h, w, _, _]) | (Layout::ByOutput, &[_, h, w, _]) => Some([h, w]),
            _ => None,
        }
    }

    /// The bias of a convolution; zeros if it has none.
    fn bias_of(&self, index: usize) -> Option<Vec<f32>> {
        let node = &self.nodes[index];
        let Op::Conv2d { bias, .. } = &node.op else { return None };
        match bias {
            Some(bias) => Some(self.tensors.get(bias)?.to_f32()),
            None => Some(vec![0.0; *node.shape.last()?]),
        }
    }

    fn fuse(&mut self, topology: &Topology, chain: Chain) -> Result<String, GraphError> {
        let [first, _, depthwise, last] = chain;
        let name = self.nodes[last].name.clone();
        let [a, d, p] = [first, depthwise, last].map(|index| self.by_input(index));
        let (a, d, p) = (a?, d?, p?);
        let bias = |index| self.bias_of(index).unwrap_or_default();
        let (before, mut after) = (bias(first), bias(last));
        let (inner, outputs) = (before.len(), after.len());
        let inputs = a.len() / inner;
        let mut kernel = Vec::with_capacity(9 * inputs * outputs);
        for taps in d.chunks_exact(inner) {
            for a in a.chunks_exact(inner) {
                kernel.extend(combined(&p, a.iter().zip(taps).map(|(a, tap)| a * tap), outputs));
            }
            let constant = before.iter().zip(taps).map(|(b, tap)| b * tap);
            after.iter_mut().zip(combined(&p, constant, outputs)).for_each(|(b, sum)| *b += sum);
        }
        let source = self.nodes[topology.sources[first][0].node].name.clone();
        let tensor = self.free_name(&format!("{name}.fused.weight"));
        let bias = self.free_name(&format!("{name}.fused.bias"));
        self.tensors.insert(tensor.clone(), Tensor::f32(&[3, 3, inputs, outputs], kernel)?);
        self.tensors.insert(bias.clone(), Tensor::f32(&[outputs], after)?);
        self.nodes[last].op = Op::Conv2d {
            weight: Weight { tensor, scale: None, layout: Layout::ByInput },
            bias: Some(bias),
            stride: [1, 1],
            padding: [1, 1],
            dilation: [1, 1],
            groups: 1,
        };
        for edge in self.edges.iter_mut().filter(|edge| edge.to == name) {
            edge.from.clone_from(&source);
        }
        Ok(name)
    }

    /// The kernel of a convolution, `[kh, kw, in / groups, out]`.
    fn by_input(&self, index: usize) -> Result<Vec<f32>, GraphError> {
        let node = &self.nodes[index];
        let Op::Conv2d { weight, .. } = &node.op else { return Ok(Vec::new()) };
        let tensor = self.tensor(&node.name, &weight.tensor)?;
        let turned = match weight.layout {
            Layout::ByInput => None,
            Layout::ByOutput => tensor.permuted(&[1, 2, 3, 0]),
        };
        Ok(turned.as_ref().unwrap_or(tensor).to_f32())
    }
}

/// The sum of the rows of `p` `[inner, outputs]`, weighted.
fn combined(p: &[f32], weights: impl Iterator<Item = f32>, outputs: usize) -> Vec<f32> {
    let mut sum = vec![0.0; outputs];
    for (row, weight) in p.chunks_exact(outputs).zip(weights) {
        sum.iter_mut().zip(row).for_each(|(sum, p)| *sum += weight * p);
    }
    sum
}
