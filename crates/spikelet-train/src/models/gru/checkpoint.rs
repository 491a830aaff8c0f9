//! A GRU from the event graph of one.

use super::model::Gru;
use crate::raise::{Raise, RaiseError, readout};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<Gru, RaiseError> {
    let raise = Raise::new(graph, device);
    let Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden } = raise.op("gru")? else {
        return Err(RaiseError::Kind { node: "gru".to_owned(), expected: "a GRU" });
    };
    Ok(Gru {
        weight_ih: raise.weight("gru", weight_input)?,
        weight_hh: raise.weight("gru", weight_hidden)?,
        bias_ih: raise.vector("gru", bias_input)?,
        bias_hh: raise.vector("gru", bias_hidden)?,
        w_o: raise.matrix("w_o")?,
        b_o: raise.bias("w_o")?,
        readout: readout(graph)?,
    })
}
