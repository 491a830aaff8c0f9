//! What an edge with a delay reads: a value left in place, or a ring of the last steps.

use super::{Compiler, Value, passes_on};
use crate::{
    buffers::Content,
    plan::{Instruction, Ring},
};
use alloc::collections::BTreeSet;
use spikelet_graph::Signal;

impl<'a> Compiler<'a> {
    /// Gives every delayed value a buffer. Rings are read as late and written as early as can be, so
    /// that little lies between and steps can run layer by layer.
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
            self.remembers.insert(node, ring);
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

    /// Writes the ring of a node, once what it held is read for the nodes that come after it.
    pub(super) fn remember(&mut self, node: usize) {
        let Some(ring) = self.remembers.remove(&node) else { return };
        for delay in 1..=self.plan.rings[ring].depth {
            if let Some(recall) = self.recalls.remove(&(node, delay)) {
                self.push(recall);
            }
        }
        let Some(value) = self.now[node] else { return };
        let from = match self.plan.rings[ring].spikes {
            true => self.events(value),
            false => self.dense(value),
        };
        self.push(Instruction::Remember { ring, from });
    }
}

#[cfg(test)]
mod tests {
    use crate::{Executor, block::Section};
    use alloc::{format, vec};
    use spikelet_graph::{GraphBuilder, Layout, Signal, Tensor};

    #[test]
    fn products_between_the_readers_of_a_ring_take_several_steps_at_once() {
        let tensor =
            |shape: &[usize]| Tensor::f32(shape, vec![0.5; shape.iter().product()]).unwrap();
        let mut graph = GraphBuilder::new("mixes");
        graph.input("x", Signal::Dense, &[4]);
        graph.layer_norm("norm", "x", tensor(&[4]), tensor(&[4]));
        for name in ["k", "v", "r"] {
            let shift = format!("{name}.shift");
            graph.token_shift(&shift, "norm", tensor(&[4]));
            graph.linear(name, &shift, &tensor(&[4, 4]), None, Layout::ByOutput);
            graph.output(&format!("{name}.out"), name);
        }
        let executor = Executor::new(&graph.finish().unwrap()).unwrap();
        let batches =
            executor.plan().sections.iter().filter(|section| matches!(section, Section::Batch(_)));
        assert_eq!(batches.count(), 3);
    }
}
