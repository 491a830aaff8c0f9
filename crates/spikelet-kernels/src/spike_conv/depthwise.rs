//! Depthwise: every channel has a kernel of its own. A product reads as much as it computes, so
//! zeros are not looked for. Sixteen channels of what a task reads are copied to aligned rows, with
//! the padding: sums of eight neighbours (or of eight taps, for the weight gradient) then stay in
//! registers, and a product costs one aligned load. Reading the image in place, where most loads
//! cross a cache line, ran at a third of the speed.

use crate::{
    batch::{add, map},
    conv::Conv,
    out::{Begin, Out, collect},
    rows::{Row, pack, zeros},
    simd,
    window::Window,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Channels worked on together.
const CHANNELS: usize = 16;
/// Neighbours whose sums are in registers at once: of AVX2 14, with two for the weights all there are.
const TOGETHER: usize = 7;
/// Positions of a task, about.
const POSITIONS: usize = 512;

/// Whether every output reads one input and every input has one output.
pub(super) fn applies(conv: &Conv) -> bool {
    conv.groups > 1 && conv.groups == conv.inputs && conv.groups == conv.outputs
}

/// See [`super::forward`].
pub(super) fn forward(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let [height, width] = conv.window.output;
    // SAFETY: `fill` writes all lines of all images and all blocks of channels.
    #[allow(unsafe_code)]
    unsafe {
        collect(batch * height * width, conv.outputs, |out| {
            let kernels = kernels(conv, weights);
            fill(conv, x, batch, &kernels, Begin { bias, add: false }, out);
        })
    }
}

/// [`forward`] over `out`, or added to it, with weights that [`kernels`] laid out.
pub(super) fn forward_into(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    kernels: &[Vec<Row<CHANNELS>>],
    begin: Begin,
    out: &mut [f32],
) {
    fill(conv, x, batch, kernels, begin, &Out::over(out, conv.outputs));
}

/// Writes all values, each in one task.
fn fill(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    kernels: &[Vec<Row<CHANNELS>>],
    begin: Begin,
    out: &Out,
) {
    let [height, width] = conv.window.output;
    let lines = POSITIONS.div_ceil(width.max(1));
    let mut tasks = Vec::new();
    for image in 0..batch {
        for first in (0..height).step_by(lines) {
            let lines = first..height.min(first + lines);
            tasks.extend((0..kernels.len()).map(|block| (image, lines.clone(), block)));
        }
    }
    map(&tasks, |_, (image, lines, block)| {
        let (image, lines, block) = (*image, lines.clone(), *block);
        let task = Task { conv, kernel: &kernels[block], block, begin, image, out };
        simd::dispatch_fused(
            #[inline(always)]
            || task.run::<true>(x, lines.clone()),
            #[inline(always)]
            || task.run::<false>(x, lines.clone()),
        )
    });
}

/// See [`super::input_gradient`].
pub(super) fn input_gradient(
    conv: &Conv,
    batch: usize,
    weights: &[f32],
    d_out: &[f32],
) -> Vec<f32> {
    let turned: Vec<f32> = weights.chunks_exact(conv.outputs).rev().flatten().copied().collect();
    let spread = spread(conv, batch, d_out);
    let d_out = spread.as_deref().unwrap_or(d_out);
    forward(&mirrored(conv), d_out, batch, &turned, &[])
}

/// The convolution with the turned kernel that gives the input gradient, of an output gradient that
/// is [`spread`].
fn mirrored(conv: &Conv) -> Conv {
    let w = &conv.window;
    let along = |axis: usize| {
        let spread = (w.output[axis].max(1) - 1) * w.stride[axis] + 1;
        let reach = w.dilation[axis] * (w.kernel[axis] - 1);
        (spread.saturating_sub(cut(w, axis)), reach.saturating_sub(w.padding[axis]))
    };
    let sides = [along(0), along(1)];
    let window = Window {
        input: sides.map(|(input, _)| input),
        output: w.input,
        kernel: w.kernel,
        stride: [1; 2],
        padding: sides.map(|(_, padding)| padding),
        dilation: w.dilation,
    };
    Conv { window, ..*conv }
}

/// Output positions before the first that reads the image: those of padding the kernel cannot
/// reach over.
fn cut(w: &Window, axis: usize) -> usize {
    w.padding[axis].saturating_sub(w.dilation[axis] * (w.kernel[axis] - 1))
}

/// The output gradient with zeros between its positions, as far apart as the stride, where it is not
/// in this form already.
fn spread(conv: &Conv, batch: usize, d_out: &[f32]) -> Option<Vec<f32>> {
    let w = &conv.window;
    let cut = [cut(w, 0), cut(w, 1)];
    if w.stride == [1; 2] && cut == [0; 2] {
        return None;
    }
    let [height, width] = mirrored(conv).window.input;
    let mut spread = vec![0.0; batch * height * width * conv.outputs];
    for (at, d) in d_out.chunks_exact(conv.outputs).enumerate() {
        let (line, ox) = (at / w.output[1], at % w.output[1]);
        let (image, oy) = (line / w.output[0], line % w.output[0]);
        let (y, x) = (oy * w.stride[0], ox * w.stride[1]);
        let (Some(y), Some(x)) = (y.checked_sub(cut[0]), x.checked_sub(cut[1])) else { continue };
        let to = (image * height + y) * width + x;
        spread[to * conv.outputs..][..conv.outputs].copy_from_slice(d);
    }
    Some(spread)
}

/// A block of channels.
fn columns(conv: &Conv, block: usize) -> Range<usize> {
    block * CHANNELS..conv.outputs.min((block + 1) * CHANNELS)
}

/// By block of channels a row for every tap.
pub(super) fn kernels(conv: &Conv, weights: &[f32]) -> Vec<Vec<Row<CHANNELS>>> {
    let blocks = 0..conv.outputs.div_ceil(CHANNELS);
    let taps = super::taps(conv);
    blocks
        .map(|block| {
            let mut rows = zeros(taps);
            pack(&mut rows, weights, conv.outputs, columns(conv, block));
            rows
        })
        .collect()
}

/// What some lines of outputs read of an image, for a block of channels, with the padding.
struct Tile {
    rows: Vec<Row<CHANNELS>>,
    width: usize,
}

impl Tile {
    /// Of the image `x` `[h, w, channels]`; wide enough for a multiple of [`TOGETHER`] outputs.
    #[inline(always)]
    fn new(conv: &Conv, x: &[f32], columns: &Range<usize>, lines: &Range<usize>) -> Tile {
        let (window, channels) = (&conv.window, conv.outputs);
        let reach = |axis: usize, outputs: usize| {
            let taps = (window.kernel[axis] - 1) * window.dilation[axis] + 1;
            (outputs - 1) * window.stride[axis] + taps
        };
        let height = reach(0, lines.len());
        let width = reach(1, window.output[1].next_multiple_of(TOGETHER));
        let mut rows = zeros(height * width);
        let left = window.padding[1].min(width);
        let copied = window.input[1].min(width - left);
        for (line, rows) in rows.chunks_exact_mut(width).enumerate() {
            let y = (lines.start * window.stride[0] + line).checked_sub(window.padding[0]);
            let Some(y) = y.filter(|y| *y < window.input[0]) else { continue };
            let x = &x[y * window.input[1] * channels..][..copied * channels];
            copy(&mut rows[left..left + copied], x, channels, columns.clone());
        }
        Tile { rows, width }
    }

    /// Where the first output of a line reads with a tap.
    #[inline(always)]
    fn first(&self, window: &Window, line: usize, ky: usize, kx: usize) -> usize {
        (line * window.stride[0] + ky * window.dilation[0]) * self.width + kx * window.dilation[1]
    }
}

/// Copies these columns of a matrix of this width.
#[inline(always)]
fn copy(to: &mut [Row<CHANNELS>], from: &[f32], width: usize, columns: Range<usize>) {
    if columns.len() < CHANNELS {
        return pack(to, from, width, columns);
    }
    for (to, from) in to.iter_mut().zip(from.chunks_exact(width)) {
        to.0.copy_from_slice(&from[columns.start..columns.start + CHANNELS]);
    }
}

/// Some lines of outputs of an image, for a block of channels.
struct Task<'a, 'b> {
    conv: &'a Conv,
    kernel: &'a [Row<CHANNELS>],
    block: usize,
    begin: Begin<'a>,
    image: usize,
    out: &'a Out<'b>,
}

impl Task<'_, '_> {
    #[inline(always)]
    fn run<const FMA: bool>(&self, x: &[f32], lines: Range<usize>) {
        let w = &self.conv.window;
        let columns = columns(self.conv, self.block);
        let image = w.input[0] * w.input[1] * self.conv.outputs;
        let tile = Tile::new(self.conv, &x[self.image * image..][..image], &columns, &lines);
        let [height, width] = w.output;
        for (line, oy) in lines.enumerate() {
            for ox in (0..width).step_by(TOGETHER) {
                let at = (self.image * height + oy) * width + ox;
                let positions = at..at + TOGETHER.min(width - ox);
                let mut starts = [[0.0; CHANNELS]; TOGETHER];
                for (at, start) in positions.clone().zip(&mut starts) {
                    // SAFETY: this position and these columns are in this task alone.
                    #[allow(unsafe_code)]
                    unsafe {
                        *start = self.begin.row(self.out, at, &columns).0;
                    }
                }
                let sums = sums::<FMA>(w, self.kernel, starts, &tile, [line, ox]);
                for (at, sum) in positions.zip(&sums) {
                    // SAFETY: this position and these columns are in this task alone.
                    #[allow(unsafe_code)]
                    unsafe {
                        self.out.write(at, &columns, &Row(*sum));
                    }
                }
            }
        }
    }
}

/// Of neighbouring outputs, from what each begins with.
#[inline(always)]
fn sums<const FMA: bool>(
    w: &Window,
    kernel: &[Row<CHANNELS>],
    mut sums: [[f32; CHANNELS]; TOGETHER],
    tile: &Tile,
    [line, ox]: [usize; 2],
) -> [[f32; CHANNELS]; TOGETHER] {
    let step = w.stride[1];
    for ky in 0..w.kernel[0] {
        let taps = &kernel[ky * w.kernel[1]..(ky + 1) * w.kernel[1]];
        let first = tile.first(w, line, ky, 0) + ox * step;
        for (kx, taps) in taps.iter().enumerate() {
            let x = &tile.rows[first + kx * w.dilation[1]..];
            match step {
                1 => add_neighbours::<FMA>(&mut sums, taps, x, 1),
                _ => add_neighbours::<FMA>(&mut sums, taps, x, step),
            }
        }
    }
    sums
}

/// Adds a row of weights times what the outputs read, `step` rows apart: a constant 1 makes all
/// addresses constants.
#[inline(always)]
fn add_neighbours<const FMA: bool>(
    sums: &mut [[f32; CHANNELS]; TOGETHER],
    taps: &Row<CHANNELS>,
    x: &[Row<CHANNELS>],
    step: usize,
) {
    let x = &x[..(TOGETHER - 1) * step + 1];
    for k in 0..TOGETHER {
        add_products::<FMA>(&mut sums[k], &taps.0, &x[k * step].0);
    }
}

/// `sum += a * b`.
#[inline(always)]
fn add_products<const FMA: bool>(
    sum: &mut [f32; CHANNELS],
    a: &[f32; CHANNELS],
    b: &[f32; CHANNELS],
) {
    for c in 0..CHANNELS {
        sum[c] = if FMA { a[c].mul_add(b[c], sum[c]) } else { sum[c] + a[c] * b[c] };
    }
}

/// See [`super::weight_gradient`].
pub(super) fn weight_gradient(conv: &Conv, x: &[f32], batch: usize, d_out: &[f32]) -> Vec<f32> {
    let blocks = conv.outputs.div_ceil(CHANNELS);
    let tasks: Vec<_> = (0..batch).flat_map(|i| (0..blocks).map(move |b| (i, b))).collect();
    let [inputs, outputs] =
        [conv.window.input, conv.window.output].map(|[h, w]| h * w * conv.outputs);
    let parts = map(&tasks, |_, (image, block)| {
        let (x, d_out) = (&x[image * inputs..][..inputs], &d_out[image * outputs..][..outputs]);
        let columns = columns(conv, *block);
        simd::dispatch_fused(
            #[inline(always)]
            || correlate::<true>(conv, x, d_out, &columns),
            #[inline(always)]
            || correlate::<false>(conv, x, d_out, &columns),
        )
    });
    let mut sums = vec![0.0; super::taps(conv) * conv.outputs];
    for ((_, block), part) in tasks.iter().zip(&parts) {
        for (to, row) in sums.chunks_exact_mut(conv.outputs).zip(part) {
            add(&mut to[columns(conv, *block)], &row.0);
        }
    }
    sums
}

/// A row for every tap: the sum of the output gradient of an image times what the tap read.
#[inline(always)]
fn correlate<const FMA: bool>(
    conv: &Conv,
    x: &[f32],
    d_out: &[f32],
    columns: &Range<usize>,
) -> Vec<Row<CHANNELS>> {
    let w = &conv.window;
    let [height, width] = w.output;
    let mut sums = zeros(w.kernel[0] * w.kernel[1]);
    if height * width == 0 {
        return sums;
    }
    let lines = POSITIONS.div_ceil(width);
    let mut d = zeros(lines * width);
    for first in (0..height).step_by(lines) {
        let lines = first..height.min(first + lines);
        let tile = Tile::new(conv, x, columns, &lines);
        let d_out = &d_out[lines.start * width * conv.outputs..lines.end * width * conv.outputs];
        copy(&mut d, d_out, conv.outputs, columns.clone());
        for (line, d) in d[..lines.len() * width].chunks_exact(width).enumerate() {
            add_line::<FMA>(w, &mut sums, &tile, line, d);
        }
    }
    sums
}

/// Adds a line of outputs to all taps.
#[inline(always)]
fn add_line<const FMA: bool>(
    w: &Window,
    sums: &mut [Row<CHANNELS>],
    tile: &Tile,
    line: usize,
    d: &[Row<CHANNELS>],
) {
    let steps = [w.stride[1], w.dilation[1]];
    for (ky, rows) in sums.chunks_exact_mut(w.kernel[1]).enumerate() {
        for (group, rows) in rows.chunks_mut(TOGETHER).enumerate() {
            let x = &tile.rows[tile.first(w, line, ky, group * TOGETHER)..];
            match rows.len() {
                1 => add_taps::<1, FMA>(rows, d, x, steps),
                2 => add_taps::<2, FMA>(rows, d, x, steps),
                3 => add_taps::<3, FMA>(rows, d, x, steps),
                4 => add_taps::<4, FMA>(rows, d, x, steps),
                5 => add_taps::<5, FMA>(rows, d, x, steps),
                6 => add_taps::<6, FMA>(rows, d, x, steps),
                _ => add_taps::<TOGETHER, FMA>(rows, d, x, steps),
            }
        }
    }
}

/// Adds a line of outputs to neighbouring taps: outputs read `steps[0]` rows apart, taps
/// `steps[1]`.
#[inline(always)]
fn add_taps<const T: usize, const FMA: bool>(
    rows: &mut [Row<CHANNELS>],
    d: &[Row<CHANNELS>],
    x: &[Row<CHANNELS>],
    steps: [usize; 2],
) {
    let mut sums = [[0.0; CHANNELS]; T];
    for k in 0..T {
        sums[k] = rows[k].0;
    }
    for (ox, d) in d.iter().enumerate() {
        let x = &x[ox * steps[0]..][..(T - 1) * steps[1] + 1];
        for k in 0..T {
            add_products::<FMA>(&mut sums[k], &d.0, &x[k * steps[1]].0);
        }
    }
    for k in 0..T {
        rows[k].0 = sums[k];
    }
}
