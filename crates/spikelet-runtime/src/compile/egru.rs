//! The event-based GRU.

use super::Compiler;
use crate::{
    buffers::Content,
    error::Error,
    plan::{Input, Instruction},
};
use spikelet_graph::Op;

impl<'a> Compiler<'a> {
    /// A layer; returns what arrives at its ports.
    pub(super) fn egru(&mut self, index: usize) -> Result<[Input; 2], Error> {
        let node = &self.graph.nodes[index];
        let Op::Egru {
            weight_input,
            weight_hidden,
            bias_input,
            bias_hidden,
            threshold,
            zoneout,
            restart,
        } = &node.op
        else {
            unreachable!("only called for such nodes")
        };
        let values = [0, 1].map(|port| self.port(index, port));
        let from_input = self.gates(node, bias_input, weight_input, values[0])?;
        let from_events = self.gates(node, bias_hidden, weight_hidden, values[1])?;
        let threshold = self.vector(node, threshold)?;
        let h = self.wishes.add(Content::Values, node.len(), true);
        self.plan.nodes[index].potential = Some(h);
        let (share, restart) = (1.0 - zoneout, *restart);
        let (gates, to) = ([from_input, from_events], self.own_dense(index));
        self.push(Instruction::Egru { gates, threshold, share, restart, h, to });
        Ok(values.map(|value| self.native(value)))
    }
}
