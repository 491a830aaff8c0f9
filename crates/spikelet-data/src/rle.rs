//! Masks as run lengths: the form that COCO's files, its figures and its intersections are defined on.
//!
//! Runs go down the columns, first a run of 0, then of 1, and so on. Polygons become the same pixels as with the tools of
//! the COCO data set (cocodataset/cocoapi): their outline is drawn five times larger, and a pixel is inside if the
//! outline passes on the left of its middle.

use crate::error::{DataError, Result};

/// Most steps of the outline of one polygon, at five times the size of the image.
const MAX_OUTLINE: u64 = 1 << 24;
/// How much larger an outline is drawn.
const SCALE: f64 = 5.0;

/// A mask of `height * width` pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rle {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Lengths of runs of 0 and 1 in turn, starting with 0; they add up to `height * width`.
    counts: Vec<u32>,
}

impl Rle {
    /// The mask of given runs.
    ///
    /// # Errors
    /// Runs that do not add up to the number of pixels.
    pub fn new(height: u32, width: u32, counts: Vec<u32>) -> Result<Self> {
        let sum: u64 = counts.iter().map(|&n| u64::from(n)).sum();
        match pixels(height, width) {
            Ok(n) if n == sum => Ok(Self { height, width, counts }),
            Ok(n) => Err(DataError::request(format!(
                "runs of {sum} pixels in a mask of {height} x {width} = {n}"
            ))),
            Err(e) => Err(e),
        }
    }

    /// No pixel set.
    pub fn empty(height: u32, width: u32) -> Result<Self> {
        let n = pixels(height, width)?;
        Ok(Self { height, width, counts: vec![n as u32] })
    }

    /// The pixels of `[height, width]` (row by row) for which `inside` holds.
    pub fn of(height: u32, width: u32, mut inside: impl FnMut(usize) -> bool) -> Result<Self> {
        pixels(height, width)?;
        let mut runs = Runs::default();
        for x in 0..width as usize {
            for y in 0..height as usize {
                runs.add(inside(y * width as usize + x), 1);
            }
        }
        Ok(Self { height, width, counts: runs.counts })
    }

    /// The text that COCO's files hold: five bits a character, lowest first, of each run's difference to the one
    /// of the same kind before it.
    pub fn parse(height: u32, width: u32, text: &str) -> Result<Self> {
        let broken = |at: usize| {
            DataError::request(format!("character {at} of the runs of a mask is not valid"))
        };
        let mut counts: Vec<u32> = Vec::new();
        let (mut value, mut shift) = (0i64, 0);
        for (at, byte) in text.bytes().enumerate() {
            let bits = match byte {
                48..=111 => i64::from(byte - 48),
                _ => return Err(broken(at)),
            };
            if shift > 35 {
                return Err(broken(at));
            }
            value |= (bits & 0x1f) << shift;
            shift += 5;
            if bits & 0x20 != 0 {
                continue;
            }
            if bits & 0x10 != 0 {
                value |= -1 << shift;
            }
            if counts.len() > 2 {
                value += i64::from(counts[counts.len() - 2]);
            }
            counts.push(u32::try_from(value).map_err(|_| broken(at))?);
            (value, shift) = (0, 0);
        }
        match shift {
            0 => Self::new(height, width, counts),
            _ => Err(broken(text.len())),
        }
    }

    /// The text that [`Self::parse`] reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (i, &n) in self.counts.iter().enumerate() {
            let before = if i > 2 { i64::from(self.counts[i - 2]) } else { 0 };
            let mut value = i64::from(n) - before;
            loop {
                let bits = (value & 0x1f) as u8;
                value >>= 5;
                // Done if the sign of what was written is that of the rest.
                let done = if bits & 0x10 != 0 { value == -1 } else { value == 0 };
                text.push(char::from(48 + bits + if done { 0 } else { 0x20 }));
                if done {
                    break;
                }
            }
        }
        text
    }

    /// The union of polygons, each `x0, y0, x1, y1, ..` in pixels.
    ///
    /// # Errors
    /// Fewer than three corners, coordinates that are not numbers or lie further outside than the image is large, and
    /// outlines of absurd length.
    pub fn polygons(height: u32, width: u32, polygons: &[Vec<f64>]) -> Result<Self> {
        let mut all = Self::empty(height, width)?;
        for corners in polygons {
            all = all.union(&Self::polygon(height, width, corners)?);
        }
        Ok(all)
    }

    fn polygon(height: u32, width: u32, corners: &[f64]) -> Result<Self> {
        if corners.len() < 6 || !corners.len().is_multiple_of(2) {
            let n = corners.len();
            return Err(DataError::request(format!(
                "a polygon of {n} numbers; need x and y of 3 corners or more"
            )));
        }
        let most = 2.0 * f64::from(height.max(width));
        if let Some(far) = corners.iter().find(|v| v.is_nan() || v.abs() > most) {
            return Err(DataError::request(format!(
                "a polygon with the coordinate {far} in an image of {width} x {height}"
            )));
        }
        let large = |v: f64| (SCALE * v + 0.5) as i64;
        let corners: Vec<[i64; 2]> =
            corners.chunks_exact(2).map(|p| [large(p[0]), large(p[1])]).collect();
        let edges = || corners.iter().zip(corners.iter().cycle().skip(1));
        let steps: u64 =
            edges().map(|(a, b)| a[0].abs_diff(b[0]).max(a[1].abs_diff(b[1])) + 1).sum();
        if steps > MAX_OUTLINE {
            return Err(DataError::request(format!("a polygon with an outline of {steps} steps")));
        }
        let mut crossings = Crossings { height, width, before: None, found: Vec::new() };
        for (&from, &to) in edges() {
            outline(from, to, |at| crossings.step(at));
        }
        Ok(crossings.runs())
    }

    /// Number of pixels set.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&n| u64::from(n)).sum()
    }

    /// The box around the pixels set, `x, y, width, height`; all 0 if there are none.
    pub fn bounding_box(&self) -> [f64; 4] {
        let height = u64::from(self.height);
        let (mut left, mut top, mut right, mut bottom) = (u64::MAX, u64::MAX, 0, 0);
        let mut any = false;
        self.each_run(|start, n| {
            any = true;
            let last = start + n - 1;
            left = left.min(start / height);
            right = right.max(last / height);
            if start / height == last / height {
                top = top.min(start % height);
                bottom = bottom.max(last % height);
            } else {
                (top, bottom) = (0, height - 1);
            }
        });
        match any {
            true => [left as f64, top as f64, (right - left + 1) as f64, (bottom - top + 1) as f64],
            false => [0.0; 4],
        }
    }

    /// The mask as one byte a pixel, `[height, width]`, 0 or 1.
    pub fn bitmap(&self) -> Vec<u8> {
        let (height, width) = (self.height as usize, self.width as usize);
        let mut out = vec![0; height * width];
        self.each_run(|start, n| {
            for at in start as usize..(start + n) as usize {
                out[at % height * width + at / height] = 1;
            }
        });
        out
    }

    /// Pixels set in both.
    ///
    /// # Panics
    /// If the masks are of different sizes.
    pub fn intersection(&self, other: &Self) -> u64 {
        let mut both = 0;
        self.merged(other, |a, b, n| both += if a && b { n } else { 0 });
        both
    }

    fn union(&self, other: &Self) -> Self {
        let mut runs = Runs::default();
        self.merged(other, |a, b, n| runs.add(a || b, n as u32));
        Self { height: self.height, width: self.width, counts: runs.counts }
    }

    /// Calls `piece` with the values of both masks and the length over which both keep them.
    fn merged(&self, other: &Self, mut piece: impl FnMut(bool, bool, u64)) {
        assert_eq!((self.height, self.width), (other.height, other.width), "masks of one image");
        let (mut i, mut j) = (0, 0);
        let (mut a, mut b) = (0, 0);
        while i < self.counts.len() && j < other.counts.len() {
            if a == 0 {
                a = u64::from(self.counts[i]);
            }
            if b == 0 {
                b = u64::from(other.counts[j]);
            }
            let n = a.min(b);
            if n > 0 {
                piece(i % 2 == 1, j % 2 == 1, n);
            }
            (a, b) = (a - n, b - n);
            if a == 0 {
                i += 1;
            }
            if b == 0 {
                j += 1;
            }
        }
    }

    /// Calls `run` with start and length of each run of 1.
    fn each_run(&self, mut run: impl FnMut(u64, u64)) {
        let mut at = 0;
        for (i, &n) in self.counts.iter().enumerate() {
            if i % 2 == 1 && n > 0 {
                run(at, u64::from(n));
            }
            at += u64::from(n);
        }
    }
}

/// Number of pixels of a mask whose sides are possible.
fn pixels(height: u32, width: u32) -> Result<u64> {
    let side = 1..=crate::picture::MAX_SIDE;
    match side.contains(&height) && side.contains(&width) {
        true => Ok(u64::from(height) * u64::from(width)),
        false => Err(DataError::request(format!("a mask of {height} x {width} pixels"))),
    }
}

/// Runs of 0 and 1 in turn, while they are found.
#[derive(Default)]
struct Runs {
    counts: Vec<u32>,
}

impl Runs {
    fn add(&mut self, value: bool, n: u32) {
        if self.counts.is_empty() && value {
            self.counts.push(0);
        }
        let last_is = self.counts.len().is_multiple_of(2);
        match self.counts.last_mut() {
            Some(last) if last_is == value => *last += n,
            _ => self.counts.push(n),
        }
    }
}

/// Every step of the line from one corner to the next, at the large size.
fn outline(from: [i64; 2], to: [i64; 2], mut step: impl FnMut([i64; 2])) {
    let across = usize::from(from[0].abs_diff(to[0]) < from[1].abs_diff(to[1]));
    let length = from[across].abs_diff(to[across]) as i64;
    if length == 0 {
        return;
    }
    // Lines are drawn from their smaller end, whichever way the outline goes.
    let flipped = from[across] > to[across];
    let (a, b) = if flipped { (to, from) } else { (from, to) };
    let slope = (b[1 - across] - a[1 - across]) as f64 / length as f64;
    for d in 0..=length {
        let t = if flipped { length - d } else { d };
        let mut at = [0; 2];
        at[across] = a[across] + t;
        at[1 - across] = (a[1 - across] as f64 + slope * t as f64 + 0.5) as i64;
        step(at);
    }
}

/// Where an outline passes from one column of pixels to the next.
struct Crossings {
    height: u32,
    width: u32,
    before: Option<[i64; 2]>,
    /// Positions down the columns at which inside and outside change.
    found: Vec<u64>,
}

impl Crossings {
    fn step(&mut self, [u, v]: [i64; 2]) {
        let Some([u_before, v_before]) = self.before.replace([u, v]) else { return };
        if u == u_before {
            return;
        }
        let left = if u < u_before { u } else { u - 1 };
        let column = (left as f64 + 0.5) / SCALE - 0.5;
        if column.floor() != column || column < 0.0 || column > f64::from(self.width) - 1.0 {
            return;
        }
        let row = (v.min(v_before) as f64 + 0.5) / SCALE - 0.5;
        let row = row.clamp(0.0, f64::from(self.height)).ceil();
        self.found.push(column as u64 * u64::from(self.height) + row as u64);
    }

    fn runs(mut self) -> Rle {
        let end = u64::from(self.height) * u64::from(self.width);
        self.found.push(end);
        self.found.sort_unstable();
        let (mut runs, mut inside, mut at) = (Runs::default(), false, 0);
        for next in self.found {
            if next > at {
                runs.add(inside, (next - at) as u32);
            }
            inside = !inside;
            at = next;
        }
        Rle { height: self.height, width: self.width, counts: runs.counts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn runs_go_down_the_columns() {
        // Rows: 0 1 1 / 0 1 0.
        let mask = Rle::of(2, 3, |i| [0, 1, 1, 0, 1, 0][i] == 1).unwrap();
        assert_eq!(mask.counts, [2, 3, 1]);
        assert_eq!((mask.area(), mask.bounding_box()), (3, [1.0, 0.0, 2.0, 2.0]));
        assert_eq!(mask.bitmap(), [0, 1, 1, 0, 1, 0]);
        assert_eq!(mask.text(), "231");
        assert_eq!(Rle::empty(2, 3).unwrap().bounding_box(), [0.0; 4]);
    }

    #[test]
    fn a_square_of_pixels() {
        // From (1, 1) to (3, 3): four pixels.
        let square = vec![1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0];
        let mask = Rle::polygons(4, 5, &[square]).unwrap();
        let rows: Vec<_> = mask.bitmap().chunks(5).map(<[u8]>::to_vec).collect();
        assert_eq!(rows[0], [0; 5]);
        assert_eq!(rows[1], [0, 1, 1, 0, 0]);
        assert_eq!((&rows[2], &rows[3]), (&rows[1], &rows[0]));
    }

    #[test]
    fn hostile_masks() {
        assert!(Rle::new(2, 2, vec![1, 2]).is_err() && Rle::new(0, 2, vec![]).is_err());
        assert!(Rle::new(1 << 20, 1 << 20, vec![1]).is_err());
        for text in ["3", "o", "ooooooooooooooooooooo0", "\u{7f}", "/", "O0"] {
            assert!(Rle::parse(2, 2, text).is_err(), "{text}");
        }
        let polygon = |corners: &[f64]| Rle::polygons(9, 9, &[corners.to_vec()]).is_err();
        assert!(polygon(&[0.0; 4]) && polygon(&[0.0; 7]) && polygon(&[f64::NAN; 6]));
        assert!(polygon(&[1e300, 0.0, 1.0, 1.0, 2.0, 2.0]));
        let zigzag: Vec<f64> =
            (0..4000).flat_map(|i| [f64::from(i % 2) * 9000.0, f64::from(i % 7)]).collect();
        assert!(Rle::polygons(9000, 9000, &[zigzag]).is_err());
    }

    proptest! {
        #[test]
        fn text_and_bitmap_keep_the_mask(
            height in 1u32..20, width in 1u32..20, bits in prop::collection::vec(any::<bool>(), 400),
        ) {
            let mask = Rle::of(height, width, |i| bits[i]).unwrap();
            prop_assert_eq!(&Rle::parse(height, width, &mask.text()).unwrap(), &mask);
            let bitmap = mask.bitmap();
            prop_assert!(bitmap.iter().zip(&bits).all(|(m, b)| (*m == 1) == *b));
            prop_assert_eq!(mask.area(), bitmap.iter().map(|&m| u64::from(m)).sum::<u64>());
            prop_assert_eq!(mask.intersection(&mask), mask.area());
            let other = Rle::of(height, width, |i| bits[399 - i]).unwrap();
            let union = mask.union(&other);
            prop_assert_eq!(union.area() + mask.intersection(&other), mask.area() + other.area());
        }
    }
}
