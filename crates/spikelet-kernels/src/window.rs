//! Windows that slide over a channels-last image: the geometry of convolution and pooling.

use core::ops::Range;

/// A sliding window, sizes as vertical and horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Taps of the window.
    pub kernel: [usize; 2],
    /// Steps of the window, at least 1.
    pub stride: [usize; 2],
    /// Zero padding on both sides.
    pub padding: [usize; 2],
    /// Spacing of the taps, at least 1.
    pub dilation: [usize; 2],
}

impl Window {
    /// The input coordinate that a tap reads at an output coordinate, if it is no padding.
    #[inline(always)]
    pub(crate) fn source(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        (output * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.padding[axis])
            .filter(|at| *at < self.input[axis])
    }

    /// The output coordinate at which a tap reads an input coordinate.
    #[inline(always)]
    pub(crate) fn target(&self, axis: usize, input: usize, tap: usize) -> Option<usize> {
        let at = (input + self.padding[axis]).checked_sub(tap * self.dilation[axis])?;
        let stride = self.stride[axis];
        (at % stride == 0 && at / stride < self.output[axis]).then_some(at / stride)
    }

    /// Calls `visit(tap, output position)` for every tap that reads the input position; taps and
    /// positions count row by row.
    #[inline(always)]
    pub fn for_each_target(&self, position: usize, mut visit: impl FnMut(usize, usize)) {
        let (y, x) = (position / self.input[1], position % self.input[1]);
        for ky in 0..self.kernel[0] {
            let Some(oy) = self.target(0, y, ky) else { continue };
            for kx in 0..self.kernel[1] {
                if let Some(ox) = self.target(1, x, kx) {
                    visit(ky * self.kernel[1] + kx, oy * self.output[1] + ox);
                }
            }
        }
    }

    /// Calls `visit(tap, input position)` for every tap that reads no padding at the output
    /// position.
    #[inline(always)]
    pub fn for_each_source(&self, position: usize, mut visit: impl FnMut(usize, usize)) {
        let (oy, ox) = (position / self.output[1], position % self.output[1]);
        for ky in 0..self.kernel[0] {
            let Some(y) = self.source(0, oy, ky) else { continue };
            for kx in 0..self.kernel[1] {
                if let Some(x) = self.source(1, ox, kx) {
                    visit(ky * self.kernel[1] + kx, y * self.input[1] + x);
                }
            }
        }
    }

    /// All output positions.
    pub(crate) fn positions(&self) -> Range<usize> {
        0..self.output[0] * self.output[1]
    }
}
