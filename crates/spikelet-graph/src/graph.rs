//! The event graph: nodes, edges, tensors.

use crate::{
    error::GraphError,
    neuron::Param,
    op::{Op, Weight},
    task::Task,
    tensor::{Tensor, elements},
};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
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
