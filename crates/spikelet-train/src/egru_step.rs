//! One training step of EGRU layers on made-up values, to be measured.

use crate::{
    init::Init,
    models::egru::{CellConfig, EgruLayer},
};
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
    /// sequences; the pseudo-derivative is that of the published language model.
    ///
    /// # Panics
    /// Without a size.
    pub fn new(sizes: &[usize], time: usize, batch: usize) -> EgruStep {
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
        let layers = sizes.windows(2);
        let layers = layers.map(|pair| EgruLayer::new(&config, pair[0], pair[1], &mut init));
        EgruStep { layers: layers.collect(), input, weight }
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
