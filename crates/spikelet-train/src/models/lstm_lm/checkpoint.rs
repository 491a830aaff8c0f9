//! The language model from the event graph of one.

use super::model::{Layer, LstmLm};
use crate::raise::{Raise, RaiseError};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<LstmLm, RaiseError> {
    let raise = Raise::new(graph, device);
    let wrong = |node: &str, expected| RaiseError::Kind { node: node.to_owned(), expected };
    let Op::Embedding { weight } = raise.op("emb")? else {
        return Err(wrong("emb", "an embedding"));
    };
    let names = (0..).map(|index| format!("lstm.{index}"));
    let layers = names.take_while(|name| raise.has(name)).map(|name| {
        let Op::Lstm { weight_input, weight_hidden, bias } = raise.op(&name)? else {
            return Err(wrong(&name, "an LSTM"));
        };
        Ok(Layer {
            weight_ih: raise.weight(&name, weight_input)?,
            weight_hh: raise.weight(&name, weight_hidden)?,
            bias: raise.vector(&name, bias)?,
        })
    });
    Ok(LstmLm {
        emb: raise.table("emb", weight)?,
        layers: layers.collect::<Result<_, _>>()?,
        head: raise.matrix("head")?,
        bias: raise.bias("head")?,
    })
}
