//! Passes that turn a graph into a smaller one. Each returns a valid graph and a report.

mod halve;
pub mod integer;
pub mod prune;
pub mod quantize;
pub mod structured;

pub use halve::halve;
pub use integer::integer_only;
pub use prune::{PrunedTensor, Scope, prune};
pub use quantize::{Bits, QuantizedTensor, quantize, quantize_channels};
pub use structured::{RemovedUnits, remove_neurons};

use crate::{error::GraphError, graph::Graph};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use quantize::candidates;
use thiserror::Error;

/// Why a graph could not be compressed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CompressError {
    /// A fraction outside its range.
    #[error("the fraction to remove is {fraction}: it must be within 0..=1")]
    Fraction {
        /// The fraction.
        fraction: f64,
    },
    /// Neurons are to be removed from weights that share scales in groups.
    #[error(
        "tensor `{tensor}` has a scale per group of weights, and removing neurons would break the \
         groups: remove them from the model before its weights become integers"
    )]
    Groups {
        /// The tensor.
        tensor: String,
    },
    /// The graph, or the name of a node to keep, is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

fn check_fraction(fraction: f64) -> Result<(), CompressError> {
    if (0.0..=1.0).contains(&fraction) { Ok(()) } else { Err(CompressError::Fraction { fraction }) }
}

/// How many of `count` things a fraction is, rounded down.
fn share(fraction: f64, count: usize) -> usize {
    // The sum guards against 0.3 * 10 = 2.9999...
    ((fraction * count as f64 + 1e-9) as usize).min(count)
}

fn check_keep(graph: &Graph, keep: &[&str]) -> Result<(), GraphError> {
    keep.iter().try_for_each(|name| graph.node(name).map(drop))
}

/// How often every tensor is used, over all nodes.
pub(crate) fn uses(graph: &Graph) -> BTreeMap<&str, usize> {
    let names: Vec<&str> = graph.nodes.iter().flat_map(|node| node.op.tensors()).collect();
    let mut uses = BTreeMap::new();
    for name in names {
        *uses.entry(name).or_insert(0) += 1;
    }
    uses
}
