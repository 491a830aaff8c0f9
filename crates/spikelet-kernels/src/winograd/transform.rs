//! The transforms of F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).

/// Channels transformed together. Loops over them are the innermost ones, which the compiler
/// turns into whole registers.
pub(super) const LANES: usize = 64;

/// A square of up to 6 x 6 places; small tiles leave the rest unused.
pub(super) type Square = [[[f32; LANES]; 6]; 6];

pub(super) const EMPTY: Square = [[[0.0; LANES]; 6]; 6];

/// One axis of a tile of `M` outputs from `N = M + 2` inputs. Values beyond those a function
/// needs are ignored, those beyond what it gives are zero.
pub(super) trait Tile {
    const M: usize;
    const N: usize;
    /// `B^T d`: `N` from `N`.
    fn input(d: [f32; 6]) -> [f32; 6];
    /// `G g`: `N` from 3.
    fn weights(g: [f32; 6]) -> [f32; 6];
    /// `A^T y`: `M` from `N`.
    fn output(y: [f32; 6]) -> [f32; 6];
    /// `A d_y`: `N` from `M`.
    fn d_output(d: [f32; 6]) -> [f32; 6];
    /// `G^T s`: 3 from `N`.
    fn d_weights(s: [f32; 6]) -> [f32; 6];
}

/// 16 products for 4 outputs, which take 36 without.
pub(super) struct Two;

impl Tile for Two {
    const M: usize = 2;
    const N: usize = 4;

    #[inline(always)]
    fn input([a, b, c, d, ..]: [f32; 6]) -> [f32; 6] {
        [a - c, b + c, c - b, b - d, 0.0, 0.0]
    }

    #[inline(always)]
    fn weights([a, b, c, ..]: [f32; 6]) -> [f32; 6] {
        let (outer, inner) = (0.5 * (a + c), 0.5 * b);
        [a, outer + inner, outer - inner, c, 0.0, 0.0]
    }

    #[inline(always)]
    fn output([a, b, c, d, ..]: [f32; 6]) -> [f32; 6] {
        [a + b + c, b - c - d, 0.0, 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn d_output([a, b, ..]: [f32; 6]) -> [f32; 6] {
        [a, a + b, a - b, -b, 0.0, 0.0]
    }

    #[inline(always)]
    fn d_weights([a, b, c, d, ..]: [f32; 6]) -> [f32; 6] {
        let half = 0.5 * (b + c);
        [a + half, 0.5 * (b - c), half + d, 0.0, 0.0, 0.0]
    }
}

/// 36 products for 16 outputs, which take 144 without.
pub(super) struct Four;

impl Tile for Four {
    const M: usize = 4;
    const N: usize = 6;

    #[inline(always)]
    fn input([a, b, c, d, e, f]: [f32; 6]) -> [f32; 6] {
        let (p, q) = (e - 4.0 * c, d - 4.0 * b);
        let (r, s) = (e - c, 2.0 * (d - b));
        [4.0 * a - 5.0 * c + e, p + q, p - q, r + s, r - s, 4.0 * b - 5.0 * d + f]
    }

    #[inline(always)]
    fn weights([a, b, c, ..]: [f32; 6]) -> [f32; 6] {
        let (p, q) = ((a + c) * (-1.0 / 6.0), b * (1.0 / 6.0));
        let (r, s) = (a * (1.0 / 24.0) + c * (1.0 / 6.0), b * (1.0 / 12.0));
        [0.25 * a, p - q, p + q, r + s, r - s, c]
    }

    #[inline(always)]
    fn output([a, b, c, d, e, f]: [f32; 6]) -> [f32; 6] {
        let (p, q, r, s) = (b + c, b - c, d + e, d - e);
        [a + p + r, q + 2.0 * s, p + 4.0 * r, q + 8.0 * s + f, 0.0, 0.0]
    }

    #[inline(always)]
    fn d_output([a, b, c, d, ..]: [f32; 6]) -> [f32; 6] {
        let (p, q) = (a + c, b + d);
        let (r, s) = (a + 4.0 * c, 2.0 * b + 8.0 * d);
        [a, p + q, p - q, r + s, r - s, d]
    }

    #[inline(always)]
    fn d_weights([a, b, c, d, e, f]: [f32; 6]) -> [f32; 6] {
        let (p, q) = ((b + c) * (1.0 / 6.0), (c - b) * (1.0 / 6.0));
        let (r, s) = ((d + e) * (1.0 / 24.0), (d - e) * (1.0 / 12.0));
        [0.25 * a - p + r, q + s, 4.0 * r - p + f, 0.0, 0.0, 0.0]
    }
}

/// Applies `axis` down the columns and along the rows of `inputs` x `inputs` places, and hands
/// each of the `outputs` x `outputs` results to `write(row, column, values)`.
#[inline(always)]
pub(super) fn both_axes(
    axis: impl Fn([f32; 6]) -> [f32; 6],
    [inputs, outputs]: [usize; 2],
    x: &Square,
    mut write: impl FnMut(usize, usize, &[f32; LANES]),
) {
    let mut half = EMPTY;
    for column in 0..inputs {
        for lane in 0..LANES {
            let mut values = [0.0; 6];
            for i in 0..inputs {
                values[i] = x[i][column][lane];
            }
            let values = axis(values);
            for o in 0..outputs {
                half[o][column][lane] = values[o];
            }
        }
    }
    for (row, half) in half.iter().enumerate().take(outputs) {
        let mut out = [[0.0; LANES]; 6];
        for lane in 0..LANES {
            let mut values = [0.0; 6];
            for i in 0..inputs {
                values[i] = half[i][lane];
            }
            let values = axis(values);
            for o in 0..outputs {
                out[o][lane] = values[o];
            }
        }
        for (column, values) in out.iter().enumerate().take(outputs) {
            write(row, column, values);
        }
    }
}
