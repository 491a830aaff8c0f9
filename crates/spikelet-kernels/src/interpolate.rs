//! Bilinear interpolation of channels-last images between the middles of pixels, as PyTorch does without aligned
//! corners; outside of the outermost middles values stay.

use crate::simd::dispatch;
use alloc::vec::Vec;

/// What an output position takes along one axis: `(1 - weight) x[first] + weight x[second]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// The input before it.
    pub first: usize,
    /// The input behind it, or the same at the end.
    pub second: usize,
    /// Of the second one, 0 to below 1.
    pub weight: f32,
}

/// The places of `outputs` positions among `inputs`.
pub fn places(inputs: usize, outputs: usize) -> Vec<Place> {
    let step = inputs as f32 / outputs.max(1) as f32;
    let place = |o: usize| {
        let at = ((o as f32 + 0.5) * step - 0.5).max(0.0);
        let first = (at as usize).min(inputs - 1);
        let second = (first + 1).min(inputs - 1);
        let weight = if first == second { 0.0 } else { at - first as f32 };
        Place { first, second, weight }
    };
    (0..outputs).map(place).collect()
}

/// An image `[input, channels]` in another size, `[output, channels]`.
///
/// # Panics
/// When `x` or `out` has another length.
pub fn bilinear(
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    x: &[f32],
    out: &mut [f32],
) {
    assert_eq!(x.len(), input[0] * input[1] * channels, "input shape");
    assert_eq!(out.len(), output[0] * output[1] * channels, "output shape");
    let (rows, columns) = (places(input[0], output[0]), places(input[1], output[1]));
    let pixel = |y: usize, x_position: usize| {
        let start = (y * input[1] + x_position) * channels;
        &x[start..start + channels]
    };
    dispatch(
        #[inline(always)]
        || {
            for (row, out) in rows.iter().zip(out.chunks_exact_mut(output[1] * channels)) {
                for (column, out) in columns.iter().zip(out.chunks_exact_mut(channels)) {
                    let [a, b] = [column.first, column.second].map(|x| pixel(row.first, x));
                    let [c, d] = [column.first, column.second].map(|x| pixel(row.second, x));
                    for (i, out) in out.iter_mut().enumerate() {
                        let upper = (1.0 - column.weight) * a[i] + column.weight * b[i];
                        let lower = (1.0 - column.weight) * c[i] + column.weight * d[i];
                        *out = (1.0 - row.weight) * upper + row.weight * lower;
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lie_between_the_middles_of_pixels() {
        // By hand: twice as many positions lie at -0.25, 0.25, 0.75, ..
        let mut out = [0.0; 6];
        bilinear([1, 3], [1, 6], 1, &[0.0, 4.0, 12.0], &mut out);
        assert_eq!(out, [0.0, 1.0, 3.0, 6.0, 10.0, 12.0]);
        let mut out = [0.0; 8];
        bilinear([2, 1], [4, 1], 2, &[0.0, 1.0, 8.0, 1.0], &mut out);
        assert_eq!(out, [0.0, 1.0, 2.0, 1.0, 6.0, 1.0, 8.0, 1.0]);
        let mut same = [0.0; 4];
        bilinear([2, 2], [2, 2], 1, &[1.0, 2.0, 3.0, 4.0], &mut same);
        assert_eq!(same, [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn fewer_positions_too() {
        let mut out = [0.0; 2];
        bilinear([1, 4], [1, 2], 1, &[1.0, 3.0, 5.0, 7.0], &mut out);
        assert_eq!(out, [2.0, 6.0]);
        let mut one = [0.0; 6];
        bilinear([1, 1], [2, 3], 1, &[5.0], &mut one);
        assert_eq!(one, [5.0; 6]);
    }
}
