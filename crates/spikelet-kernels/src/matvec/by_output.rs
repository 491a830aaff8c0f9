//! Weights by output: one dot product a row.

use super::{
    GROUP, half,
    rounded::{LANES, Rounded},
};
use crate::{dense::add_dots, simd::dispatch};

/// `out += W x` with half-precision `weights` `[out.len(), x.len()]`.
///
/// # Panics
/// When `weights` is shorter than that.
pub fn add_f16(out: &mut [f32], weights: &[u16], x: &[f32]) {
    assert!(weights.len() >= out.len() * x.len(), "matrix shorter than its shape");
    dispatch(
        #[inline(always)]
        || {
            add_dots(
                out,
                weights,
                x,
                #[inline(always)]
                |w| half::to_f32(*w),
            );
        },
    );
}

/// `out += W x` with 8-bit `weights` `[out.len(), inputs]` and `scales` `[out.len(), groups]`; `x`
/// in the plain arrangement.
///
/// # Panics
/// When a slice is shorter than that.
pub fn add_i8(out: &mut [f32], weights: &[i8], scales: &[f32], x: &Rounded) {
    let inputs = x.values.len();
    assert!(weights.len() >= out.len() * inputs, "matrix shorter than its shape");
    assert!(scales.len() >= out.len() * x.scales.len(), "one scale a group");
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if super::vnni::available() {
        return super::vnni::add_i8(out, weights, scales, x);
    }
    portable_i8(out, weights, scales, x);
}

/// [`add_i8`] in plain loops.
pub(super) fn portable_i8(out: &mut [f32], weights: &[i8], scales: &[f32], x: &Rounded) {
    let inputs = x.values.len();
    dispatch(
        #[inline(always)]
        || {
            for (o, y) in out.iter_mut().enumerate() {
                let row = &weights[o * inputs..(o + 1) * inputs];
                let scales = &scales[o * x.scales.len()..(o + 1) * x.scales.len()];
                let mut lanes = [0.0; LANES];
                for (g, w) in row.chunks_exact(GROUP).enumerate() {
                    add_group(
                        &mut lanes,
                        w,
                        &x.values[g * GROUP..][..GROUP],
                        scales[g] * x.scales[g],
                    );
                }
                *y += tree_sum(lanes);
            }
        },
    );
}

/// `out += W x` with packed 4-bit `weights` `[out.len(), inputs]`, even index in the low half of a
/// byte, and `scales` `[out.len(), groups]`; `x` arranged in halves.
///
/// # Panics
/// When a slice is shorter than that.
pub fn add_i4(out: &mut [f32], weights: &[u8], scales: &[f32], x: &Rounded) {
    let bytes = x.values.len() / 2;
    assert!(weights.len() >= out.len() * bytes, "matrix shorter than its shape");
    assert!(scales.len() >= out.len() * x.scales.len(), "one scale a group");
    #[cfg(all(feature = "std", target_arch = "x86_64"))]
    if super::vnni::available() {
        return super::vnni::add_i4(out, weights, scales, x);
    }
    portable_i4(out, weights, scales, x);
}

/// [`add_i4`] in plain loops.
pub(super) fn portable_i4(out: &mut [f32], weights: &[u8], scales: &[f32], x: &Rounded) {
    let bytes = x.values.len() / 2;
    dispatch(
        #[inline(always)]
        || {
            for (o, y) in out.iter_mut().enumerate() {
                let row = &weights[o * bytes..(o + 1) * bytes];
                let scales = &scales[o * x.scales.len()..(o + 1) * x.scales.len()];
                let mut lanes = [0.0; LANES];
                for (g, packed) in row.chunks_exact(GROUP / 2).enumerate() {
                    let mut w = [0_i8; GROUP];
                    for (k, byte) in packed.iter().enumerate() {
                        w[k] = ((byte << 4) as i8) >> 4;
                        w[k + GROUP / 2] = (*byte as i8) >> 4;
                    }
                    add_group(
                        &mut lanes,
                        &w,
                        &x.values[g * GROUP..][..GROUP],
                        scales[g] * x.scales[g],
                    );
                }
                *y += tree_sum(lanes);
            }
        },
    );
}

/// Adds the products of a group, four to a lane.
#[inline(always)]
fn add_group(lanes: &mut [f32; LANES], w: &[i8], x: &[i8], scale: f32) {
    for ((lane, w), x) in lanes.iter_mut().zip(w.chunks_exact(4)).zip(x.chunks_exact(4)) {
        let mut sum = 0;
        for (w, x) in w.iter().zip(x) {
            sum += i32::from(*w) * i32::from(*x);
        }
        *lane += sum as f32 * scale;
    }
}

#[inline(always)]
pub(super) fn tree_sum(mut lanes: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for k in 0..half {
            lanes[k] += lanes[k + half];
        }
    }
    lanes[0]
}
