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
    rows::{Row, pack, pack_transposed, zeros},
};
use alloc::vec::Vec;
use core::ops::Range;

/// Images of a task, at most: their sums stay in the first-level cache.
const IMAGES: usize = 4 * ROWS;
/// Tasks for every block of columns and images, about.
const PARTS: usize = 16;

/// Weights laid out for the products of a direction, and which positions they join.
#[derive(Clone, Debug)]
pub(super) struct Layout<const N: usize> {
    links: Links,
    /// Group and columns of the result.
    columns: Vec<(usize, Range<usize>)>,
    /// For every block of columns `[tap, depth]` rows.
    panels: Vec<Vec<Row<N>>>,
}

impl<const N: usize> Layout<N> {
    /// For [`forward`].
    pub(super) fn new(conv: &Conv, weights: &[f32]) -> Layout<N> {
        let w = &conv.window;
        let links = Links::new(w.positions(), |position, see| w.for_each_source(position, see));
        let depth = conv.inputs / conv.groups;
        let columns = columns(conv.outputs, conv.groups, N);
        let panels = map(&columns, |_, (_, columns)| {
            let mut panel = zeros::<N>(taps(conv) * depth);
            pack(&mut panel, weights, conv.outputs, columns.clone());
            panel
        });
        Layout { links, columns, panels }
    }
}

/// `[batch, oh, ow, out]`: see [`super::forward`].
pub(super) fn forward<const N: usize>(
    conv: &Conv,
    x: &[f32],
    batch: usize,
    layout: &Layout<N>,
    bias: &[f32],
) -> Vec<f32> {
    let size = conv.window.input[0] * conv.window.input[1];
    let depth = conv.inputs / conv.groups;
    let begin = Begin { bias, add: false };
    Product { x, size, width: conv.inputs, depth, layout, begin }.run(batch, conv.outputs)
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
    let columns = columns(conv.inputs, conv.groups, N);
    // Panels are as large as the weights, and in the deep layers, where the backward pass begins, that
    // counts: there is one copy of them.
    let panels = map(&columns, |_, (group, columns)| {
        let mut panel = zeros::<N>(taps(conv) * depth);
        for (tap, panel) in panel.chunks_exact_mut(depth).enumerate() {
            let first = tap * per_group + columns.start - group * per_group;
            let rows = &weights[first * conv.outputs + group * depth..];
            pack_transposed(panel, rows, conv.outputs, columns.len());
        }
        panel
    });
    let layout = &Layout { links, columns, panels };
    let size = w.output[0] * w.output[1];
    let begin = Begin { bias: &[], add: false };
    let product = Product { x: d_out, size, width: conv.outputs, depth, layout, begin };
    product.run(batch, conv.inputs)
}

struct Product<'a, const N: usize> {
    /// `[batch, size, width]`, of which a group reads `depth` channels.
    x: &'a [f32],
    size: usize,
    width: usize,
    depth: usize,
    layout: &'a Layout<N>,
    begin: Begin<'a>,
}

impl<const N: usize> Product<'_, N> {
    fn run(&self, batch: usize, width: usize) -> Vec<f32> {
        // SAFETY: `fill` writes all blocks of columns, of images and of positions.
        #[allow(unsafe_code)]
        unsafe {
            collect(batch * self.layout.links.positions(), width, |out| self.fill(batch, out))
        }
    }

    /// Writes all values, each in one task.
    fn fill(&self, batch: usize, out: &Out) {
        let positions = self.layout.links.positions();
        let each = positions.div_ceil(PARTS).max(1);
        let mut tasks = Vec::new();
        for block in 0..self.layout.columns.len() {
            for image in (0..batch).step_by(IMAGES) {
                for first in (0..positions).step_by(each) {
                    let positions = first..positions.min(first + each);
                    tasks.push((block, image..batch.min(image + IMAGES), positions));
                }
            }
        }
        map(&tasks, |_, (block, images, positions)| {
            launch::<N, _>(Task { product: self, block: *block, images, positions, out });
        });
    }
}

struct Task<'a, 'b, const N: usize> {
    product: &'a Product<'a, N>,
    block: usize,
    images: &'a Range<usize>,
    positions: &'a Range<usize>,
    out: &'a Out<'b>,
}

impl<const N: usize> Kernel for Task<'_, '_, N> {
    type Out = ();

    #[inline(always)]
    fn run<const W: usize, const FMA: bool>(self) {
        let p = self.product;
        let Layout { links, columns, panels } = p.layout;
        let (group, columns) = &columns[self.block];
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
                let panel = &panels[self.block][tap * p.depth..(tap + 1) * p.depth];
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
