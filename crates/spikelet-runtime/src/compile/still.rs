//! What need not run again while the input stays the same: a still image is shown for several
//! steps, and the layers before the first neurons then give the same each time.

use super::Compiler;
use alloc::collections::BTreeSet;
use spikelet_graph::{Op, Signal};

/// Products that are worth comparing the input for.
const WORTH: u64 = 1 << 20;

impl Compiler<'_> {
    /// Whether a node depends on nothing but the input of the same step.
    pub(super) fn is_still(&self, index: usize, still: &BTreeSet<usize>) -> bool {
        let stateless = match &self.graph.nodes[index].op {
            Op::Input { signal } => *signal != Signal::Binary,
            Op::Linear { .. }
            | Op::Conv2d { .. }
            | Op::Pool2d { .. }
            | Op::AdaptivePool2d { .. }
            | Op::Interpolate2d { .. }
            | Op::Border { .. }
            | Op::Scale { .. }
            | Op::Activation { .. }
            | Op::LayerNorm { .. }
            | Op::Flatten => true,
            _ => false,
        };
        let sources = &self.topology.sources[index];
        let read_later = self.topology.targets[index].iter().any(|link| link.delay > 0);
        stateless && !read_later && sources.iter().all(|link| link.delay == 0 && still.contains(&link.node))
            // A sum that others add to begins anew in every step.
            && self.only_sum(index).is_none()
    }

    /// Keeps the instructions of the first nodes, which are still, from running again: what they
    /// write and others read stays in a place of its own.
    pub(super) fn keep_still(&mut self, nodes: &BTreeSet<usize>, end: usize) {
        let products: u64 = nodes.iter().map(|node| self.plan.nodes[*node].operations.dense).sum();
        if products >= WORTH {
            self.plan.still = end;
            self.wishes.keep_across(end, self.plan.instructions.len());
        }
    }
}
