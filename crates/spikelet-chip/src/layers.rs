//! What runs together: the nodes of a graph as layers that cores share.
//!
//! A layer is a set of nodes whose outputs have one shape and whose elements depend, within the
//! layer, only on the same element: a core can compute any part of it. What a layer reads from
//! other layers, from the host or from its own past arrives in packets. Nodes that only name or
//! move values (flatten, concat, slice, output) are no work: whoever reads them reads what is
//! behind them.

use crate::error::ChipError;
use spikelet_graph::{Graph, Op, Phase, Signal, Topology};
use std::collections::BTreeMap;

/// Where a value that arrives was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The node.
    pub node: usize,
    /// Steps it is old.
    pub delay: usize,
}

/// What one port of a node reads from outside of its layer.
#[derive(Clone, Debug)]
pub struct Read {
    /// The node that reads.
    pub node: usize,
    /// Its port.
    pub port: usize,
    /// The nodes that are read, with the age of the value: several add up.
    pub from: Vec<Source>,
    /// Where the values were made, behind nodes that only move them.
    pub sources: Vec<Source>,
    /// Each source has the shape of `from`, element by element.
    pub direct: bool,
}

/// Nodes that run together.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The name of its last node.
    pub name: String,
    /// Its nodes in the order in which they run.
    pub nodes: Vec<usize>,
    /// Shape of all its nodes.
    pub shape: Vec<usize>,
    /// When it runs.
    pub phase: Phase,
    /// What it reads.
    pub reads: Vec<Read>,
    /// Its nodes that someone else reads.
    pub sends: Vec<usize>,
}

/// A graph as layers.
#[derive(Clone, Debug)]
pub struct Layers {
    /// In an order in which every layer comes after those it reads within a step.
    pub layers: Vec<Layer>,
    /// Input nodes, in the order in which the runtime takes their values.
    pub inputs: Vec<usize>,
    /// Nodes the host reads.
    pub outputs: Vec<usize>,
    /// The layer of every node; none for what the host holds and for nodes that move values.
    pub of_node: Vec<Option<usize>>,
    /// What flows out of every node.
    pub signals: Vec<Signal>,
    /// Layers that none that runs every step reads within the step: it has ended when they have.
    pub last: Vec<usize>,
}

impl Layers {
    /// Divides a graph.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn new(graph: &Graph) -> Result<Self, ChipError> {
        let topology = graph.validate()?;
        let grouping = Grouping { graph, topology: &topology };
        let levels = grouping.levels();
        let groups = grouping.groups(&levels);
        let mut layers: Vec<(usize, Vec<usize>)> =
            groups.into_values().map(|nodes| (levels[nodes[nodes.len() - 1]], nodes)).collect();
        // The order of nodes is kept within a level.
        let mut position = vec![0; graph.nodes.len()];
        for (at, &node) in topology.order.iter().enumerate() {
            position[node] = at;
        }
        layers.sort_by_key(|(level, nodes)| (*level, position[nodes[nodes.len() - 1]]));
        let mut of_node = vec![None; graph.nodes.len()];
        for (at, (_, nodes)) in layers.iter().enumerate() {
            nodes.iter().for_each(|&node| of_node[node] = Some(at));
        }
        let layers: Vec<Layer> = layers
            .into_iter()
            .enumerate()
            .map(|(at, (_, nodes))| grouping.layer(at, nodes, &of_node))
            .collect();
        let inputs = |node: &usize| matches!(graph.nodes[*node].op, Op::Input { .. });
        let outputs = (0..graph.nodes.len()).filter(|&n| matches!(graph.nodes[n].op, Op::Output));
        let mut all = Layers {
            inputs: topology.order.iter().copied().filter(inputs).collect(),
            outputs: grouping.behind(outputs),
            signals: graph.signals(&topology),
            last: Vec::new(),
            layers,
            of_node,
        };
        all.mark_sends();
        Ok(all)
    }

    /// Finds out which nodes are read, and which layers nobody waits for.
    fn mark_sends(&mut self) {
        let mut read = vec![false; self.of_node.len()];
        let mut awaited = vec![false; self.layers.len()];
        for layer in &self.layers {
            for source in layer.reads.iter().flat_map(|read| &read.sources) {
                read[source.node] = true;
                if let (Some(at), 0) = (self.of_node[source.node], source.delay) {
                    awaited[at] |= layer.phase == Phase::Step;
                }
            }
        }
        self.outputs.iter().for_each(|&node| read[node] = true);
        for layer in &mut self.layers {
            layer.sends = layer.nodes.iter().copied().filter(|&node| read[node]).collect();
        }
        self.last = (0..self.layers.len()).filter(|&at| !awaited[at]).collect();
    }
}

struct Grouping<'a> {
    graph: &'a Graph,
    topology: &'a Topology,
}

impl Grouping<'_> {
    /// Whether a node only names or moves values of this step.
    fn moves(&self, node: usize) -> bool {
        let sources = &self.topology.sources[node];
        let alone = sources.windows(2).all(|pair| pair[0].port != pair[1].port);
        matches!(
            self.graph.nodes[node].op,
            Op::Flatten | Op::Concat | Op::Slice { .. } | Op::Output
        ) && alone
            && sources.iter().all(|link| link.delay == 0)
    }

    fn is_input(&self, node: usize) -> bool {
        matches!(self.graph.nodes[node].op, Op::Input { .. })
    }

    /// Whether `to` needs, of the undelayed output of `from`, only the element it computes.
    fn aligned(&self, from: usize, to: usize) -> bool {
        let (a, b) = (&self.graph.nodes[from], &self.graph.nodes[to]);
        element_wise(&b.op)
            && a.shape == b.shape
            && a.phase == b.phase
            && !self.is_input(from)
            && !self.moves(from)
    }

    /// How many exchanges of packets come before a node within a step.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![0; self.graph.nodes.len()];
        for &node in &self.topology.order {
            let before = self.topology.sources[node].iter().filter(|link| link.delay == 0);
            levels[node] = before
                .map(|link| {
                    let passes = self.moves(node) || self.aligned(link.node, node);
                    levels[link.node] + usize::from(!passes)
                })
                .max()
                .unwrap_or_else(|| usize::from(!self.is_input(node)));
        }
        // What has one reader runs as late as that one does, with it.
        for &node in self.topology.order.iter().rev() {
            if let [link] = self.topology.targets[node][..]
                && link.delay == 0
                && self.aligned(node, link.node)
            {
                levels[node] = levels[link.node];
            }
        }
        levels
    }

    /// Nodes that run together, by the least of them.
    fn groups(&self, levels: &[usize]) -> BTreeMap<usize, Vec<usize>> {
        let mut parent: Vec<usize> = (0..levels.len()).collect();
        fn root(parent: &mut [usize], mut node: usize) -> usize {
            while parent[node] != node {
                parent[node] = parent[parent[node]];
                node = parent[node];
            }
            node
        }
        for &node in &self.topology.order {
            for link in self.topology.sources[node].iter().filter(|link| link.delay == 0) {
                if levels[link.node] == levels[node] && self.aligned(link.node, node) {
                    let (a, b) = (root(&mut parent, link.node), root(&mut parent, node));
                    parent[a.max(b)] = a.min(b);
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &node in &self.topology.order {
            if !self.is_input(node) && !self.moves(node) {
                groups.entry(root(&mut parent, node)).or_default().push(node);
            }
        }
        groups
    }

    fn layer(&self, at: usize, nodes: Vec<usize>, of_node: &[Option<usize>]) -> Layer {
        let mut reads: Vec<Read> = Vec::new();
        for &node in &nodes {
            for link in &self.topology.sources[node] {
                let within = of_node[link.node] == Some(at) && link.delay == 0;
                if within {
                    continue;
                }
                let from = Source { node: link.node, delay: link.delay };
                // Edges add up before a product; what adds up element by element may come late.
                let joins = |read: &&mut Read| {
                    read.node == node
                        && read.port == link.port
                        && !element_wise(&self.graph.nodes[node].op)
                };
                match reads.iter_mut().find(joins) {
                    Some(read) => read.from.push(from),
                    None => reads.push(Read {
                        node,
                        port: link.port,
                        from: vec![from],
                        sources: Vec::new(),
                        direct: false,
                    }),
                }
            }
            if recurrent(&self.graph.nodes[node].op) {
                let own = Source { node, delay: 1 };
                reads.push(Read {
                    node,
                    port: RECURRENT,
                    from: vec![own],
                    sources: Vec::new(),
                    direct: false,
                });
            }
        }
        for read in &mut reads {
            for from in &read.from {
                let behind = self.behind([from.node]);
                read.sources.extend(behind.iter().map(|&node| Source { node, ..*from }));
            }
            read.sources.sort_unstable();
            read.sources.dedup();
            read.direct = read.from.iter().all(|from| !self.moves(from.node));
        }
        let last = &self.graph.nodes[nodes[nodes.len() - 1]];
        let (name, shape, phase) = (last.name.clone(), last.shape.clone(), last.phase);
        Layer { name, shape, phase, reads, nodes, sends: Vec::new() }
    }

    /// The nodes behind those that only move values.
    fn behind(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let mut found = Vec::new();
        let mut open: Vec<usize> = nodes.into_iter().collect();
        let mut seen = vec![false; self.graph.nodes.len()];
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut seen[node], true) {
                continue;
            }
            if self.moves(node) {
                open.extend(self.topology.sources[node].iter().map(|link| link.node));
            } else {
                found.push(node);
            }
        }
        found.sort_unstable();
        found
    }
}

/// The port at which a recurrent cell reads its own output of the step before without an edge.
const RECURRENT: usize = usize::MAX;

/// Whether an element of the output depends on the same element of every input only.
pub fn element_wise(op: &Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Scale { .. }
            | Op::Activation { .. }
            | Op::Neuron(_)
            | Op::TokenShift { .. }
            | Op::Wkv { .. }
            | Op::Multiply
            | Op::Readout { .. }
    )
}

/// Whether every unit of a cell reads what all units of it gave in the step before.
fn recurrent(op: &Op) -> bool {
    matches!(op, Op::Lstm { .. } | Op::Gru { .. })
}
