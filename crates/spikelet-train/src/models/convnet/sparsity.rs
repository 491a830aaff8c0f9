//! How many neurons are silent, forwards and backwards.

use super::{
    model::Convnet,
    network::{Op, Threshold},
};
use crate::{
    model::SequenceModel,
    params,
    sparsity::{Silence, Sparsity},
};
use burn::tensor::Tensor;

impl Convnet {
    /// What is silent over `x` `[time, batch, values]`, population by population, outside training;
    /// nothing for networks of which no step can be run alone.
    pub(super) fn silence(&self, x: Tensor<3>) -> Vec<Sparsity> {
        if self.network.averages_time() {
            return Vec::new();
        }
        let surrogate = self.settings.dynamics.surrogate;
        let populations = self.network.layers.iter().filter(|layer| layer.op.is_neurons());
        let mut found: Vec<Silence> = populations.clone().map(|_| Silence::default()).collect();
        let [time, batch, _] = x.dims();
        let mut state = self.initial_state(batch, &x.device());
        for t in 0..time {
            let mut spikes = Vec::new();
            let step = x.clone().narrow(0, t, 1);
            (_, state) = self.run(step, state, &mut |layer, out| {
                if layer.op.is_neurons() {
                    spikes.push(params::values(out.clone()));
                }
            });
            let layers = populations.clone().zip(&state).zip(&spikes).zip(&mut found);
            for (((layer, v), spikes), silence) in layers {
                let Op::Lif(threshold) = layer.op else { unreachable!("a population") };
                let threshold = match threshold {
                    Threshold::Fixed(value) => vec![value],
                    Threshold::Learned(id) => params::values(self.vector(id)),
                };
                let outside = |distance: f32| surrogate.grad(distance) == 0.0;
                silence.add(&params::values(v.clone()), spikes, &threshold, outside);
            }
        }
        let names = populations.map(|layer| layer.name.clone());
        names.zip(found).map(|(name, silence)| silence.of(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{init::Init, models::convnet::ConvnetConfig};
    use burn::tensor::{Device, TensorData};
    use spikelet_kernels::surrogate::Surrogate;

    /// Firing and windows of a small network over three steps.
    fn found(surrogate: Surrogate) -> (Vec<Sparsity>, Vec<f64>) {
        let mut config = ConvnetConfig::new("4C3-P2-6C3-FC".parse().expect("a network"));
        config.surrogate = surrogate;
        let mut init = Init::new(3, &Device::flex());
        let model = Convnet::new(&config, [6, 6, 2], 3, &mut init).expect("a network");
        let values = (0..3 * 2 * 72).map(|i| (i % 7) as f32 - 2.5).collect();
        let x = Tensor::from_data(TensorData::new(values, [3, 2, 72]), &Device::flex());
        let model = model.at_rate(x.clone(), 0.2);
        let mut silent = Vec::new();
        let state = model.initial_state(2, &Device::flex());
        model.run(x.clone(), state, &mut |layer, out| {
            if layer.op.is_neurons() {
                silent.push(1.0 - f64::from(out.clone().mean().into_scalar::<f32>()));
            }
        });
        (model.silence(x), silent)
    }

    #[test]
    fn steps_fire_as_the_sequence_does_and_narrow_windows_close_more() {
        let (triangle, silent) = found(Surrogate::TRIANGLE);
        let (rectangle, _) = found(Surrogate::RECTANGLE);
        let (sigmoid, _) = found(Surrogate::SIGMOID);
        assert_eq!(triangle.len(), 2);
        for (layer, wide) in triangle.iter().enumerate() {
            assert!((wide.activity - silent[layer]).abs() < 1e-6, "{wide:?} {silent:?}");
            assert!(0.0 < wide.activity && wide.activity < 1.0, "{wide:?}");
            assert!(wide.backward < rectangle[layer].backward, "{wide:?} {rectangle:?}");
            assert_eq!(sigmoid[layer].backward, 0.0);
        }
    }
}
