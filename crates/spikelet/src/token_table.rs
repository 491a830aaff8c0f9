//! Tables of what every token adds to the first layer of a language model.

use crate::failure::{Failure, Result};
use spikelet_graph::{Graph, Op};
use spikelet_runtime::Executor;

/// Most bytes of all tables of a graph.
const LARGEST: usize = 1 << 32;

/// The executor of a graph, with `table` as [`Executor::with_tables`] makes it.
///
/// # Errors
/// What the executor finds, and a table for a graph without EGRU layers behind an embedding or of
/// more than 4 GiB.
pub fn executor(graph: &Graph, table: bool) -> Result<Executor> {
    if !table {
        return Ok(Executor::new(graph)?);
    }
    match bytes(graph) {
        Some(1..=LARGEST) => Ok(Executor::with_tables(graph)?),
        Some(0) => Err(Failure::usage("--table: for language models whose first layer is an EGRU")
            .help(format!("{} has no such layer behind an embedding", graph.name))),
        bytes => Err(Failure::usage(format!(
            "--table: what all tokens add to the first layer takes {} bytes, over the limit of {LARGEST}",
            bytes.map_or("too many".to_owned(), |bytes| bytes.to_string())
        ))
        .help("leave --table out: the product is then worked out in every step")),
    }
}

/// Bytes of the tables of a graph, unless they overflow.
fn bytes(graph: &Graph) -> Option<usize> {
    let mut sum = 0_usize;
    for edge in &graph.edges {
        let node = |name: &String| graph.nodes.iter().find(|node| node.name == *name);
        if let (Some(from), Some(to)) = (node(&edge.from), node(&edge.to))
            && let (Op::Embedding { weight }, Op::Egru { bias_input, .. }) = (&from.op, &to.op)
            && let (Some(rows), Some(bias)) =
                (graph.tensors.get(&weight.tensor), graph.tensors.get(bias_input))
        {
            let tokens = rows.shape.first().copied().unwrap_or(0);
            sum = sum.checked_add(tokens.checked_mul(4 * bias.len())?)?;
        }
    }
    Some(sum)
}
