//! Where the tiles lie, and reading them.

use super::transform::{EMPTY, LANES, Square, Tile, both_axes};
use crate::{conv::Conv, rows::Row, rows::zeros};
use alloc::vec::Vec;
use core::ops::Range;

/// The tiles of a convolution. A line is a row of tiles of one image; lines of all images follow
/// each other.
#[derive(Clone, Debug)]
pub(super) struct Tiles {
    /// Height and width of the input.
    pub(super) input: [usize; 2],
    /// Height and width of the output.
    pub(super) output: [usize; 2],
    padding: [usize; 2],
    /// Lines of an image, tiles of a line.
    pub(super) count: [usize; 2],
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    m: usize,
}

impl Tiles {
    pub(super) fn new<T: Tile>(conv: &Conv) -> Tiles {
        let w = &conv.window;
        Tiles {
            input: w.input,
            output: w.output,
            padding: w.padding,
            count: w.output.map(|size| size.div_ceil(T::M)),
            inputs: conv.inputs,
            outputs: conv.outputs,
            m: T::M,
        }
    }

    /// Groups of 64 input channels.
    pub(super) fn groups(&self) -> usize {
        self.inputs.div_ceil(LANES)
    }

    /// Image, line in the image.
    #[inline(always)]
    pub(super) fn place(&self, line: usize) -> (usize, usize) {
        (line / self.count[0], line % self.count[0])
    }

    /// `lines` of all images in equal parts, an even number of them, in which the transformed
    /// input has about `bytes`.
    pub(super) fn parts<T: Tile>(&self, batch: usize, bytes: usize) -> Vec<Range<usize>> {
        let lines = batch * self.count[0];
        let line = T::N * T::N * self.count[1] * self.groups() * LANES * size_of::<f32>();
        let parts = (lines * line).div_ceil(bytes.max(1)).next_multiple_of(2);
        let each = lines.div_ceil(parts.max(1)).max(1);
        (0..lines).step_by(each).map(|first| first..lines.min(first + each)).collect()
    }

    /// `B^T d B` of the tiles of some lines of `x` `[batch, h, w, in]`:
    /// `[place, tile, channels / 64]` rows.
    #[inline(always)]
    pub(super) fn transformed<T: Tile>(&self, x: &[f32], lines: &Range<usize>) -> Vec<Row<LANES>> {
        let tiles = lines.len() * self.count[1];
        let groups = self.groups();
        let mut out = zeros(T::N * T::N * tiles * groups);
        for (line, first) in lines.clone().zip((0..).step_by(self.count[1])) {
            let (image, ty) = self.place(line);
            let image = Image { x, image, size: self.input, channels: self.inputs };
            for tx in 0..self.count[1] {
                let top = (ty * self.m).wrapping_sub(self.padding[0]);
                let left = (tx * self.m).wrapping_sub(self.padding[1]);
                for group in 0..groups {
                    let square = image.square(T::N, [top, left], group * LANES);
                    both_axes(T::input, [T::N; 2], &square, |i, j, values| {
                        let row = (i * T::N + j) * tiles + first + tx;
                        out[row * groups + group].0 = *values;
                    });
                }
            }
        }
        out
    }
}

/// One image of a batch.
pub(super) struct Image<'a> {
    /// `[batch, h, w, channels]`.
    pub(super) x: &'a [f32],
    pub(super) image: usize,
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl Image<'_> {
    /// A square of `n` x `n` positions from `[top, left]` (which wrap around below zero) and 64
    /// channels from `first`; zeros outside.
    #[inline(always)]
    pub(super) fn square(&self, n: usize, [top, left]: [usize; 2], first: usize) -> Square {
        let mut square = EMPTY;
        let [height, width] = self.size;
        for (i, row) in square.iter_mut().enumerate().take(n) {
            let y = top.wrapping_add(i);
            if y >= height {
                continue;
            }
            let line = (self.image * height + y) * width;
            for (j, lanes) in row.iter_mut().enumerate().take(n) {
                let x = left.wrapping_add(j);
                if x < width {
                    *lanes = self.lanes((line + x) * self.channels, first);
                }
            }
        }
        square
    }

    /// 64 channels of the pixel at `at`.
    #[inline(always)]
    fn lanes(&self, at: usize, first: usize) -> [f32; LANES] {
        if first + LANES <= self.channels {
            return self.x[at + first..at + first + LANES].try_into().expect("64 channels");
        }
        let mut lanes = [0.0; LANES];
        let rest = self.channels - first;
        lanes[..rest].copy_from_slice(&self.x[at + first..at + self.channels]);
        lanes
    }
}
