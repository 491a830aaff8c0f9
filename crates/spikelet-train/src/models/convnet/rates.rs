//! Firing rates by choice: for measurements that depend on how much is zero.

use super::{
    model::Convnet,
    module::Settings,
    network::{Op, Threshold},
};
use crate::{
    neuron::{NeuronTensors, neuron_sequence},
    params,
};
use burn::tensor::{Tensor, TensorData};
use std::sync::Arc;

/// Neurons a threshold is chosen by, at least.
const SAMPLE: usize = 10_000;
/// How often the range of a threshold is halved.
const HALVINGS: usize = 16;

impl Convnet {
    /// The network with thresholds at which every population fires at `rate` (0 to 1), on average
    /// over the steps and values of `x` `[time, batch, values]`.
    pub fn at_rate(mut self, x: Tensor<3>, rate: f32) -> Convnet {
        let mut thresholds = self.thresholds_at(x, rate).into_iter();
        let network = Arc::make_mut(&mut self.network);
        for layer in &mut network.layers {
            if layer.op.is_neurons() {
                let threshold = thresholds.next().expect("one for each population");
                layer.op = Op::Lif(Threshold::Fixed(threshold));
            }
        }
        self
    }
}

/// The threshold at which neurons with the currents `[time, rows, channels]` fire at `rate`.
pub(super) fn threshold_at(rate: f32, current: &Tensor<3>, settings: Settings) -> f32 {
    let [time, rows, channels] = current.dims();
    let every = (rows * channels / SAMPLE).max(1);
    let values = params::values(current.clone().inner());
    let sampled: Vec<f32> = values
        .chunks_exact(rows * channels)
        .flat_map(|step| step.iter().copied().step_by(every))
        .collect();
    let largest = sampled.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let shape = [time, 1, sampled.len() / time];
    let device = current.device().inner();
    let current: Tensor<3> = Tensor::from_data(TensorData::new(sampled, shape), &device);
    // Potentials of LIF neurons are at most the largest current over what leaks.
    let (mut low, mut high) = (0.0, largest / (1.0 - settings.beta));
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let constant = |value: f32| Tensor::<1>::from_floats([value], &device);
        let params = NeuronTensors {
            beta: constant(settings.beta),
            threshold: constant(middle),
            second_decay: None,
            gain: None,
        };
        let spikes = neuron_sequence(current.clone(), params, settings.dynamics);
        match spikes.mean().into_scalar::<f32>() > rate {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}
