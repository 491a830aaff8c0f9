//! Lossless columns for the samples of one sensor: the coding inside the compact WISDM form.
//!
//! The watch reports integers of its converter times a calibrated scale, plus an offset that changes rarely: in
//! 16.16 fixed point an accelerometer step is 16 units of g/65536, a gyroscope step 4000 units of 1/65536
//! degree/s. So a value is stored as the nearest unit `k`, divided by the step into quotient (the converter's
//! reading, about 10 bits of noise) and remainder (nearly constant), and the difference between the bits of the
//! value and those of `k * scale` (nearly always 0). Any other f32 round-trips too, only less compactly. Time
//! stamps are stored as differences. All integers are byte-transposed for deflate.

use crate::wisdm::Track;

/// Scale in the unit of the sensor and units a converter step.
#[derive(Debug, Clone, Copy)]
pub struct Lattice {
    scale: f32,
    step: i32,
}

/// Accelerometer: m/s² with standard gravity, ±8 g over 16 bits.
pub const ACCEL: Lattice = Lattice { scale: 9.806_65 / 65536.0, step: 16 };
/// Gyroscope: rad/s, ±2000 degrees/s over 16 bits.
pub const GYRO: Lattice =
    Lattice { scale: (std::f64::consts::PI / 180.0 / 65536.0) as f32, step: 4000 };

/// Appends the columns of `track` to `out`.
pub fn encode(track: &Track, lattice: Lattice, out: &mut Vec<u8>) {
    let mut before = 0i64;
    let differences =
        track.time_ns.iter().map(|&t| t.wrapping_sub(std::mem::replace(&mut before, t)));
    transpose(differences.map(i64::to_le_bytes), out);
    for axis in 0..3 {
        let cells: Vec<Cell> = track.xyz.iter().map(|row| Cell::of(row[axis], lattice)).collect();
        transpose(cells.iter().map(|c| c.quotient.to_le_bytes()), out);
        transpose(cells.iter().map(|c| c.remainder.to_le_bytes()), out);
        transpose(cells.iter().map(|c| c.correction.to_le_bytes()), out);
    }
}

/// Bytes that the columns of `samples` samples take, if that fits an address.
pub fn size(samples: usize) -> Option<usize> {
    samples.checked_mul(8 + 3 * 12)
}

/// Reads the columns of `samples` samples from exactly [`size`] bytes.
///
/// # Panics
/// If `bytes` has another length.
pub fn decode(bytes: &[u8], samples: usize, lattice: Lattice) -> Track {
    assert_eq!(Some(bytes.len()), size(samples), "columns of {samples} samples");
    let (times, mut rest) = bytes.split_at(8 * samples);
    let mut before = 0i64;
    let time_ns = (0..samples).map(|i| {
        before = before.wrapping_add(i64::from_le_bytes(gather(times, samples, i)));
        before
    });
    let mut track = Track { time_ns: time_ns.collect(), xyz: vec![[0.0; 3]; samples] };
    for axis in 0..3 {
        let [quotients, remainders, corrections] =
            [0, 1, 2].map(|part| &rest[part * 4 * samples..]);
        for (i, row) in track.xyz.iter_mut().enumerate() {
            let integer = |column| i32::from_le_bytes(gather(column, samples, i));
            let cell = Cell {
                quotient: integer(quotients),
                remainder: integer(remainders),
                correction: integer(corrections),
            };
            row[axis] = cell.value(lattice);
        }
        rest = &rest[12 * samples..];
    }
    track
}

struct Cell {
    quotient: i32,
    remainder: i32,
    correction: i32,
}

impl Cell {
    fn of(value: f32, lattice: Lattice) -> Self {
        // Saturates far away from the lattice; the correction then holds what is missing.
        let k = (f64::from(value) / f64::from(lattice.scale)).round() as i32;
        let mut cell = Self {
            quotient: k.div_euclid(lattice.step),
            remainder: k.rem_euclid(lattice.step),
            correction: 0,
        };
        cell.correction = value.to_bits().wrapping_sub(cell.value(lattice).to_bits()) as i32;
        cell
    }

    fn value(&self, lattice: Lattice) -> f32 {
        let k = self.quotient.wrapping_mul(lattice.step).wrapping_add(self.remainder);
        let near = k as f32 * lattice.scale;
        f32::from_bits(near.to_bits().wrapping_add(self.correction as u32))
    }
}

fn transpose<const W: usize>(values: impl Iterator<Item = [u8; W]>, out: &mut Vec<u8>) {
    let values: Vec<[u8; W]> = values.collect();
    for byte in 0..W {
        out.extend(values.iter().map(|v| v[byte]));
    }
}

fn gather<const W: usize>(column: &[u8], samples: usize, i: usize) -> [u8; W] {
    std::array::from_fn(|byte| column[byte * samples + i])
}

/// The decimal text of `value` in the form of the public files: shortest digits, an exponent outside
/// 0.001 to 10 million, at least one digit after the point.
pub fn text(value: f32) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-3..1e7).contains(&magnitude) {
        return format!("{value:?}");
    }
    let digits = format!("{value:E}");
    match digits.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_has_the_form_of_the_files() {
        for text in [
            "-0.39369655",
            "9.29893",
            "10.168025",
            "-2.992752E-4",
            "1.0E-4",
            "0.0",
            "-0.0",
            "3.0",
            "1.5E7",
        ] {
            assert_eq!(super::text(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn readings_of_the_watch_need_no_correction() {
        for value in [-0.39369655f32, -0.88944596, 9.29893, -2.992752e-4] {
            assert_eq!(Cell::of(value, ACCEL).correction, 0, "{value}");
        }
        let a = Cell::of(-0.029892651, GYRO);
        let b = Cell::of(-0.03948003, GYRO);
        assert_eq!((a.correction, a.remainder), (b.correction, b.remainder));
    }

    proptest! {
        #[test]
        fn every_bit_pattern_round_trips(
            bits in prop::collection::vec(any::<[u32; 3]>(), 0..40),
            times in prop::collection::vec(any::<i64>(), 40),
        ) {
            let xyz: Vec<[f32; 3]> = bits.iter().map(|row| row.map(f32::from_bits)).collect();
            let track = Track { time_ns: times[..xyz.len()].to_vec(), xyz };
            for lattice in [ACCEL, GYRO] {
                let mut bytes = Vec::new();
                encode(&track, lattice, &mut bytes);
                let back = decode(&bytes, track.xyz.len(), lattice);
                prop_assert_eq!(&back.time_ns, &track.time_ns);
                let back: Vec<[u32; 3]> = back.xyz.iter().map(|row| row.map(f32::to_bits)).collect();
                prop_assert_eq!(&back, &bits);
            }
        }
    }
}
