//! What an edge with a delay reads: a value left in place, or a ring of the last steps.

use super::{Compiler, Value, passes_on};
use crate::{
    buffers::Content,
    plan::{Instruction, Ring},
};
use alloc::{collections::BTreeSet, vec::Vec};
use spikelet_graph::Signal;

impl<'a> Compiler<'a> {
    /// Gives every delayed value a buffer; returns the rings to be written, by node.
    pub(super) fn place_delays(&mut self) -> Vec<(usize, usize)> {
        let mut rings = Vec::new();
        for node in 0..self.graph.nodes.len() {
            let delays: BTreeSet<usize> = self.topology.targets[node]
                .iter()
                .map(|link| link.delay)
                .filter(|delay| *delay > 0)
                .collect();
            let Some(&depth) = delays.last() else { continue };
            if self.latched(node) {
                let value = self.own_value(node, true);
                self.delayed.insert((node, 1), value);
                // A second value over the same buffer: conversions differ before and after.
                let value = self.values[value];
                self.now[node] = Some(self.add_value(value));
                continue;
            }
            let (signal, len) = (self.signals[node], self.graph.nodes[node].len());
            let spikes = signal == Signal::Binary;
            let width = if spikes { len.div_ceil(32) } else { len };
            let content = if spikes { Content::Bits } else { Content::Values };
            let buffer = self.wishes.add(content, depth * width, true);
            let ring = self.plan.rings.len();
            self.plan.rings.push(Ring { buffer, depth, width, spikes, neurons: len });
            rings.push((node, ring));
            for delay in delays {
                let content = if spikes { Content::Events } else { Content::Values };
                let to = self.wishes.add(content, len, false);
                let (dense, events) = if spikes { (None, Some(to)) } else { (Some(to), None) };
                let value = self.add_value(Value { signal, len, dense, events });
                self.delayed.insert((node, delay), value);
                self.push(Instruction::Recall { ring, delay, to });
            }
        }
        rings
    }

    /// Whether a value can stay where it is until the next step.
    pub(super) fn latched(&self, node: usize) -> bool {
        !passes_on(&self.graph.nodes[node].op)
            && self.topology.targets[node].iter().filter(|link| link.delay > 0).all(|link| {
                link.delay == 1
                    && link.node != node
                    && self.position[link.node] < self.position[node]
                    && !passes_on(&self.graph.nodes[link.node].op)
            })
    }

    pub(super) fn remember(&mut self, node: usize, ring: usize) {
        let Some(value) = self.now[node] else { return };
        let from = match self.plan.rings[ring].spikes {
            true => self.events(value),
            false => self.dense(value),
        };
        self.push(Instruction::Remember { ring, from });
    }
}
