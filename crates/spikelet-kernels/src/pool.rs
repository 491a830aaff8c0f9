//! Pooling over windows of a channels-last image.

use crate::{simd::dispatch, window::Window};

/// Sum over every window; padding adds nothing.
///
/// # Panics
/// Here and below: when `x` is not `[input, channels]` or `out` not `[output, channels]`.
pub fn sum(window: &Window, channels: usize, x: &[f32], out: &mut [f32]) {
    pool(window, channels, x, out, 0.0, |y, x| y + x);
}

/// Mean over every window, padding counted as zeros.
pub fn average(window: &Window, channels: usize, x: &[f32], out: &mut [f32]) {
    let taps = (window.kernel[0] * window.kernel[1]) as f32;
    sum(window, channels, x, out);
    out.iter_mut().for_each(|y| *y /= taps);
}

/// Largest value of every window; padding is never chosen. A NaN in a window is passed over.
pub fn max(window: &Window, channels: usize, x: &[f32], out: &mut [f32]) {
    pool(window, channels, x, out, f32::NEG_INFINITY, |y, x| if x > y { x } else { y });
}

/// Mean over every window of an adaptive pooling: output `o` of `n` along an axis covers the
/// inputs from `floor(o size / n)` to before `ceil((o + 1) size / n)`.
///
/// # Panics
/// As above.
pub fn adaptive_average(
    input: [usize; 2],
    output: [usize; 2],
    channels: usize,
    x: &[f32],
    out: &mut [f32],
) {
    assert_eq!(x.len(), input[0] * input[1] * channels, "input shape");
    assert_eq!(out.len(), output[0] * output[1] * channels, "output shape");
    let window = |axis: usize, o: usize| {
        o * input[axis] / output[axis]..((o + 1) * input[axis]).div_ceil(output[axis])
    };
    out.fill(0.0);
    for oy in 0..output[0] {
        for ox in 0..output[1] {
            let start = (oy * output[1] + ox) * channels;
            let out = &mut out[start..start + channels];
            let (rows, columns) = (window(0, oy), window(1, ox));
            for y in rows.clone() {
                for x_position in columns.clone() {
                    let from = (y * input[1] + x_position) * channels;
                    let x = &x[from..from + channels];
                    out.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                }
            }
            let count = (rows.len() * columns.len()) as f32;
            out.iter_mut().for_each(|y| *y /= count);
        }
    }
}

#[inline(always)]
fn pool(
    window: &Window,
    channels: usize,
    x: &[f32],
    out: &mut [f32],
    start: f32,
    reduce: impl Fn(f32, f32) -> f32,
) {
    assert_eq!(x.len(), window.input[0] * window.input[1] * channels, "input shape");
    assert_eq!(out.len(), window.positions().len() * channels, "output shape");
    out.fill(start);
    dispatch(
        #[inline(always)]
        || {
            for position in window.positions() {
                let out = &mut out[position * channels..(position + 1) * channels];
                window.for_each_source(position, |_, from| {
                    let x = &x[from * channels..(from + 1) * channels];
                    for (y, x) in out.iter_mut().zip(x) {
                        *y = reduce(*y, *x);
                    }
                });
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 2 x 3 window with stride 2 x 1 and padding 1 x 0 over a 3 x 4 image of two channels.
    const WINDOW: Window = Window {
        input: [3, 4],
        output: [2, 2],
        kernel: [2, 3],
        stride: [2, 1],
        padding: [1, 0],
        dilation: [1, 1],
    };

    /// Channel 0 counts 0, 1, 2, ...; channel 1 counts down from zero.
    fn image() -> [f32; 24] {
        core::array::from_fn(|i| if i % 2 == 0 { (i / 2) as f32 } else { -((i / 2) as f32) })
    }

    #[test]
    fn adaptive_windows_overlap_and_repeat() {
        let mut out = [0.0; 3];
        adaptive_average([1, 4], [1, 3], 1, &[1.0, 2.0, 3.0, 4.0], &mut out);
        assert_eq!(out, [1.5, 2.5, 3.5]);
        let mut out = [0.0; 8];
        adaptive_average([1, 1], [2, 2], 2, &[1.0, -2.0], &mut out);
        assert_eq!(out, [1.0, -2.0, 1.0, -2.0, 1.0, -2.0, 1.0, -2.0]);
    }

    #[test]
    fn windows_are_reduced() {
        let mut out = [0.0; 8];
        sum(&WINDOW, 2, &image(), &mut out);
        // Windows over rows (-1, 0) and (1, 2).
        assert_eq!(out, [3.0, -3.0, 6.0, -6.0, 42.0, -42.0, 48.0, -48.0]);
        average(&WINDOW, 2, &image(), &mut out);
        assert_eq!(out, [0.5, -0.5, 1.0, -1.0, 7.0, -7.0, 8.0, -8.0]);
        max(&WINDOW, 2, &image(), &mut out);
        assert_eq!(out, [2.0, 0.0, 3.0, -1.0, 10.0, -4.0, 11.0, -5.0]);
    }
}
