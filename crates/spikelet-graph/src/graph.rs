//! The event graph: nodes, edges, tensors.

use crate::{
    error::GraphError,
    neuron::Param,
    op::{Op, Weight},
    task::Task,
    tensor::{Tensor, elements},
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};
use serde::{Deserialize, Serialize};

/// When a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// At every time step.
    #[default]
    Step,
    /// Once, after a read-out over time.
    Sequence,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// What it computes.
    #[serde(flatten)]
    pub op: Op,
    /// Shape of its output per stream and step.
    pub shape: Vec<usize>,
    /// When it runs.
    #[serde(default)]
    pub phase: Phase,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Name of the source node.
    pub from: String,
    /// Name of the target node.
    pub to: String,
    /// Port of the target. Several edges into one port add up.
    #[serde(default)]
    pub port: usize,
    /// Steps until the value arrives; a cycle needs at least one step in total. What arrives
    /// before the first step is zero.
    #[serde(default)]
    pub delay: usize,
}

/// The event graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Name of the model.
    pub name: String,
    /// The nodes, in any order.
    pub nodes: Vec<Node>,
    /// The edges.
    pub edges: Vec<Edge>,
    /// The tensors, by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// The task record.
    pub task: Task,
    /// An integer-only graph: the fraction bits of every input that is no spikes, by node. Values
    /// are rounded to multiples of `2^-fraction` as they enter, and from there on everything is
    /// computed in integers ([`fixed`](crate::program::fixed)).
    pub integer: Option<BTreeMap<String, u32>>,
}

impl Graph {
    /// The node of this name.
    ///
    /// # Errors
    /// [`GraphError::NoNode`].
    pub fn node(&self, name: &str) -> Result<&Node, GraphError> {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .ok_or_else(|| GraphError::NoNode { name: name.into() })
    }

    /// The nodes that are connected with an input, their edges and tensors: of a file with several
    /// networks, that one. `None` if there is no such input.
    pub fn part(&self, input: &str) -> Option<Graph> {
        let start = self.nodes.iter().find(|node| node.name == input)?;
        if !matches!(start.op, Op::Input { .. }) {
            return None;
        }
        let mut neighbours: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for Edge { from, to, .. } in &self.edges {
            neighbours.entry(from).or_default().push(to);
            neighbours.entry(to).or_default().push(from);
        }
        let mut reached = BTreeSet::from([input]);
        let mut waiting = Vec::from([input]);
        while let Some(node) = waiting.pop() {
            for &next in neighbours.get(node).into_iter().flatten() {
                if reached.insert(next) {
                    waiting.push(next);
                }
            }
        }
        let inside = |name: &String| reached.contains(name.as_str());
        let nodes: Vec<Node> = self.nodes.iter().filter(|n| inside(&n.name)).cloned().collect();
        let edges = self.edges.iter().filter(|edge| inside(&edge.from)).cloned().collect();
        let used: BTreeSet<&str> = nodes.iter().flat_map(|node| node.op.tensors()).collect();
        let tensors = self.tensors.iter().filter(|(name, _)| used.contains(name.as_str()));
        let tensors = tensors.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        // Classes, means and settings are those of the whole.
        let (name, task) = (self.name.clone(), Task::default());
        Some(Graph { name, nodes, edges, tensors, task, integer: None })
    }

    /// The tensor of this name, on behalf of a node.
    ///
    /// # Errors
    /// [`GraphError::NoTensor`].
    pub fn tensor(&self, node: &str, name: &str) -> Result<&Tensor, GraphError> {
        self.tensors
            .get(name)
            .ok_or_else(|| GraphError::NoTensor { node: node.into(), tensor: name.into() })
    }

    /// The values of a weight as 32-bit floats in its stored layout, scales applied.
    ///
    /// # Errors
    /// A tensor that is not there, or scales that do not fit.
    pub fn weight(&self, node: &str, weight: &Weight) -> Result<Vec<f32>, GraphError> {
        let tensor = self.tensor(node, &weight.tensor)?;
        tensor.check(&weight.tensor)?;
        let Some(name) = &weight.scale else { return Ok(tensor.to_f32()) };
        let scales = self.tensor(node, name)?;
        let channels = tensor.output_channels(weight.layout);
        let grouped = tensor.groups().is_some_and(|groups| scales.shape == groups);
        if scales.shape != [channels] && !grouped {
            return Err(GraphError::TensorShape {
                node: node.into(),
                tensor: name.clone(),
                found: scales.shape.clone(),
                expected: format!("[{channels}]"),
            });
        }
        scales.check(name)?;
        Ok(tensor.dequantized(scales, weight.layout))
    }

    /// The values of a neuron parameter: one, or one per neuron or per channel.
    ///
    /// # Errors
    /// [`GraphError::NoTensor`].
    pub fn param(&self, node: &str, param: &Param) -> Result<Vec<f32>, GraphError> {
        match param {
            Param::Shared(value) => Ok(Vec::from([*value])),
            Param::Tensor(name) => Ok(self.tensor(node, name)?.to_f32()),
        }
    }
}

impl Node {
    /// Elements of its output per stream and step.
    pub fn len(&self) -> usize {
        elements(&self.shape).unwrap_or(usize::MAX)
    }

    /// Whether its output has no element (never in a validated graph).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
