//! An LSTM from the event graph of one.

use super::model::Lstm;
use crate::raise::{Raise, RaiseError, readout};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<Lstm, RaiseError> {
    let raise = Raise::new(graph, device);
    let Op::Lstm { weight_input, weight_hidden, bias } = raise.op("lstm")? else {
        return Err(RaiseError::Kind { node: "lstm".to_owned(), expected: "an LSTM" });
    };
    Ok(Lstm {
        weight_ih: raise.weight("lstm", weight_input)?,
        weight_hh: raise.weight("lstm", weight_hidden)?,
        bias: raise.vector("lstm", bias)?,
        w_o: raise.matrix("w_o")?,
        b_o: raise.bias("w_o")?,
        readout: readout(graph)?,
    })
}
