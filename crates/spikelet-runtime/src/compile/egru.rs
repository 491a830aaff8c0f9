//! The event-based GRU.

use super::Compiler;
use crate::{
    buffers::{Buffer, Content},
    error::Error,
    plan::{Input, Instruction},
    weights::Weights,
};
use alloc::vec::Vec;
use spikelet_graph::{Layout, Link, Op, Weight};
use spikelet_kernels::matmul::{matmul_nn, matmul_nt};

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
        let from_input = match self.table(index, weight_input, bias_input)? {
            Some(from_table) => from_table,
            None => self.gates(node, bias_input, weight_input, values[0])?,
        };
        let from_events = self.gates(node, bias_hidden, weight_hidden, values[1])?;
        let threshold = self.vector(node, threshold)?;
        let h = self.wishes.add(Content::Values, node.len(), true);
        self.plan.nodes[index].potential = Some(h);
        let (share, restart) = (1.0 - zoneout, *restart);
        let (gates, to) = ([from_input, from_events], self.own_dense(index));
        self.push(Instruction::Egru { gates, threshold, share, restart, h, to });
        Ok(values.map(|value| self.native(value)))
    }

    /// What the row of an embedding in front of a layer adds to its gates, worked out for every
    /// token beforehand, if that is wanted.
    fn table(
        &mut self,
        index: usize,
        weight: &Weight,
        bias: &str,
    ) -> Result<Option<Buffer>, Error> {
        let links: Vec<Link> = self.topology.sources[index].clone();
        let mut inputs = links.iter().filter(|link| link.port == 0);
        let (Some(link), None) = (inputs.next(), inputs.next()) else { return Ok(None) };
        let source = &self.graph.nodes[link.node];
        let Op::Embedding { weight: rows } = &source.op else { return Ok(None) };
        if !self.tables || link.delay > 0 {
            return Ok(None);
        }
        let node = &self.graph.nodes[index];
        let rows = self.graph.weight(&source.name, rows)?;
        let matrix = self.graph.weight(&node.name, weight)?;
        let bias = self.graph.tensor(&node.name, bias)?.to_f32();
        let (channels, width) = (source.len(), bias.len());
        let tokens = rows.len() / channels;
        let mut table = bias.repeat(tokens);
        let sizes = [tokens, width, channels];
        match weight.layout {
            Layout::ByInput => matmul_nn(&mut table, &rows, &matrix, sizes, true),
            Layout::ByOutput => matmul_nt(&mut table, &rows, &matrix, sizes, true),
        }
        self.plan.weights.push(Weights::table(table, width));
        let table = self.plan.weights.len() - 1;
        let token = self.port(link.node, 0);
        let from = self.dense(token);
        let to = self.wishes.add(Content::Values, width, false);
        self.push(Instruction::Embed { table, from, to });
        Ok(Some(to))
    }
}
