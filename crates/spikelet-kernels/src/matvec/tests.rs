use super::*;
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
                    f32::from(rounded.values[i / GROUP * GROUP + place]) * rounded.scales[i / GROUP]
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
    by_output::portable_i8(&mut plain, &wide, &scales, &rounded);
    assert_eq!(fast, plain);
    rounded.set(&x, Arrangement::Halves);
    add_i4(&mut fast, &packed, &scales, &rounded);
    by_output::portable_i4(&mut plain, &packed, &scales, &rounded);
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
