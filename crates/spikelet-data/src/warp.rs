//! Random perspective and rotation of frames, as torchvision draws them (`RandomPerspective`, `RandomRotation`).
//!
//! Every pixel of the changed frame takes the nearest of the source, or 0 where that lies outside: counts of events
//! stay counts. torchvision interpolates in the perspective, and looks values up anew for each change.

use rand_chacha::rand_core::Rng;

use crate::resized_crop::Window;

/// Share of frames that are seen in perspective.
const PERSPECTIVE: f64 = 0.5;
/// The farthest that corners move, in per cent of the way to the middle: beyond, some are no longer convex.
pub(crate) const MOST_PERSPECTIVE: usize = 60;
/// The largest angle of a rotation, in degrees.
pub(crate) const MOST_ROTATION: usize = 180;

/// For every pixel of a frame, the pixel of the source that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warp(Vec<Option<u32>>);

/// A projective map of the plane, row by row.
type Homography = [[f64; 3]; 3];

impl Warp {
    /// Draws the changes of a frame of `height` x `width`: corners that move by up to `perspective` per cent of the
    /// way to the middle, a rotation by up to `rotation` degrees. Both are drawn, whatever is asked for. What is
    /// changed is the part of the frame within `window`.
    pub fn draw(
        [height, width]: [usize; 2],
        [perspective, rotation]: [usize; 2],
        window: Option<Window>,
        rng: &mut impl Rng,
    ) -> Self {
        let mut uniform = || f64::from(rng.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let (h, w) = (height as f64, width as f64);
        let seen = uniform() < PERSPECTIVE;
        let share = perspective as f64 / 100.0;
        let corners = [[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]];
        let moved = corners.map(|[x, y]| {
            let inwards = [share * w / 2.0 * uniform(), share * h / 2.0 * uniform()];
            [(x - inwards[0]).abs(), (y - inwards[1]).abs()]
        });
        let angle = (rotation as f64 * (2.0 * uniform() - 1.0)).to_radians();
        let perspective = (seen && perspective > 0).then(|| projection(moved, corners)).flatten();
        let (sin, cos) = angle.sin_cos();
        let inside = |[x, y]: [f64; 2]| (0.0..w).contains(&x) && (0.0..h).contains(&y);
        let source = |at: usize| {
            let (x, y) = ((at % width) as f64 + 0.5 - w / 2.0, (at / width) as f64 + 0.5 - h / 2.0);
            let turned = [cos * x - sin * y + w / 2.0, sin * x + cos * y + h / 2.0];
            let turned = Some(turned).filter(|at| inside(*at))?;
            let flat = match &perspective {
                Some(map) => apply(map, turned).filter(|at| inside(*at))?,
                None => turned,
            };
            let [y, x] = match window {
                Some(window) => window.nearest(flat, [h, w]),
                None => [flat[1] as usize, flat[0] as usize],
            };
            Some((y.min(height - 1) * width + x.min(width - 1)) as u32)
        };
        Self((0..height * width).map(source).collect())
    }

    /// Every frame of `sample`, `[time, height, width, channels]`, changed.
    pub fn apply(&self, sample: &[u8], channels: usize) -> Vec<u8> {
        let mut out = vec![0; sample.len()];
        let frame = (self.0.len() * channels).max(1);
        for (from, to) in sample.chunks_exact(frame).zip(out.chunks_exact_mut(frame)) {
            for (source, pixel) in self.0.iter().zip(to.chunks_exact_mut(channels)) {
                if let Some(source) = source {
                    pixel.copy_from_slice(&from[*source as usize * channels..][..channels]);
                }
            }
        }
        out
    }
}

fn apply(map: &Homography, [x, y]: [f64; 2]) -> Option<[f64; 2]> {
    let [a, b, c] = map.map(|row| row[0] * x + row[1] * y + row[2]);
    (c > 0.0).then(|| [a / c, b / c])
}

/// The projective map that takes four points to four others; nothing if no map does.
fn projection(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> Option<Homography> {
    // Eight equations, two a point: u (g x + h y + 1) = a x + b y + c, and the same for v.
    let mut rows = [[0.0; 9]; 8];
    for (pair, ([x, y], [u, v])) in
        rows.as_chunks_mut::<2>().0.iter_mut().zip(from.into_iter().zip(to))
    {
        pair[0] = [x, y, 1.0, 0.0, 0.0, 0.0, -u * x, -u * y, u];
        pair[1] = [0.0, 0.0, 0.0, x, y, 1.0, -v * x, -v * y, v];
    }
    for column in 0..8 {
        let largest =
            (column..8).max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()))?;
        rows.swap(column, largest);
        if rows[column][column].abs() < 1e-9 {
            return None;
        }
        let pivot = rows[column];
        for (at, row) in rows.iter_mut().enumerate() {
            if at != column {
                let factor = row[column] / pivot[column];
                row.iter_mut().zip(&pivot).for_each(|(value, of)| *value -= factor * of);
            }
        }
    }
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|at| rows[at][8] / rows[at][at]);
    Some([[a, b, c], [d, e, f], [g, h, 1.0]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn nothing_asked_for_changes_nothing() {
        let warp = Warp::draw([5, 7], [0, 0], None, &mut rng(1));
        let sample: Vec<u8> = (0..140).collect();
        assert_eq!(warp.apply(&sample, 2), sample);
    }

    #[test]
    fn points_go_where_they_should() {
        let from = [[1.0, 2.0], [9.0, 1.0], [8.0, 7.0], [0.5, 9.0]];
        let to = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]];
        let map = projection(from, to).unwrap();
        for (from, to) in from.into_iter().zip(to) {
            let found = apply(&map, from).unwrap();
            assert!(found.iter().zip(to).all(|(found, to)| (found - to).abs() < 1e-9), "{found:?}");
        }
        assert_eq!(projection([[0.0; 2]; 4], to), None);
    }

    #[test]
    fn frames_turn_about_their_middle() {
        // A point above the middle goes round; its distance stays.
        let angles: Vec<f64> = (0..200)
            .filter_map(|seed| {
                let warp = Warp::draw([101, 101], [0, 25], None, &mut rng(seed));
                let mut sample = vec![0; 101 * 101];
                sample[10 * 101 + 50] = 9;
                let turned = warp.apply(&sample, 1);
                let at = turned.iter().position(|&value| value == 9)?;
                let (x, y) = ((at % 101) as f64 - 50.0, (at / 101) as f64 - 50.0);
                assert!((x.hypot(y) - 40.0).abs() < 1.5, "{x} {y}");
                Some(x.atan2(-y).to_degrees())
            })
            .collect();
        assert!(angles.len() > 150 && angles.iter().all(|angle| angle.abs() < 26.0));
        assert!(angles.iter().any(|&a| a > 15.0) && angles.iter().any(|&a| a < -15.0));
    }

    #[test]
    fn half_are_seen_in_perspective() {
        let plain: Vec<Option<u32>> = (0..400).map(Some).collect();
        let same = |seed| Warp::draw([20, 20], [50, 0], None, &mut rng(seed)).0 == plain;
        let unchanged = (0..1000).filter(|&seed| same(seed)).count();
        assert!((430..570).contains(&unchanged), "{unchanged}");
    }

    proptest! {
        #[test]
        fn sources_lie_within(height in 1usize..30, width in 1usize..30, perspective in 0..=MOST_PERSPECTIVE,
                              rotation in 0..=MOST_ROTATION, seed: u64) {
            let window = (seed % 2 == 0).then(|| Window::draw(height, width, 60, &mut rng(seed)));
            let warp = Warp::draw([height, width], [perspective, rotation], window, &mut rng(seed));
            let out = warp.apply(&vec![7; height * width * 3], 3);
            prop_assert!(out.iter().all(|&value| value == 0 || value == 7));
            // The middle stays inside, unless a frame of a pixel or two turns away.
            if height.min(width) > 4 && rotation <= 45 {
                prop_assert!(out.contains(&7));
            }
        }
    }
}
