//! What a mask head learns: the part of an object's mask that lies in a region.

use spikelet_data::{rle::Rle, view::View};
use spikelet_kernels::roi_align::{Region, RoiAlign};

/// The mask of an object `[side, side]` in a region of the frame, 0 or 1: cut out of the mask in its
/// own size as RoIAlign does, and rounded (MMDetection's `crop_and_resize`).
pub fn mask_target(mask: &Rle, view: &View, rect: [f32; 4], side: usize) -> Vec<f32> {
    let features = [mask.height as usize, mask.width as usize, 1];
    let pixels: Vec<f32> = mask.bitmap().into_iter().map(f32::from).collect();
    let align = RoiAlign { features, stride: 1.0, side };
    let cut = align.forward(&pixels, &[Region { image: 0, rect: view.back(rect) }]);
    let mirrored = |place: usize, mirror: bool| if mirror { side - 1 - place } else { place };
    let at = |place: usize| {
        let (row, column) = (place / side, place % side);
        let (row, column) = (mirrored(row, view.mirror[1]), mirrored(column, view.mirror[0]));
        if cut[row * side + column] >= 0.5 { 1.0 } else { 0.0 }
    };
    (0..side * side).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_in_the_region() {
        // The left half of a picture of 8 x 8.
        let mask = Rle::of(8, 8, |pixel| pixel % 8 < 4).unwrap();
        let view = View::whole(8, 8, [16, 16]);
        let rect = [4.0, 4.0, 12.0, 12.0];
        let target = mask_target(&mask, &view, rect, 4);
        assert_eq!(target, [1.0, 1.0, 0.0, 0.0].repeat(4));
        let mirrored = View { mirror: [true, false], ..view };
        assert_eq!(mask_target(&mask, &mirrored, rect, 4), [0.0, 0.0, 1.0, 1.0].repeat(4));
    }
}
