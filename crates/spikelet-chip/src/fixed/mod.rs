//! The arithmetic of `--fixed`: every value is an s16.15 number in a register of 32 bits.
//!
//! Products add up in 64 bits (the core's SMLAL) and are rounded once, to the nearest; sums and
//! results that leave the range stay at its ends; states times decays are rounded like everything
//! else. Functions of the exponential unit are correct to half of the last bit here; the chip's unit
//! is published with an error of one or two of them. Integer weights are multiplied as they are, and
//! their sums by the scale of the output.

mod cells;
mod neurons;
mod operations;
mod products;

use crate::error::ChipError;
use products::Matrix;
use spikelet_graph::{Graph, Op, Topology};
use std::collections::{BTreeMap, VecDeque};

/// Bits behind the point.
const FRACTION: u32 = 15;
/// The number 1.
pub(crate) const ONE: i32 = 1 << FRACTION;

/// The nearest number to a value.
pub(crate) fn number(value: f64) -> i32 {
    // What is no number becomes 0; a cast keeps the ends of the range.
    (value * f64::from(ONE)).round() as i32
}

/// The value of a number.
pub(crate) fn value(number: i32) -> f64 {
    f64::from(number) / f64::from(ONE)
}

/// A sum of products, rounded to a number.
fn rounded(sum: i64) -> i32 {
    limited(sum.saturating_add(1 << (FRACTION - 1)) >> FRACTION)
}

/// The nearest number within the range.
fn limited(number: i64) -> i32 {
    number.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

fn product(a: i32, b: i32) -> i32 {
    rounded(i64::from(a) * i64::from(b))
}

fn sum(a: i32, b: i32) -> i32 {
    a.saturating_add(b)
}

fn difference(a: i32, b: i32) -> i32 {
    a.saturating_sub(b)
}

/// A function, from number to number.
fn function(x: i32, of: impl Fn(f64) -> f64) -> i32 {
    number(of(value(x)))
}

fn sigmoid(x: i32) -> i32 {
    function(x, |x| 1.0 / (1.0 + (-x).exp()))
}

fn tanh(x: i32) -> i32 {
    function(x, f64::tanh)
}

fn exponential(x: i32) -> i32 {
    function(x, f64::exp)
}

/// One stream of a graph.
pub(crate) struct FixedRun {
    graph: Graph,
    topology: Topology,
    /// Tensors that are no weights, as numbers.
    tensors: BTreeMap<String, Vec<i32>>,
    /// The weights of every node, in the order of [`Op::weights`].
    matrices: Vec<Vec<Matrix>>,
    /// Outputs of all nodes, of as many steps as edges look back; the last is the newest.
    history: VecDeque<Vec<Vec<i32>>>,
    /// What nodes remember.
    states: Vec<[Vec<i32>; 3]>,
    /// The longest delay of an edge.
    longest: usize,
    /// Steps that are over.
    steps: usize,
}

impl FixedRun {
    /// A run from the start of a sequence.
    ///
    /// # Errors
    /// An invalid graph; a table of more tokens than numbers can name.
    pub(crate) fn new(graph: &Graph) -> Result<Self, ChipError> {
        let topology = graph.validate()?;
        let mut matrices = Vec::new();
        let mut tensors = BTreeMap::new();
        for node in &graph.nodes {
            let weights = node.op.weights();
            let of = |weight: &&_| Matrix::new(graph, node, weight);
            matrices.push(weights.iter().map(of).collect::<Result<Vec<_>, _>>()?);
            let names: Vec<&str> = weights
                .iter()
                .flat_map(|weight| [Some(weight.tensor.as_str()), weight.scale.as_deref()])
                .flatten()
                .collect();
            for name in node.op.tensors().into_iter().filter(|name| !names.contains(name)) {
                let values = graph.tensor(&node.name, name)?.to_f32();
                let numbers = values.into_iter().map(|x| number(x.into())).collect();
                tensors.insert(name.to_owned(), numbers);
            }
            if let Op::Embedding { weight } = &node.op {
                let tokens = graph.tensor(&node.name, &weight.tensor)?.shape[0];
                if tokens > 1 << 16 {
                    return Err(ChipError::Request(format!(
                        "`{}` has {tokens} tokens: numbers of s16.15 name 65536; leave out --fixed",
                        node.name
                    )));
                }
            }
        }
        let zeros = |len: usize| [vec![0; len], vec![0; len], vec![0; len]];
        let mut states: Vec<_> = graph.nodes.iter().map(|node| zeros(node.len())).collect();
        for (node, state) in graph.nodes.iter().zip(&mut states) {
            if matches!(node.op, Op::Wkv { .. }) {
                state[2].fill(i32::MIN);
            }
        }
        let links = topology.sources.iter().flatten();
        let longest = links.map(|link| link.delay).max().unwrap_or(0).max(1);
        let history = VecDeque::new();
        let graph = graph.clone();
        Ok(FixedRun { graph, topology, tensors, matrices, history, states, longest, steps: 0 })
    }

    /// The next step; `x` holds the values of all inputs in the order in which the runtime takes
    /// them. Gives the outputs of all nodes.
    ///
    /// # Errors
    /// A number that names no token.
    pub(crate) fn step(&mut self, x: &[f32]) -> Result<&[Vec<i32>], ChipError> {
        let nodes = self.graph.nodes.len();
        self.history.push_back(vec![Vec::new(); nodes]);
        if self.history.len() > self.longest + 1 {
            self.history.pop_front();
        }
        let mut rest = x;
        for at in 0..nodes {
            let index = self.topology.order[at];
            let out = match &self.graph.nodes[index].op {
                Op::Input { .. } => {
                    let (own, others) = rest.split_at(self.graph.nodes[index].len());
                    rest = others;
                    own.iter().map(|x| number(f64::from(*x))).collect()
                }
                _ => self.node(index)?,
            };
            let newest = self.history.len() - 1;
            self.history[newest][index] = out;
        }
        self.steps += 1;
        Ok(&self.history[self.history.len() - 1])
    }

    /// The values of the graph's output nodes after the last step.
    pub(crate) fn results(&self) -> Vec<f32> {
        let Some(newest) = self.history.back() else { return Vec::new() };
        let outputs = self.graph.nodes.iter().zip(newest);
        let outputs = outputs.filter(|(node, _)| matches!(node.op, Op::Output));
        outputs.flat_map(|(_, out)| out.iter().map(|n| value(*n) as f32)).collect()
    }

    /// What a node gave some steps ago; nothing before the first.
    fn past(&self, node: usize, delay: usize) -> Option<&[i32]> {
        let at = (self.history.len() - 1).checked_sub(delay)?;
        Some(&self.history[at][node])
    }

    /// The sum of what arrives at a port.
    fn port(&self, index: usize, port: usize) -> Vec<i32> {
        let mut all: Vec<i32> = Vec::new();
        for link in self.topology.sources[index].iter().filter(|link| link.port == port) {
            all.resize(self.graph.nodes[link.node].len(), 0);
            if let Some(from) = self.past(link.node, link.delay) {
                all.iter_mut().zip(from).for_each(|(all, x)| *all = sum(*all, *x));
            }
        }
        all
    }

    /// How many ports of a node are connected.
    fn ports(&self, index: usize) -> usize {
        self.topology.sources[index].last().map_or(0, |link| link.port + 1)
    }

    /// The shape of what arrives at a node.
    fn source_shape(&self, index: usize) -> &[usize] {
        &self.graph.nodes[self.topology.sources[index][0].node].shape
    }

    fn tensor(&self, name: &str) -> &[i32] {
        self.tensors.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_and_keep_to_their_range() {
        assert_eq!((number(1.0), number(-0.5), number(1e9)), (ONE, -ONE / 2, i32::MAX));
        assert_eq!(number(f64::NAN), 0);
        // Half of the last bit goes up.
        assert_eq!((product(1, ONE / 2), product(-1, ONE / 2), product(3, ONE / 2)), (1, 0, 2));
        assert_eq!(product(i32::MAX, i32::MAX), i32::MAX);
        assert_eq!(sum(i32::MAX, 1), i32::MAX);
        assert_eq!((sigmoid(0), tanh(0), exponential(0)), (ONE / 2, 0, ONE));
        assert_eq!((sigmoid(i32::MIN), exponential(i32::MIN)), (0, 0));
    }
}
