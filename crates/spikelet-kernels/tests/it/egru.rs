//! The EGRU layer against a transcription of its equations in f64, forward and backward, at sizes
//! and densities that take the event-driven and the dense form of every product.

use proptest::prelude::*;
use spikelet_kernels::egru::{
    OutputGradients, Outputs, Pass, PseudoDerivative, Shape, State, Weights, Zoneout, backward,
    forward, step,
};

/// A layer with its inputs, as f64.
#[derive(Clone, Debug)]
struct Layer {
    s: Shape,
    kernel: Vec<f64>,
    recurrent: Vec<f64>,
    bias: Vec<f64>,
    recurrent_bias: Vec<f64>,
    threshold: Vec<f64>,
    /// Events, state and trace before the first step.
    start: [Vec<f64>; 3],
    /// The share of the new state of every unit and step.
    share: Vec<f64>,
    pseudo: PseudoDerivative,
    x: Vec<f64>,
    /// Gradients of `y`, `h`, `o`, trace.
    g: [Vec<f64>; 4],
}

/// Values in -1..1 that differ by place.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // Exact as f32, so that both sides compute with the same numbers.
        f64::from(((self.0 >> 40) as f32) / (1 << 23) as f32 - 1.0)
    }

    fn values(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| f64::from((scale * self.next()) as f32)).collect()
    }
}

impl Layer {
    /// `quiet` is how high thresholds are, from 0 to 1.
    fn new(s: Shape, seed: u64, quiet: f64, zoneout: bool) -> Layer {
        let mut noise = Noise(seed);
        let (i, h, step) = (s.input, s.hidden, s.batch * s.hidden);
        let all = s.time * step;
        let scale = |n: usize| 1.5 / (n as f64).sqrt();
        let events = noise.values(step, 0.5).into_iter();
        let events: Vec<f64> = events.map(|y| if y > 0.2 { y } else { 0.0 }).collect();
        let share = noise.values(all, 1.0).into_iter();
        Layer {
            s,
            kernel: noise.values(i * 3 * h, scale(i)),
            recurrent: noise.values(h * 3 * h, scale(h)),
            bias: noise.values(3 * h, 0.5),
            recurrent_bias: noise.values(3 * h, 0.5),
            threshold: noise.values(h, 0.2).iter().map(|t| t.abs() + quiet).collect(),
            start: [events, noise.values(step, 0.3), noise.values(step, 0.2)],
            share: share.map(|m| if zoneout && m < -0.5 { 0.0 } else { 1.0 }).collect(),
            pseudo: PseudoDerivative { dampening: 0.7, support: 2.5 },
            x: noise.values(s.time * s.batch * i, 1.0),
            g: [1.0, 0.5, 0.3, 0.8].map(|scale| noise.values(all, scale)),
        }
    }

    /// `row` `[n]` times a matrix `[n, 3 hidden]`.
    fn product(&self, row: &[f64], matrix: &[f64], bias: &[f64]) -> Vec<f64> {
        let mut out = bias.to_vec();
        for (x, weights) in row.iter().zip(matrix.chunks(3 * self.s.hidden)) {
            out.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
        }
        out
    }

    /// What every unit does in every step, `[time][batch][hidden]` flattened.
    fn forward(&self) -> Vec<Unit> {
        let Shape { time, batch, input, hidden } = self.s;
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut units: Vec<Unit> = Vec::new();
        for t in 0..time {
            for b in 0..batch {
                let before = |k: usize| -> [f64; 3] {
                    match t {
                        0 => self.start.each_ref().map(|part| part[b * hidden + k]),
                        _ => {
                            let unit = &units[((t - 1) * batch + b) * hidden + k];
                            [unit.y, unit.h, unit.trace]
                        }
                    }
                };
                let y: Vec<f64> = (0..hidden).map(|k| before(k)[0]).collect();
                let x = &self.x[(t * batch + b) * input..][..input];
                let from_x = self.product(x, &self.kernel, &self.bias);
                let from_y = self.product(&y, &self.recurrent, &self.recurrent_bias);
                let mut row = Vec::new();
                for k in 0..hidden {
                    let z = logistic(from_x[k] + from_y[k]);
                    let r = logistic(from_x[hidden + k] + from_y[hidden + k]);
                    let b_g = from_y[2 * hidden + k];
                    let g = (from_x[2 * hidden + k] + r * b_g).tanh();
                    let [_, h, trace] = before(k);
                    let share = self.share[((t * batch) + b) * hidden + k];
                    let c = (1.0 - share) * h + share * (z * h + (1.0 - z) * g);
                    let o = f64::from(u8::from(c > self.threshold[k]));
                    row.push(Unit {
                        z,
                        r,
                        g,
                        b_g,
                        c,
                        o,
                        y: o * c,
                        h: c - o * self.threshold[k],
                        trace: 0.9 * trace + 0.1 * o * c,
                        before: [y[k], h, trace],
                    });
                }
                units.extend(row);
            }
        }
        units
    }

    /// Gradients of x, kernel, recurrent kernel, biases, thresholds, and the first state.
    fn backward(&self, units: &[Unit]) -> [Vec<f64>; 9] {
        let Shape { time, batch, input, hidden } = self.s;
        let (h3, step) = (3 * hidden, batch * hidden);
        let mut x = vec![0.0; self.x.len()];
        let (mut kernel, mut recurrent) = (vec![0.0; input * h3], vec![0.0; hidden * h3]);
        let (mut bias, mut recurrent_bias) = (vec![0.0; h3], vec![0.0; h3]);
        let mut threshold = vec![0.0; hidden];
        let [mut d_y, mut d_h, mut d_trace] = [(); 3].map(|()| vec![0.0; step]);
        for t in (0..time).rev() {
            for b in 0..batch {
                let (mut a, mut e) = (vec![0.0; h3], vec![0.0; h3]);
                for k in 0..hidden {
                    let (at, here) = ((t * batch + b) * hidden + k, b * hidden + k);
                    let u = &units[at];
                    let g_trace = self.g[3][at] + 0.9 * d_trace[here];
                    d_trace[here] = g_trace;
                    let g_y = self.g[0][at] + 0.1 * g_trace + d_y[here];
                    let g_h = self.g[1][at] + d_h[here];
                    let thr = self.threshold[k];
                    let window = 1.0 - f64::from(self.pseudo.support) * (u.c - thr).abs();
                    let s = f64::from(self.pseudo.dampening) * window.max(0.0);
                    let s = s * (self.g[2][at] + u.c * g_y - thr * g_h);
                    threshold[k] -= s + u.o * g_h;
                    let g_c = u.o * g_y + s + g_h;
                    let share = self.share[at];
                    d_h[here] = (1.0 - share) * g_c + share * g_c * u.z;
                    let a_g = (1.0 - u.g * u.g) * (1.0 - u.z) * share * g_c;
                    let a_r = u.r * (1.0 - u.r) * a_g * u.b_g;
                    let a_z = u.z * (1.0 - u.z) * (u.before[1] - u.g) * share * g_c;
                    for (gate, value) in [a_z, a_r, a_g].into_iter().enumerate() {
                        a[gate * hidden + k] = value;
                        e[gate * hidden + k] = if gate == 2 { u.r * value } else { value };
                    }
                }
                let row = (t * batch + b) * input;
                for i in 0..input {
                    for j in 0..h3 {
                        x[row + i] += a[j] * self.kernel[i * h3 + j];
                        kernel[i * h3 + j] += self.x[row + i] * a[j];
                    }
                }
                for k in 0..hidden {
                    let y = units[(t * batch + b) * hidden + k].before[0];
                    d_y[b * hidden + k] =
                        (0..h3).map(|j| e[j] * self.recurrent[k * h3 + j]).sum::<f64>();
                    (0..h3).for_each(|j| recurrent[k * h3 + j] += y * e[j]);
                }
                for j in 0..h3 {
                    bias[j] += a[j];
                    recurrent_bias[j] += e[j];
                }
            }
        }
        let d_trace = d_trace.iter().map(|g| 0.9 * g).collect();
        [x, kernel, recurrent, bias, recurrent_bias, threshold, d_y, d_h, d_trace]
    }

    /// Ours: outputs, and gradients in the order of [`Layer::backward`].
    fn ours(&self, share: Option<f32>, given: [bool; 4]) -> (Outputs, Vec<Vec<f32>>) {
        let [kernel, recurrent, bias, recurrent_bias, threshold, x, mask] = [
            &self.kernel,
            &self.recurrent,
            &self.bias,
            &self.recurrent_bias,
            &self.threshold,
            &self.x,
            &self.share,
        ]
        .map(|values| single(values));
        let start = self.start.each_ref().map(|values| single(values));
        let weights = Weights {
            kernel: &kernel,
            recurrent: &recurrent,
            bias: &bias,
            recurrent_bias: &recurrent_bias,
            threshold: &threshold,
        };
        let state = State { y: &start[0], h: &start[1], trace: &start[2] };
        let zoneout = share.map_or(Zoneout::Mask(&mask), Zoneout::Share);
        let (out, saved) = forward(&self.s, &weights, &state, zoneout, &x);
        let g = self.g.each_ref().map(|values| single(values));
        let of = |k: usize| given[k].then_some(&g[k][..]);
        let g = OutputGradients { y: of(0), h: of(1), o: of(2), trace: of(3) };
        let pass = Pass { weights, state, zoneout, pseudo: self.pseudo, x: &x, saved: &saved };
        let found = backward(&self.s, &pass, &g, true);
        let gradients =
            [found.x.expect("asked for")].into_iter().chain(found.weights).chain(found.state);
        (out, gradients.collect())
    }
}

struct Unit {
    z: f64,
    r: f64,
    g: f64,
    b_g: f64,
    c: f64,
    o: f64,
    y: f64,
    h: f64,
    trace: f64,
    before: [f64; 3],
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn close(what: &str, found: &[f32], exact: &[f64], relative: f64) {
    assert_eq!(found.len(), exact.len(), "{what}");
    let largest = exact.iter().fold(0.0_f64, |m, e| m.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(exact).enumerate() {
        let error = (f64::from(*f) - e).abs();
        assert!(error <= relative * largest + 1e-6, "{what}[{i}]: {f} is not {e}");
    }
}

/// Compares a layer with its transcription, unless a state is so close to its threshold that
/// rounding decides about an event. Returns the fraction of units with an event.
fn compare(layer: &Layer, share: Option<f32>, given: [bool; 4]) -> Option<f64> {
    let mut layer = layer.clone();
    if let Some(share) = share {
        layer.share.fill(f64::from(share));
    }
    for (gradient, given) in layer.g.iter_mut().zip(given) {
        gradient.iter_mut().for_each(|g| *g *= f64::from(u8::from(given)));
    }
    let units = layer.forward();
    let hidden = layer.s.hidden;
    let near = |(k, u): (usize, &Unit)| (u.c - layer.threshold[k % hidden]).abs() < 2e-5;
    if units.iter().enumerate().any(near) {
        return None;
    }
    let (out, gradients) = layer.ours(share, given);
    let of = |part: fn(&Unit) -> f64| units.iter().map(part).collect::<Vec<f64>>();
    close("y", &out.y, &of(|u| u.y), 2e-5);
    close("h", &out.h, &of(|u| u.h), 2e-5);
    close("o", &out.o, &of(|u| u.o), 0.0);
    close("trace", &out.trace, &of(|u| u.trace), 2e-5);
    let names =
        ["x", "kernel", "recurrent", "bias", "recurrent bias", "threshold", "y0", "h0", "t0"];
    for ((name, found), exact) in names.iter().zip(&gradients).zip(layer.backward(&units)) {
        close(name, found, &exact, 2e-4);
    }
    Some(units.iter().map(|u| u.o).sum::<f64>() / units.len().max(1) as f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn layers_follow_their_equations(
        (time, batch, input, hidden) in (1..6_usize, 1..4_usize, 1..12_usize, 1..14_usize),
        seed: u64,
        quiet in 0.0..0.4,
        zoneout: bool,
        share in prop::option::of(0.3_f32..1.0),
        given: [bool; 4],
    ) {
        let layer = Layer::new(Shape { time, batch, input, hidden }, seed, quiet, zoneout);
        compare(&layer, share, given);
    }
}

/// Few events and a narrow window, so that what can be skipped is skipped; then many.
#[test]
fn large_layers_skip_what_is_silent() {
    let s = Shape { time: 5, batch: 9, input: 140, hidden: 205 };
    let rates = [0.45, 0.0].map(|quiet| {
        // A seed whose states keep clear of the thresholds.
        let found = (0..200).find_map(|seed| {
            let mut layer = Layer::new(s, seed, quiet, false);
            layer.pseudo.support = if quiet > 0.0 { 12.0 } else { 1.0 };
            compare(&layer, None, [true; 4])
        });
        found.expect("a seed without states at their threshold")
    });
    assert!(rates[0] < 0.2, "few events: {}", rates[0]);
    assert!(rates[1] > 0.3, "many events: {}", rates[1]);
}

/// Weights of a unit that never speaks and is always outside the window are not read: they are no
/// numbers, and nothing else shows it. Only what the first state is told asks for them.
#[test]
fn weights_of_silent_units_are_not_touched() {
    let s = Shape { time: 5, batch: 9, input: 140, hidden: 205 };
    let mut layer = Layer::new(s, 3, 0.45, false);
    layer.pseudo.support = 12.0;
    let silent = [0, 31, 32, 204];
    for unit in silent {
        layer.threshold[unit] = 9.0;
        layer.recurrent[unit * 3 * s.hidden..][..3 * s.hidden].fill(f64::NAN);
        layer.start[0].iter_mut().skip(unit).step_by(s.hidden).for_each(|y| *y = 0.0);
    }
    let (out, gradients) = layer.ours(None, [true; 4]);
    for values in [&out.y, &out.h, &out.o, &out.trace] {
        assert!(values.iter().all(|value| value.is_finite()), "forward");
    }
    let [y0, others] = [6..7, 0..9].map(|range| &gradients[range]);
    for (at, values) in others.iter().enumerate().filter(|(at, _)| *at != 6) {
        assert!(values.iter().all(|value| value.is_finite()), "gradient {at}");
    }
    for (at, value) in y0[0].iter().enumerate() {
        assert_eq!(
            value.is_nan(),
            silent.contains(&(at % s.hidden)),
            "{at}: what may be asked for"
        );
    }
}

#[test]
fn steps_are_the_sequence() {
    let layer = Layer::new(Shape { time: 6, batch: 1, input: 3, hidden: 21 }, 4, 0.1, false);
    let share = 0.8;
    let (out, _) = layer.ours(Some(share), [true; 4]);
    let threshold = single(&layer.threshold);
    let [mut y, mut h, _] = layer.start.each_ref().map(|part| single(part));
    for (t, x) in layer.x.chunks(3).enumerate() {
        let from_x = single(&layer.product(x, &layer.kernel, &layer.bias));
        let events: Vec<f64> = y.iter().map(|y| f64::from(*y)).collect();
        let from_y = single(&layer.product(&events, &layer.recurrent, &layer.recurrent_bias));
        step(&from_x, &from_y, &threshold, share, &mut h, &mut y);
        for (found, expected) in [(&y, &out.y), (&h, &out.h)] {
            for (f, e) in found.iter().zip(&expected[t * 21..]) {
                assert!((f - e).abs() < 1e-5, "step {t}: {f} is not {e}");
            }
        }
    }
}
