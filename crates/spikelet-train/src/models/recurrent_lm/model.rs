//! Running a network: one token, or a window of them layer by layer.

use super::{
    config::{Axes, Carry, Dropouts},
    dropouts::Pass,
    layer::LmLayer,
    regularise::{Regularisers, Sums},
};
use crate::{
    draws::Draws,
    init::Init,
    model::{SequenceModel, State},
    models::egru::{Linear, affine},
    raise::RaiseError,
    sparsity::{Counted, Sparsity},
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

/// A recurrent language model; parameters have the names of EGRU's official code.
#[derive(Module, Debug)]
pub struct RecurrentLm<L: Module> {
    /// Shared with the decoder.
    pub embeddings: Embeddings,
    /// In the order in which they run.
    pub rnns: Vec<L>,
    /// Behind the last layer.
    pub decoder: Decoder,
    /// What is dropped in training.
    #[module(skip)]
    pub dropout: Dropouts,
    /// What is added to the loss.
    #[module(skip)]
    pub regularise: Regularisers,
    /// What a window takes over.
    #[module(skip)]
    pub carry: Carry,
    /// Tokens of a window.
    #[module(skip)]
    pub window: usize,
}

/// What a network is made of beside its layers.
pub(in crate::models) struct Parts<'a> {
    pub(in crate::models) vocabulary: usize,
    pub(in crate::models) embedding: usize,
    /// Whether there is a matrix between the last layer and the decoder.
    pub(in crate::models) projection: bool,
    pub(in crate::models) dropout: &'a Dropouts,
    pub(in crate::models) regularise: &'a Regularisers,
    pub(in crate::models) carry: Carry,
    pub(in crate::models) window: usize,
}

impl<L: LmLayer> RecurrentLm<L> {
    /// A fresh network; `layer` makes a layer of so many inputs and units, for each of `widths`.
    pub(in crate::models) fn made(
        parts: Parts<'_>,
        widths: &[usize],
        mut layer: impl FnMut(usize, usize, &mut Init) -> L,
        init: &mut Init,
    ) -> Self {
        let Parts { vocabulary, embedding, .. } = parts;
        let table = init.uniform(0.1, [vocabulary, embedding]);
        let mut inputs = embedding;
        let mut rnns = Vec::with_capacity(widths.len());
        for &units in widths {
            rnns.push(layer(inputs, units, init));
            inputs = units;
        }
        RecurrentLm {
            embeddings: Embeddings { weight: table },
            rnns,
            decoder: Decoder {
                projection: parts.projection.then(|| Linear::new(inputs, embedding, init)),
                decoder: Shift { bias: init.constant(0.0, [vocabulary]) },
            },
            dropout: parts.dropout.clone(),
            regularise: parts.regularise.clone(),
            carry: parts.carry,
            window: parts.window,
        }
    }

    /// Tokens it knows.
    pub fn vocabulary(&self) -> usize {
        self.decoder.decoder.bias.val().dims()[0]
    }

    /// Logits `[time, batch, vocabulary]` of tokens `x` `[time, batch, 1]` from a state, and the
    /// last state; `seen` sees what a layer gives, by its place. A state holds those of every layer,
    /// `[batch, units]` each; one to learn from also the sums of the regularisers, and ends with what
    /// decides what is dropped.
    pub fn run(
        &self,
        x: Tensor<3>,
        state: State,
        seen: &mut dyn FnMut(usize, &L::Outputs),
    ) -> (Tensor<3>, State) {
        let [time, ..] = x.dims();
        let mut state = state.into_iter();
        let mut before = |_: &L| -> State {
            (0..L::STATES).map(|_| state.next().expect("a state of this network")).collect()
        };
        let before: Vec<State> = self.rnns.iter().map(&mut before).collect();
        let spoken = before.last().map(|last| last[0].clone());
        let rest: State = state.collect();
        let (draws, sums) = match rest.split_last() {
            Some((draws, sums)) => (Some(Draws::of_state(draws.clone())), sums.first().cloned()),
            None => (None, None),
        };
        let mut sums = sums.map(Sums::of_state);
        let layers = self.rnns.len();
        let pass = draws.as_ref().map(|draws| Pass { fractions: &self.dropout, draws, layers });
        let mut x = self.embed(x, pass);
        let mut next = State::new();
        for (index, (layer, before)) in self.rnns.iter().zip(before).enumerate() {
            let out = layer.pass(x, before, draws.as_ref(), index);
            seen(index, &out);
            next.extend(L::last(&out));
            if let (Some(sums), Some(term)) = (&mut sums, &self.regularise.activity) {
                let activity = sums.activity.clone();
                sums.activity = layer.regularised(term, activity, &out, [index, layers]);
            }
            x = match pass {
                Some(pass) if index + 1 < layers => pass.forward(L::given(&out), index),
                _ => L::given(&out),
            };
        }
        let raw = x.clone();
        if let Some(pass) = pass {
            x = pass.output(x);
        }
        if let Some(sums) = &mut sums {
            self.regularise.add(sums, [raw, x.clone()], spoken);
        }
        if let Some(projection) = &self.decoder.projection {
            x = projection.run(x);
        }
        next.extend(sums.map(Sums::into_state));
        if let Some(draws) = draws {
            next.push(draws.after(time).to_state(&x.device()));
        }
        let (table, bias) = (self.embeddings.weight.val(), self.decoder.decoder.bias.val());
        (affine(x, table, bias), next)
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
            let learns = Tensor::<2>::from_data(learns, &rows.device()).cast(rows.dtype());
            let fixed = rows.clone().detach();
            rows = fixed.clone() + (rows - fixed) * learns;
        }
        if let Some(pass) = pass {
            rows = pass.words(rows, &numbers, vocabulary);
        }
        let x = rows.reshape([time, batch, channels]);
        pass.map_or(x.clone(), |pass| pass.embedding(x))
    }
}

impl<L: LmLayer> SequenceModel for RecurrentLm<L> {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        self.rnns.iter().flat_map(|layer| layer.start(batch, device)).collect()
    }

    fn training_state(&self, batch: usize, device: &Device, seed: u64) -> State {
        self.continued(self.initial_state(batch, device), seed)
    }

    fn continued(&self, mut carried: State, seed: u64) -> State {
        let device = carried[0].device();
        carried.extend(self.regularise.any().then(|| Sums::nothing(&device).into_state()));
        carried.push(Draws::new(seed).to_state(&device));
        carried
    }

    fn carried(&self, state: State) -> State {
        let states = L::STATES * self.rnns.len();
        let carry = |(index, part): (usize, Tensor<2>)| match self.carry {
            Carry::Events if index % L::STATES >= L::GIVEN => part.zeros_like(),
            _ => part,
        };
        state.into_iter().take(states).enumerate().map(carry).collect()
    }

    fn learned(self, _: State) -> Self {
        RecurrentLm { rnns: self.rnns.into_iter().map(L::clamped).collect(), ..self }
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (out, state) = self.run(x.unsqueeze(), state, &mut |_, _| {});
        (out.squeeze_dim(0), state)
    }

    fn resume(&self, x: Tensor<3>, state: State) -> (Tensor<3>, State) {
        self.run(x, state, &mut |_, _| {})
    }

    fn resume_counted(
        &self,
        x: Tensor<3>,
        state: State,
        counted: &mut Counted,
    ) -> (Tensor<3>, State) {
        self.run(x, state, &mut |index, out| {
            if let Some(silence) = self.rnns[index].silence(out) {
                counted.add(&format!("rnns.{index}"), silence);
            }
        })
    }

    fn sparsity(&self, x: Tensor<3>) -> Vec<Sparsity> {
        let state = self.initial_state(x.dims()[1], &x.device());
        let mut counted = Counted::default();
        self.resume_counted(x, state, &mut counted);
        counted.fractions()
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

    fn penalty(&self, state: &State) -> Option<Tensor<1>> {
        let sums = state.get(L::STATES * self.rnns.len()).filter(|_| self.regularise.any())?;
        Some(self.regularise.of(Sums::of_state(sums.clone())))
    }

    fn whole_from(&self) -> f64 {
        self.regularise.activity.map_or(0.0, |term| term.from_epoch)
    }

    fn at(self, epoch: f64) -> Self {
        let activity = self.regularise.activity.and_then(|term| term.at(epoch));
        RecurrentLm { regularise: Regularisers { activity, ..self.regularise }, ..self }
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
