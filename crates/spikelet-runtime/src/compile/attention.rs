//! Attention between spikes.

use super::Compiler;
use crate::{
    buffers::Content,
    plan::{Input, Instruction},
};
use spikelet_kernels::attention::Attention;

impl Compiler<'_> {
    pub(super) fn attention(&mut self, index: usize, heads: usize, scale: f32) -> [Input; 3] {
        let &[height, width, channels] = self.graph.nodes[index].shape.as_slice() else {
            unreachable!("validated")
        };
        let shape = Attention { tokens: height * width, channels, heads, scale };
        let spikes = [0, 1, 2].map(|port| self.port(index, port));
        let qkv = spikes.map(|value| self.events(value));
        let bits = self.wishes.add(Content::Bits, shape.bits(), false);
        let counts = self.wishes.add(Content::Bits, shape.counts(), false);
        let to = self.own_dense(index);
        self.push(Instruction::Attend { shape, qkv, bits, counts, to });
        spikes.map(|value| self.native(value))
    }
}
