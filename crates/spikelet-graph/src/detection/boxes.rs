//! Boxes and their coding.

use super::{Coder, Regions};

/// Left, top, right, bottom, in pixels.
pub type Rect = [f32; 4];

/// The largest change of a side: 1000 pixels from 16.
const MOST_RATIO: f32 = 1000.0 / 16.0;

/// Its area, 0 where sides have changed places.
pub fn area([left, top, right, bottom]: Rect) -> f32 {
    (right - left).max(0.0) * (bottom - top).max(0.0)
}

/// Intersection over union.
pub fn iou(a: Rect, b: Rect) -> f32 {
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// The part of a box within an image of this height and width.
pub fn clip(rect: Rect, [height, width]: [usize; 2]) -> Rect {
    let (x, y) = (width as f32, height as f32);
    [rect[0].clamp(0.0, x), rect[1].clamp(0.0, y), rect[2].clamp(0.0, x), rect[3].clamp(0.0, y)]
}

/// Centre and size.
fn middle([left, top, right, bottom]: Rect) -> [f32; 4] {
    [(left + right) * 0.5, (top + bottom) * 0.5, right - left, bottom - top]
}

impl Coder {
    /// What leads from an anchor to a box; both have an area.
    pub fn encode(&self, anchor: Rect, target: Rect) -> [f32; 4] {
        let ([x, y, w, h], [tx, ty, tw, th]) = (middle(anchor), middle(target));
        let deltas = [(tx - x) / w, (ty - y) / h, (tw / w).ln(), (th / h).ln()];
        core::array::from_fn(|i| (deltas[i] - self.mean[i]) / self.std[i])
    }

    /// The box that lies there from an anchor.
    pub fn decode(&self, anchor: Rect, deltas: [f32; 4]) -> Rect {
        let [x, y, w, h] = middle(anchor);
        let d: [f32; 4] = core::array::from_fn(|i| deltas[i] * self.std[i] + self.mean[i]);
        let side = |d: f32| d.clamp(-MOST_RATIO.ln(), MOST_RATIO.ln()).exp();
        let (x, y) = (x + w * d[0], y + h * d[1]);
        let (w, h) = (0.5 * w * side(d[2]), 0.5 * h * side(d[3]));
        [x - w, y - h, x + w, y + h]
    }
}

impl Regions {
    /// The level that a region is cut from.
    pub fn level(&self, rect: Rect) -> usize {
        let doublings = (area(rect).sqrt() / self.finest + 1e-6).log2().floor();
        (doublings.max(0.0) as usize).min(self.strides.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps() {
        assert_eq!(iou([0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]), 2.0 / 6.0);
        assert_eq!(iou([0.0, 0.0, 2.0, 2.0], [2.0, 0.0, 3.0, 2.0]), 0.0);
        assert_eq!(iou([1.0; 4], [1.0; 4]), 0.0);
        assert_eq!(clip([-3.0, 1.0, 9.0, 9.0], [4, 5]), [0.0, 1.0, 5.0, 4.0]);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for coder in [Coder::PLAIN, Coder::REGIONS] {
            let (anchor, target) = ([3.0, 4.0, 11.0, 30.0], [5.5, 1.0, 9.0, 22.0]);
            let back = coder.decode(anchor, coder.encode(anchor, target));
            assert!(back.iter().zip(target).all(|(a, b)| (a - b).abs() < 1e-4), "{back:?}");
        }
        // Sides change by at most 62.5.
        let wide = Coder::PLAIN.decode([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 50.0, -50.0]);
        assert!((wide[2] - wide[0] - 125.0).abs() < 1e-3 && wide[3] - wide[1] > 0.0, "{wide:?}");
    }
}
