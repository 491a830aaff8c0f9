//! How the SpikeGPT paper (Zhu et al. 2023, table 1) arrives at its energy ratios: operations of a
//! layer by formula, for a GPT of the same sizes and for SpikeGPT, with a rate `R` at which inputs
//! of weight matrices are taken to be spikes.
//!
//! It is not what the published network computes: there every matrix reads the real values of a
//! layer norm, and spikes only enter the residual stream. What a graph really does is in its
//! counters.

use serde::Serialize;

/// Picojoules of a multiply-accumulate in the paper.
pub const MAC_PJ: f64 = 4.5;
/// Picojoules of an accumulate in the paper.
pub const AC_PJ: f64 = 0.9;

/// A part of a layer over a whole sequence, in picojoules.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Part {
    /// As the paper's table names it.
    pub name: &'static str,
    /// Of a GPT.
    pub gpt_pj: f64,
    /// Of SpikeGPT, as the paper counts.
    pub claimed_pj: f64,
}

/// The parts of a layer of `width` channels over `tokens` tokens at rate `rate`.
pub fn parts(tokens: f64, width: f64, rate: f64) -> [Part; 5] {
    let (t, d) = (tokens, width);
    let projections = 3.0 * t * d * d;
    // Matrices of 4 d^2, d^2 and 4 d^2 weights.
    let feed_forward = 9.0 * t * d * d;
    let part = |name, gpt_pj, claimed_pj| Part { name, gpt_pj, claimed_pj };
    [
        part("query, key, value", MAC_PJ * projections, AC_PJ * rate * projections),
        part("attention", MAC_PJ * 2.0 * t * t * d, MAC_PJ * 7.0 * t * d),
        part("scale", MAC_PJ * t * t, 0.0),
        part("softmax", MAC_PJ * 2.0 * t * t, 0.0),
        part("feed-forward", MAC_PJ * feed_forward, AC_PJ * rate * feed_forward),
    ]
}

/// How many times more a GPT takes by this account.
pub fn ratio(tokens: f64, width: f64, rate: f64) -> f64 {
    let parts = parts(tokens, width, rate);
    let gpt: f64 = parts.iter().map(|part| part.gpt_pj).sum();
    gpt / parts.iter().map(|part| part.claimed_pj).sum::<f64>()
}

/// The rate at which this account gives a ratio, if there is one.
pub fn rate_for(ratio: f64, tokens: f64, width: f64) -> Option<f64> {
    let total = |rate| parts(tokens, width, rate).iter().map(|p| p.claimed_pj).sum::<f64>();
    let gpt: f64 = parts(tokens, width, 0.0).iter().map(|part| part.gpt_pj).sum();
    let fixed = total(0.0);
    let rate = (gpt / ratio - fixed) / (total(1.0) - fixed);
    (0.0..=1.0).contains(&rate).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_ratios_follow_at_some_rate() {
        for published in [20.0, 32.2] {
            let rate = rate_for(published, 1024.0, 768.0).expect("a rate");
            assert!((ratio(1024.0, 768.0, rate) - published).abs() < 1e-9);
        }
        // By hand: 4.5 (12 T d^2 + 2 T^2 d + 3 T^2) against 0.9 * 0.2 * 12 T d^2 + 4.5 * 7 T d.
        let gpt = 4.5 * (12.0 * 10.0 * 16.0 + 2.0 * 100.0 * 4.0 + 300.0);
        let claimed = 0.9 * 0.2 * 12.0 * 10.0 * 16.0 + 4.5 * 7.0 * 40.0;
        assert!((ratio(10.0, 4.0, 0.2) - gpt / claimed).abs() < 1e-9);
        assert_eq!(rate_for(1e9, 10.0, 4.0), None);
    }
}
