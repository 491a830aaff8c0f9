//! Event-driven products: an event adds one row of an `[in, out]` matrix to the output.
//!
//! Rows are added in the order of the event list, so a result depends neither on the instruction
//! set nor on how wide the matrix is. Integer weights add up in integers (exact); the caller
//! multiplies once by the scale of each output.
//!
//! All functions panic when an event names a row outside the matrix.

use crate::{
    blocks::{Block, for_each_block},
    simd::dispatch,
};
use core::ops::{AddAssign, Mul};

/// A weight as it lies in memory.
trait Element: Copy {
    fn to_f32(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

/// `out += sum of the rows in events`. `rows` is `[in, out.len()]`.
pub fn add_rows(out: &mut [f32], rows: &[f32], events: &[u32]) {
    let mut block = Binary { width: out.len(), out, rows, events };
    dispatch(
        #[inline(always)]
        || for_each_block(block.width, &mut block),
    );
}

struct Binary<'a> {
    out: &'a mut [f32],
    rows: &'a [f32],
    events: &'a [u32],
    width: usize,
}

impl Block for Binary<'_> {
    #[inline(always)]
    fn run<const N: usize>(&mut self, start: usize, skip: usize) {
        let mut sum = [0.0; N];
        sum.copy_from_slice(&self.out[start..start + N]);
        for &event in self.events {
            let first = event as usize * self.width + start;
            add_assign(&mut sum, &self.rows[first..first + N]);
        }
        self.out[start + skip..start + N].copy_from_slice(&sum[skip..]);
    }
}

#[inline(always)]
fn add_assign<T: Copy + AddAssign>(sum: &mut [T], row: &[T]) {
    for (s, w) in sum.iter_mut().zip(row) {
        *s += *w;
    }
}

/// `out += sum over events e of x[e] * row e`: events with values. `rows` is `[in, out.len()]`.
pub fn add_rows_graded(out: &mut [f32], rows: &[f32], events: &[u32], x: &[f32]) {
    graded(out, rows, events, x);
}

/// [`add_rows_graded`] for 8-bit weights, before they are scaled.
pub fn add_rows_graded_i8(out: &mut [f32], rows: &[i8], events: &[u32], x: &[f32]) {
    graded(out, rows, events, x);
}

/// Rows at least so wide are read from one end to the other: in pieces of a block they would come
/// from memory too slowly, while the output stays in the first-level cache either way.
const WIDE: usize = 1024;

fn graded<T: Element>(out: &mut [f32], rows: &[T], events: &[u32], x: &[f32]) {
    dispatch(
        #[inline(always)]
        || match out.len() {
            WIDE.. => whole_rows(out, rows, events, x),
            width => for_each_block(width, &mut Graded { width, out, rows, events, x }),
        },
    );
}

/// Four rows at a time, added one after the other.
#[inline(always)]
fn whole_rows<T: Element>(out: &mut [f32], rows: &[T], events: &[u32], x: &[f32]) {
    let width = out.len();
    let row = |event: u32| &rows[event as usize * width..(event as usize + 1) * width];
    for events in events.chunks(4) {
        match *events {
            [a, b, c, d] => {
                let values = [a, b, c, d].map(|event| x[event as usize]);
                add_four(out, [row(a), row(b), row(c), row(d)], values);
            }
            _ => {
                for &event in events {
                    add_one(out, row(event), x[event as usize]);
                }
            }
        }
    }
}

#[inline(always)]
fn add_four<T: Element>(out: &mut [f32], [a, b, c, d]: [&[T]; 4], x: [f32; 4]) {
    let n = out.len();
    let (a, b, c, d) = (&a[..n], &b[..n], &c[..n], &d[..n]);
    for j in 0..n {
        let sum = out[j] + x[0] * a[j].to_f32() + x[1] * b[j].to_f32();
        out[j] = sum + x[2] * c[j].to_f32() + x[3] * d[j].to_f32();
    }
}

#[inline(always)]
fn add_one<T: Element>(out: &mut [f32], row: &[T], x: f32) {
    for (out, w) in out.iter_mut().zip(row) {
        *out += x * w.to_f32();
    }
}

struct Graded<'a, T> {
    out: &'a mut [f32],
    rows: &'a [T],
    events: &'a [u32],
    x: &'a [f32],
    width: usize,
}

impl<T: Element> Block for Graded<'_, T> {
    #[inline(always)]
    fn run<const N: usize>(&mut self, start: usize, skip: usize) {
        let mut sum = [0.0; N];
        sum.copy_from_slice(&self.out[start..start + N]);
        for &event in self.events {
            let first = event as usize * self.width + start;
            let value = self.x[event as usize];
            for (s, w) in sum.iter_mut().zip(&self.rows[first..first + N]) {
                *s += value.mul(w.to_f32());
            }
        }
        self.out[start + skip..start + N].copy_from_slice(&sum[skip..]);
    }
}

/// `acc += sum of the rows in events` with 8-bit weights. `rows` is `[in, acc.len()]`. Exact as
/// long as the sums fit 32 bits, which 16 million events cannot exceed.
pub fn add_rows_i8(acc: &mut [i32], rows: &[i8], events: &[u32]) {
    let mut block = Bytes { width: acc.len(), acc, rows, events };
    dispatch(
        #[inline(always)]
        || for_each_block(block.width, &mut block),
    );
}

/// As many rows of 8-bit weights as certainly fit a 16-bit sum: `256 * -128 = i16::MIN`.
const ROWS_IN_I16: usize = 256;

struct Bytes<'a> {
    acc: &'a mut [i32],
    rows: &'a [i8],
    events: &'a [u32],
    width: usize,
}

impl Block for Bytes<'_> {
    #[inline(always)]
    fn run<const N: usize>(&mut self, start: usize, skip: usize) {
        let mut total = [0_i32; N];
        total.copy_from_slice(&self.acc[start..start + N]);
        for events in self.events.chunks(ROWS_IN_I16) {
            let mut sum = [0_i16; N];
            for &event in events {
                let first = event as usize * self.width + start;
                for (s, w) in sum.iter_mut().zip(&self.rows[first..first + N]) {
                    *s += i16::from(*w);
                }
            }
            for (t, s) in total.iter_mut().zip(&sum) {
                *t += i32::from(*s);
            }
        }
        self.acc[start + skip..start + N].copy_from_slice(&total[skip..]);
    }
}

/// `acc += sum of the rows in events` with packed 4-bit weights: two in a byte, even column in
/// the low nibble, every row starting on a byte.
pub fn add_rows_i4(acc: &mut [i32], rows: &[u8], events: &[u32]) {
    let mut block = Nibbles { width: acc.len().div_ceil(2), acc, rows, events };
    dispatch(
        #[inline(always)]
        || for_each_block(block.width, &mut block),
    );
}

/// As many rows of 4-bit weights as certainly fit a 16-bit sum.
const NIBBLE_ROWS_IN_I16: usize = 4096;

struct Nibbles<'a> {
    acc: &'a mut [i32],
    rows: &'a [u8],
    events: &'a [u32],
    /// Bytes in a row.
    width: usize,
}

/// The two weights of a byte: low nibble, high nibble.
#[inline(always)]
pub(crate) fn nibbles(byte: u8) -> (i8, i8) {
    (((byte << 4) as i8) >> 4, (byte as i8) >> 4)
}

impl Block for Nibbles<'_> {
    #[inline(always)]
    fn run<const N: usize>(&mut self, start: usize, skip: usize) {
        for events in self.events.chunks(NIBBLE_ROWS_IN_I16) {
            let mut even = [0_i16; N];
            let mut odd = [0_i16; N];
            for &event in events {
                let first = event as usize * self.width + start;
                let row = &self.rows[first..first + N];
                // Sign extension in 16 bits: vector units have no shifts of single bytes.
                for i in 0..N {
                    let wide = i16::from(row[i] as i8);
                    even[i] += (wide << 12) >> 12;
                    odd[i] += wide >> 4;
                }
            }
            let pairs = self.acc[2 * (start + skip)..].chunks_mut(2);
            for ((pair, e), o) in pairs.zip(&even[skip..]).zip(&odd[skip..]) {
                pair[0] += i32::from(*e);
                if let Some(second) = pair.get_mut(1) {
                    *second += i32::from(*o);
                }
            }
        }
    }
}

/// `out += sum over events e of x[e] * row e` with packed 4-bit weights, before they are scaled.
pub fn add_rows_graded_i4(out: &mut [f32], rows: &[u8], events: &[u32], x: &[f32]) {
    let width = out.len().div_ceil(2);
    dispatch(
        #[inline(always)]
        || {
            for &event in events {
                let first = event as usize * width;
                let value = x[event as usize];
                for (pair, byte) in out.chunks_mut(2).zip(&rows[first..first + width]) {
                    let (low, high) = nibbles(*byte);
                    pair[0] += value * f32::from(low);
                    if let Some(second) = pair.get_mut(1) {
                        *second += value * f32::from(high);
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{vec, vec::Vec};
    use proptest::prelude::*;

    fn pack(row: &[i8]) -> Vec<u8> {
        row.chunks(2).map(|p| (p[0] as u8 & 15) | (p.get(1).map_or(0, |w| *w as u8) << 4)).collect()
    }

    /// A matrix of bytes, its shape, and a list of events (repeats allowed).
    fn case() -> impl Strategy<Value = (usize, Vec<i8>, Vec<u32>)> {
        // Narrow matrices and wide ones.
        let outputs = prop_oneof![9 => 0_usize..150, 1 => 1000_usize..1100];
        (1_usize..12, outputs).prop_flat_map(|(inputs, outputs)| {
            (
                Just(outputs),
                prop::collection::vec(any::<i8>(), inputs * outputs),
                prop::collection::vec(0..inputs as u32, 0..600),
            )
        })
    }

    proptest! {
        #[test]
        fn bytes_are_exact((width, rows, events) in case()) {
            let mut acc: Vec<i32> = (0..width as i32).collect();
            add_rows_i8(&mut acc, &rows, &events);
            for (o, got) in acc.iter().enumerate() {
                let want: i64 = events.iter().map(|e| i64::from(rows[*e as usize * width + o])).sum();
                prop_assert_eq!(i64::from(*got), want + o as i64);
            }
        }

        #[test]
        fn nibbles_are_exact((width, rows, events) in case()) {
            let rows: Vec<i8> = rows.iter().map(|w| w >> 4).collect();
            let packed: Vec<u8> = rows.chunks(width.max(1)).flat_map(pack).collect();
            let mut acc = vec![0; width];
            add_rows_i4(&mut acc, &packed, &events);
            for (o, got) in acc.iter().enumerate() {
                let want: i64 = events.iter().map(|e| i64::from(rows[*e as usize * width + o])).sum();
                prop_assert_eq!(i64::from(*got), want);
            }
        }

        #[test]
        fn floats_add_in_the_order_of_the_events((width, rows, events) in case()) {
            let rows: Vec<f32> = rows.iter().map(|w| f32::from(*w) / 7.0).collect();
            let mut out = vec![0.1; width];
            add_rows(&mut out, &rows, &events);
            for (o, got) in out.iter().enumerate() {
                let want = events.iter().fold(0.1, |sum, e| sum + rows[*e as usize * width + o]);
                prop_assert_eq!(*got, want);
            }
        }

        #[test]
        fn graded_events_add_in_their_order((width, bytes, events) in case()) {
            let x: Vec<f32> = (0..12).map(|i| i as f32 / 3.0 - 2.0).collect();
            let nibbles: Vec<i8> = bytes.iter().map(|w| w >> 4).collect();
            let packed: Vec<u8> = nibbles.chunks(width.max(1)).flat_map(pack).collect();
            let floats: Vec<f32> = bytes.iter().map(|w| f32::from(*w) / 7.0).collect();
            let want = |weight: &dyn Fn(usize) -> f32, o: usize| {
                events.iter().fold(0.0, |sum, e| sum + x[*e as usize] * weight(*e as usize * width + o))
            };
            let mut out = [vec![0.0; width], vec![0.0; width], vec![0.0; width]];
            add_rows_graded(&mut out[0], &floats, &events, &x);
            add_rows_graded_i8(&mut out[1], &bytes, &events, &x);
            add_rows_graded_i4(&mut out[2], &packed, &events, &x);
            let weights: [&dyn Fn(usize) -> f32; 3] =
                [&|i| floats[i], &|i| f32::from(bytes[i]), &|i| f32::from(nibbles[i])];
            for (out, weight) in out.iter().zip(weights) {
                for (o, got) in out.iter().enumerate() {
                    prop_assert_eq!(*got, want(weight, o));
                }
            }
        }
    }
}
