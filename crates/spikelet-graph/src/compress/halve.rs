//! Weights in half precision: 16 bits, 11 of them significant.

use super::{CompressError, QuantizedTensor, candidates, check_keep};
use crate::{
    graph::Graph,
    tensor::{Tensor, Values},
};
use alloc::vec::Vec;
use half::f16;

/// The graph with weights in half precision, each the nearest there is. Nodes named in `keep`,
/// weights that are integers, and tensors with a value beyond 65504 stay as they are.
///
/// # Errors
/// A graph that is not valid, or a name in `keep` that no node has.
pub fn halve(graph: &Graph, keep: &[&str]) -> Result<(Graph, Vec<QuantizedTensor>), CompressError> {
    graph.validate()?;
    check_keep(graph, keep)?;
    let mut result = graph.clone();
    let mut report = Vec::new();
    for name in candidates(graph, keep).into_keys() {
        let tensor = graph.tensor("", &name)?;
        let values = tensor.to_f32();
        let bits = values.iter().map(|w| f16::from_f32(*w).to_bits()).collect();
        let halved = Tensor::new(&tensor.shape, Values::F16(bits))?;
        if halved.first_not_finite().is_some() {
            continue;
        }
        let errors = values.iter().zip(halved.to_f32()).map(|(w, h)| (w - h).abs());
        report.push(QuantizedTensor {
            tensor: name.clone(),
            bytes_before: tensor.bytes(),
            bytes: halved.bytes(),
            max_error: errors.fold(0.0, f32::max),
        });
        result.tensors.insert(name, halved);
    }
    result.validate()?;
    Ok((result, report))
}
