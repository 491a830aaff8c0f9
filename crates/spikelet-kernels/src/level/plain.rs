//! Plain loops, for every machine.

use super::{GROUP, LANES, Level, Packed, QUAD, Values, Wide, pairs::Two};
use crate::{dense::tree_sum, matvec::to_f32, quant::quantize};

/// No instructions beyond those every machine has.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Level for Plain {
    type Floats = [f32; LANES];
    type Wide = Wide;
    /// Those of even index first.
    type Packed = Wide;
    type Pairs = Two<Self>;

    #[inline(always)]
    fn pairs(self) -> Two<Self> {
        Two(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> [f32; LANES] {
        *x
    }

    #[inline(always)]
    fn store(self, x: [f32; LANES], to: &mut [f32; LANES]) {
        *to = x;
    }

    #[inline(always)]
    fn halves(self, x: &[u16; LANES]) -> [f32; LANES] {
        x.map(to_f32)
    }

    #[inline(always)]
    fn bytes(self, x: &[i8; LANES]) -> [f32; LANES] {
        x.map(f32::from)
    }

    #[inline(always)]
    fn add(self, mut a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for k in 0..LANES {
            a[k] += b[k];
        }
        a
    }

    #[inline(always)]
    fn multiply(self, mut a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        for k in 0..LANES {
            a[k] *= b[k];
        }
        a
    }

    #[inline(always)]
    fn total(self, x: [f32; LANES]) -> f32 {
        tree_sum(x)
    }

    #[inline(always)]
    fn unpack(self, weights: &Packed) -> Wide {
        let mut wide = [0; GROUP];
        for (k, byte) in weights.iter().enumerate() {
            [wide[2 * k], wide[2 * k + 1]] = both(*byte);
        }
        wide
    }

    #[inline(always)]
    fn read(self, weights: &Wide) -> Wide {
        *weights
    }

    #[inline(always)]
    fn read_packed(self, weights: &Packed) -> Wide {
        let mut wide = [0; GROUP];
        for (k, byte) in weights.iter().enumerate() {
            [wide[k], wide[k + GROUP / 2]] = both(*byte);
        }
        wide
    }

    #[inline(always)]
    fn products(self, weights: Wide, x: &Values) -> [f32; LANES] {
        let product = |j: usize| i32::from(weights[j]) * i32::from(x.values[j]);
        let mut sums = [0; LANES];
        for (k, sum) in sums.iter_mut().enumerate() {
            for j in QUAD * k..QUAD * (k + 1) {
                *sum += product(j) + product(j + GROUP / 2);
            }
        }
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    fn products_packed(self, weights: Wide, x: &Values) -> [f32; LANES] {
        self.products(weights, x)
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], scale: f32, halves: bool) -> Wide {
        let mut values = [0; GROUP];
        for (k, value) in values.iter_mut().enumerate() {
            let from = if halves { 2 * k % GROUP + 2 * k / GROUP } else { k };
            *value = quantize(x[from], scale, 127);
        }
        values
    }

    #[inline(always)]
    fn sums(self, values: &Wide, factor: i16) -> [i32; LANES] {
        let mut sums = [0; LANES];
        for (k, sum) in sums.iter_mut().enumerate() {
            for j in QUAD * k..QUAD * (k + 1) {
                *sum += i32::from(values[j]) + i32::from(values[j + GROUP / 2]);
            }
            *sum *= i32::from(factor);
        }
        sums
    }
}

/// The numbers of 4 bits in the low and in the high half of a byte.
#[inline(always)]
fn both(byte: u8) -> [i8; 2] {
    [((byte << 4) as i8) >> 4, (byte as i8) >> 4]
}
