//! One run over the layers: what each makes of its inputs, and the state it takes and leaves.

use super::{
    functions::{
        Affine, Population, Statistics, Steps, attention, border, conv, interpolate, linear,
        normalize, normalize_batch, normalized_step, of_zero, pool,
    },
    module::{Convnet, Settings},
    network::{Op, Shape, Threshold},
    rates::threshold_at,
};
use crate::{
    model::State,
    neuron::{NeuronState, NeuronTensors, neuron_sequence_from},
};
use burn::tensor::{Tensor, activation::relu};
use spikelet_kernels::mean_pool::Windows;

/// How the layers run.
#[derive(Clone, Copy, Default)]
pub(super) struct Mode {
    /// One step through which no gradient reaches the state.
    pub(super) detached: bool,
    /// Thresholds follow from this firing rate.
    pub(super) rate: Option<f32>,
}

/// One run over the layers.
pub(super) struct Pass<'a> {
    model: &'a Convnet,
    /// By the statistics of the batch, with drop-out: the state says so.
    pub(super) training: bool,
    pub(super) batch: usize,
    state: std::vec::IntoIter<Tensor<2>>,
    /// The state after it.
    pub(super) next: State,
    /// What the last normalisation left.
    running: Option<Statistics>,
    rate: Option<f32>,
    /// Those found.
    pub(super) thresholds: Vec<f32>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(model: &'a Convnet, batch: usize, state: State, rate: Option<f32>) -> Self {
        Pass {
            model,
            training: state.len() > model.network.count(Op::is_neurons),
            batch,
            state: state.into_iter(),
            next: State::new(),
            running: None,
            rate,
            thresholds: Vec::new(),
        }
    }

    /// A layer of one input.
    pub(super) fn layer(&mut self, op: &Op, shape: Shape, x: Tensor<4>) -> Tensor<4> {
        let model = self.model;
        match *op {
            Op::Input | Op::Add | Op::Multiply | Op::Attention { .. } | Op::Heads => {
                unreachable!("run without this")
            }
            Op::Conv { weight, bias, gain, stride, padding, groups } => {
                let bias = bias.map(|bias| model.vector(bias));
                conv(x, model.kernel(weight, gain), bias, Steps { stride, padding, groups })
            }
            Op::BatchNorm { weight, bias, mean, variance } => {
                let affine = Affine { weight: model.vector(weight), bias: model.vector(bias) };
                if !self.training {
                    return normalize(x, affine, model.vector(mean), model.vector(variance));
                }
                let time = x.dims()[0] / self.batch;
                let groups = if model.settings.norm_over_time { 1 } else { time };
                let running = [self.take(), self.take()].map(Tensor::inner);
                let (out, running) = normalize_batch(x, affine, groups, running);
                self.running = Some(running.clone());
                self.next.extend(running);
                out
            }
            Op::Border { weight, bias, mean, variance } => {
                let parameter = |id| model.vector(id).inner();
                let running = self
                    .running
                    .take()
                    .unwrap_or_else(|| [mean, variance].map(|id| parameter(id).unsqueeze()));
                let affine = Affine { weight: parameter(weight), bias: parameter(bias) };
                let value = of_zero(affine, running);
                let value = if x.device().is_autodiff() { value.autodiff() } else { value };
                border(x, value)
            }
            Op::Lif(threshold) => self.neurons(x, threshold),
            Op::Relu => relu(x),
            Op::Deconv { weight, bias } => {
                let (bias, steps) =
                    (model.vector(bias), Steps { stride: 1, padding: 0, groups: 1 });
                let bias = bias.repeat_dim(0, 4);
                let [n, _, _, _] = x.dims();
                let out = conv(x, model.kernel(weight, None), Some(bias), steps);
                out.reshape([n, shape[0], shape[1], shape[2]])
            }
            Op::Scale(factor) => x.mul_scalar(factor),
            Op::Gain { gain, alpha } => x * model.vector(gain).mul_scalar(alpha).unsqueeze(),
            Op::Dropout(_) if !self.training => x,
            Op::Dropout(_) => {
                let mask = self.take();
                self.next.push(mask.clone());
                let [n, h, w, channels] = x.dims();
                let time = n / self.batch;
                let x = x.reshape([time, self.batch, h * w * channels]) * mask.unsqueeze();
                x.reshape([n, h, w, channels])
            }
            Op::AveragePool { kernel, stride, padding } => {
                let [_, h, w, _] = x.dims();
                let along = |size, out| Windows::sliding(size, out, kernel, stride, padding);
                pool(x, along(h, shape[0]), along(w, shape[1]))
            }
            Op::AdaptivePool => {
                let [_, h, w, _] = x.dims();
                pool(x, Windows::adaptive(h, shape[0]), Windows::adaptive(w, shape[1]))
            }
            Op::Interpolate => interpolate(x, [shape[0], shape[1]]),
            Op::TimeMean => {
                let [n, h, w, channels] = x.dims();
                let by_time = x.reshape([n / self.batch, self.batch * h, w, channels]);
                by_time.mean_dim(0).reshape([self.batch, h, w, channels])
            }
            Op::SumPool => x.sum_dim(1).sum_dim(2),
            Op::Linear { weight, bias } => {
                let [n, h, w, channels] = x.dims();
                let weight = model.matrices[weight].param.val().transpose();
                let out = linear(x.reshape([n, h * w * channels]), weight, model.vector(bias));
                out.reshape([n, 1, 1, shape[2]])
            }
        }
    }

    /// A layer of several inputs.
    pub(super) fn join(&self, op: &Op, inputs: Vec<Tensor<4>>) -> Tensor<4> {
        let scale = 1.0 / inputs.len() as f32;
        let fold = |inputs: Vec<Tensor<4>>, f: fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            inputs.into_iter().reduce(f).expect("several")
        };
        match *op {
            Op::Attention { heads, scale } => {
                let qkv = inputs.try_into().expect("queries, keys and values");
                attention(qkv, heads, scale)
            }
            Op::Multiply => fold(inputs, |a, b| a * b),
            Op::Heads if self.training => Tensor::cat(inputs, 3),
            Op::Heads => fold(inputs, |a, b| a + b).mul_scalar(scale),
            _ => fold(inputs, |a, b| a + b),
        }
    }

    /// A normalisation and the neurons behind it in one, where that form exists.
    pub(super) fn normalized_neurons(&mut self, ops: [&Op; 2], x: &Tensor<4>) -> Option<Tensor<4>> {
        let model = self.model;
        let (Op::BatchNorm { weight, bias, .. }, Op::Lif(Threshold::Fixed(threshold))) =
            (ops[0], ops[1])
        else {
            return None;
        };
        let (weight, bias, threshold) = (*weight, *bias, *threshold);
        let Settings { beta, dynamics, .. } = model.settings;
        let (spikes, u, running) = normalized_step(x, || Population {
            affine: Affine { weight: model.vector(weight), bias: model.vector(bias) },
            running: [self.take(), self.take()].map(Tensor::inner),
            u: self.take(),
            dynamics,
            beta,
            threshold,
        })?;
        self.next.extend(running);
        self.next.push(u);
        Some(spikes)
    }

    fn neurons(&mut self, current: Tensor<4>, threshold: Threshold) -> Tensor<4> {
        let shape = current.dims();
        let [_, h, w, channels] = shape;
        let rows = self.batch * h * w;
        let v = self.take().reshape([rows, channels]);
        let current = current.reshape([shape[0] / self.batch, rows, channels]);
        let settings = self.model.settings;
        let threshold = match self.rate {
            None => threshold,
            Some(rate) => {
                let found = threshold_at(rate, &current, settings);
                self.thresholds.push(found);
                Threshold::Fixed(found)
            }
        };
        let constant =
            |value: f32| Tensor::<1>::from_floats([value], &current.device()).cast(current.dtype());
        let Settings { beta, dynamics, .. } = settings;
        let params = NeuronTensors {
            beta: constant(beta),
            threshold: match threshold {
                Threshold::Fixed(value) => constant(value),
                Threshold::Learned(id) => self.model.vector(id),
            },
            second_decay: None,
            gain: None,
        };
        let state = NeuronState { v, second: None };
        let (spikes, state) = neuron_sequence_from(current, state, params, dynamics);
        self.next.push(state.v.reshape([self.batch, h * w * channels]));
        spikes.reshape(shape)
    }

    fn take(&mut self) -> Tensor<2> {
        self.state.next().expect("a state of this network")
    }
}
