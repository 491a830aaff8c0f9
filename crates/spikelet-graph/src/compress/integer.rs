//! From a graph with integer weights to one that is computed in integers alone.

use super::CompressError;
use crate::{
    graph::Graph,
    op::{Op, Signal},
    program::{Program, fixed},
};
use alloc::{collections::BTreeMap, string::String};

/// Fraction bits of an input whose values nobody has seen: up to 32 deviations of normalised data.
const UNSEEN: u32 = 10;
/// How much larger than any value seen an input may become before it is limited.
const HEADROOM: f64 = 2.0;

/// The graph, to be computed in integers alone ([`fixed`]). `largest` holds the largest magnitude
/// seen at inputs, normalised as the graph wants them; all other formats follow from the weights.
///
/// # Errors
/// A graph that is not valid, weights that are no integers, operations that have no integer form,
/// sums that may leave 32 bits.
pub fn integer_only(
    graph: &Graph,
    largest: &BTreeMap<String, f32>,
) -> Result<Graph, CompressError> {
    let mut result = graph.clone();
    let inputs = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Input { signal } if signal != Signal::Binary));
    let fraction = |name: &String| match largest.get(name) {
        None => UNSEEN,
        Some(largest) => {
            let mut fraction = 15;
            let limit = f64::from(fixed::INPUT_LIMIT) / HEADROOM;
            while fraction > 0 && f64::from(*largest) * fixed::power(fraction) > limit {
                fraction -= 1;
            }
            fraction as u32
        }
    };
    result.integer = Some(inputs.map(|node| (node.name.clone(), fraction(&node.name))).collect());
    Program::new(&result)?;
    Ok(result)
}
