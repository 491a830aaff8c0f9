//! Whether a network is spike-driven: which operations multiply something that is no spike.

use crate::{
    counts::NodeCounts,
    error::GraphError,
    graph::Graph,
    op::{Op, Signal},
    signal::input_signals,
};
use alloc::{string::String, vec::Vec};
use serde::Serialize;

/// An operation with weights, or between activations, whose input holds other values than spikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotSpikes {
    /// The node.
    pub node: String,
    /// Its operation.
    pub op: &'static str,
    /// What enters it.
    pub input: Signal,
    /// Its synaptic operations per step if nothing is skipped, and products of activations.
    pub operations: u64,
}

impl Graph {
    /// The operations whose input is not spikes, in the order of the graph. An attention is one of
    /// them although queries, keys and values are spikes: the queries select rows of sums of
    /// products, which are integers.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn not_spike_driven(&self) -> Result<Vec<NotSpikes>, GraphError> {
        let topology = self.validate()?;
        let signals = self.signals(&topology);
        let counts = self.counts()?;
        let found = self.nodes.iter().enumerate().filter_map(|(index, node)| {
            let inputs = input_signals(&topology, &signals, index);
            let input = match &node.op {
                Op::Attention { .. } => Signal::Graded,
                _ => inputs.into_iter().find(|signal| *signal != Signal::Binary)?,
            };
            let multiplies = matches!(
                node.op,
                Op::Linear { .. }
                    | Op::Conv2d { .. }
                    | Op::Legendre { .. }
                    | Op::Lstm { .. }
                    | Op::Gru { .. }
                    | Op::Multiply
                    | Op::Attention { .. }
                    | Op::Wkv { .. }
            );
            let NodeCounts { dense, gate_multiplies, .. } = counts.nodes[index];
            let operations = dense + gate_multiplies;
            let (name, op) = (node.name.clone(), node.op.name());
            multiplies.then_some(NotSpikes { node: name, op, input, operations })
        });
        Ok(found.collect())
    }
}
