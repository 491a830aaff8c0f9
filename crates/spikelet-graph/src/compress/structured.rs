//! Structured pruning: whole neurons go, and with them rows and columns of every weight around
//! them. The graph gets smaller for any executor.
//!
//! Nodes whose outputs must keep the same length form a group: a population, the linear layers
//! that feed it, what adds to it, and a Legendre memory with its `u` and its state (where one unit
//! of `u` stands for `order` units of state). Removing unit `k` removes its outputs in every
//! member, and its input column in every linear layer or cell that reads a member, feedback
//! included. Groups that touch an input, an output, an image, a concatenation, a slice or a
//! tensor that two nodes share stay whole.

use super::{CompressError, check_fraction, check_keep, share, uses};
use crate::{
    error::GraphError,
    graph::Graph,
    neuron::{Neuron, Param},
    op::{Layout, Op, Weight},
    topology::Topology,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec,
    vec::Vec,
};
use serde::Serialize;

/// What was removed from one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemovedUnits {
    /// The nodes of the group.
    pub nodes: Vec<String>,
    /// Units before.
    pub units: usize,
    /// The units that were removed, ascending.
    pub removed: Vec<usize>,
}

/// The graph without the given fraction of the units of every group, at least one unit staying.
///
/// The units that go first have the smallest product of the norms of their incoming and outgoing
/// weights (what a cell feeds back to itself counts for neither): a unit without either is dead
/// and costs nothing to remove. Groups with a node named
/// in `keep` stay whole.
///
/// # Errors
/// A fraction outside 0..=1, a graph that is not valid, a name in `keep` that no node has, weights
/// with a scale per group.
pub fn remove_neurons(
    graph: &Graph,
    fraction: f64,
    keep: &[&str],
) -> Result<(Graph, Vec<RemovedUnits>), CompressError> {
    let topology = graph.validate()?;
    check_fraction(fraction)?;
    check_keep(graph, keep)?;
    check_groups(graph)?;
    let mut result = graph.clone();
    let mut report = Vec::new();
    for group in groups(graph, &topology, keep) {
        let scores = group.scores(&result, &topology)?;
        let count = share(fraction, group.units).min(group.units - 1);
        let mut order: Vec<usize> = (0..group.units).collect();
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
        let mut removed = order[..count].to_vec();
        removed.sort_unstable();
        let kept: Vec<usize> =
            (0..group.units).filter(|unit| removed.binary_search(unit).is_err()).collect();
        group.shrink(&mut result, &topology, &kept);
        let nodes = group.members.keys().map(|&index| graph.nodes[index].name.clone()).collect();
        report.push(RemovedUnits { nodes, units: group.units, removed });
    }
    result.validate()?;
    Ok((result, report))
}

/// Nodes that shrink together.
struct Group {
    units: usize,
    /// Every member with its outputs per unit.
    members: BTreeMap<usize, usize>,
}

/// The groups that can shrink.
fn groups(graph: &Graph, topology: &Topology, keep: &[&str]) -> Vec<Group> {
    let uses = uses(graph);
    let mut sets = Sets { parent: (0..graph.nodes.len()).collect() };
    let mut fixed = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let sources = &topology.sources[index];
        for pair in sources.windows(2).filter(|pair| pair[0].port == pair[1].port) {
            sets.join(pair[0].node, pair[1].node);
        }
        let is_plain = match &node.op {
            // One output per input, or per memory.
            Op::Neuron(_)
            | Op::Activation { .. }
            | Op::Scale { .. }
            | Op::Readout { .. }
            | Op::Legendre { .. } => {
                sources.iter().for_each(|link| sets.join(index, link.node));
                true
            }
            Op::Linear { .. } | Op::Lstm { .. } | Op::Gru { .. } => true,
            Op::Input { .. }
            | Op::Output
            | Op::Conv2d { .. }
            | Op::Pool2d { .. }
            | Op::AdaptivePool2d { .. }
            | Op::Interpolate2d { .. }
            | Op::Add
            | Op::Flatten
            | Op::Concat
            | Op::Slice { .. }
            | Op::Embedding { .. }
            | Op::LayerNorm { .. }
            | Op::TokenShift { .. }
            | Op::Wkv { .. }
            | Op::Egru { .. }
            | Op::Multiply
            | Op::Border { .. }
            | Op::Attention { .. } => false,
        };
        let is_shared = node.op.tensors().iter().any(|name| uses[name] > 1);
        let is_kept = keep.contains(&node.name.as_str());
        if !is_plain || is_shared || node.shape.len() != 1 {
            fixed.push(index);
            fixed.extend(sources.iter().map(|link| link.node));
        } else if is_kept {
            fixed.push(index);
        }
    }
    let fixed: BTreeSet<usize> = fixed.into_iter().map(|index| sets.root(index)).collect();
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..graph.nodes.len() {
        let root = sets.root(index);
        if !fixed.contains(&root) {
            groups.entry(root).or_default().push(index);
        }
    }
    groups.into_values().filter_map(|members| Group::new(graph, members)).collect()
}

impl Group {
    /// `None` unless all lengths are multiples of the smallest.
    fn new(graph: &Graph, members: Vec<usize>) -> Option<Group> {
        let units = members.iter().map(|&index| graph.nodes[index].len()).min()?;
        let per_unit = |index: usize| {
            let len = graph.nodes[index].len();
            len.is_multiple_of(units).then_some((index, len / units))
        };
        let members = members.into_iter().map(per_unit).collect::<Option<_>>()?;
        Some(Group { units, members })
    }

    /// Per unit, the product of the squared norms of its incoming and outgoing weights.
    fn scores(&self, graph: &Graph, topology: &Topology) -> Result<Vec<f64>, GraphError> {
        let mut incoming = vec![0.0; self.units];
        let mut outgoing = vec![0.0; self.units];
        for (index, node) in graph.nodes.iter().enumerate() {
            let name = &node.name;
            // The rows of a cell come gate by gate.
            let len = node.len();
            let unit =
                self.members.get(&index).map(|&per_unit| move |row: usize| row % len / per_unit);
            match &node.op {
                Op::Linear { weight, bias } => {
                    if let Some(unit) = unit {
                        add_rows(graph, name, weight, unit, &mut incoming)?;
                        add_vector(graph, name, bias.as_deref(), unit, &mut incoming)?;
                    }
                    self.add_columns(graph, topology, index, weight, &mut outgoing)?;
                }
                Op::Lstm { weight_input, .. } | Op::Gru { weight_input, .. } => {
                    if let Some(unit) = unit {
                        add_rows(graph, name, weight_input, unit, &mut incoming)?;
                        for bias in biases(&node.op) {
                            add_vector(graph, name, Some(bias), unit, &mut incoming)?;
                        }
                    }
                    self.add_columns(graph, topology, index, weight_input, &mut outgoing)?;
                }
                _ => {}
            }
        }
        Ok(incoming.iter().zip(outgoing).map(|(i, o)| i * o).collect())
    }

    /// Adds the squares of the columns of a layer that reads a member.
    fn add_columns(
        &self,
        graph: &Graph,
        topology: &Topology,
        index: usize,
        weight: &Weight,
        outgoing: &mut [f64],
    ) -> Result<(), GraphError> {
        if let Some(per_unit) = self.read_by(topology, index) {
            let name = &graph.nodes[index].name;
            for_each(graph, name, weight, |input, _, value| {
                outgoing[input / per_unit] += value * value;
            })?;
        }
        Ok(())
    }

    /// Inputs per unit of a layer that reads a member.
    fn read_by(&self, topology: &Topology, index: usize) -> Option<usize> {
        let source = topology.sources[index].first()?;
        self.members.get(&source.node).copied()
    }

    /// Keeps only the given units.
    fn shrink(&self, graph: &mut Graph, topology: &Topology, kept: &[usize]) {
        for index in 0..graph.nodes.len() {
            let op = graph.nodes[index].op.clone();
            if let Some(per_unit) = self.read_by(topology, index) {
                let columns = expand(kept, per_unit, self.units, 1);
                match &op {
                    Op::Linear { weight, .. } => select_inputs(graph, weight, &columns),
                    Op::Lstm { weight_input, .. } | Op::Gru { weight_input, .. } => {
                        select_inputs(graph, weight_input, &columns);
                    }
                    _ => {}
                }
            }
            if let Some(&per_unit) = self.members.get(&index) {
                self.shrink_member(graph, index, &op, per_unit, kept);
            }
        }
    }

    fn shrink_member(
        &self,
        graph: &mut Graph,
        index: usize,
        op: &Op,
        per_unit: usize,
        kept: &[usize],
    ) {
        let rows = expand(kept, per_unit, self.units, 1);
        graph.nodes[index].shape = Vec::from([rows.len()]);
        match op {
            Op::Linear { weight, bias } => {
                select_outputs(graph, weight, &rows);
                bias.iter().for_each(|bias| select_vector(graph, bias, &rows));
            }
            Op::Scale { factor, shift } => {
                select_vector(graph, factor, &rows);
                shift.iter().for_each(|shift| select_vector(graph, shift, &rows));
            }
            Op::Neuron(neuron) => {
                tensor_params(neuron).iter().for_each(|name| select_vector(graph, name, &rows));
            }
            Op::Legendre { order, .. } => {
                if let Op::Legendre { memories, .. } = &mut graph.nodes[index].op {
                    *memories = rows.len() / order;
                }
            }
            Op::Lstm { weight_input, weight_hidden, .. }
            | Op::Gru { weight_input, weight_hidden, .. } => {
                let gates = if matches!(op, Op::Lstm { .. }) { 4 } else { 3 };
                let gate_rows = expand(kept, per_unit, self.units, gates);
                select_outputs(graph, weight_input, &gate_rows);
                select_outputs(graph, weight_hidden, &gate_rows);
                select_inputs(graph, weight_hidden, &rows);
                biases(op).iter().for_each(|bias| select_vector(graph, bias, &gate_rows));
            }
            _ => {}
        }
    }
}

fn check_groups(graph: &Graph) -> Result<(), CompressError> {
    let grouped = |weight: &&Weight| {
        let scales = weight.scale.as_ref().and_then(|name| graph.tensors.get(name));
        scales.is_some_and(|scales| scales.shape.len() == 2)
    };
    match graph.nodes.iter().flat_map(|node| node.op.weights()).find(grouped) {
        Some(weight) => Err(CompressError::Groups { tensor: weight.tensor.clone() }),
        None => Ok(()),
    }
}

/// The positions of units with `per_unit` entries each, in each of `blocks` blocks.
fn expand(kept: &[usize], per_unit: usize, units: usize, blocks: usize) -> Vec<usize> {
    let block = units * per_unit;
    (0..blocks)
        .flat_map(|start| kept.iter().map(move |unit| start * block + unit * per_unit))
        .flat_map(|start| start..start + per_unit)
        .collect()
}

fn select_outputs(graph: &mut Graph, weight: &Weight, rows: &[usize]) {
    let axis = match weight.layout {
        Layout::ByInput => 1,
        Layout::ByOutput => 0,
    };
    select(graph, &weight.tensor, axis, rows);
    weight.scale.iter().for_each(|scale| select_vector(graph, scale, rows));
}

fn select_inputs(graph: &mut Graph, weight: &Weight, columns: &[usize]) {
    let axis = match weight.layout {
        Layout::ByInput => 0,
        Layout::ByOutput => 1,
    };
    select(graph, &weight.tensor, axis, columns);
}

fn select_vector(graph: &mut Graph, name: &str, entries: &[usize]) {
    select(graph, name, 0, entries);
}

fn select(graph: &mut Graph, name: &str, axis: usize, entries: &[usize]) {
    if let Some(tensor) = graph.tensors.get_mut(name) {
        *tensor = tensor.selected(axis, entries);
    }
}

fn add_vector(
    graph: &Graph,
    node: &str,
    name: Option<&str>,
    unit: impl Fn(usize) -> usize,
    sums: &mut [f64],
) -> Result<(), GraphError> {
    let Some(name) = name else { return Ok(()) };
    for (position, value) in graph.tensor(node, name)?.to_f32().into_iter().enumerate() {
        sums[unit(position)] += f64::from(value) * f64::from(value);
    }
    Ok(())
}

fn add_rows(
    graph: &Graph,
    node: &str,
    weight: &Weight,
    unit: impl Fn(usize) -> usize,
    sums: &mut [f64],
) -> Result<(), GraphError> {
    for_each(graph, node, weight, |_, output, value| sums[unit(output)] += value * value)
}

/// Calls `visit(input, output, value)` for every weight of a matrix.
fn for_each(
    graph: &Graph,
    node: &str,
    weight: &Weight,
    mut visit: impl FnMut(usize, usize, f64),
) -> Result<(), GraphError> {
    let row = graph.tensor(node, &weight.tensor)?.row();
    for (position, value) in graph.weight(node, weight)?.into_iter().enumerate() {
        let (outer, inner) = (position / row, position % row);
        match weight.layout {
            Layout::ByInput => visit(outer, inner, f64::from(value)),
            Layout::ByOutput => visit(inner, outer, f64::from(value)),
        }
    }
    Ok(())
}

/// The biases of a cell.
fn biases(op: &Op) -> Vec<&str> {
    match op {
        Op::Lstm { bias, .. } => Vec::from([bias.as_str()]),
        Op::Gru { bias_input, bias_hidden, .. } => {
            Vec::from([bias_input.as_str(), bias_hidden.as_str()])
        }
        _ => Vec::new(),
    }
}

/// The parameters of a population that have a value per neuron.
fn tensor_params(neuron: &Neuron) -> Vec<&str> {
    let names = neuron.params().into_iter().filter_map(|param| match param {
        Param::Tensor(name) => Some(name.as_str()),
        Param::Shared(_) => None,
    });
    names.collect()
}

/// Disjoint sets of nodes.
struct Sets {
    parent: Vec<usize>,
}

impl Sets {
    fn root(&mut self, mut index: usize) -> usize {
        while self.parent[index] != index {
            self.parent[index] = self.parent[self.parent[index]];
            index = self.parent[index];
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
