//! The language model from the event graph of one.

use super::model::LstmLm;
use crate::{
    models::{lstm::LstmLayer, recurrent_lm::LmLayer},
    raise::{Raise, RaiseError},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};

/// The network of a graph that [`lower`](super::lower) made.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<LstmLm, RaiseError> {
    let raise = Raise::new(graph, device);
    let Op::Embedding { weight } = raise.op("emb")? else {
        return Err(RaiseError::Kind { node: "emb".to_owned(), expected: "an embedding" });
    };
    let names = (0..).map(|index| format!("lstm.{index}"));
    let layers = names.take_while(|name| raise.has(name));
    let layers = layers.map(|name| LstmLayer::raise(&raise, &name));
    Ok(LstmLm {
        emb: raise.table("emb", weight)?,
        layers: layers.collect::<Result<_, _>>()?,
        head: raise.matrix("head")?,
        bias: raise.bias("head")?,
    })
}
