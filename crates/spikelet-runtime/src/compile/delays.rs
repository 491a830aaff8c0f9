//! What an edge with a delay reads: a value left in place, or a ring of the last steps.

use super::{Compiler, Value, passes_on};
use crate::{
    buffers::Content,
    plan::{Instruction, Ring},
};
use alloc::collections::BTreeSet;
use spikelet_graph::{Phase, Signal};

impl<'a> Compiler<'a> {
    /// Gives every delayed value a buffer, and plans when rings are read and written: as late and
    /// as early as can be, so that little lies between and steps can run layer by layer.
    pub(super) fn place_delays(&mut self) {
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
            let readers = self.topology.targets[node].iter().filter(|link| link.delay > 0);
            let last = readers
                .map(|link| link.node)
                .filter(|reader| self.graph.nodes[*reader].phase == Phase::Step)
                .chain([node])
                .max_by_key(|node| self.position[*node]);
            self.remembers.entry(last.unwrap_or(node)).or_default().push((node, ring));
            for delay in delays {
                let content = if spikes { Content::Events } else { Content::Values };
                let to = self.wishes.add(content, len, false);
                let (dense, events) = if spikes { (None, Some(to)) } else { (Some(to), None) };
                let value = self.add_value(Value { signal, len, dense, events });
                self.delayed.insert((node, delay), value);
                self.recalls.insert((node, delay), Instruction::Recall { ring, delay, to });
            }
        }
    }

    /// Reads the rings a node needs, unless they have been read.
    pub(super) fn recall(&mut self, index: usize) {
        for link in self.topology.sources[index].iter().filter(|link| link.delay > 0) {
            if let Some(recall) = self.recalls.remove(&(link.node, link.delay)) {
                self.push(recall);
            }
        }
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

    /// Writes the rings whose last reader was this node.
    pub(super) fn remember(&mut self, index: usize) {
        for (node, ring) in self.remembers.remove(&index).unwrap_or_default() {
            // What runs once per sequence reads what the ring held in the last step.
            for delay in 1..=self.plan.rings[ring].depth {
                if let Some(recall) = self.recalls.remove(&(node, delay)) {
                    self.push(recall);
                }
            }
            let Some(value) = self.now[node] else { continue };
            let from = match self.plan.rings[ring].spikes {
                true => self.events(value),
                false => self.dense(value),
            };
            self.push(Instruction::Remember { ring, from });
        }
    }
}
