//! Running a network: one token, or a window of them layer by layer.

use super::{
    config::{Axes, Carry, Dropouts, EgruLmConfig},
    dropouts::Pass,
};
use crate::{
    draws::Draws,
    init::Init,
    model::{SequenceModel, State},
    models::{
        ModelError,
        egru::{EgruLayer, Linear, Sparsity, affine},
    },
    ops::egru::{EgruOutputs, EgruState},
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use spikelet_graph::{Graph, GraphBuilder, Readout};

/// A table.
#[derive(Module, Debug)]
pub struct Embeddings {
    /// `[vocabulary, channels]`.
    pub weight: Param<Tensor<2>>,
}

/// From the last layer to the vocabulary. Its matrix is the table of the embeddings.
#[derive(Module, Debug)]
pub struct Decoder {
    /// From the units of the last layer to the channels of the embedding.
    pub projection: Option<Linear>,
    /// Behind it.
    pub decoder: Shift,
}

/// The bias of the decoder.
#[derive(Module, Debug)]
pub struct Shift {
    /// `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
}

/// A language model of EGRU layers; parameters have the official names.
#[derive(Module, Debug)]
pub struct EgruLm {
    /// Shared with the decoder.
    pub embeddings: Embeddings,
    /// In the order in which they run.
    pub rnns: Vec<EgruLayer>,
    /// Behind the last layer.
    pub decoder: Decoder,
    /// What is dropped in training.
    #[module(skip)]
    pub dropout: Dropouts,
    /// What a window takes over.
    #[module(skip)]
    pub carry: Carry,
    /// Tokens of a window.
    #[module(skip)]
    pub window: usize,
}

/// Sees what a layer gives, by its place.
pub type SeenLayer<'a> = &'a mut dyn FnMut(usize, &EgruOutputs);

impl EgruLm {
    /// A fresh network for a vocabulary of so many tokens and windows of `window` of them.
    ///
    /// # Errors
    /// Settings out of range, more weights than any memory holds.
    pub fn new(
        config: &EgruLmConfig,
        vocabulary: usize,
        window: usize,
        init: &mut Init,
    ) -> Result<EgruLm, ModelError> {
        config.check(vocabulary)?;
        let channels = config.embedding;
        let table = init.uniform(0.1, [vocabulary, channels]);
        let mut inputs = channels;
        let mut rnns = Vec::with_capacity(config.layers);
        for units in config.widths() {
            rnns.push(EgruLayer::new(&config.cell, inputs, units, init));
            inputs = units;
        }
        Ok(EgruLm {
            embeddings: Embeddings { weight: table },
            rnns,
            decoder: Decoder {
                projection: config.projection.then(|| Linear::new(inputs, channels, init)),
                decoder: Shift { bias: init.constant(0.0, [vocabulary]) },
            },
            dropout: config.dropout.clone(),
            carry: config.carry,
            window,
        })
    }

    /// Tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.decoder.decoder.bias.val().dims()[0]
    }

    /// Logits `[time, batch, vocabulary]` of tokens `x` `[time, batch, 1]` from a state, and the
    /// last state. A state holds the events and the internal state of every layer, `[batch, units]`
    /// each; one to learn from ends with what decides what is dropped.
    pub fn run(&self, x: Tensor<3>, state: State, seen: SeenLayer<'_>) -> (Tensor<3>, State) {
        let [time, ..] = x.dims();
        let mut state = state.into_iter();
        let mut take = || state.next().expect("a state of this network");
        let before: Vec<[Tensor<2>; 2]> = self.rnns.iter().map(|_| [take(), take()]).collect();
        let draws = state.next().map(Draws::of_state);
        let layers = self.rnns.len();
        let pass = draws.as_ref().map(|draws| Pass { fractions: &self.dropout, draws, layers });
        let mut x = self.embed(x, pass);
        let mut next = State::new();
        for (index, (layer, [y, h])) in self.rnns.iter().zip(before).enumerate() {
            let before = EgruState { trace: y.zeros_like(), y, h };
            let out = layer.run(x, before, draws.as_ref(), index);
            seen(index, &out);
            let last = |t: &Tensor<3>| t.clone().narrow(0, time - 1, 1).squeeze_dim(0);
            next.extend([last(&out.y), last(&out.h)]);
            x = match pass {
                Some(pass) if index + 1 < layers => pass.forward(out.y, index),
                _ => out.y,
            };
        }
        if let Some(pass) = pass {
            x = pass.output(x);
        }
        if let Some(projection) = &self.decoder.projection {
            x = projection.run(x);
        }
        if let Some(draws) = draws {
            next.push(draws.after(time).to_state(&x.device()));
        }
        (affine(x, self.embeddings.weight.val(), self.decoder.decoder.bias.val()), next)
    }

    /// Rows of the table `[time, batch, channels]`.
    fn embed(&self, x: Tensor<3>, pass: Option<Pass<'_>>) -> Tensor<3> {
        let [time, batch, _] = x.dims();
        let table = self.embeddings.weight.val();
        let [vocabulary, channels] = table.dims();
        let tokens: Tensor<1, Int> = x.reshape([time * batch]).int();
        let numbers: Vec<usize> =
            tokens.clone().into_data().iter::<i64>().map(|token| token as usize).collect();
        let mut rows = table.select(0, tokens);
        if self.dropout.axes == Axes::Official {
            // The official table is given -1, the last row, as its padding: it learns nothing.
            let learns = |&token: &usize| if token + 1 == vocabulary { 0.0 } else { 1.0 };
            let learns =
                TensorData::new::<f32, _>(numbers.iter().map(learns).collect(), [numbers.len(), 1]);
            let learns = Tensor::<2>::from_data(learns, &rows.device());
            let fixed = rows.clone().detach();
            rows = fixed.clone() + (rows - fixed) * learns;
        }
        if let Some(pass) = pass {
            rows = pass.words(rows, &numbers, vocabulary);
        }
        let x = rows.reshape([time, batch, channels]);
        pass.map_or(x.clone(), |pass| pass.embedding(x))
    }

    /// What the next window starts from.
    pub fn carried(&self, state: State) -> State {
        let states = 2 * self.rnns.len();
        let carry = |(index, part): (usize, Tensor<2>)| match self.carry {
            Carry::Events if index % 2 == 1 => part.zeros_like(),
            _ => part,
        };
        state.into_iter().take(states).enumerate().map(carry).collect()
    }
}

impl SequenceModel for EgruLm {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let all = self.rnns.iter().flat_map(|layer| {
            let EgruState { y, h, .. } = layer.initial_state(batch, device);
            [y, h]
        });
        all.collect()
    }

    fn training_state(&self, batch: usize, device: &Device, seed: u64) -> State {
        let mut state = self.initial_state(batch, device);
        state.push(Draws::new(seed).to_state(device));
        state
    }

    fn learned(self, _: State) -> Self {
        EgruLm { rnns: self.rnns.into_iter().map(EgruLayer::clamped).collect(), ..self }
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (out, state) = self.run(x.unsqueeze(), state, &mut |_, _| {});
        (out.squeeze_dim(0), state)
    }

    fn resume(&self, x: Tensor<3>, state: State) -> (Tensor<3>, State) {
        self.run(x, state, &mut |_, _| {})
    }

    fn sparsity(&self, x: Tensor<3>) -> Vec<Sparsity> {
        let state = self.initial_state(x.dims()[1], &x.device());
        let mut found = Vec::new();
        self.run(x, state, &mut |index, out| {
            found.push(Sparsity::of(format!("rnns.{index}"), &self.rnns[index], out));
        });
        found
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
        super::checkpoint::from_graph(graph, device)
    }
}
