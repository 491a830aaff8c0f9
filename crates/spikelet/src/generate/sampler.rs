//! Choosing the next token from logits.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// In which order the weights of tokens are cut and flattened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// That of SpikeGPT's official code: the nucleus is cut first, then probabilities are raised to
    /// the power of 1/temperature.
    #[default]
    Official,
    /// That of most programs: logits are divided by the temperature, then the nucleus is cut.
    Usual,
}

/// How the next token is chosen. The defaults are those of SpikeGPT's official generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampler {
    /// Above 1 flattens, below 1 sharpens; 0 takes the most likely token.
    pub temperature: f32,
    /// The smallest set of most likely tokens with more than this probability stays, with all that
    /// are as likely as its last one. At 1 all stay. (In the official code, whose search then finds
    /// nothing and returns the first place, only the most likely one does.)
    pub top_p: f32,
    /// The same behind this token: the official generator gives new lines in models of characters
    /// a nucleus of their own.
    pub top_p_after: Option<(u32, f32)>,
    /// Only so many of the most likely tokens stay; 0 for all.
    pub top_k: usize,
    /// Divides positive logits of tokens that were there already, multiplies negative ones (Keskar
    /// et al. 2019); 1 leaves them as they are.
    pub repetition_penalty: f32,
    /// A token that is never drawn: the official generator has none of the end marks of models of tokens.
    pub never: Option<u32>,
    /// What comes first.
    pub order: Order,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler {
            temperature: 1.5,
            top_p: 0.7,
            top_p_after: None,
            top_k: 0,
            repetition_penalty: 1.0,
            never: None,
            order: Order::Official,
        }
    }
}

impl Sampler {
    /// What tokens weigh in the draw, `[tokens]`, not normalised. `seen` holds the tokens so far,
    /// the last one last.
    pub fn weights(&self, logits: &[f32], seen: &[u32]) -> Vec<f32> {
        let mut weights = logits.to_vec();
        self.penalize(&mut weights, seen);
        if let Some(logit) = self.never.and_then(|token| weights.get_mut(token as usize)) {
            *logit = f32::NEG_INFINITY;
        }
        if self.temperature == 0.0 {
            return one_hot(&weights);
        }
        if self.order == Order::Usual {
            weights.iter_mut().for_each(|logit| *logit /= self.temperature);
        }
        if self.top_k > 0 && self.top_k < weights.len() {
            let least = nth_largest(&weights, self.top_k);
            weights.iter_mut().filter(|w| **w < least).for_each(|w| *w = f32::NEG_INFINITY);
        }
        softmax(&mut weights);
        let top_p = match (self.top_p_after, seen.last()) {
            (Some((token, top_p)), Some(last)) if token == *last => top_p,
            _ => self.top_p,
        };
        if top_p < 1.0 {
            let least = nucleus(&weights, top_p);
            weights.iter_mut().filter(|w| **w < least).for_each(|w| *w = 0.0);
        }
        if self.order == Order::Official && self.temperature != 1.0 {
            let power = 1.0 / self.temperature;
            weights.iter_mut().filter(|w| **w > 0.0).for_each(|w| *w = w.powf(power));
        }
        weights
    }

    /// The next token.
    pub fn choose(&self, logits: &[f32], seen: &[u32], rng: &mut ChaCha8Rng) -> u32 {
        let weights = self.weights(logits, seen);
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let mut left = rng.random::<f64>() * total;
        let mut last = 0;
        for (token, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            last = token;
            left -= f64::from(*weight);
            if left < 0.0 {
                break;
            }
        }
        last as u32
    }

    fn penalize(&self, logits: &mut [f32], seen: &[u32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut done = vec![false; logits.len()];
        for token in seen.iter().map(|token| *token as usize) {
            if let Some(logit) = logits.get_mut(token)
                && !std::mem::replace(&mut done[token], true)
            {
                match *logit > 0.0 {
                    true => *logit /= self.repetition_penalty,
                    false => *logit *= self.repetition_penalty,
                }
            }
        }
    }
}

/// 1 for the first of the largest values, 0 for all others.
fn one_hot(values: &[f32]) -> Vec<f32> {
    let mut weights = vec![0.0; values.len()];
    if let Some(weight) = weights.get_mut(crate::evaluate::argmax(values)) {
        *weight = 1.0;
    }
    weights
}

fn nth_largest(values: &[f32], n: usize) -> f32 {
    let mut sorted = values.to_vec();
    *sorted.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1
}

fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter_mut().for_each(|value| *value = (*value - largest).exp());
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
}

/// The probability with which the sum over the most likely tokens exceeds `top_p`; 0 if none does.
fn nucleus(probabilities: &[f32], top_p: f32) -> f32 {
    let mut sorted = probabilities.to_vec();
    // A nucleus is small as a rule: only so many of the largest values are sorted at a time.
    let (mut from, mut sum) = (0, 0.0);
    while from < sorted.len() {
        let until = (4 * from).max(256).min(sorted.len());
        let rest = &mut sorted[from..];
        if until - from < rest.len() {
            rest.select_nth_unstable_by(until - from, |a, b| b.total_cmp(a));
        }
        rest[..until - from].sort_unstable_by(|a, b| b.total_cmp(a));
        for probability in &sorted[from..until] {
            sum += probability;
            if sum > top_p {
                return *probability;
            }
        }
        from = until;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use spikelet_data::split::rng;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 3.0];

    fn kept(weights: &[f32]) -> Vec<usize> {
        weights.iter().enumerate().filter(|(_, w)| **w > 0.0).map(|(token, _)| token).collect()
    }

    #[test]
    fn cuts_keep_the_most_likely_and_their_equals() {
        let sampler = Sampler { temperature: 1.0, ..Sampler::default() };
        let with = |top_p, top_k| Sampler { top_p, top_k, ..sampler.clone() };
        assert_eq!(kept(&with(0.1, 0).weights(&LOGITS, &[])), [1, 4]);
        assert_eq!(kept(&with(0.9, 0).weights(&LOGITS, &[])), [1, 2, 4]);
        assert_eq!(kept(&with(1.0, 0).weights(&LOGITS, &[])), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&with(1.0, 1).weights(&LOGITS, &[])), [1, 4]);
        assert_eq!(kept(&with(1.0, 3).weights(&LOGITS, &[])), [1, 2, 4]);
        let newline = Sampler { top_p_after: Some((3, 1.0)), ..with(0.1, 0) };
        assert_eq!(kept(&newline.weights(&LOGITS, &[0, 3])), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&newline.weights(&LOGITS, &[3, 0])), [1, 4]);
    }

    #[test]
    fn the_nucleus_of_many_tokens_is_that_of_a_full_sort() {
        let mut p: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 5000 + 1) as f32).collect();
        let total: f32 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
        let mut sorted = p.clone();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        for top_p in [0.01, 0.1, 0.5, 0.9, 0.999] {
            let mut sum = 0.0;
            let plain = sorted.iter().find(|p| {
                sum += **p;
                sum > top_p
            });
            assert_eq!(nucleus(&p, top_p), *plain.unwrap());
        }
        assert_eq!(nucleus(&p, 2.0), 0.0);
    }

    #[test]
    fn orders_differ_in_where_the_temperature_acts() {
        let flat = Sampler { temperature: 10.0, top_p: 0.5, ..Sampler::default() };
        assert_eq!(kept(&flat.weights(&LOGITS, &[])), [1, 4]);
        let usual = Sampler { order: Order::Usual, ..flat };
        assert_eq!(kept(&usual.weights(&LOGITS, &[])), [1, 2, 4]);
    }

    #[test]
    fn a_token_is_never_drawn() {
        for temperature in [0.0, 1.0, 2.0] {
            let all = Sampler { temperature, top_p: 1.0, ..Sampler::default() };
            let some = Sampler { never: Some(1), ..all.clone() };
            assert!(kept(&all.weights(&LOGITS, &[])).contains(&1), "{temperature}");
            assert!(!kept(&some.weights(&LOGITS, &[])).contains(&1), "{temperature}");
            assert!(kept(&some.weights(&LOGITS, &[])).contains(&4), "{temperature}");
        }
    }

    #[test]
    fn repeated_tokens_lose_weight_once() {
        let sampler = Sampler { repetition_penalty: 2.0, temperature: 0.0, ..Sampler::default() };
        assert_eq!(kept(&sampler.weights(&LOGITS, &[])), [1]);
        assert_eq!(kept(&sampler.weights(&LOGITS, &[1, 1])), [4]);
        assert_eq!(kept(&sampler.weights(&LOGITS, &[1, 4, 3])), [2]);
    }

    #[test]
    fn draws_follow_the_weights() {
        let sampler = Sampler { temperature: 1.0, top_p: 1.0, ..Sampler::default() };
        let mut rng = rng(1, 0);
        let mut counts = [0; 3];
        for _ in 0..3000 {
            counts[sampler.choose(&[0.0, f32::ln(2.0), -80.0], &[], &mut rng) as usize] += 1;
        }
        assert!((900..1100).contains(&counts[0]) && counts[2] == 0, "{counts:?}");
    }
}
