//! A classical LMU from the event graph of one.

use super::model::Lmu;
use crate::{
    params,
    raise::{Raise, RaiseError, readout},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};
use std::sync::Arc;

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<Lmu, RaiseError> {
    let raise = Raise::new(graph, device);
    let Op::Legendre { a, b, .. } = raise.op("legendre")? else {
        let expected = "a Legendre memory";
        return Err(RaiseError::Kind { node: "legendre".to_owned(), expected });
    };
    let a = params::values(raise.weight("legendre", a)?.val());
    let b = graph.weight("legendre", b)?;
    Ok(Lmu {
        e_x: raise.matrix("e_x")?,
        e_h: raise.matrix("e_h")?,
        e_m: raise.matrix("e_m")?,
        w_x: raise.matrix("w_x")?,
        w_h: raise.matrix("w_h")?,
        w_m: raise.matrix("w_m")?,
        w_o: raise.matrix("w_o")?,
        b_o: raise.bias("w_o")?,
        legendre: Arc::new((a, b)),
        readout: readout(graph)?,
    })
}
