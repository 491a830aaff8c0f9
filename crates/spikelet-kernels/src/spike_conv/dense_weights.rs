//! Weights of a convolution of dense input, laid out once for many images.

use super::{columns, depthwise, forward::packed, forward::unpacked, taps, widest};
use crate::{
    batch::map,
    conv::Conv,
    micro::{Kernel, ROWS, add_rows, launch},
    out::{Begin, Out},
    rows::{Row, prefetch},
    simd::has_avx512,
};
use alloc::{vec, vec::Vec};
use core::ops::Range;

/// Positions worked on together: what their windows see stays in the first-level cache.
const POSITIONS: usize = 4 * ROWS;
/// Tasks of an image, about.
const TASKS: usize = 16;

/// The weights of a convolution, laid out for dense input, one image at a time.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    conv: Conv,
    layout: Layout,
}

/// By block of columns `[tap, channel of the group]` rows. A block is as wide as the sums of six
/// positions in registers: then it is read from one end to the other.
#[derive(Clone, Debug)]
enum Layout {
    Depthwise(Vec<Vec<Row<16>>>),
    Narrow(Vec<Vec<Row<16>>>),
    Middle(Vec<Vec<Row<32>>>),
    Wide(Vec<Vec<Row<64>>>),
}

impl DenseWeights {
    /// Lays out `weights` `[kh, kw, in / groups, out]`.
    ///
    /// # Panics
    /// If there are more or fewer weights.
    pub fn new(conv: &Conv, weights: &[f32]) -> DenseWeights {
        assert_eq!(weights.len(), super::weights_len(conv), "weights");
        let layout = match widest(conv) {
            _ if depthwise::applies(conv) => Layout::Depthwise(depthwise::kernels(conv, weights)),
            17..=32 if has_avx512() => Layout::Middle(packed(conv, weights)),
            33.. if has_avx512() => Layout::Wide(packed(conv, weights)),
            _ => Layout::Narrow(packed(conv, weights)),
        };
        DenseWeights { conv: *conv, layout }
    }

    /// Whether every output reads one input and every input has one output: zeros are then not
    /// worth looking for.
    pub fn is_depthwise(conv: &Conv) -> bool {
        depthwise::applies(conv)
    }

    /// Writes the convolution of `x` `[h, w, in]` plus a bias (or an empty one) over `out`
    /// `[oh, ow, out]`, or adds it.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn forward_into(&self, x: &[f32], bias: &[f32], add: bool, out: &mut [f32]) {
        let conv = &self.conv;
        assert_eq!(x.len(), super::input_len(conv), "an image");
        assert_eq!(out.len(), super::output_len(conv), "an image");
        let begin = Begin { bias, add };
        match &self.layout {
            Layout::Depthwise(kernels) => {
                depthwise::forward_into(conv, x, 1, kernels, begin, out);
            }
            Layout::Narrow(panels) => fill(conv, x, panels, begin, out),
            Layout::Middle(panels) => fill(conv, x, panels, begin, out),
            Layout::Wide(panels) => fill(conv, x, panels, begin, out),
        }
    }

    /// The weights as they came.
    pub fn unpack(&self) -> Vec<f32> {
        let Conv { outputs, groups, .. } = self.conv;
        match &self.layout {
            // Blocks are not cut at groups, which are single channels here.
            Layout::Depthwise(kernels) => unpacked(kernels, outputs, 1),
            Layout::Narrow(panels) => unpacked(panels, outputs, groups),
            Layout::Middle(panels) => unpacked(panels, outputs, groups),
            Layout::Wide(panels) => unpacked(panels, outputs, groups),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        fn of<const N: usize>(panels: &[Vec<Row<N>>]) -> usize {
            panels.iter().map(|panel| size_of_val(panel.as_slice())).sum()
        }
        match &self.layout {
            Layout::Depthwise(panels) | Layout::Narrow(panels) => of(panels),
            Layout::Middle(panels) => of(panels),
            Layout::Wide(panels) => of(panels),
        }
    }
}

/// Writes all values, each in one task.
fn fill<const N: usize>(
    conv: &Conv,
    x: &[f32],
    panels: &[Vec<Row<N>>],
    begin: Begin,
    out: &mut [f32],
) {
    let out = &Out::over(out, conv.outputs);
    let columns = columns(conv.outputs, conv.groups, N);
    let positions = conv.window.positions().len();
    // A window is copied once for all its columns; where nothing is copied, a task reads its
    // columns of the weights alone.
    let together = if in_place(conv) { 1 } else { columns.len().max(1) };
    let parts = TASKS.div_ceil(columns.len().div_ceil(together).max(1));
    let each = positions.div_ceil(parts).next_multiple_of(POSITIONS);
    let mut tasks = Vec::new();
    for block in (0..columns.len()).step_by(together) {
        let blocks = block..columns.len().min(block + together);
        for first in (0..positions).step_by(each) {
            tasks.push((blocks.clone(), first..positions.min(first + each)));
        }
    }
    map(&tasks, |_, (blocks, positions)| {
        launch::<N, _>(Task { conv, x, panels, columns: &columns, begin, out, blocks, positions });
    });
}

/// Whether a window is one position of the image.
fn in_place(conv: &Conv) -> bool {
    let w = &conv.window;
    w.kernel == [1, 1] && w.stride == [1, 1] && w.padding == [0, 0]
}

/// Some positions and blocks of columns.
struct Task<'a, 'b, const N: usize> {
    conv: &'a Conv,
    x: &'a [f32],
    panels: &'a [Vec<Row<N>>],
    columns: &'a [(usize, Range<usize>)],
    begin: Begin<'a>,
    out: &'a Out<'b>,
    blocks: &'a Range<usize>,
    positions: &'a Range<usize>,
}

impl<const N: usize> Kernel for Task<'_, '_, N> {
    type Out = ();

    #[inline(always)]
    fn run<const W: usize, const FMA: bool>(self) {
        let depth = taps(self.conv) * (self.conv.inputs / self.conv.groups);
        let copied = if in_place(self.conv) { 0 } else { POSITIONS * depth * self.conv.groups };
        let mut windows = vec![0.0; copied];
        for first in self.positions.clone().step_by(POSITIONS) {
            let positions = first..self.positions.end.min(first + POSITIONS);
            if copied > 0 {
                self.copy(&mut windows, positions.clone());
            }
            for block in self.blocks.clone() {
                self.multiply::<W, FMA>(&windows, positions.clone(), block);
            }
        }
    }
}

impl<const N: usize> Task<'_, '_, N> {
    /// Copies what the windows of positions see, `[position, group, tap, channel]`.
    #[inline(always)]
    fn copy(&self, windows: &mut [f32], positions: Range<usize>) {
        let (w, inputs) = (&self.conv.window, self.conv.inputs);
        let (groups, channels) = (self.conv.groups, inputs / self.conv.groups);
        let size = taps(self.conv) * channels;
        for (position, window) in positions.zip(windows.chunks_exact_mut((size * groups).max(1))) {
            let (oy, ox) = (position / w.output[1], position % w.output[1]);
            for ky in 0..w.kernel[0] {
                let line = &mut window[ky * w.kernel[1] * channels..];
                let y = w.source(0, oy, ky);
                let read = ox * w.stride[1];
                let inner = read >= w.padding[1]
                    && read + w.kernel[1] <= w.input[1] + w.padding[1]
                    && w.dilation[1] == 1
                    && groups == 1;
                if let (Some(y), true) = (y, inner) {
                    // All of a row of taps lies in one piece.
                    let from = (y * w.input[1] + read - w.padding[1]) * inputs;
                    let len = w.kernel[1] * channels;
                    line[..len].copy_from_slice(&self.x[from..from + len]);
                    continue;
                }
                for kx in 0..w.kernel[1] {
                    let pixel = y.zip(w.source(1, ox, kx)).map(|(y, x)| y * w.input[1] + x);
                    for group in 0..groups {
                        let to = &mut line[group * size + kx * channels..][..channels];
                        match pixel {
                            Some(pixel) => {
                                let from = pixel * inputs + group * channels;
                                to.copy_from_slice(&self.x[from..from + channels]);
                            }
                            None => to.fill(0.0),
                        }
                    }
                }
            }
        }
    }

    /// Multiplies the windows of positions with a block of columns.
    #[inline(always)]
    fn multiply<const W: usize, const FMA: bool>(
        &self,
        windows: &[f32],
        positions: Range<usize>,
        block: usize,
    ) {
        let ((group, columns), panel) = (&self.columns[block], &self.panels[block][..]);
        let (from, width) = match in_place(self.conv) {
            true => (&self.x[positions.start * self.conv.inputs..], self.conv.inputs),
            false => (windows, panel.len() * self.conv.groups),
        };
        // The block that comes next is asked for meanwhile, a piece with every few positions.
        let next = self.panels.get(block + 1).map_or(&[][..], Vec::as_slice);
        let pieces = self.positions.len().div_ceil(ROWS);
        let piece = next.len().div_ceil(pieces.max(1)).max(1);
        let mut ahead = next.chunks(piece).skip((positions.start - self.positions.start) / ROWS);
        let mut sums = [Row::<N>::ZERO; ROWS];
        for first in positions.clone().step_by(ROWS) {
            prefetch(ahead.next().unwrap_or(&[]));
            let sums = &mut sums[..ROWS.min(positions.end - first)];
            let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
            for (k, (sum, row)) in sums.iter_mut().zip(&mut rows).enumerate() {
                let at = (first + k - positions.start) * width + group * panel.len();
                *row = &from[at..at + panel.len()];
                // SAFETY: these columns of this position are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    *sum = self.begin.row(self.out, first + k, columns);
                }
            }
            add_rows::<N, W, FMA>(sums, &rows, panel);
            for (k, sum) in sums.iter().enumerate() {
                // SAFETY: these columns of this position are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    self.out.write(first + k, columns, sum);
                }
            }
        }
    }
}
