//! EGRU layers over a sequence and a linear read-out.

use super::{
    config::EgruConfig, convolutions::Convolutions, front::FrontConfig, layer::EgruLayer,
    regulariser::RegulariserConfig, sparsity::silence,
};
use crate::{
    draws::{Draws, LAYER_STREAMS},
    init::Init,
    model::{SequenceModel, State},
    models::ModelError,
    ops::{
        egru::{EgruOutputs, EgruState},
        flex::is_f32_on_flex,
        linear::linear,
    },
    raise::RaiseError,
    sparsity::Sparsity,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{Graph, GraphBuilder, Readout, Signal};

/// A matrix with a bias.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    /// With PyTorch's initial values.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init) -> Linear {
        Linear {
            weight: init.torch_linear(inputs, [outputs, inputs]),
            bias: init.torch_linear(inputs, [outputs]),
        }
    }

    /// `[time, batch, in]` to `[time, batch, out]`.
    pub fn run(&self, x: Tensor<3>) -> Tensor<3> {
        affine(x, self.weight.val(), self.bias.val())
    }
}

/// `x` `[time, batch, in]` times the transpose of `weight` `[out, in]`, plus `bias` `[out]`.
pub(in crate::models) fn affine(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    let [time, batch, inputs] = x.dims();
    let [outputs, _] = weight.dims();
    let rows = x.reshape([time * batch, inputs]);
    let out = match is_f32_on_flex(&rows) {
        true => linear(rows, weight),
        false => rows.matmul(weight.transpose()),
    };
    (out + bias.unsqueeze()).reshape([time, batch, outputs])
}

/// A network of EGRU layers; parameters have the official names.
#[derive(Module, Debug)]
pub struct Egru {
    /// In the order in which they run.
    pub layers: Vec<EgruLayer>,
    /// From the trace of the last layer to the classes.
    pub fc: Linear,
    /// Between the frames and the first layer.
    pub convolutions: Option<Convolutions>,
    /// Fraction of the inputs and of the traces dropped in training.
    #[module(skip)]
    pub dropout: f32,
    /// What stands in front, and the shape of a frame.
    #[module(skip)]
    pub front: Option<(FrontConfig, [usize; 3])>,
    /// What is added to the loss.
    #[module(skip)]
    pub regularise: Option<RegulariserConfig>,
    /// How outputs become logits.
    #[module(skip)]
    pub readout: Readout,
}

/// Sees what a layer gives, by its place.
pub type SeenLayer<'a> = &'a mut dyn FnMut(usize, &EgruOutputs);

/// The streams of [`Draws`] of what is dropped behind a layer, and in front of the first.
const DROPOUT: u64 = 2;
const INPUT_DROPOUT: u64 = 3;

impl Egru {
    /// A fresh network for steps of this shape.
    ///
    /// # Errors
    /// Settings out of range, frames that the front end does not take.
    pub fn new(
        config: &EgruConfig,
        shape: &[usize],
        classes: usize,
        init: &mut Init,
    ) -> Result<Egru, ModelError> {
        let values = shape.iter().product();
        let front = config.front.map(|front| {
            // Values without a spatial shape are an image of one position, which has no polarities.
            (front, <[usize; 3]>::try_from(shape).unwrap_or([1, 1, values]))
        });
        let image = front.map(|(front, shape)| front.image(shape)).transpose()?;
        let convolutions = front.and_then(|(front, _)| front.convolutions).zip(image);
        let inputs = match (convolutions, image) {
            (Some((sizes, _)), _) => sizes.features,
            (None, image) => image.map_or(values, |image| image.iter().product()),
        };
        config.check(inputs)?;
        let convolutions =
            convolutions.map(|(sizes, image)| Convolutions::new(&sizes, image, init));
        let widths = std::iter::once(inputs).chain(std::iter::repeat(config.units));
        let layers = widths.take(config.layers);
        Ok(Egru {
            convolutions: convolutions.transpose()?,
            layers: layers.map(|n| EgruLayer::new(&config.cell, n, config.units, init)).collect(),
            fc: Linear::new(config.units, classes, init),
            dropout: config.dropout,
            front,
            regularise: config.regularise,
            readout: config.readout,
        })
    }

    /// Outputs `[time, batch, classes]` over `x` `[time, batch, values]` from a state, and the last
    /// state. A state holds events, internal state and trace of every layer, `[batch, units]` each;
    /// one to learn from also the sums of the regulariser, and ends with what decides what is
    /// dropped.
    pub fn run(&self, x: Tensor<3>, state: State, seen: SeenLayer<'_>) -> (Tensor<3>, State) {
        let [time, _, _] = x.dims();
        let mut state = state.into_iter();
        let mut take = || state.next().expect("a state of this network");
        let before: Vec<EgruState> = (0..self.layers.len())
            .map(|_| EgruState { y: take(), h: take(), trace: take() })
            .collect();
        let rest: State = state.collect();
        let (draws, sums) = match rest.split_last() {
            Some((draws, sums)) => (Some(Draws::of_state(draws.clone())), sums.first().cloned()),
            None => (None, None),
        };
        let mut sums = sums.zip(self.regularise);
        let mut x = self.inputs(x, draws.is_some());
        x = self.dropped(x, draws.as_ref(), INPUT_DROPOUT);
        let mut next = State::new();
        for (index, (layer, before)) in self.layers.iter().zip(before).enumerate() {
            let out = layer.run(x, before, draws.as_ref(), index);
            seen(index, &out);
            let place = [index, self.layers.len()];
            sums = sums.map(|(sums, term)| (term.add(sums, layer, &out, place), term));
            let last = |t: &Tensor<3>| t.clone().narrow(0, time - 1, 1).squeeze_dim(0);
            next.extend([last(&out.y), last(&out.h), last(&out.trace)]);
            x = self.dropped(out.trace, draws.as_ref(), index as u64 * LAYER_STREAMS + DROPOUT);
        }
        next.extend(sums.map(|(sums, _)| sums));
        if let Some(draws) = draws {
            next.push(draws.after(time).to_state(&x.device()));
        }
        (self.fc.run(x), next)
    }

    /// What the first layer reads.
    fn inputs(&self, x: Tensor<3>, training: bool) -> Tensor<3> {
        let [time, batch, _] = x.dims();
        match (&self.front, &self.convolutions) {
            (None, _) => x,
            (Some((front, shape)), None) => front.run(x, *shape, training),
            (Some((front, shape)), Some(convolutions)) => {
                let features = convolutions.run(front.images(x, *shape, training));
                let [_, width] = features.dims();
                features.reshape([time, batch, width])
            }
        }
    }

    /// With a part of the values zeroed and the rest scaled up, in training.
    fn dropped(&self, x: Tensor<3>, draws: Option<&Draws>, stream: u64) -> Tensor<3> {
        let Some(draws) = draws.filter(|_| self.dropout > 0.0) else { return x };
        let [time, batch, width] = x.dims();
        let kept = draws.each(stream, self.dropout, time, batch * width);
        let kept = Tensor::<3>::from_data(TensorData::new(kept, [time, batch, width]), &x.device());
        x * kept.mul_scalar(1.0 / (1.0 - self.dropout))
    }

    /// Whether training differs from everything else.
    fn differs_in_training(&self) -> bool {
        let layers = self.layers.iter().any(|l| l.zoneout > 0.0 || l.dropconnect > 0.0);
        let divide = self.front.is_some_and(|(front, _)| front.divide.train != front.divide.test);
        layers || divide || self.dropout > 0.0 || self.regularise.is_some()
    }
}

impl SequenceModel for Egru {
    fn input_shape(&self, channels: usize) -> Vec<usize> {
        self.front.map_or(vec![channels], |(_, shape)| shape.to_vec())
    }

    /// Counts of events.
    fn input_signal(&self) -> Signal {
        if self.front.is_some() { Signal::Graded } else { Signal::Dense }
    }

    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let all = self.layers.iter().flat_map(|layer| {
            let EgruState { y, h, trace } = layer.initial_state(batch, device);
            [y, h, trace]
        });
        all.collect()
    }

    fn training_state(&self, batch: usize, device: &Device, seed: u64) -> State {
        let mut state = self.initial_state(batch, device);
        state.extend(self.regularise.map(|_| RegulariserConfig::nothing(device)));
        if self.differs_in_training() {
            state.push(Draws::new(seed).to_state(device));
        }
        state
    }

    fn penalty(&self, state: &State) -> Option<Tensor<1>> {
        let sums = state.get(3 * self.layers.len())?.clone();
        Some(self.regularise?.of(sums))
    }

    fn whole_from(&self) -> f64 {
        self.regularise.map_or(0.0, |term| term.from_epoch)
    }

    fn at(self, epoch: f64) -> Self {
        Egru { regularise: self.regularise.and_then(|term| term.at(epoch)), ..self }
    }

    fn learned(self, _: State) -> Self {
        Egru { layers: self.layers.into_iter().map(EgruLayer::clamped).collect(), ..self }
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
            found.push(silence(&self.layers[index], out).of(format!("layers.{index}")));
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
        self.readout
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::checkpoint::from_graph(graph, device)
    }
}
