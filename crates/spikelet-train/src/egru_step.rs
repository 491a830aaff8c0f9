//! One training step of EGRU layers on made-up values, to be measured.

use crate::{
    init::Init,
    models::egru::{CellConfig, EgruLayer},
};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Layers and a batch of random values.
pub struct EgruStep {
    layers: Vec<EgruLayer>,
    input: Tensor<3>,
    /// What the outputs are weighed with in the loss.
    weight: Tensor<3>,
}

impl EgruStep {
    /// Fresh layers from `sizes[0]` inputs over the units of each, for `time` steps of `batch`
    /// sequences; the pseudo-derivative is that of the published language model. Thresholds are the
    /// same for all units of a layer, so that a fraction `activity` of them has an event.
    ///
    /// # Panics
    /// Without a size.
    pub fn new(sizes: &[usize], time: usize, batch: usize, activity: f64) -> EgruStep {
        let device = Device::flex().autodiff();
        let mut init = Init::new(1, &device);
        let config = CellConfig { dampening: 3.6, support: 3.6, ..CellConfig::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut random = |width: usize| -> Tensor<3> {
            let values = (0..time * batch * width).map(|_| rng.random::<f32>() * 2.0 - 1.0);
            let data = TensorData::new::<f32, _>(values.collect(), [time, batch, width]);
            Tensor::from_data(data, &device)
        };
        let (input, weight) = (random(sizes[0]), random(sizes[sizes.len() - 1]));
        let (mut layers, mut x) = (Vec::new(), input.clone().inner());
        for pair in sizes.windows(2) {
            let layer = EgruLayer::new(&config, pair[0], pair[1], &mut init);
            let (layer, y) = with_activity(layer, x, activity, &init);
            layers.push(layer);
            x = y;
        }
        EgruStep { layers, input, weight }
    }

    /// Forward and backward; returns the fraction of units with an event.
    pub fn run(&self) -> f64 {
        let (mut x, mut events) = (self.input.clone(), 0.0);
        let (batch, device) = (x.dims()[1], x.device());
        for (index, layer) in self.layers.iter().enumerate() {
            let out = layer.run(x, layer.initial_state(batch, &device), None, index);
            events += f64::from(out.o.inner().mean().into_scalar::<f32>());
            x = out.y;
        }
        let gradients = (x * self.weight.clone()).sum().backward();
        std::hint::black_box(&gradients);
        events / self.layers.len() as f64
    }
}

/// Halvings of the range that thresholds are looked for in.
const HALVINGS: usize = 12;

/// The layer with thresholds at which a fraction `activity` of its units has an event over `x` (on
/// the plain device), and what it then gives.
fn with_activity(
    layer: EgruLayer,
    x: Tensor<3>,
    activity: f64,
    init: &Init,
) -> (EgruLayer, Tensor<3>) {
    let (units, batch, device) = (layer.units(), x.dims()[1], x.device());
    let (mut low, mut high) = (0.0_f32, 1.0_f32);
    let at = |threshold: f32| EgruLayer { thr: init.constant(threshold, [units]), ..layer.clone() };
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        let plain = at(middle).valid();
        let out = plain.run(x.clone(), plain.initial_state(batch, &device), None, 0);
        match f64::from(out.o.mean().into_scalar::<f32>()) > activity {
            true => low = middle,
            false => high = middle,
        }
    }
    let layer = at(high);
    let plain = layer.valid();
    let out = plain.run(x, plain.initial_state(batch, &device), None, 0);
    (layer, out.y)
}
