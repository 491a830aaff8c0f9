//! Whether a network is spike-driven: which operations read something that is no spike.

use crate::{
    counts::NodeCounts,
    error::GraphError,
    graph::Graph,
    op::{Op, Signal},
    signal::input_signals,
};
use alloc::{string::String, vec::Vec};
use serde::Serialize;

/// An operation whose input holds other values than spikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotSpikes {
    /// The node.
    pub node: String,
    /// Its operation.
    pub op: &'static str,
    /// What enters it.
    pub input: Signal,
    /// Its synaptic operations if nothing is skipped, products of activations and element-wise
    /// operations, each time it runs.
    pub operations: u64,
}

impl Graph {
    /// The operations whose input is not spikes, in the order of the graph. An attention is one of
    /// them although queries, keys and values are spikes: the queries select rows of sums of
    /// products, which are integers. Left out are neurons and the sums in front of them, into which
    /// currents flow in every spiking network, what only moves values (flatten, concat, slice,
    /// border) and tokens that name rows of a table.
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
            let left_out = matches!(
                node.op,
                Op::Input { .. }
                    | Op::Output
                    | Op::Neuron(_)
                    | Op::Add
                    | Op::Flatten
                    | Op::Concat
                    | Op::Slice { .. }
                    | Op::Border { .. }
                    | Op::Embedding { .. }
            );
            let NodeCounts { dense, gate_multiplies, elementwise, .. } = counts.nodes[index];
            let operations = dense + gate_multiplies + elementwise;
            let (name, op) = (node.name.clone(), node.op.name());
            (!left_out).then_some(NotSpikes { node: name, op, input, operations })
        });
        Ok(found.collect())
    }
}
