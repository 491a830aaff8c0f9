//! Linear attention between spikes: `scale Q (K^T V)` in every head (SDSA-3, Yao et al. 2024).
//!
//! Queries, keys and values are event lists over `[token, channel]`. Keys and values are packed
//! into one bit per token and channel ([`pack`]); an entry of `K^T V` is then the number of tokens
//! at which both spike ([`count`]), and every query spike adds one row of these counts ([`read`]).
//! All sums are of integers, so ties at a threshold come out exactly.

use crate::simd::dispatch;

/// Sizes of the attention.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Positions.
    pub tokens: usize,
    /// Channels of all heads, those of one head side by side.
    pub channels: usize,
    /// How many heads; divides the channels.
    pub heads: usize,
    /// Factor of the counts.
    pub scale: f32,
}

impl Attention {
    /// Words of working memory for [`pack`].
    pub fn bits(&self) -> usize {
        2 * self.channels * self.words()
    }

    /// Words of working memory for [`count`].
    pub fn counts(&self) -> usize {
        self.channels * self.width()
    }

    /// Words for the tokens of a channel.
    fn words(&self) -> usize {
        self.tokens.div_ceil(32)
    }

    /// Channels of a head.
    fn width(&self) -> usize {
        self.channels / self.heads
    }
}

/// The bits `[keys or values, channel, token]` of the events of keys and values.
///
/// # Panics
/// Here and below: if an event or a length does not fit.
pub fn pack(shape: &Attention, events: [&[u32]; 2], bits: &mut [u32]) {
    let words = shape.words();
    bits.fill(0);
    for (events, bits) in events.into_iter().zip(bits.chunks_exact_mut(shape.channels * words)) {
        for &event in events {
            let (token, channel) =
                (event as usize / shape.channels, event as usize % shape.channels);
            bits[channel * words + token / 32] |= 1 << (token % 32);
        }
    }
}

/// `K^T V`: for every channel, and every channel of its head, the tokens at which the key of the
/// one and the value of the other spike.
pub fn count(shape: &Attention, bits: &[u32], counts: &mut [u32]) {
    let (words, width) = (shape.words(), shape.width());
    let (keys, values) = bits.split_at(shape.channels * words);
    dispatch(
        #[inline(always)]
        || {
            let heads = keys.chunks_exact(width * words).zip(values.chunks_exact(width * words));
            for ((keys, values), counts) in heads.zip(counts.chunks_exact_mut(width * width)) {
                for (key, counts) in keys.chunks_exact(words).zip(counts.chunks_exact_mut(width)) {
                    for (value, count) in values.chunks_exact(words).zip(counts) {
                        *count = together(key, value);
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn together(a: &[u32], b: &[u32]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a & b).count_ones()).sum()
}

/// `scale Q counts`, `[token, channel]`; `queries` are events.
pub fn read(shape: &Attention, queries: &[u32], counts: &[u32], out: &mut [f32]) {
    let width = shape.width();
    dispatch(
        #[inline(always)]
        || {
            out.fill(0.0);
            for &event in queries {
                let (token, channel) =
                    (event as usize / shape.channels, event as usize % shape.channels);
                let first = token * shape.channels + channel / width * width;
                add(&mut out[first..first + width], &counts[channel * width..][..width]);
            }
            out.iter_mut().for_each(|y| *y *= shape.scale);
        },
    );
}

/// Counts are far below 2^24, so that their sums are exact.
#[inline(always)]
fn add(out: &mut [f32], counts: &[u32]) {
    for (y, count) in out.iter_mut().zip(counts) {
        *y += *count as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_give_the_matrix_products(
            tokens in 1_usize..70,
            heads in 1_usize..4,
            width in 1_usize..6,
            seed in any::<u64>(),
        ) {
            let channels = heads * width;
            let fires = |which: u64, at: usize| {
                (seed ^ which).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 * 7 % 64)
                    .wrapping_add(at as u64 * 0x1234_5677) >> 13 & 3 == 0
            };
            let events = |which: u64| -> Vec<u32> {
                let all = 0..(tokens * channels) as u32;
                all.filter(|at| fires(which, *at as usize)).collect()
            };
            let shape = Attention { tokens, channels, heads, scale: 0.125 };
            let mut bits = vec![7; shape.bits()];
            pack(&shape, [&events(2), &events(3)], &mut bits);
            let mut counts = vec![9; shape.counts()];
            count(&shape, &bits, &mut counts);
            let mut out = vec![1.0; tokens * channels];
            read(&shape, &events(1), &counts, &mut out);
            let one = |which, at| f32::from(u8::from(fires(which, at)));
            for token in 0..tokens {
                for channel in 0..channels {
                    let first = channel / width * width;
                    let mut sum = 0.0;
                    for other in 0..tokens {
                        for inner in first..first + width {
                            sum += one(1, token * channels + inner)
                                * one(2, other * channels + inner)
                                * one(3, other * channels + channel);
                        }
                    }
                    prop_assert_eq!(out[token * channels + channel], 0.125 * sum);
                }
            }
        }
    }
}
