//! RoIAlign (He et al. 2017): the values of a region on a grid of its own, and the way back.
//!
//! Every cell of the grid is the mean of as many bilinear samples as it has positions of the
//! features along each axis (`sampling_ratio` 0), between the middles of positions (`aligned`).
//! Samples more than one position outside of the features are zero. Both sums over samples belong
//! to one axis each, so a cell is a sum over a few rows and columns with weights of their own.

use alloc::vec::Vec;
use rayon::prelude::*;

/// A part of one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Region {
    /// Which image of the batch.
    pub image: usize,
    /// Left, top, right, bottom, in pixels.
    pub rect: [f32; 4],
}

/// The sizes of features and grids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlign {
    /// Rows, columns, channels of the features of an image.
    pub features: [usize; 3],
    /// Pixels from one position of the features to the next.
    pub stride: f32,
    /// Rows and columns of the grid.
    pub side: usize,
}

/// The weights of positions in a cell.
type Weights = Vec<(usize, f32)>;

impl RoiAlign {
    fn image_len(&self) -> usize {
        self.features.iter().product()
    }

    fn region_len(&self) -> usize {
        self.side * self.side * self.features[2]
    }

    /// `[region, side, side, channels]` of the features `[image, rows, columns, channels]`.
    ///
    /// # Panics
    /// If there are fewer features than `regions` name.
    pub fn forward(&self, features: &[f32], regions: &[Region]) -> Vec<f32> {
        let channels = self.features[2];
        let mut out = vec![0.0; regions.len() * self.region_len()];
        out.par_chunks_mut(self.region_len().max(1)).zip(regions).for_each(|(out, region)| {
            let image = &features[region.image * self.image_len()..][..self.image_len()];
            let [rows, columns] = self.axes(region);
            for (cell, out) in out.chunks_exact_mut(channels.max(1)).enumerate() {
                self.each(&rows[cell / self.side], &columns[cell % self.side], |at, weight| {
                    let values = &image[at..at + channels];
                    out.iter_mut().zip(values).for_each(|(out, value)| *out += weight * value);
                });
            }
        });
        out
    }

    /// The gradient of the features of so many images, from that of the grids.
    ///
    /// # Panics
    /// If there are fewer images than `regions` name.
    pub fn backward(&self, d_out: &[f32], regions: &[Region], images: usize) -> Vec<f32> {
        let channels = self.features[2];
        let mut d_features = vec![0.0; images * self.image_len()];
        d_features.par_chunks_mut(self.image_len().max(1)).enumerate().for_each(|(image, d)| {
            let grids = d_out.chunks_exact(self.region_len().max(1)).zip(regions);
            for (grid, region) in grids.filter(|(_, region)| region.image == image) {
                let [rows, columns] = self.axes(region);
                for (cell, grid) in grid.chunks_exact(channels.max(1)).enumerate() {
                    self.each(&rows[cell / self.side], &columns[cell % self.side], |at, weight| {
                        let values = &mut d[at..at + channels];
                        values.iter_mut().zip(grid).for_each(|(d, g)| *d += weight * g);
                    });
                }
            }
        });
        d_features
    }

    /// Every position of a cell and its weight.
    fn each(&self, rows: &Weights, columns: &Weights, mut visit: impl FnMut(usize, f32)) {
        let [_, width, channels] = self.features;
        for (row, down) in rows {
            for (column, along) in columns {
                visit((row * width + column) * channels, down * along);
            }
        }
    }

    /// Weights of rows and of columns, a cell of the grid each.
    fn axes(&self, region: &Region) -> [Vec<Weights>; 2] {
        let [left, top, right, bottom] = region.rect;
        let [height, width, _] = self.features;
        [self.axis(top, bottom, height), self.axis(left, right, width)]
    }

    fn axis(&self, from: f32, to: f32, size: usize) -> Vec<Weights> {
        let (from, to) = (from / self.stride - 0.5, to / self.stride - 0.5);
        let cell = (to - from) / self.side as f32;
        // Regions lie within the image: more samples than positions are of no use.
        let samples = (cell.ceil().max(0.0) as usize).min(size.max(1));
        let share = 1.0 / samples.max(1) as f32;
        let weights_of = |index: usize| {
            let mut weights = Weights::new();
            let mut add = |position: usize, weight: f32| match weights.last_mut() {
                _ if weight == 0.0 => {}
                Some((last, sum)) if *last == position => *sum += weight,
                _ => match weights.iter_mut().find(|(known, _)| *known == position) {
                    Some((_, sum)) => *sum += weight,
                    None => weights.push((position, weight)),
                },
            };
            for sample in 0..samples {
                let step = (sample as f32 + 0.5) * cell / samples as f32;
                let at = from + index as f32 * cell + step;
                if !(-1.0..=size as f32).contains(&at) {
                    continue;
                }
                let at = at.max(0.0);
                let low = at as usize;
                match low + 1 >= size {
                    true => add(size - 1, share),
                    false => {
                        let part = at - low as f32;
                        add(low, share * (1.0 - part));
                        add(low + 1, share * part);
                    }
                }
            }
            weights
        };
        (0..self.side).map(weights_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIGN: RoiAlign = RoiAlign { features: [4, 5, 2], stride: 2.0, side: 2 };

    /// A plane: what bilinear samples see exactly.
    fn plane() -> Vec<f32> {
        let value = |i: usize| {
            let (position, channel) = (i / 2, i % 2);
            (position / 5) as f32 * 10.0 + (position % 5) as f32 + 100.0 * channel as f32
        };
        (0..40).map(value).collect()
    }

    #[test]
    fn the_middle_of_a_cell_of_a_plane() {
        let features = [vec![0.0; 40], plane()].concat();
        let region = Region { image: 1, rect: [2.0, 2.0, 6.0, 6.0] };
        // From 0.5 to 2.5 on both axes, cells of one position.
        let out = ALIGN.forward(&features, &[region]);
        assert_eq!(out, [11.0, 111.0, 12.0, 112.0, 21.0, 121.0, 22.0, 122.0]);
    }

    #[test]
    fn what_lies_outside_is_zero() {
        let features = plane();
        for rect in [[0.0, -90.0, 4.0, -80.0], [5.0, 5.0, 5.0, 5.0], [f32::NAN; 4]] {
            let out = ALIGN.forward(&features, &[Region { image: 0, rect }]);
            assert!(out.iter().all(|v| v.is_finite()), "{rect:?}: {out:?}");
        }
    }

    #[test]
    fn gradients_are_those_of_a_linear_function() {
        let features: Vec<f32> = (0..80).map(|i| (i as f32 * 0.7).sin()).collect();
        let regions = [
            Region { image: 1, rect: [0.3, 0.4, 9.7, 7.9] },
            Region { image: 0, rect: [3.0, 1.0, 4.0, 8.5] },
            Region { image: 1, rect: [-1.0, 2.0, 12.0, 3.0] },
        ];
        let d_out: Vec<f32> = (0..24).map(|i| (i as f32 * 1.3).cos()).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let through = dot(&ALIGN.forward(&features, &regions), &d_out);
        let back = dot(&ALIGN.backward(&d_out, &regions, 2), &features);
        assert!((through - back).abs() < 1e-4, "{through} {back}");
    }
}
