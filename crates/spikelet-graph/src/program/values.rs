//! What nodes give, the forms it has, and what arrives at a port.

use super::{Buffer, BufferId, Content, Source, Step, lower::Lower};
use crate::{
    op::{Op, Readout, Signal},
    topology::Link,
};
use alloc::{collections::BTreeSet, format, string::String, vec::Vec};

/// What a node (or a sum) gives in one time step.
#[derive(Clone, Copy, Default)]
pub(super) struct Value {
    pub(super) events: Option<BufferId>,
    pub(super) values: Option<BufferId>,
    pub(super) binary: bool,
    /// The neighbour signal: whether zeros are expected.
    pub(super) dense: bool,
}

/// The place of a [`Value`] in [`Lower::values`].
pub(super) type ValueId = usize;

impl Lower<'_> {
    pub(super) fn buffer(
        &mut self,
        name: &str,
        content: Content,
        len: usize,
        kept: bool,
        fraction: u32,
    ) -> BufferId {
        let name = String::from(name);
        self.program.buffers.push(Buffer { name, content, len, kept, fraction });
        self.program.buffers.len() - 1
    }

    pub(super) fn value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        self.values.len() - 1
    }

    /// The buffer into which a node writes values.
    pub(super) fn own_values(&mut self, index: usize, fraction: u32, kept: bool) -> BufferId {
        self.own(index, Content::Values, fraction, kept)
    }

    pub(super) fn own(
        &mut self,
        index: usize,
        content: Content,
        fraction: u32,
        kept: bool,
    ) -> BufferId {
        if let Some(buffer) = self.own[index] {
            return buffer;
        }
        let node = &self.graph.nodes[index];
        let buffer = self.buffer(&node.name, content, node.len(), kept, fraction);
        self.own[index] = Some(buffer);
        let value = self.describe(index, buffer);
        self.now[index] = Some(value);
        buffer
    }

    fn describe(&mut self, index: usize, buffer: BufferId) -> ValueId {
        let events = self.program.buffers[buffer].content == Content::Events;
        let signal = self.signals[index];
        self.value(Value {
            events: events.then_some(buffer),
            values: (!events).then_some(buffer),
            binary: signal == Signal::Binary,
            dense: signal == Signal::Dense,
        })
    }

    /// Gives every delayed value buffers that survive; returns the copies made at the end.
    pub(super) fn place_delays(&mut self) -> Vec<(usize, Vec<BufferId>)> {
        let mut copies = Vec::new();
        for index in 0..self.graph.nodes.len() {
            let delays: BTreeSet<usize> = self.topology.targets[index]
                .iter()
                .map(|link| link.delay)
                .filter(|delay| *delay > 0)
                .collect();
            let Some(&depth) = delays.last() else { continue };
            let node = &self.graph.nodes[index];
            let events = matches!(&node.op, Op::Neuron(n) if n.membrane.is_spiking());
            let content = if events { Content::Events } else { Content::Values };
            let fraction = self.formats.output.get(index).copied().unwrap_or(0);
            if self.latched(index) {
                let buffer = self.own(index, content, fraction, true);
                let before = self.describe(index, buffer);
                self.delayed.insert((index, 1), before);
                continue;
            }
            let mut chain = Vec::new();
            for delay in 1..=depth {
                let name = format!("{} {delay} before", node.name);
                let buffer = self.buffer(&name, content, node.len(), true, fraction);
                let value = self.describe(index, buffer);
                self.delayed.insert((index, delay), value);
                chain.push(buffer);
            }
            copies.push((index, chain));
        }
        copies
    }

    /// Whether the value of the step before can stay where it is: all its readers run before the
    /// node itself.
    fn latched(&self, index: usize) -> bool {
        !passes_on(&self.graph.nodes[index].op)
            && self.topology.targets[index].iter().filter(|link| link.delay > 0).all(|link| {
                let runs_before = match link.node == index {
                    // A layer that feeds itself multiplies its events before it makes new ones.
                    true => matches!(self.graph.nodes[index].op, Op::Egru { .. }),
                    false => self.position[link.node] < self.position[index],
                };
                link.delay == 1 && runs_before && !passes_on(&self.graph.nodes[link.node].op)
            })
    }

    /// The copies at the end of a step, oldest first.
    pub(super) fn keep(&mut self, index: usize, chain: &[BufferId]) {
        for pair in chain.windows(2).rev() {
            self.push(Step::Keep { from: pair[0], to: pair[1] });
        }
        let Some(value) = self.now[index] else { return };
        let to = chain[0];
        let from = match self.program.buffers[to].content {
            Content::Events => self.events(value),
            _ => self.dense(value),
        };
        self.push(Step::Keep { from, to });
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
            self.push(Step::Begin { bias: None, to });
        }
        for link in &links {
            if link.delay == 0 && self.only_sum(link.node) == Some((index, port)) {
                continue; // It has added itself.
            }
            let value = self.source(*link);
            self.add(value, to);
        }
        self.value(Value { values: Some(to), dense: true, ..Value::default() })
    }

    /// Adds a value in the format of a sum.
    pub(super) fn add(&mut self, value: ValueId, to: BufferId) {
        let from = self.native(value);
        let at = match from {
            Source::Events(_) => 0,
            Source::Values(buffer) => self.program.buffers[buffer].fraction,
        };
        let shift = self.program.buffers[to].fraction as i32 - at as i32;
        self.push(Step::Add { from, shift, to });
    }

    /// The values of a port in the format it has, as neurons want them.
    pub(super) fn current(&mut self, index: usize, fraction: u32) -> BufferId {
        let value = self.port(index, 0);
        let values = self.values[value].values;
        if let Some(buffer) = values
            && self.program.buffers[buffer].fraction == fraction
        {
            return buffer;
        }
        if !self.program.integer {
            return self.dense(value);
        }
        let node = &self.graph.nodes[index];
        let name = format!("{} current", node.name);
        let to = self.buffer(&name, Content::Values, node.len(), false, fraction);
        self.push(Step::Begin { bias: None, to });
        self.add(value, to);
        to
    }

    /// The buffer of a sum, and whether it has begun.
    pub(super) fn sum(&mut self, index: usize, port: usize) -> (BufferId, bool) {
        if let Some(buffer) = self.sums.get(&(index, port)) {
            return (*buffer, true);
        }
        let source = self.topology.sources[index].iter().find(|link| link.port == port);
        let len = source.map_or(0, |link| self.graph.nodes[link.node].len());
        let fraction = self.formats.port.get(index).copied().unwrap_or(0);
        let name = format!("{} sum", self.graph.nodes[index].name);
        let buffer = self.buffer(&name, Content::Values, len, false, fraction);
        self.sums.insert((index, port), buffer);
        (buffer, false)
    }

    /// The sum a product adds to directly: when several edges add up at its only target.
    pub(super) fn only_sum(&self, index: usize) -> Option<(usize, usize)> {
        let &[Link { node, port, delay: 0 }] = self.topology.targets[index].as_slice() else {
            return None;
        };
        let multiplies = matches!(
            self.graph.nodes[index].op,
            Op::Linear { .. } | Op::Conv2d { .. } | Op::Legendre { .. }
        );
        let addends = self.topology.sources[node].iter().filter(|link| link.port == port).count();
        (multiplies && addends > 1).then_some((node, port))
    }

    fn source(&self, link: Link) -> ValueId {
        let value = match link.delay {
            0 => self.now[link.node],
            delay => self.delayed.get(&(link.node, delay)).copied(),
        };
        value.expect("sources run before their targets, delayed values have buffers")
    }

    /// A value in the form it has.
    pub(super) fn native(&self, value: ValueId) -> Source {
        let value = self.values[value];
        match (value.events, value.values) {
            (Some(events), None) => Source::Events(events),
            (_, Some(values)) => Source::Values(values),
            (None, None) => unreachable!("values have a form"),
        }
    }

    pub(super) fn dense(&mut self, value: ValueId) -> BufferId {
        match self.native(value) {
            Source::Values(buffer) => buffer,
            Source::Events(from) => {
                let (name, len) = (self.program.buffers[from].name.clone(), self.len(from));
                let to = self.buffer(&name, Content::Values, len, false, 0);
                self.push(Step::Densify { from, to });
                self.values[value].values = Some(to);
                to
            }
        }
    }

    pub(super) fn events(&mut self, value: ValueId) -> BufferId {
        if let Some(events) = self.values[value].events {
            return events;
        }
        let from = self.dense(value);
        let (name, len) = (self.program.buffers[from].name.clone(), self.len(from));
        let to = self.buffer(&name, Content::Events, len, false, 0);
        self.push(Step::List { from, to });
        self.values[value].events = Some(to);
        to
    }

    pub(super) fn len(&self, buffer: BufferId) -> usize {
        self.program.buffers[buffer].len
    }

    pub(super) fn push(&mut self, step: Step) {
        self.program.steps.push(step);
    }
}

/// Whether the output of a node is its input.
pub(super) fn passes_on(op: &Op) -> bool {
    matches!(op, Op::Flatten | Op::Add | Op::Output | Op::Readout { readout: Readout::Last })
}
