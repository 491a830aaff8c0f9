//! The network from the event graph of one.

use super::{
    config::{Carry, Dropouts},
    layer::LmLayer,
    model::{Decoder, Embeddings, RecurrentLm, Shift},
    regularise::Regularisers,
};
use crate::{
    models::egru::Linear,
    raise::{Raise, RaiseError},
};
use burn::tensor::Device;
use spikelet_graph::{Graph, Op};

/// The network of a graph that [`lower`](super::lower) made; what only matters in training is as in
/// a fresh one.
pub(super) fn from_graph<L: LmLayer>(
    graph: &Graph,
    device: &Device,
) -> Result<RecurrentLm<L>, RaiseError> {
    let raise = Raise::new(graph, device);
    let names = (0..).map(|index| format!("rnns.{index}")).take_while(|name| raise.has(name));
    let rnns = names.map(|name| L::raise(&raise, &name)).collect::<Result<_, _>>()?;
    let Op::Embedding { weight } = raise.op("embeddings")? else {
        return Err(RaiseError::Kind { node: "embeddings".to_owned(), expected: "a table" });
    };
    let projection = match raise.has("projection") {
        true => {
            Some(Linear { weight: raise.matrix("projection")?, bias: raise.bias("projection")? })
        }
        false => None,
    };
    Ok(RecurrentLm {
        embeddings: Embeddings { weight: raise.by_input("embeddings", weight)? },
        rnns,
        decoder: Decoder { projection, decoder: Shift { bias: raise.bias("decoder")? } },
        dropout: Dropouts::default(),
        regularise: Regularisers::default(),
        carry: Carry::default(),
        window: graph.task.window.max(1),
    })
}
