//! Token shift and layer normalisation against their definitions in f64, gradients against finite
//! differences, and any number of threads against one.

use spikelet_kernels::{layer_norm, token_shift};

/// Values that differ everywhere.
fn wave(len: usize, k: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * k).sin() * 2.0 + 0.3).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn close(what: &str, found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(*f) - e).abs() <= bound * (1.0 + e.abs()),
            "{what}[{i}]: {f} is not {e}"
        );
    }
}

/// The slope of `f` by every value of `x`.
fn slopes(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let h = 1e-5;
    let at = |i: usize, h: f64| {
        let mut x = x.to_vec();
        x[i] += h;
        f(&x)
    };
    (0..x.len()).map(|i| (at(i, h) - at(i, -h)) / (2.0 * h)).collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mixes of every token with the one before, in f64.
fn shifted(x: &[f64], before: &[f64], mix: &[f64], channels: usize) -> Vec<f64> {
    let width = before.len();
    let padded = [before, x].concat();
    mix.chunks(channels)
        .flat_map(|mix| {
            let padded = &padded;
            (0..x.len()).map(move |i| {
                let m = mix[i % channels];
                padded[i + width] * m + padded[i] * (1.0 - m)
            })
        })
        .collect()
}

#[test]
fn token_shift_follows_its_definition() {
    for (time, batch, channels, mixes) in [(1, 1, 1, 1), (5, 3, 7, 3), (4, 2, 16, 2)] {
        let (x, before) = (wave(time * batch * channels, 0.7), wave(batch * channels, 1.3));
        let mix: Vec<f32> = wave(mixes * channels, 0.9).iter().map(|m| m.abs() / 3.0).collect();
        let d = wave(mixes * x.len(), 0.31);
        let (x64, before64, mix64, d64) = (wide(&x), wide(&before), wide(&mix), wide(&d));
        let out = token_shift::forward(&x, &before, &mix, channels);
        close("out", &out, &shifted(&x64, &before64, &mix64, channels), 1e-6);
        let found = token_shift::backward(&x, &before, &mix, channels, &d);
        let of = |x: &[f64], b: &[f64], m: &[f64]| dot(&shifted(x, b, m, channels), &d64);
        close("x", &found.x, &slopes(&x64, |x| of(x, &before64, &mix64)), 1e-5);
        close("before", &found.before, &slopes(&before64, |b| of(&x64, b, &mix64)), 1e-5);
        close("mix", &found.mix, &slopes(&mix64, |m| of(&x64, &before64, m)), 1e-5);
    }
}

#[test]
fn chunks_of_a_token_shift_join() {
    let (time, width, channels) = (6, 8, 4);
    let (x, mix) = (wave(time * width, 0.7), wave(channels, 0.9));
    let whole = token_shift::forward(&x, &vec![0.0; width], &mix, channels);
    let (head, tail) = x.split_at(2 * width);
    let mut parts = token_shift::forward(head, &vec![0.0; width], &mix, channels);
    parts.extend(token_shift::forward(tail, &head[width..], &mix, channels));
    assert_eq!(parts, whole);
    let mut step = vec![0.0; channels];
    token_shift::step(&x[width..][..channels], &x[..channels], &mix, &mut step);
    assert_eq!(step, whole[width..][..channels]);
}

/// Every row normalised, in f64.
fn normalized(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let n = weight.len();
    x.chunks(n)
        .flat_map(|row| {
            let mean = row.iter().sum::<f64>() / n as f64;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let scale = 1.0 / (variance + f64::from(layer_norm::EPSILON)).sqrt();
            (0..n).map(move |c| (row[c] - mean) * scale * weight[c] + bias[c])
        })
        .collect()
}

#[test]
fn layer_norm_follows_its_definition() {
    for (rows, channels) in [(1, 1), (3, 5), (7, 32), (2, 100)] {
        let (x, d) = (wave(rows * channels, 0.7), wave(rows * channels, 0.31));
        let (weight, bias) = (wave(channels, 1.1), wave(channels, 0.4));
        let (x64, d64, w64, b64) = (wide(&x), wide(&d), wide(&weight), wide(&bias));
        let mut out = vec![0.0; x.len()];
        let moments = layer_norm::forward(&x, &weight, &bias, &mut out);
        close("out", &out, &normalized(&x64, &w64, &b64), 1e-5);
        let mut row = vec![0.0; channels];
        layer_norm::row(&x[..channels], &weight, &bias, &mut row);
        assert_eq!(row, out[..channels], "one row has the bits of many");
        let found = layer_norm::backward(&x, &weight, &moments, &d);
        let of = |x: &[f64], w: &[f64], b: &[f64]| dot(&normalized(x, w, b), &d64);
        close("x", &found.x, &slopes(&x64, |x| of(x, &w64, &b64)), 1e-4);
        close("weight", &found.weight, &slopes(&w64, |w| of(&x64, w, &b64)), 1e-5);
        close("bias", &found.bias, &slopes(&b64, |b| of(&x64, &w64, b)), 1e-5);
    }
}

/// Enough values for several parts and threads.
#[test]
fn threads_do_not_matter() {
    let (time, batch, channels) = (90, 4, 300);
    let (x, d) = (wave(time * batch * channels, 0.7), wave(2 * time * batch * channels, 0.31));
    let (before, mix) = (wave(batch * channels, 1.3), wave(2 * channels, 0.9));
    let run = |threads| {
        with_threads(threads, || {
            let shifted = token_shift::forward(&x, &before, &mix, channels);
            let shift = token_shift::backward(&x, &before, &mix, channels, &d);
            let mut out = vec![0.0; x.len()];
            let (weight, bias) = mix.split_at(channels);
            let moments = layer_norm::forward(&x, weight, bias, &mut out);
            let norm = layer_norm::backward(&x, weight, &moments, &d[..x.len()]);
            [shifted, shift.x, shift.before, shift.mix, out, norm.x, norm.weight, norm.bias]
        })
    };
    assert_eq!(run(1), run(3));
}
