//! The WKV scan against its closed form in f64, chunks against the whole, gradients against finite
//! differences of the closed form.

use proptest::prelude::*;
use spikelet_kernels::wkv::{NOTHING, Params, Run, Saved, State, backward, sequence, step};

/// Sizes and values of a scan.
#[derive(Clone, Debug)]
struct Case {
    time: usize,
    batch: usize,
    decay: Vec<f32>,
    first: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    d_y: Vec<f32>,
    d_state: [Vec<f32>; 2],
}

impl Case {
    fn width(&self) -> usize {
        self.batch * self.decay.len()
    }

    fn params(&self) -> Params<'_> {
        Params { decay: &self.decay, first: &self.first }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    (1..8_usize, 1..4_usize, 1..5_usize).prop_flat_map(|(time, batch, channels)| {
        let values = |low: f32, high: f32, len| proptest::collection::vec(low..high, len);
        let width = batch * channels;
        (
            values(-3.0, 0.0, channels),
            values(-2.0, 2.0, channels),
            values(-4.0, 4.0, time * width),
            values(-2.0, 2.0, time * width),
            values(-1.0, 1.0, time * width),
            values(-1.0, 1.0, width),
            values(-1.0, 1.0, width),
        )
            .prop_map(move |(decay, first, k, v, d_y, d_p, d_q)| Case {
                time,
                batch,
                decay,
                first,
                k,
                v,
                d_y,
                d_state: [d_p, d_q],
            })
    })
}

fn start(width: usize) -> [Vec<f32>; 3] {
    [vec![0.0; width], vec![0.0; width], vec![NOTHING; width]]
}

fn state([p, q, o]: &mut [Vec<f32>; 3]) -> State<'_> {
    State { p, q, o }
}

/// `y[t]` of one channel, and the sums `a` and `b` after the last token.
fn closed_form(w: f64, u: f64, k: &[f64], v: &[f64]) -> (Vec<f64>, [f64; 2]) {
    let sums = |t: usize| {
        (0..t).fold([0.0, 0.0], |[a, b], i| {
            let weight = ((t - 1 - i) as f64 * w + k[i]).exp();
            [a + weight * v[i], b + weight]
        })
    };
    let y = (0..k.len()).map(|t| {
        let ([a, b], bonus) = (sums(t), (u + k[t]).exp());
        (a + bonus * v[t]) / (b + bonus)
    });
    (y.collect(), sums(k.len()))
}

/// One column of `[time, width]` in f64.
fn column(values: &[f32], width: usize, c: usize) -> Vec<f64> {
    values.chunks_exact(width).map(|row| f64::from(row[c])).collect()
}

fn near(found: f32, expected: f64, bound: f64) -> bool {
    (f64::from(found) - expected).abs() <= bound * (1.0 + expected.abs())
}

struct Forward {
    y: Vec<f32>,
    state: [Vec<f32>; 3],
    saved: [Vec<f32>; 3],
}

fn forward(case: &Case) -> Forward {
    let (width, len) = (case.width(), case.k.len());
    let (mut y, mut all) = (vec![0.0; len], start(width));
    let mut kept = [vec![0.0; len], vec![0.0; len], vec![0.0; len]];
    let [p, q, o] = &mut kept;
    let saved = Some(Saved { p, q, o });
    sequence(case.params(), state(&mut all), &case.k, &case.v, &mut y, saved);
    Forward { y, state: all, saved: kept }
}

/// The objective whose gradient is asked for: outputs and final sums, weighted.
fn objective(case: &Case, o: &[f32], c: usize, w: f64, u: f64, k: &[f64], v: &[f64]) -> f64 {
    let (y, [a, b]) = closed_form(w, u, k, v);
    let outputs = column(&case.d_y, case.width(), c).iter().zip(y).map(|(d, y)| d * y).sum::<f64>();
    // p and q are the sums times a constant e^-o.
    let scale = f64::from(-o[c]).exp();
    let [d_p, d_q] = &case.d_state;
    outputs + scale * (f64::from(d_p[c]) * a + f64::from(d_q[c]) * b)
}

proptest! {
    #[test]
    fn follows_the_closed_form(case in cases()) {
        let (width, channels) = (case.width(), case.decay.len());
        let found = forward(&case);
        for c in 0..width {
            let (w, u) = (f64::from(case.decay[c % channels]), f64::from(case.first[c % channels]));
            let (y, [a, b]) =
                closed_form(w, u, &column(&case.k, width, c), &column(&case.v, width, c));
            for (t, y) in y.iter().enumerate() {
                prop_assert!(near(found.y[t * width + c], *y, 1e-5));
            }
            let scale = f64::from(-found.state[2][c]).exp();
            prop_assert!(near(found.state[0][c], a * scale, 1e-5));
            prop_assert!(near(found.state[1][c], b * scale, 1e-5));
        }
    }

    #[test]
    fn chunks_and_steps_give_the_same_bits(case in cases(), cut in 0..8_usize) {
        let width = case.width();
        let whole = forward(&case);
        let cut = cut.min(case.time) * width;
        let (mut y, mut all) = (vec![0.0; case.k.len()], start(width));
        for at in [0..cut, cut..case.k.len()] {
            let (k, v) = (&case.k[at.clone()], &case.v[at.clone()]);
            sequence(case.params(), state(&mut all), k, v, &mut y[at], None);
        }
        prop_assert_eq!(&y, &whole.y);
        prop_assert_eq!(&all, &whole.state);
        let mut all = start(width);
        for t in 0..case.time {
            let at = t * width..(t + 1) * width;
            let (k, v) = (&case.k[at.clone()], &case.v[at.clone()]);
            step(case.params(), state(&mut all), k, v, &mut y[at]);
        }
        prop_assert_eq!(&y, &whole.y);
        prop_assert_eq!(&all, &whole.state);
    }

    #[test]
    fn gradients_are_slopes_of_the_closed_form(case in cases()) {
        let (width, channels) = (case.width(), case.decay.len());
        let run = forward(&case);
        let [mut d_p, mut d_q] = case.d_state.clone();
        let saved = [&run.saved[0][..], &run.saved[1], &run.saved[2]];
        let (k, v, d_y) = (&case.k[..], &case.v[..], &case.d_y[..]);
        let backwards = Run { params: case.params(), k, v, saved, d_y };
        let found = backward(&backwards, &mut d_p, &mut d_q);
        let (mut decay, mut first) = (vec![0.0; channels], vec![0.0; channels]);
        for c in 0..width {
            let (w, u) = (f64::from(case.decay[c % channels]), f64::from(case.first[c % channels]));
            let (k, v) = (column(&case.k, width, c), column(&case.v, width, c));
            let h = 1e-5;
            let slope = |f: &dyn Fn(f64) -> f64| (f(h) - f(-h)) / (2.0 * h);
            let of = |w, u, k: &[f64], v: &[f64]| objective(&case, &run.state[2], c, w, u, k, v);
            decay[c % channels] += slope(&|h| of(w + h, u, &k, &v));
            first[c % channels] += slope(&|h| of(w, u + h, &k, &v));
            for t in 0..case.time {
                let moved = |x: &[f64], h: f64| {
                    let mut x = x.to_vec();
                    x[t] += h;
                    x
                };
                let at = t * width + c;
                prop_assert!(near(found.k[at], slope(&|h| of(w, u, &moved(&k, h), &v)), 2e-5));
                prop_assert!(near(found.v[at], slope(&|h| of(w, u, &k, &moved(&v, h))), 2e-5));
            }
        }
        for c in 0..channels {
            prop_assert!(near(found.decay[c], decay[c], 5e-5), "{} {}", found.decay[c], decay[c]);
            prop_assert!(near(found.first[c], first[c], 5e-5), "{} {}", found.first[c], first[c]);
        }
    }

    /// The gradient of a run cut in two, passed on through the state.
    #[test]
    fn gradients_flow_through_the_state(case in cases(), cut in 1..8_usize) {
        let (width, cut) = (case.width(), cut.min(case.time) * case.width());
        let run = forward(&case);
        let gradients = |at: std::ops::Range<usize>, d_p: &mut [f32], d_q: &mut [f32]| {
            let saved = [0, 1, 2].map(|i: usize| &run.saved[i][at.clone()]);
            let (k, v, d_y) = (&case.k[at.clone()], &case.v[at.clone()], &case.d_y[at]);
            backward(&Run { params: case.params(), k, v, saved, d_y }, d_p, d_q)
        };
        let [mut d_p, mut d_q] = case.d_state.clone();
        let whole = gradients(0..case.k.len(), &mut d_p, &mut d_q);
        let [mut d_p, mut d_q] = case.d_state.clone();
        let second = gradients(cut..case.k.len(), &mut d_p, &mut d_q);
        let first = gradients(0..cut, &mut d_p, &mut d_q);
        let joined: Vec<f32> = first.k.iter().chain(&second.k).copied().collect();
        for (j, (found, expected)) in joined.iter().zip(&whole.k).enumerate() {
            prop_assert!(near(*found, f64::from(*expected), 2e-5), "k {}", j / width);
        }
        for (c, expected) in whole.decay.iter().enumerate() {
            prop_assert!(near(first.decay[c] + second.decay[c], f64::from(*expected), 2e-5));
        }
    }
}

/// Keys no exponential survives: the largest weight wins, and nothing is infinite or NaN.
#[test]
fn extreme_keys_do_not_overflow() {
    let k = [500.0, -500.0, 1000.0, -1000.0];
    let v = [1.0, 2.0, 3.0, 4.0];
    let case = Case {
        time: 4,
        batch: 1,
        decay: vec![-1.0],
        first: vec![0.5],
        k: k.to_vec(),
        v: v.to_vec(),
        d_y: vec![1.0; 4],
        d_state: [vec![0.0], vec![0.0]],
    };
    let run = forward(&case);
    assert_eq!(run.y, [1.0, 1.0, 3.0, 3.0]);
    let (k, v, d_y) = (&case.k[..], &case.v[..], &case.d_y[..]);
    let saved = [&run.saved[0][..], &run.saved[1], &run.saved[2]];
    let backwards = Run { params: case.params(), k, v, saved, d_y };
    let found = backward(&backwards, &mut [0.0], &mut [0.0]);
    assert_eq!(found.v, [2.0, 0.0, 2.0, 0.0]);
    assert!(found.k.iter().chain(&found.decay).chain(&found.first).all(|g| g.is_finite()));
}

/// Many columns go to several threads: the same bits as one after the other.
#[test]
fn blocks_do_not_matter() {
    let (time, batch, channels) = (9, 5, 700);
    let wave = |n: usize, k: f32| (0..n).map(|i| (i as f32 * k).sin() * 3.0).collect::<Vec<_>>();
    let width = batch * channels;
    let case = Case {
        time,
        batch,
        decay: wave(channels, 0.37).iter().map(|x| -x.abs()).collect(),
        first: wave(channels, 0.71),
        k: wave(time * width, 0.123),
        v: wave(time * width, 0.517),
        d_y: wave(time * width, 0.917),
        d_state: [wave(width, 0.3), wave(width, 0.2)],
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let run = forward(&case);
            let [mut d_p, mut d_q] = case.d_state.clone();
            let saved = [&run.saved[0][..], &run.saved[1], &run.saved[2]];
            let (k, v, d_y) = (&case.k[..], &case.v[..], &case.d_y[..]);
            let backwards = Run { params: case.params(), k, v, saved, d_y };
            let g = backward(&backwards, &mut d_p, &mut d_q);
            [run.y, g.k, g.v, g.decay, g.first, d_p, d_q]
        })
    };
    assert_eq!(run(1), run(3));
}
