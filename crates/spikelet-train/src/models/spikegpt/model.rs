//! Running a network: one token, or all of them layer by layer.

pub use super::module::SpikeGpt;
use super::{
    functions::{gated, heaviside, linear, normalize, relu_squared, shift, spikes, wkv},
    module::{Block, ChannelMix, LayerNorm, TimeMix},
};
use crate::{
    model::{SequenceModel, State},
    models::classifier::Body,
    ops::wkv::WkvState,
    raise::RaiseError,
};
use burn::module::Param;
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use spikelet_graph::{Graph, GraphBuilder, Readout};
use spikelet_kernels::wkv::NOTHING;

/// Sees what parts of a network give, by name and `[time, batch, channels]`: of block `l` the
/// currents `l.att.current` and spikes `l.att.spikes` behind its first mix, `l.ffn.current` and
/// `l.ffn.spikes` behind its second, and its own output `l.out`.
pub type Seen<'a> = &'a mut dyn FnMut(&str, &Tensor<3>);

impl SpikeGpt {
    /// Logits `[time, batch, vocabulary]` of tokens `x` `[time, batch, 1]` from a state, and the
    /// last state.
    ///
    /// A state holds for every block, each `[batch, channels]`: the normalised token before its
    /// first mix; of a time mix `p`, `q` and `o` of [`spikelet_kernels::wkv`]; the potentials of
    /// its neurons, if there are any; then the token and the potentials of its second mix. A
    /// training state ends with what decides the drop-out.
    pub fn run(&self, x: Tensor<3>, state: State, seen: Seen<'_>) -> (Tensor<3>, State) {
        let (features, next) = self.run_features(x, state, seen);
        (linear(features, self.head.weight.val()), next)
    }

    /// The same without the head: features `[time, batch, channels]`.
    fn run_features(&self, x: Tensor<3>, state: State, seen: Seen<'_>) -> (Tensor<3>, State) {
        let [time, batch, _] = x.dims();
        let (state, next, spiking) = (state.into_iter(), State::new(), self.spiking);
        let mut pass = Pass { state, next, spiking, seen };
        let tokens: Tensor<1, Int> = x.reshape([time * batch]).int();
        let rows = self.emb.weight.val().select(0, tokens);
        let mut x = rows.reshape([time, batch, self.width()]);
        if self.spiking && self.semantics.binary_embedding {
            x = heaviside(x);
        }
        let mut dropout = Dropout::of(self, &mut pass.state);
        for (layer, block) in self.blocks.iter().enumerate() {
            x = pass.block(layer, block, x, self.semantics.output_factor(layer));
            if self.semantics.halves(layer) {
                x = x.mul_scalar(0.5);
            }
            if let Some(dropout) = &dropout {
                x = dropout.apply(layer, x);
            }
            (pass.seen)(&format!("{layer}.out"), &x);
        }
        let x = norm(&self.ln_out, x);
        let mut next = pass.next;
        if let Some(dropout) = &mut dropout {
            next.push(dropout.after(time));
        }
        (x, next)
    }
}

/// One run over the blocks.
struct Pass<'a> {
    state: std::vec::IntoIter<Tensor<2>>,
    next: State,
    spiking: bool,
    seen: Seen<'a>,
}

impl Pass<'_> {
    fn block(&mut self, layer: usize, block: &Block, x: Tensor<3>, factor: f32) -> Tensor<3> {
        let x = match &block.ln0 {
            Some(ln0) => norm(ln0, x),
            None => x,
        };
        let normalized = norm(&block.ln1, x.clone());
        let current = match (&block.att, &block.ffnPre) {
            (Some(att), _) => self.time_mix(att, normalized),
            (None, Some(ffn)) => self.channel_mix(ffn, normalized),
            (None, None) => unreachable!("a block has a first mix"),
        };
        let x = x + self.neurons(&format!("{layer}.att"), scaled(current, factor));
        let current = self.channel_mix(&block.ffn, norm(&block.ln2, x.clone()));
        x + self.neurons(&format!("{layer}.ffn"), scaled(current, factor))
    }

    fn time_mix(&mut self, mix: &TimeMix, x: Tensor<3>) -> Tensor<3> {
        let shares = [&mix.time_mix_k, &mix.time_mix_v, &mix.time_mix_r].map(Param::val);
        let ([k, v, r], last) = shift(x, self.take(), shares);
        self.next.push(last);
        let [k, v] = [(k, &mix.key), (v, &mix.value)].map(|(x, m)| linear(x, m.weight.val()));
        let r = linear(r, mix.receptance.weight.val());
        let state = WkvState { p: self.take(), q: self.take(), o: self.take() };
        let decay = mix.time_decay.val().exp().neg();
        let (y, state) = wkv(k, v, decay, mix.time_first.val(), state);
        self.next.extend([state.p, state.q, state.o]);
        linear(gated(r, y), mix.output.weight.val())
    }

    fn channel_mix(&mut self, mix: &ChannelMix, x: Tensor<3>) -> Tensor<3> {
        let shares = [&mix.time_mix_k, &mix.time_mix_r].map(Param::val);
        let ([k, r], last) = shift(x, self.take(), shares);
        self.next.push(last);
        let k = relu_squared(linear(k, mix.key.weight.val()));
        gated(linear(r, mix.receptance.weight.val()), linear(k, mix.value.weight.val()))
    }

    fn neurons(&mut self, name: &str, current: Tensor<3>) -> Tensor<3> {
        (self.seen)(&format!("{name}.current"), &current);
        if !self.spiking {
            return current;
        }
        let (spikes, v) = spikes(current, self.take());
        self.next.push(v);
        (self.seen)(&format!("{name}.spikes"), &spikes);
        spikes
    }

    fn take(&mut self) -> Tensor<2> {
        self.state.next().expect("a state of this network")
    }
}

fn scaled(x: Tensor<3>, factor: f32) -> Tensor<3> {
    if factor == 1.0 { x } else { x.mul_scalar(factor) }
}

fn norm(norm: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
    normalize(x, norm.weight.val(), norm.bias.val())
}

/// Drop-out of the residual stream, fresh for every token.
struct Dropout {
    fraction: f32,
    seed: u64,
    /// Tokens before the first one of this run.
    token: u64,
    layers: u64,
    device: Device,
}

/// Bits of a seed that a value of the state carries: as many as are exact in an f32.
const SEED_BITS: u32 = 16;

impl Dropout {
    /// What a training state carries: the seed in four parts, and the tokens so far.
    fn state(seed: u64, device: &Device) -> Tensor<2> {
        let part = |i: u32| (seed >> (i * SEED_BITS) & 0xffff) as f32;
        let values = vec![part(0), part(1), part(2), part(3), 0.0];
        Tensor::from_data(TensorData::new(values, [1, 5]), device)
    }

    /// The drop-out of a state that has no more than this left behind `blocks`.
    fn of(model: &SpikeGpt, state: &mut std::vec::IntoIter<Tensor<2>>) -> Option<Dropout> {
        if state.len() <= model.state_len() {
            return None;
        }
        let carried = state.next_back()?;
        let device = carried.device();
        let values = crate::params::values(carried.inner());
        let part = |(i, value): (usize, &f32)| (*value as u64) << (i as u32 * SEED_BITS);
        Some(Dropout {
            fraction: model.dropout,
            seed: values[..4].iter().enumerate().map(part).sum(),
            token: values[4] as u64,
            layers: model.blocks.len() as u64,
            device,
        })
    }

    fn apply(&self, layer: usize, x: Tensor<3>) -> Tensor<3> {
        let shape = x.dims();
        let [time, batch, channels] = shape;
        let mut mask = vec![0.0; time * batch * channels];
        mask.par_chunks_mut(batch * channels).enumerate().for_each(|(t, mask)| {
            // A stream of its own for every token and layer: steps draw what sequences draw.
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream((self.token + t as u64) * self.layers + layer as u64);
            drop_out(mask, self.fraction, &mut rng);
        });
        x * Tensor::<3>::from_data(TensorData::new(mask, shape), &self.device)
    }

    /// What the next token's state carries.
    fn after(&self, time: usize) -> Tensor<2> {
        let token = Tensor::<2>::from_floats([[(self.token + time as u64) as f32]], &self.device);
        Tensor::cat(vec![Self::state(self.seed, &self.device).narrow(1, 0, 4), token], 1)
    }
}

/// What values are multiplied by: nothing for this fraction of them, more than 1 for the others.
/// Draws are those of `random::<f32>()`, made all at once so that the comparison vectorises.
fn drop_out(mask: &mut [f32], fraction: f32, rng: &mut ChaCha8Rng) {
    let kept = 1.0 / (1.0 - fraction);
    let mut drawn = vec![0; 4 * mask.len()];
    rng.fill_bytes(&mut drawn);
    for (mask, drawn) in mask.iter_mut().zip(drawn.as_chunks().0) {
        let uniform = (u32::from_le_bytes(*drawn) >> 8) as f32 / (1 << 24) as f32;
        *mask = if uniform < fraction { 0.0 } else { kept };
    }
}

impl SpikeGpt {
    /// Tensors of a state without drop-out.
    fn state_len(&self) -> usize {
        let potentials = if self.spiking { 2 } else { 0 };
        let tokens = |block: &Block| if block.att.is_some() { 5 } else { 2 };
        self.blocks.iter().map(|block| tokens(block) + potentials).sum()
    }
}

impl Body for SpikeGpt {
    fn width(&self) -> usize {
        SpikeGpt::width(self)
    }

    fn first_state(&self, batch: usize, device: &Device) -> State {
        self.initial_state(batch, device)
    }

    fn features(&self, tokens: Tensor<3>, seed: Option<u64>) -> Tensor<3> {
        let ([_, batch, _], device) = (tokens.dims(), tokens.device());
        let state = match seed {
            Some(seed) => self.training_state(batch, &device, seed),
            None => self.initial_state(batch, &device),
        };
        self.run_features(tokens, state, &mut |_, _| {}).0
    }

    fn next_features(&self, token: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (features, next) = self.run_features(token.unsqueeze(), state, &mut |_, _| {});
        (features.squeeze_dim(0), next)
    }

    fn lower_features(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::features(self, graph, input)
    }
}

impl SequenceModel for SpikeGpt {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let shape = [batch, self.width()];
        let zeros = || Tensor::<2>::zeros(shape, device);
        let mut state = State::new();
        for block in &self.blocks {
            state.push(zeros());
            if block.att.is_some() {
                state.extend([zeros(), zeros(), Tensor::full(shape, NOTHING, device)]);
            }
            // The potentials of the first mix, the token and the potentials of the second.
            let rest = if self.spiking { 3 } else { 1 };
            state.extend((0..rest).map(|_| zeros()));
        }
        state
    }

    fn training_state(&self, batch: usize, device: &Device, seed: u64) -> State {
        let mut state = self.initial_state(batch, device);
        if self.dropout > 0.0 {
            state.push(Dropout::state(seed, device));
        }
        state
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (out, state) = self.run(x.unsqueeze(), state, &mut |_, _| {});
        (out.squeeze_dim(0), state)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, batch, _] = x.dims();
        let state = self.initial_state(batch, &x.device());
        self.run(x, state, &mut |_, _| {}).0
    }

    fn training_sequence(&self, x: Tensor<3>, seed: u64) -> (Tensor<3>, State) {
        let [_, batch, _] = x.dims();
        let state = self.training_state(batch, &x.device(), seed);
        self.run(x, state, &mut |_, _| {})
    }

    fn readout(&self) -> Readout {
        Readout::Last
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::from_graph::from_graph(graph, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn drop_out_draws_one_number_a_value() {
        let mut mask = vec![1.0; 1001];
        drop_out(&mut mask, 0.3, &mut ChaCha8Rng::seed_from_u64(7));
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let kept = 1.0 / (1.0 - 0.3);
        let drawn = |_: &f32| if rng.random::<f32>() < 0.3 { 0.0 } else { kept };
        let expected: Vec<f32> = mask.iter().map(drawn).collect();
        assert_eq!(mask, expected);
        assert!(mask.contains(&0.0) && mask.contains(&kept));
    }
}
