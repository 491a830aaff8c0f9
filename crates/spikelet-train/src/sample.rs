//! What a language model writes while it learns: a look at it, not the generator.

use crate::{model::SequenceModel, params};
use burn::tensor::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// `count` tokens after `first`, each drawn from the distribution the model (on the plain device)
/// gives.
pub(crate) fn sample<M: SequenceModel>(model: &M, first: u32, count: usize, seed: u64) -> Vec<u32> {
    let device = Device::flex();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut state = model.initial_state(1, &device);
    let mut tokens = vec![first];
    for _ in 0..count {
        let last = tokens[tokens.len() - 1] as f32;
        let (logits, next) = model.step(Tensor::from_floats([[last]], &device), state);
        tokens.push(draw(&params::values(logits), rng.random()));
        state = next;
    }
    tokens
}

/// The token at which the probabilities of all before it and its own exceed `at`, from 0 to 1.
fn draw(logits: &[f32], at: f32) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights = logits.iter().map(|logit| f64::from(logit - largest).exp());
    let mut left = f64::from(at) * weights.clone().sum::<f64>();
    for (token, weight) in weights.enumerate() {
        left -= weight;
        if left < 0.0 {
            return token as u32;
        }
    }
    logits.len() as u32 - 1
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let logits = [0.1_f32.ln(), 0.6_f32.ln(), 0.3_f32.ln()];
        let found: Vec<u32> = (0..10).map(|i| draw(&logits, i as f32 / 10.0 + 0.05)).collect();
        assert_eq!(found, [0, 1, 1, 1, 1, 1, 1, 2, 2, 2]);
        assert_eq!(draw(&[1e4, -1e4], 0.999), 0);
        assert_eq!(draw(&[f32::NAN; 3], 0.5), 2);
    }
}
