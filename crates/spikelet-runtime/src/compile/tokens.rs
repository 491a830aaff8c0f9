//! Operations of language models: tables, mixes with the token before, WKV, products of values.

use super::{Compiler, ValueId};
use crate::{
    buffers::{Buffer, Content},
    error::Error,
    plan::{Input, Instruction},
    weights::Weights,
};
use alloc::vec::Vec;
use spikelet_graph::{Signal, Weight};

impl<'a> Compiler<'a> {
    /// A table whose rows an input names.
    pub(super) fn embedding(&mut self, index: usize, weight: &Weight) -> Result<Input, Error> {
        let node = &self.graph.nodes[index];
        // A token is an event: its row is added.
        let table = Weights::load(self.graph, &node.name, weight, Signal::Binary, false)?;
        self.plan.longest_sum = self.plan.longest_sum.max(table.outputs);
        self.plan.nodes[index].row_bytes = table.row_bytes() + table.fixed_bytes();
        let source = self.topology.sources[index][0].node;
        self.plan.token_inputs.push((source, self.inputs[&source], table.rows));
        self.plan.weights.push(table);
        let table = self.plan.weights.len() - 1;
        let value = self.port(index, 0);
        let (from, to) = (self.dense(value), self.own_dense(index));
        self.push(Instruction::Embed { table, from, to });
        Ok(self.native(value))
    }

    pub(super) fn token_shift(&mut self, index: usize, mix: &str) -> Result<[Input; 2], Error> {
        let mix = self.vector(&self.graph.nodes[index], mix)?;
        let values = [0, 1].map(|port| self.port(index, port));
        let [now, before] = self.apart(values);
        let to = self.own_dense(index);
        self.push(Instruction::Shift { mix, now, before, to });
        Ok(values.map(|value| self.native(value)))
    }

    pub(super) fn wkv(
        &mut self,
        index: usize,
        decay: &str,
        first: &str,
    ) -> Result<[Input; 2], Error> {
        let node = &self.graph.nodes[index];
        let params = [self.vector(node, decay)?, self.vector(node, first)?];
        let values = [0, 1].map(|port| self.port(index, port));
        let from = self.apart(values);
        let state = [(); 3].map(|()| self.wishes.add(Content::Values, node.len(), true));
        let to = self.own_dense(index);
        self.push(Instruction::Wkv { params, from, state, to });
        Ok(values.map(|value| self.native(value)))
    }

    pub(super) fn product_of_ports(&mut self, index: usize) -> Vec<Input> {
        let ports = self.topology.sources[index].last().map_or(0, |link| link.port + 1);
        let values: Vec<_> = (0..ports).map(|port| self.port(index, port)).collect();
        let [mut product, second] = self.apart([values[0], values[1]]);
        let mut factor = second;
        for port in 1..ports {
            // The last product is the node's value; those before it need a place of their own.
            let to = match port + 1 == ports {
                true => self.own_dense(index),
                false => self.wishes.add(Content::Values, self.graph.nodes[index].len(), false),
            };
            self.push(Instruction::Product { from: [product, factor], to });
            product = to;
            if let Some(next) = values.get(port + 1) {
                factor = self.dense(*next);
            }
        }
        values.into_iter().map(|value| self.native(value)).collect()
    }

    /// Dense buffers of two values that an instruction takes at once: not the same one twice.
    fn apart(&mut self, values: [ValueId; 2]) -> [Buffer; 2] {
        let [first, second] = values.map(|value| self.dense(value));
        if first != second {
            return [first, second];
        }
        let len = self.values[values[1]].len;
        let copy = self.wishes.add(Content::Values, len, false);
        let (widths, starts) = ([len; 2], [0; 2]);
        self.push(Instruction::CopyChannels { from: first, to: copy, widths, starts, len });
        [first, copy]
    }
}
