//! The edges of a graph resolved to indices, and the order in which its nodes run.

use crate::{error::GraphError, graph::Graph};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// One end of an edge, seen from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index of the node at the other end.
    pub node: usize,
    /// Port of the target.
    pub port: usize,
    /// Delay in steps.
    pub delay: usize,
}

/// Who feeds whom, by index into [`Graph::nodes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// An order in which every node comes after all that feed it without delay; among the nodes
    /// that are ready, the first of the graph runs first.
    pub order: Vec<usize>,
    /// For every node, where its input comes from, sorted by port (then as in the graph).
    pub sources: Vec<Vec<Link>>,
    /// For every node, where its output goes, as in the graph.
    pub targets: Vec<Vec<Link>>,
}

impl Graph {
    /// Resolves the edges and orders the nodes. An edge with a delay reads the state of earlier
    /// steps and does not constrain the order.
    ///
    /// # Errors
    /// Duplicate node names, edges to nodes that do not exist, and cycles without delay.
    pub fn topology(&self) -> Result<Topology, GraphError> {
        let index = self.index()?;
        let mut sources = vec![Vec::new(); self.nodes.len()];
        let mut targets = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            let find = |name: &String| {
                index.get(name.as_str()).copied().ok_or_else(|| GraphError::EdgeEnd {
                    from: edge.from.clone(),
                    to: edge.to.clone(),
                    missing: name.clone(),
                })
            };
            let (from, to) = (find(&edge.from)?, find(&edge.to)?);
            sources[to].push(Link { node: from, port: edge.port, delay: edge.delay });
            targets[from].push(Link { node: to, port: edge.port, delay: edge.delay });
        }
        for links in &mut sources {
            links.sort_by_key(|link| link.port);
        }
        let order = self.sorted(&sources, &targets)?;
        Ok(Topology { order, sources, targets })
    }

    /// The indices of the nodes in the order in which they run.
    ///
    /// # Errors
    /// As [`Graph::topology`].
    pub fn order(&self) -> Result<Vec<usize>, GraphError> {
        Ok(self.topology()?.order)
    }

    fn index(&self) -> Result<BTreeMap<&str, usize>, GraphError> {
        let mut index = BTreeMap::new();
        for (position, node) in self.nodes.iter().enumerate() {
            if index.insert(node.name.as_str(), position).is_some() {
                return Err(GraphError::DuplicateNode { name: node.name.clone() });
            }
        }
        Ok(index)
    }

    fn sorted(
        &self,
        sources: &[Vec<Link>],
        targets: &[Vec<Link>],
    ) -> Result<Vec<usize>, GraphError> {
        let undelayed = |links: &[Link]| links.iter().filter(|link| link.delay == 0).count();
        let mut waiting: Vec<usize> = sources.iter().map(|links| undelayed(links)).collect();
        let mut ready: BTreeSet<usize> =
            (0..waiting.len()).filter(|&node| waiting[node] == 0).collect();
        let mut order = Vec::with_capacity(waiting.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for link in targets[node].iter().filter(|link| link.delay == 0) {
                waiting[link.node] -= 1;
                if waiting[link.node] == 0 {
                    ready.insert(link.node);
                }
            }
        }
        if order.len() == self.nodes.len() {
            Ok(order)
        } else {
            Err(GraphError::Cycle { nodes: self.cycle(sources, &waiting) })
        }
    }

    /// The names along one cycle among the nodes that still wait for an input.
    fn cycle(&self, sources: &[Vec<Link>], waiting: &[usize]) -> Vec<String> {
        // Every waiting node has a waiting source, so walking back must come round.
        let before = |node: usize| {
            sources[node].iter().find(|link| link.delay == 0 && waiting[link.node] > 0)
        };
        let mut path: Vec<usize> = Vec::new();
        let mut position = vec![None; waiting.len()];
        let mut next = waiting.iter().position(|&count| count > 0);
        while let Some(node) = next {
            if let Some(start) = position[node] {
                path.push(node);
                return path[start..]
                    .iter()
                    .rev()
                    .map(|&n| self.nodes[n].name.to_string())
                    .collect();
            }
            position[node] = Some(path.len());
            path.push(node);
            next = before(node).map(|link| link.node);
        }
        Vec::new()
    }
}
