//! What a training pass draws at random: the same for a sequence at once and step by step.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The random numbers of one pass over a batch.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    seed: u64,
    /// Steps before the first one of this run.
    step: u64,
}

/// Bits of a seed that a value of the state carries: as many as are exact in an f32.
const SEED_BITS: u32 = 16;
/// Streams of numbers that a step or a pass has.
const STREAMS: u64 = 1 << 16;
/// Those of a recurrent layer, of which the second says which of its weights are dropped.
pub(crate) const LAYER_STREAMS: u64 = 4;
const DROPCONNECT: u64 = 1;

impl Draws {
    /// Those of a seed, from the first step on.
    pub fn new(seed: u64) -> Draws {
        Draws { seed, step: 0 }
    }

    /// What a state carries of them, `[1, 5]`: the seed in four parts, and the steps so far.
    pub fn to_state(self, device: &Device) -> Tensor<2> {
        let part = |i: u32| (self.seed >> (i * SEED_BITS) & 0xffff) as f32;
        let values = vec![part(0), part(1), part(2), part(3), self.step as f32];
        Tensor::from_data(TensorData::new(values, [1, 5]), device)
    }

    /// What [`to_state`](Self::to_state) gave.
    pub fn of_state(state: Tensor<2>) -> Draws {
        let values = crate::params::values(state.inner());
        let part = |(i, value): (usize, &f32)| (*value as u64) << (i as u32 * SEED_BITS);
        Draws { seed: values[..4].iter().enumerate().map(part).sum(), step: values[4] as u64 }
    }

    /// The same, so many steps later.
    pub fn after(self, steps: usize) -> Draws {
        Draws { step: self.step + steps as u64, ..self }
    }

    /// `count` values that are 0 with the probability `fraction` and else 1, the same in every step
    /// of a pass; `stream`, below 65536, says what for.
    pub fn once(&self, stream: u64, fraction: f32, count: usize) -> Vec<f32> {
        self.keep(stream, fraction, count).collect()
    }

    /// The same, drawn anew in each of `steps` steps, `count` values each.
    pub fn each(&self, stream: u64, fraction: f32, steps: usize, count: usize) -> Vec<f32> {
        (0..steps as u64)
            .flat_map(|t| self.keep((self.step + t + 1) * STREAMS + stream, fraction, count))
            .collect()
    }

    /// Recurrent weights of layer `index`, a fraction of which is zero in this pass and the rest larger
    /// for it (DropConnect).
    pub fn connections(&self, weights: Tensor<2>, fraction: f32, index: usize) -> Tensor<2> {
        if fraction == 0.0 {
            return weights;
        }
        let shape = weights.dims();
        let stream = index as u64 * LAYER_STREAMS + DROPCONNECT;
        let kept = self.once(stream, fraction, shape[0] * shape[1]);
        let kept = Tensor::<2>::from_data(TensorData::new(kept, shape), &weights.device());
        weights * kept.mul_scalar(1.0 / (1.0 - fraction))
    }

    fn keep(&self, stream: u64, fraction: f32, count: usize) -> impl Iterator<Item = f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(stream);
        (0..count).map(move |_| if rng.random::<f32>() < fraction { 0.0 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_draw_what_sequences_draw() {
        let draws = Draws::new(0xfedc_ba98_7654_3210);
        let all = draws.each(3, 0.4, 5, 7);
        let parts: Vec<f32> = (0..5).flat_map(|t| draws.after(t).each(3, 0.4, 1, 7)).collect();
        assert_eq!(all, parts);
        assert_eq!(draws.once(3, 0.4, 9), draws.after(2).once(3, 0.4, 9));
        assert_ne!(draws.once(3, 0.4, 64), draws.once(4, 0.4, 64));
        let state = draws.after(11).to_state(&Device::flex());
        assert_eq!(Draws::of_state(state).each(1, 0.5, 2, 9), draws.after(11).each(1, 0.5, 2, 9));
    }

    #[test]
    fn fractions_are_dropped() {
        let kept: f32 = Draws::new(1).once(0, 0.3, 10_000).iter().sum();
        assert!((kept / 10_000.0 - 0.7).abs() < 0.03, "{kept} of 10000 kept");
    }
}
