//! Dense operands: for every position of the result, the products of the rows its taps read with
//! their weights. Forward and, with the window turned around, the gradient of the input.
//!
//! Images share the taps of a position, so rows of several images are multiplied together, and
//! what a window reads of the padding is no work.

use super::{columns, links::Links, taps};
use crate::{
    batch::map,
    conv::Conv,
    micro::{Kernel, ROWS, add_rows, launch},
    out::{Begin, Out, collect},
    rows::{Row, WEIGHTS, pack, pack_transposed, zeros},
};
use alloc::vec::Vec;
use core::ops::Range;

/// Images of a task, at most: their sums stay in the first-level cache.
const IMAGES: usize = 4 * ROWS;
/// Tasks for every block of columns and images, about.
const PARTS: usize = 16;

/// `[batch, oh, ow, out]`: see [`super::forward`].
pub(super) fn forward<const N: usize>(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    weights: &[f32],
    bias: &[f32],
) -> Vec<f32> {
    let w = &conv.window;
    let size = w.input[0] * w.input[1];
    let links = Links::new(w.positions(), |position, see| w.for_each_source(position, see));
    let depth = conv.inputs / conv.groups;
    let begin = Begin { bias, add: false };
    let columns = &columns(conv.outputs, conv.groups, N);
    let product = Product { x, size, width: conv.inputs, depth, taps: taps(conv), links, begin };
    product.run::<N>(batch, conv.outputs, columns, |panel, (_, columns)| {
        pack(panel, weights, conv.outputs, columns.clone());
    })
}

/// `[batch, h, w, in]`: see [`super::input_gradient`].
pub(super) fn input_gradient<const N: usize>(
    conv: &Conv,
    batch: usize,
    weights: &[f32],
    d_out: &[f32],
) -> Vec<f32> {
    let w = &conv.window;
    let positions = 0..w.input[0] * w.input[1];
    let links = Links::new(positions, |position, see| w.for_each_target(position, see));
    let (depth, per_group) = (conv.outputs / conv.groups, conv.inputs / conv.groups);
    let size = w.output[0] * w.output[1];
    let begin = Begin { bias: &[], add: false };
    let columns = &columns(conv.inputs, conv.groups, N);
    let (x, width, taps) = (d_out, conv.outputs, taps(conv));
    let product = Product { x, size, width, depth, taps, links, begin };
    product.run::<N>(batch, conv.inputs, columns, |panel, (group, columns)| {
        for (tap, panel) in panel.chunks_exact_mut(depth).enumerate() {
            let first = tap * per_group + columns.start - group * per_group;
            let rows = &weights[first * conv.outputs + group * depth..];
            pack_transposed(panel, rows, conv.outputs, columns.len());
        }
    })
}

/// Group and columns of the result.
type Block = (usize, Range<usize>);

struct Product<'a> {
    /// `[batch, size, width]`, of which a group reads `depth` channels.
    x: &'a [f32],
    size: usize,
    width: usize,
    depth: usize,
    taps: usize,
    /// Which positions the taps join.
    links: Links,
    begin: Begin<'a>,
}

impl Product<'_> {
    /// `lay_out` writes the weights of a block of columns, `[tap, depth]` rows.
    fn run<const N: usize>(
        &self,
        batch: usize,
        width: usize,
        columns: &[Block],
        lay_out: impl Fn(&mut [Row<N>], &Block) + Sync,
    ) -> Vec<f32> {
        let bytes = self.taps * self.depth * size_of::<Row<N>>();
        let each = (WEIGHTS / bytes.max(1)).max(1);
        // SAFETY: `fill` writes all images and positions of a part of the columns.
        #[allow(unsafe_code)]
        unsafe {
            collect(batch * self.links.positions(), width, |out| {
                for columns in columns.chunks(each) {
                    let panels = map(columns, |_, block| {
                        let mut panel = zeros(self.taps * self.depth);
                        lay_out(&mut panel, block);
                        panel
                    });
                    self.fill(batch, columns, &panels, out);
                }
            })
        }
    }

    /// Writes all values of these columns, each in one task.
    fn fill<const N: usize>(
        &self,
        batch: usize,
        columns: &[Block],
        panels: &[Vec<Row<N>>],
        out: &Out,
    ) {
        let positions = self.links.positions();
        let each = positions.div_ceil(PARTS).max(1);
        let mut tasks = Vec::new();
        for block in 0..columns.len() {
            for image in (0..batch).step_by(IMAGES) {
                for first in (0..positions).step_by(each) {
                    let positions = first..positions.min(first + each);
                    tasks.push((block, image..batch.min(image + IMAGES), positions));
                }
            }
        }
        map(&tasks, |_, (block, images, positions)| {
            let (block, panel) = (&columns[*block], &panels[*block][..]);
            launch::<N, _>(Task { product: self, block, panel, images, positions, out });
        });
    }
}

struct Task<'a, 'b, const N: usize> {
    product: &'a Product<'a>,
    block: &'a Block,
    panel: &'a [Row<N>],
    images: &'a Range<usize>,
    positions: &'a Range<usize>,
    out: &'a Out<'b>,
}

impl<const N: usize> Kernel for Task<'_, '_, N> {
    type Out = ();

    #[inline(always)]
    fn run<const W: usize, const FMA: bool>(self) {
        let p = self.product;
        let (links, (group, columns)) = (&p.links, self.block);
        let mut all = [Row::<N>::ZERO; IMAGES];
        let sums = &mut all[..self.images.len()];
        for position in self.positions.clone() {
            for (image, sum) in self.images.clone().zip(&mut *sums) {
                // SAFETY: these columns of this position and image are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    *sum = p.begin.row(self.out, image * links.positions() + position, columns);
                }
            }
            for (tap, from) in links.of(position) {
                let panel = &self.panel[tap * p.depth..(tap + 1) * p.depth];
                for (sums, first) in sums.chunks_mut(ROWS).zip(self.images.clone().step_by(ROWS)) {
                    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
                    for (image, row) in (first..).zip(&mut rows[..sums.len()]) {
                        let at = (image * p.size + from) * p.width + group * p.depth;
                        *row = &p.x[at..at + p.depth];
                    }
                    add_rows::<N, W, FMA>(sums, &rows, panel);
                }
            }
            for (image, row) in self.images.clone().zip(&*sums) {
                // SAFETY: these columns of this position and image are in this task alone.
                #[allow(unsafe_code)]
                unsafe {
                    self.out.write(image * links.positions() + position, columns, row);
                }
            }
        }
    }
}
