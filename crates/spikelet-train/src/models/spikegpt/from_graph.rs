//! The network from the event graph of one.

use super::{
    config::Semantics,
    model::SpikeGpt,
    module::{Block, ChannelMix, LayerNorm, Matrix, TimeMix},
};
use crate::{
    params,
    raise::{Raise, RaiseError},
};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, Op};

/// The size of values whose signs a graph holds: the mean one of those that training starts from, N(0, 1).
const SIZE: f32 = 0.8;

/// The network of a graph that [`lower`](super::lower) made. Where embeddings are spikes, a graph
/// has only their signs: the network computes the same, and learns from values of one size.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<SpikeGpt, RaiseError> {
    let nodes = Nodes { raise: Raise::new(graph, device) };
    let layers = (0..).take_while(|layer| nodes.raise.has(&format!("{layer}.ln1")));
    let blocks: Vec<Block> = layers.map(|layer| nodes.block(layer)).collect::<Result<_, _>>()?;
    let spiking = nodes.raise.has("0.ffn.lif");
    Ok(SpikeGpt {
        emb: nodes.embedding(spiking)?,
        blocks,
        ln_out: nodes.norm("ln_out")?,
        head: nodes.matrix("head")?,
        dropout: 0.0,
        spiking,
        semantics: Semantics::EXACT,
    })
}

/// The nodes of the graph.
struct Nodes<'a> {
    raise: Raise<'a>,
}

impl Nodes<'_> {
    fn embedding(&self, spiking: bool) -> Result<Matrix, RaiseError> {
        let Op::Embedding { weight } = self.raise.op("emb")? else {
            return Err(RaiseError::Kind { node: "emb".to_owned(), expected: "a table" });
        };
        let weight = self.raise.table("emb", weight)?;
        let mut values = params::values(weight.val());
        if spiking && values.iter().all(|e| *e == 0.0 || *e == 1.0) {
            values.iter_mut().for_each(|e| *e = if *e > 0.0 { SIZE } else { -SIZE });
        }
        let shape = weight.val().dims();
        Ok(Matrix { weight: self.raise.init().values(values, shape) })
    }

    fn block(&self, layer: usize) -> Result<Block, RaiseError> {
        let name = |part: &str| format!("{layer}.{part}");
        let [att, ffn_pre, halved] = ["att", "ffnPre", "halved"].map(name);
        if self.raise.has(&halved) {
            let expected = "part of a network in training: convert its checkpoint as `spikegpt`";
            return Err(RaiseError::Kind { node: halved, expected });
        }
        let has_ffn_pre = self.raise.has(&format!("{ffn_pre}.key"));
        Ok(Block {
            ln0: if layer == 0 { Some(self.norm(&name("ln0"))?) } else { None },
            ln1: self.norm(&name("ln1"))?,
            ln2: self.norm(&name("ln2"))?,
            att: if has_ffn_pre { None } else { Some(self.time_mix(&att)?) },
            ffnPre: if has_ffn_pre { Some(self.channel_mix(&ffn_pre)?) } else { None },
            ffn: self.channel_mix(&name("ffn"))?,
        })
    }

    fn time_mix(&self, name: &str) -> Result<TimeMix, RaiseError> {
        let [key, value, receptance, output, wkv] =
            ["key", "value", "receptance", "output", "wkv"].map(|part| format!("{name}.{part}"));
        let Op::Wkv { decay, first } = self.raise.op(&wkv)? else {
            return Err(RaiseError::Kind { node: wkv, expected: "a WKV scan" });
        };
        let decay = params::values(self.raise.vector(&wkv, decay)?.val());
        let channels = decay.len();
        let decay = decay.into_iter().map(|w| (-w).ln()).collect();
        Ok(TimeMix {
            time_decay: self.raise.init().values(decay, [channels]),
            time_first: self.raise.vector(&wkv, first)?,
            time_mix_k: self.share(&key)?,
            time_mix_v: self.share(&value)?,
            time_mix_r: self.share(&receptance)?,
            key: self.matrix(&key)?,
            value: self.matrix(&value)?,
            receptance: self.matrix(&receptance)?,
            output: self.matrix(&output)?,
        })
    }

    fn channel_mix(&self, name: &str) -> Result<ChannelMix, RaiseError> {
        let [key, receptance, value] =
            ["key", "receptance", "value"].map(|part| format!("{name}.{part}"));
        Ok(ChannelMix {
            time_mix_k: self.share(&key)?,
            time_mix_r: self.share(&receptance)?,
            key: self.matrix(&key)?,
            receptance: self.matrix(&receptance)?,
            value: self.matrix(&value)?,
        })
    }

    /// The shares of the token shift in front of a matrix, `[1, 1, channels]`.
    fn share(&self, name: &str) -> Result<Param<Tensor<3>>, RaiseError> {
        let node = format!("{name}.shift");
        let Op::TokenShift { mix } = self.raise.op(&node)? else {
            return Err(RaiseError::Kind { node, expected: "a token shift" });
        };
        let shares = params::values(self.raise.vector(&node, mix)?.val());
        let channels = shares.len();
        Ok(self.raise.init().values(shares, [1, 1, channels]))
    }

    fn matrix(&self, name: &str) -> Result<Matrix, RaiseError> {
        Ok(Matrix { weight: self.raise.matrix(name)? })
    }

    fn norm(&self, name: &str) -> Result<LayerNorm, RaiseError> {
        let Op::LayerNorm { weight, bias } = self.raise.op(name)? else {
            return Err(RaiseError::Kind { node: name.to_owned(), expected: "a layer norm" });
        };
        Ok(LayerNorm {
            weight: self.raise.vector(name, weight)?,
            bias: self.raise.vector(name, bias)?,
        })
    }
}
