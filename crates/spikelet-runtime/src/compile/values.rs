//! What a node gives, the forms it has, and what arrives at a port.

use super::{Compiler, Value, ValueId, keeps_state};
use crate::{
    buffers::{Buffer, Content},
    plan::{Input, Instruction},
};
use alloc::vec::Vec;
use spikelet_graph::{Link, Membrane, Op, Signal};

impl<'a> Compiler<'a> {
    pub(super) fn add_value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        self.values.len() - 1
    }

    /// The value a node gives, in the form in which its instruction writes it.
    pub(super) fn own(&mut self, index: usize) -> ValueId {
        match self.now[index] {
            Some(value) => value,
            None => {
                let keep = keeps_state(&self.graph.nodes[index].op);
                let value = self.own_value(index, keep);
                self.now[index] = Some(value);
                value
            }
        }
    }

    pub(super) fn own_value(&mut self, index: usize, keep: bool) -> ValueId {
        let node = &self.graph.nodes[index];
        let (signal, len) = (self.signals[index], node.len());
        let as_events = match &node.op {
            Op::Input { signal } => *signal == Signal::Binary,
            Op::Neuron(neuron) => !matches!(neuron.membrane, Membrane::Li { .. }),
            _ => false,
        };
        let content = if as_events { Content::Events } else { Content::Values };
        let buffer = self.wishes.add(content, len, keep);
        let (dense, events) = if as_events { (None, Some(buffer)) } else { (Some(buffer), None) };
        self.add_value(Value { signal, len, dense, events })
    }

    pub(super) fn own_dense(&mut self, index: usize) -> Buffer {
        let value = self.own(index);
        self.dense(value)
    }

    /// Everything that arrives at a port.
    pub(super) fn port(&mut self, index: usize, port: usize) -> ValueId {
        let links: Vec<Link> =
            self.topology.sources[index].iter().filter(|link| link.port == port).copied().collect();
        if let [link] = links.as_slice() {
            return self.source(*link);
        }
        let (to, begun) = self.sum(index, port);
        if !begun {
            self.push(Instruction::Clear { to });
        }
        for link in &links {
            if link.delay == 0 && self.only_sum(link.node) == Some((index, port)) {
                continue; // It has added itself.
            }
            let value = self.source(*link);
            let from = self.native(value);
            self.push(Instruction::Add { from, to });
        }
        let len = self.graph.nodes[links[0].node].len();
        self.add_value(Value { signal: Signal::Dense, len, dense: Some(to), events: None })
    }

    /// The buffer of a sum, and whether it has begun.
    pub(super) fn sum(&mut self, index: usize, port: usize) -> (Buffer, bool) {
        if let Some(buffer) = self.sums.get(&(index, port)) {
            return (*buffer, true);
        }
        let source = self.topology.sources[index].iter().find(|link| link.port == port);
        let len = source.map_or(0, |link| self.graph.nodes[link.node].len());
        let buffer = self.wishes.add(Content::Values, len, false);
        self.sums.insert((index, port), buffer);
        (buffer, false)
    }

    pub(super) fn source(&self, link: Link) -> ValueId {
        let value = match link.delay {
            0 => self.now[link.node],
            delay => self.delayed.get(&(link.node, delay)).copied(),
        };
        value.expect("sources run before their targets, delayed values have buffers")
    }

    /// A value in the form it has.
    pub(super) fn native(&self, value: ValueId) -> Input {
        match self.values[value] {
            Value { events: Some(events), dense: None, .. } => Input::Spikes(events),
            Value { dense: Some(dense), .. } => Input::Dense(dense),
            Value { dense: None, events: None, .. } => unreachable!("values have a form"),
        }
    }

    pub(super) fn dense(&mut self, value: ValueId) -> Buffer {
        let Value { dense, events, len, .. } = self.values[value];
        match (dense, events) {
            (None, Some(from)) => {
                let to = self.wishes.add(Content::Values, len, false);
                self.push(Instruction::Densify { from, to });
                self.values[value].dense = Some(to);
                to
            }
            (Some(dense), _) => dense,
            (None, None) => unreachable!("values have a form"),
        }
    }

    pub(super) fn events(&mut self, value: ValueId) -> Buffer {
        let Value { dense, events, len, .. } = self.values[value];
        match (events, dense) {
            (None, Some(from)) => {
                let to = self.wishes.add(Content::Events, len, false);
                self.push(Instruction::List { from, to });
                self.values[value].events = Some(to);
                to
            }
            (Some(events), _) => events,
            (None, None) => unreachable!("values have a form"),
        }
    }
}
