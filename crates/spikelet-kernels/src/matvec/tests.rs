use super::*;
use crate::level::{Packed, Plain, Task, Wide};
use alloc::{vec, vec::Vec};

/// Numbers that look random.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let number = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32;
    (0..n as u32).map(|i| number(i) / 8_388_608.0 - 1.0).collect()
}

fn bytes(n: usize, seed: u32) -> Vec<u8> {
    noise(n, seed).iter().map(|x| (x * 127.0) as i8 as u8).collect()
}

fn nibbles(packed: &[u8]) -> Vec<i8> {
    packed.iter().flat_map(|b| [((b << 4) as i8) >> 4, (*b as i8) >> 4]).collect()
}

/// The product in double precision over rows of `width`, with a scale for each group.
fn exact(weights: &[i8], scales: &[f32], x: &[f32]) -> Vec<f64> {
    let term = |(k, w): (usize, &i8)| {
        f64::from(*w) * f64::from(scales[k / GROUP]) * f64::from(x[k % x.len()])
    };
    let terms: Vec<f64> = weights.iter().enumerate().map(term).collect();
    terms.chunks(x.len()).map(|row| row.iter().sum()).collect()
}

#[test]
fn every_half_precision_number_is_read() {
    for bits in 0..=u16::MAX {
        let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f64::from(bits & 1023));
        let magnitude = match exponent {
            31 => continue,
            0 => fraction * 2_f64.powi(-24),
            e => (1.0 + fraction / 1024.0) * 2_f64.powi(i32::from(e) - 15),
        };
        let expected = if sign == 1 { -magnitude } else { magnitude };
        assert_eq!(f64::from(to_f32(bits)), expected, "{bits:#x}");
    }
}

#[test]
fn integers_by_output_agree_with_rounded_inputs() {
    for (outputs, inputs) in [(1, 64), (5, 128), (7, 768)] {
        let x = noise(inputs, 5);
        let scales: Vec<f32> =
            noise(outputs * inputs / GROUP, 9).iter().map(|s| 0.01 + s.abs()).collect();
        let wide: Vec<i8> = bytes(outputs * inputs, 3).iter().map(|b| *b as i8).collect();
        let packed = bytes(outputs * inputs / 2, 4);
        for (weights, arrangement) in
            [(wide.clone(), Arrangement::Plain), (nibbles(&packed), Arrangement::Halves)]
        {
            let mut rounded = Rounded::default();
            rounded.set(&x, arrangement);
            // What was rounded, in the order of the inputs.
            let seen: Vec<f32> = (0..inputs)
                .map(|i| {
                    let k = i % GROUP;
                    let place = match arrangement {
                        Arrangement::Plain => k,
                        Arrangement::Halves => k / 2 + k % 2 * GROUP / 2,
                    };
                    let group = &rounded.groups[i / GROUP];
                    f32::from(group.values[place]) * group.scale
                })
                .collect();
            for (x, seen) in x.iter().zip(&seen) {
                assert!((x - seen).abs() < 0.5 / 126.0, "{seen} is not {x}");
            }
            let mut out = vec![1.0; outputs];
            match arrangement {
                Arrangement::Plain => add_i8(&mut out, &wide, &scales, &rounded),
                Arrangement::Halves => add_i4(&mut out, &packed, &scales, &rounded),
            }
            for (y, e) in out.iter().zip(exact(&weights, &scales, &seen)) {
                let e = e + 1.0;
                assert!((f64::from(*y) - e).abs() < 1e-5 * (1.0 + e.abs()), "{y} is not {e}");
            }
        }
    }
}

#[test]
#[cfg(feature = "std")]
fn instruction_sets_agree_to_the_bit() {
    let (outputs, inputs) = (33, 512);
    let x = noise(inputs, 2);
    let scales = noise(outputs * inputs / GROUP, 7);
    let wide: Vec<i8> = bytes(outputs * inputs, 1).iter().map(|b| *b as i8).collect();
    let packed = bytes(outputs * inputs / 2, 6);
    let mut rounded = Rounded::default();
    let [mut fast, mut plain] = [vec![0.5; outputs], vec![0.5; outputs]];
    rounded.set(&x, Arrangement::Plain);
    add_i8(&mut fast, &wide, &scales, &rounded);
    by_output::Rows::<Wide>::new(&mut plain, wide.as_chunks().0, &scales, &rounded).run(Plain);
    assert_eq!(fast, plain);
    rounded.set(&x, Arrangement::Halves);
    add_i4(&mut fast, &packed, &scales, &rounded);
    by_output::Rows::<Packed>::new(&mut plain, packed.as_chunks().0, &scales, &rounded).run(Plain);
    assert_eq!(fast, plain);
}

#[test]
fn half_precision_by_output_agrees() {
    let (outputs, inputs) = (9, 100);
    let weights: Vec<u16> =
        bytes(outputs * inputs, 8).iter().map(|b| 0x3800 + u16::from(*b)).collect();
    let x = noise(inputs, 1);
    let floats: Vec<f32> = weights.iter().map(|w| to_f32(*w)).collect();
    let [mut out, mut plain] = [vec![0.0; outputs], vec![0.0; outputs]];
    add_f16(&mut out, &weights, &x);
    crate::dense::add_by_output(&mut plain, &floats, &x);
    assert_eq!(out, plain);
}

#[test]
fn rows_add_in_the_order_of_the_events() {
    let (inputs, width) = (11, 192);
    let x = noise(inputs, 3);
    let events = [0, 2, 3, 5, 7, 8, 10];
    let packed = bytes(inputs * width / 2, 4);
    let wide: Vec<i8> = bytes(inputs * width, 5).iter().map(|b| *b as i8).collect();
    let scales = noise(inputs * width / GROUP, 6);
    let floats = noise(inputs * width, 7);
    let halves: Vec<u16> =
        bytes(inputs * width, 8).iter().map(|b| 0x3800 + u16::from(*b)).collect();
    let small = nibbles(&packed);
    let scaled = |w: &[i8], i: usize, o: usize| -> f32 {
        let at = i * width + o;
        x[i] * scales[at / GROUP] * f32::from(w[at])
    };
    for columns in [0..width, 64..192, 64..128] {
        let rows = Rows { width, columns: columns.clone(), events: &events, x: &x };
        let expected = |term: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
            let sum = |o| events.iter().fold(0.25, |sum, i| sum + term(*i as usize, o));
            columns.clone().map(sum).collect()
        };
        let mut out = vec![0.25; columns.len()];
        add_rows_f32(&mut out, &floats, &rows);
        assert_eq!(out, expected(&|i, o| x[i] * floats[i * width + o]));
        out.fill(0.25);
        add_rows_f16(&mut out, &halves, &rows);
        assert_eq!(out, expected(&|i, o| x[i] * to_f32(halves[i * width + o])));
        out.fill(0.25);
        add_rows_i8(&mut out, &wide, &scales, &rows);
        assert_eq!(out, expected(&|i, o| scaled(&wide, i, o)));
        out.fill(0.25);
        add_rows_i4(&mut out, &packed, &scales, &rows);
        assert_eq!(out, expected(&|i, o| scaled(&small, i, o)));
    }
}

#[test]
fn rounding_is_that_of_weights() {
    let mut x = noise(3 * GROUP, 12);
    x[5] = f32::NAN;
    x[GROUP..2 * GROUP].fill(0.0);
    x[2 * GROUP] = 1e30;
    let mut rounded = Rounded::default();
    rounded.set(&x, Arrangement::Plain);
    for (group, x) in rounded.groups.iter().zip(x.chunks(GROUP)) {
        let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        assert_eq!(group.scale, crate::quant::scale(largest, 127));
        for (value, x) in group.values.iter().zip(x) {
            assert_eq!(*value, crate::quant::quantize(*x, group.scale, 127));
        }
    }
}

/// Weights of every precision, and their scales.
struct Matrix {
    floats: Vec<f32>,
    halves: Vec<u16>,
    wide: Vec<i8>,
    packed: Vec<u8>,
    scales: Vec<f32>,
}

fn matrix(len: usize) -> Matrix {
    Matrix {
        floats: noise(len, 7),
        halves: bytes(len, 8).iter().map(|b| 0x3800 + u16::from(*b)).collect(),
        wide: bytes(len, 5).iter().map(|b| *b as i8).collect(),
        packed: bytes(len / 2, 4),
        scales: noise(len / GROUP, 6),
    }
}

#[test]
fn vectors_side_by_side_get_the_bits_they_get_alone() {
    for (outputs, inputs, count) in [(1, 64, 1), (7, 128, 9), (100, 768, 6)] {
        let m = matrix(outputs * inputs);
        let xs: Vec<Vec<f32>> = (0..count).map(|k| noise(inputs, 50 + k)).collect();
        let rounded = |arrangement| -> Vec<Rounded> {
            let round = |x: &Vec<f32>| {
                let mut rounded = Rounded::default();
                rounded.set(x, arrangement);
                rounded
            };
            xs.iter().map(round).collect()
        };
        let (plain, halves) = (rounded(Arrangement::Plain), rounded(Arrangement::Halves));
        let zeros = || vec![vec![0.5_f32; outputs]; xs.len()];
        let [mut alone, mut together] = [zeros(), zeros()];
        fn lanes<'a, X>(xs: &'a [X], outs: &'a mut [Vec<f32>]) -> Vec<Lane<'a, X>> {
            xs.iter().zip(outs).map(|(x, out)| Lane { x, out }).collect()
        }
        // Odd lengths of floats as well: the last input is left out.
        for cut in [0, 1] {
            let n = inputs - cut;
            let mut floats: Vec<Lane<[f32]>> =
                xs.iter().zip(&mut together).map(|(x, out)| Lane { x: &x[..n], out }).collect();
            add_to_lanes_f32(&mut floats, &m.floats);
            add_to_lanes_f16(&mut floats, &m.halves);
            for (x, out) in xs.iter().zip(&mut alone) {
                crate::dense::add_by_output(out, &m.floats, &x[..n]);
                add_f16(out, &m.halves, &x[..n]);
            }
            assert_eq!(alone, together);
        }
        add_to_lanes_i8(&mut lanes(&plain, &mut together), &m.wide, &m.scales);
        add_to_lanes_i4(&mut lanes(&halves, &mut together), &m.packed, &m.scales);
        for ((plain, halves), out) in plain.iter().zip(&halves).zip(&mut alone) {
            add_i8(out, &m.wide, &m.scales, plain);
            add_i4(out, &m.packed, &m.scales, halves);
        }
        assert_eq!(alone, together);
    }
}

#[test]
fn rows_of_vectors_side_by_side_add_up_as_they_do_alone() {
    for (inputs, width, columns, count) in [(11, 192, 64..192, 3), (200, 64, 0..64, 5)] {
        let m = matrix(inputs * width);
        let xs: Vec<Vec<f32>> = (0..count).map(|k| noise(inputs, 50 + k)).collect();
        let active =
            |k: u32| (0..inputs as u32).filter(move |i| !(i * 7 + k).is_multiple_of(3)).collect();
        let events: Vec<Vec<u32>> = (0..count).map(active).collect();
        let zeros = || vec![vec![0.5_f32; columns.len()]; xs.len()];
        let [mut alone, mut together] = [zeros(), zeros()];
        let mut lanes: Vec<EventLane> = Vec::new();
        for ((x, events), out) in xs.iter().zip(&events).zip(&mut together) {
            lanes.push(EventLane { events, x, out });
        }
        add_rows_to_lanes_f32(&mut lanes, &m.floats, width, columns.clone());
        add_rows_to_lanes_f16(&mut lanes, &m.halves, width, columns.clone());
        add_rows_to_lanes_i8(&mut lanes, &m.wide, &m.scales, width, columns.clone());
        add_rows_to_lanes_i4(&mut lanes, &m.packed, &m.scales, width, columns.clone());
        for ((x, events), out) in xs.iter().zip(&events).zip(&mut alone) {
            let rows = Rows { width, columns: columns.clone(), events, x };
            add_rows_f32(out, &m.floats, &rows);
            add_rows_f16(out, &m.halves, &rows);
            add_rows_i8(out, &m.wide, &m.scales, &rows);
            add_rows_i4(out, &m.packed, &m.scales, &rows);
        }
        assert_eq!(alone, together);
    }
}
