//! An L2MU from the event graph of one.

use super::{
    input::{Encoder, Layer},
    model::L2mu,
};
use crate::{
    ops::l2mu::Constants,
    params,
    raise::{Raise, RaiseError},
};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, Op};
use spikelet_kernels::{neuron::Model, surrogate::Surrogate};
use std::sync::Arc;

/// The network of a graph that [`lower`](super::lower) or `convert` made; decays and thresholds
/// are learned, the surrogate is the official one.
pub(super) fn from_graph(graph: &Graph, device: &Device) -> Result<L2mu, RaiseError> {
    let raise = Raise::new(graph, device);
    let surrogate = Surrogate::ARCTAN;
    let Op::Legendre { a, b, .. } = raise.op("legendre")? else {
        let expected = "a Legendre memory";
        return Err(RaiseError::Kind { node: "legendre".to_owned(), expected });
    };
    let a = params::values(raise.weight("legendre", a)?.val());
    let b = graph.weight("legendre", b)?;
    let u = raise.neurons("u", surrogate)?;
    let spec = u.dynamics.spec;
    Ok(L2mu {
        encoder: match raise.has("populations") {
            true => Some(encoder(&raise, surrogate)?),
            false => None,
        },
        e_x: raise.matrix("e_x")?,
        e_h: raise.matrix("e_h")?,
        e_m: raise.matrix("e_m")?,
        w_x: raise.matrix("w_x")?,
        w_h: raise.matrix("w_h")?,
        w_m: raise.matrix("w_m")?,
        w_o: raise.matrix("w_o")?,
        b_o: raise.bias("w_o")?,
        u,
        m: raise.neurons("m", surrogate)?,
        h: raise.neurons("h", surrogate)?,
        out: raise.neurons("out", surrogate)?,
        constants: Arc::new(Constants {
            legendre: (a, b),
            synaptic: spec.model == Model::CubaLif,
            reset_delayed: spec.reset_delayed,
            surrogate,
        }),
    })
}

/// The input module: one weight of each row of the matrix belongs to the row's channel.
fn encoder(raise: &Raise<'_>, surrogate: Surrogate) -> Result<Encoder, RaiseError> {
    let matrix = raise.matrix("channels")?.val();
    let [neurons, channels] = matrix.dims();
    if channels == 0 || !neurons.is_multiple_of(channels) {
        let expected = "equal populations for all channels";
        return Err(RaiseError::Kind { node: "channels".to_owned(), expected });
    }
    let population = neurons / channels;
    let values = params::values(matrix);
    let weight = (0..neurons).map(|j| values[j * channels + j / population]).collect();
    let mut channel_neurons = raise.neurons("populations", surrogate)?;
    // One value a channel: that of its first neuron.
    let first = |p: Param<Tensor<1>>| {
        let values = params::values(p.val());
        let step = if values.len() == 1 { 0 } else { population };
        raise.init().values((0..channels).map(|c| values[c * step]).collect(), [channels])
    };
    channel_neurons.beta = channel_neurons.beta.map(first);
    channel_neurons.alpha = channel_neurons.alpha.map(first);
    channel_neurons.threshold = first(channel_neurons.threshold);
    let layer = |map: &str, name: &str| -> Result<Layer, RaiseError> {
        Ok(Layer {
            weight: raise.matrix(map)?,
            bias: raise.bias(map)?,
            neurons: raise.neurons(name, surrogate)?,
        })
    };
    let layers = match raise.has("encoder") {
        true => vec![layer("to_encoder", "encoder")?, layer("to_decoder", "decoder")?],
        false => vec![],
    };
    Ok(Encoder {
        weight: raise.init().values(weight, [channels, population]),
        bias: raise
            .init()
            .values(params::values(raise.bias("channels")?.val()), [channels, population]),
        neurons: channel_neurons,
        layers,
    })
}
