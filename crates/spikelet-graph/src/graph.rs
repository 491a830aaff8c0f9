//! The event graph: nodes, edges, tensors.

use crate::{op::Op, task::Task, tensor::Tensor};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
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
}
