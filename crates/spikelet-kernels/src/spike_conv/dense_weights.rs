//! Weights of a convolution of dense input, laid out once for many images.

use super::{depthwise, direct, widest};
use crate::{conv::Conv, out::Begin, window::Window};
use alloc::vec::Vec;

/// The weights of a convolution, laid out for dense input, one image at a time.
#[derive(Clone, Debug)]
pub struct DenseWeights {
    conv: Conv,
    /// What is one image here is so many to the layout.
    images: usize,
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Layout {
    Depthwise(Vec<f32>),
    Narrow(direct::Layout<16>),
    Middle(direct::Layout<32>),
    Wide(direct::Layout<64>),
}

impl DenseWeights {
    /// Lays out `weights` `[kh, kw, in / groups, out]`.
    ///
    /// # Panics
    /// If there are more or fewer weights.
    pub fn new(conv: &Conv, weights: &[f32]) -> DenseWeights {
        assert_eq!(weights.len(), super::weights_len(conv), "weights");
        let (conv, images) = by_position(conv);
        let layout = match widest(&conv) {
            _ if depthwise::applies(&conv) => Layout::Depthwise(weights.to_vec()),
            0..=16 => Layout::Narrow(direct::Layout::new(&conv, weights)),
            17..=32 => Layout::Middle(direct::Layout::new(&conv, weights)),
            _ => Layout::Wide(direct::Layout::new(&conv, weights)),
        };
        DenseWeights { conv, images, layout }
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
        let (conv, images) = (&self.conv, self.images);
        assert_eq!(x.len(), images * super::input_len(conv), "an image");
        assert_eq!(out.len(), images * super::output_len(conv), "an image");
        let begin = Begin { bias, add };
        match &self.layout {
            Layout::Depthwise(weights) => {
                depthwise::forward_into(conv, x, images, weights, begin, out);
            }
            Layout::Narrow(layout) => direct::forward_into(conv, x, images, layout, begin, out),
            Layout::Middle(layout) => direct::forward_into(conv, x, images, layout, begin, out),
            Layout::Wide(layout) => direct::forward_into(conv, x, images, layout, begin, out),
        }
    }

    /// The weights as they came.
    pub fn unpack(&self) -> Vec<f32> {
        match &self.layout {
            Layout::Depthwise(weights) => weights.clone(),
            Layout::Narrow(layout) => layout.unpack(&self.conv),
            Layout::Middle(layout) => layout.unpack(&self.conv),
            Layout::Wide(layout) => layout.unpack(&self.conv),
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        match &self.layout {
            Layout::Depthwise(weights) => size_of_val(weights.as_slice()),
            Layout::Narrow(layout) => layout.bytes(),
            Layout::Middle(layout) => layout.bytes(),
            Layout::Wide(layout) => layout.bytes(),
        }
    }
}

/// A convolution of single positions as one of as many images of one position, whose rows are
/// multiplied together.
fn by_position(conv: &Conv) -> (Conv, usize) {
    let w = conv.window;
    if w.kernel != [1, 1] || w.stride != [1, 1] || w.padding != [0, 0] {
        return (*conv, 1);
    }
    let window = Window { input: [1, 1], output: [1, 1], dilation: [1, 1], ..w };
    (Conv { window, ..*conv }, w.input[0] * w.input[1])
}
