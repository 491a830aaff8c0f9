//! Sequences against steps, and gradients against forward-mode differentiation of the equations.

use std::ops::{Add, Mul, Sub};

use crate::common::{quarters, specs, surrogates};
use proptest::prelude::*;
use spikelet_kernels::neuron::{
    Model, NeuronSpec, Param, ParamGradients, Params, Reset, Run, Saved, State, backward, sequence,
    step,
};
use spikelet_kernels::surrogate::Surrogate;

/// A value and its derivative by one chosen variable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Dual {
    value: f64,
    slope: f64,
}

fn constant(value: f64) -> Dual {
    Dual { value, slope: 0.0 }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { value: self.value + other.value, slope: self.slope + other.slope }
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { value: self.value - other.value, slope: self.slope - other.slope }
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let slope = self.slope * other.value + self.value * other.slope;
        Self { value: self.value * other.value, slope }
    }
}

impl Dual {
    fn clamp(self) -> Self {
        let inside = (0.0..=1.0).contains(&self.value);
        Self { value: self.value.clamp(0.0, 1.0), slope: if inside { self.slope } else { 0.0 } }
    }
}

/// All a neuron's gradients can be asked for.
#[derive(Clone, Debug)]
struct Inputs {
    current: Vec<Dual>,
    v: Dual,
    second: Dual,
    beta: Dual,
    second_decay: Dual,
    gain: Dual,
    threshold: Dual,
}

struct Rules {
    spec: NeuronSpec,
    surrogate: Surrogate,
    detach_reset: bool,
}

impl Rules {
    fn spike(&self, excess: Dual) -> Dual {
        let on = excess.value > 0.0 || self.spec.fires_at_threshold && excess.value == 0.0;
        let slope = f64::from(self.surrogate.grad(excess.value as f32)) * excess.slope;
        Dual { value: f64::from(u8::from(on)), slope }
    }

    fn reset(&self, v: Dual, spike: Dual, threshold: Dual) -> Dual {
        let spike = if self.detach_reset { constant(spike.value) } else { spike };
        match self.spec.reset {
            Reset::None => v,
            Reset::Subtract => v - spike * threshold,
            Reset::Zero => v * (constant(1.0) - spike),
        }
    }

    /// Outputs and final state of one neuron.
    fn run(&self, x: &Inputs) -> (Vec<Dual>, Dual, Dual) {
        let (beta, decay) = (x.beta.clamp(), x.second_decay.clamp());
        let adaptive = self.spec.model == Model::AdaptiveLif;
        let threshold = |a: Dual| if adaptive { x.threshold + x.gain * a } else { x.threshold };
        let delayed = self.spec.reset_delayed && self.spec.reset != Reset::None;
        let (mut v, mut second) = (x.v, x.second);
        let mut outputs = Vec::new();
        for &current in &x.current {
            let integrate = |v: Dual, second: &mut Dual| match self.spec.model {
                Model::If => v + current,
                Model::Lif { input_decay: true } => beta * v + (constant(1.0) - beta) * current,
                Model::CubaLif => {
                    *second = decay * *second + current;
                    beta * v + *second
                }
                _ => beta * v + current,
            };
            if self.spec.model == Model::Li {
                v = integrate(v, &mut second);
                outputs.push(v);
            } else if delayed {
                let crossed = threshold(second);
                let before = self.spike(v - crossed);
                v = integrate(v, &mut second);
                if adaptive {
                    second = decay * second + before;
                }
                v = self.reset(v, before, crossed);
                outputs.push(self.spike(v - threshold(second)));
            } else {
                v = integrate(v, &mut second);
                let crossed = threshold(second);
                let spike = self.spike(v - crossed);
                v = self.reset(v, spike, crossed);
                if adaptive {
                    second = decay * second + spike;
                }
                outputs.push(spike);
            }
        }
        (outputs, v, second)
    }
}

/// A population with random dynamics, sizes and values. Parameters repeat with period `period`.
#[derive(Clone, Debug)]
struct Case {
    spec: NeuronSpec,
    surrogate: Surrogate,
    detach_reset: bool,
    time: usize,
    period: usize,
    width: usize,
    per_neuron: [bool; 4],
    /// threshold, beta, second decay, gain
    params: [Vec<f32>; 4],
    v: Vec<f32>,
    second: Vec<f32>,
    current: Vec<f32>,
    d_output: Vec<f32>,
    d_v: Vec<f32>,
    d_second: Vec<f32>,
}

fn cases(max_width: usize) -> impl Strategy<Value = Case> {
    (specs(), surrogates(), any::<bool>(), 1usize..7, 1usize..5, 1..max_width).prop_flat_map(
        |(spec, surrogate, detach_reset, time, period, rows)| {
            let width = rows * period;
            let seconds = if spec.has_second() { width } else { 0 };
            let params = [
                quarters(1, 5, period).boxed(),
                quarters(-1, 5, period).boxed(),
                quarters(-1, 5, period).boxed(),
                quarters(1, 4, period).boxed(),
            ];
            let state = (quarters(-2, 6, width), quarters(0, 4, seconds));
            let total = time * width;
            let gradients =
                (quarters(-4, 4, total), quarters(-4, 4, width), quarters(-4, 4, seconds));
            let per_neuron = proptest::array::uniform4(any::<bool>());
            (params, state, quarters(-4, 8, total), gradients, per_neuron).prop_map(
                move |(params, (v, second), current, (d_output, d_v, d_second), per_neuron)| Case {
                    spec,
                    surrogate,
                    detach_reset,
                    time,
                    period,
                    width,
                    per_neuron,
                    params,
                    v,
                    second,
                    current,
                    d_output,
                    d_v,
                    d_second,
                },
            )
        },
    )
}

impl Case {
    fn params(&self) -> Params<'_> {
        let param = |k: usize| match self.per_neuron[k] {
            true => Param::PerNeuron(&self.params[k]),
            false => Param::Shared(self.params[k][0]),
        };
        Params { threshold: param(0), beta: param(1), second_decay: param(2), gain: param(3) }
    }

    /// Output, saved rows, final state.
    fn forward(&self) -> [Vec<f32>; 5] {
        let (total, seconds) = (self.time * self.width, self.time * self.second.len());
        let (mut v, mut second) = (self.v.clone(), self.second.clone());
        let (mut output, mut u, mut used) =
            (vec![0.0; total], vec![0.0; total], vec![0.0; seconds]);
        let state = State { v: &mut v, second: &mut second };
        let saved = Saved { u: &mut u, used: &mut used };
        sequence(&self.spec, &self.params(), state, &self.current, &mut output, Some(saved));
        [output, u, used, v, second]
    }

    /// Gradients by current, initial potential, initial second value, and parameters.
    fn backward(&self) -> ([Vec<f32>; 3], ParamGradients) {
        let [_, mut u, used, ..] = self.forward();
        let (mut d_v, mut d_second) = (self.d_v.clone(), self.d_second.clone());
        let needs_current = self.spec.needs_current(self.detach_reset, true);
        let run = Run {
            spec: &self.spec,
            params: self.params(),
            surrogate: self.surrogate,
            detach_reset: self.detach_reset,
            initial_v: &self.v,
            initial_second: &self.second,
            current: if needs_current { &self.current } else { &[] },
            used: &used,
            d_output: &self.d_output,
        };
        let d_state = State { v: &mut d_v, second: &mut d_second };
        let d_params = backward(&run, &mut u, d_state, true).expect("asked for");
        ([u, d_v, d_second], d_params)
    }

    /// Neuron `j` as the oracle sees it.
    fn neuron(&self, j: usize) -> Inputs {
        let param = |k: usize| {
            let index = if self.per_neuron[k] { j % self.period } else { 0 };
            constant(self.params[k][index].into())
        };
        let at = |values: &[f32]| constant(values.get(j).copied().unwrap_or(0.0).into());
        Inputs {
            current: (0..self.time).map(|t| at(&self.current[t * self.width..])).collect(),
            v: at(&self.v),
            second: at(&self.second),
            threshold: param(0),
            beta: param(1),
            second_decay: param(2),
            gain: param(3),
        }
    }

    /// Derivative of the loss (all outputs and final states, weighted by the given gradients) of
    /// neuron `j` by the variable that `pick` chooses.
    fn derivative(&self, j: usize, pick: impl Fn(&mut Inputs) -> &mut Dual) -> f64 {
        let Case { spec, surrogate, detach_reset, .. } = *self;
        let mut inputs = self.neuron(j);
        pick(&mut inputs).slope = 1.0;
        let (outputs, v, second) = Rules { spec, surrogate, detach_reset }.run(&inputs);
        let weight = |values: &[f32], i: usize| f64::from(values.get(i).copied().unwrap_or(0.0));
        let d_output = |t: usize| weight(&self.d_output, t * self.width + j);
        let over_time: f64 = outputs.iter().enumerate().map(|(t, s)| s.slope * d_output(t)).sum();
        over_time + v.slope * weight(&self.d_v, j) + second.slope * weight(&self.d_second, j)
    }

    fn check_param(
        &self,
        k: usize,
        name: &str,
        got: &[f32],
        pick: impl Fn(&mut Inputs) -> &mut Dual,
    ) -> Result<(), TestCaseError> {
        let mut want = vec![0.0; if self.per_neuron[k] { self.period } else { 1 }];
        for j in 0..self.width {
            let index = j % want.len();
            want[index] += self.derivative(j, &pick);
        }
        if got.is_empty() {
            prop_assert!(want.iter().all(|w| *w == 0.0), "{name} has a gradient");
            return Ok(());
        }
        prop_assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            close(name, *got, *want, 1e-4)?;
        }
        Ok(())
    }
}

fn close(name: &str, got: f32, want: f64, tolerance: f64) -> Result<(), TestCaseError> {
    let error = (f64::from(got) - want).abs();
    prop_assert!(error <= tolerance * (1.0 + want.abs()), "{name}: {got}, expected {want}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn sequences_equal_steps(case in cases(300)) {
        let [output, _, _, v_end, second_end] = case.forward();
        let (mut v, mut second) = (case.v.clone(), case.second.clone());
        let mut spikes = vec![0.0; case.width];
        for t in 0..case.time {
            let row = t * case.width..(t + 1) * case.width;
            let state = State { v: &mut v, second: &mut second };
            step(&case.spec, &case.params(), state, &case.current[row.clone()], &mut spikes);
            prop_assert_eq!(&output[row], &spikes[..]);
        }
        prop_assert_eq!(v, v_end);
        prop_assert_eq!(second, second_end);
    }

    #[test]
    fn gradients_are_those_of_the_equations(case in cases(5)) {
        let ([d_current, d_v, d_second], d_params) = case.backward();
        for j in 0..case.width {
            for t in 0..case.time {
                let want = case.derivative(j, |x| &mut x.current[t]);
                close("current", d_current[t * case.width + j], want, 2e-5)?;
            }
            close("v", d_v[j], case.derivative(j, |x| &mut x.v), 2e-5)?;
            if case.spec.has_second() {
                close("second", d_second[j], case.derivative(j, |x| &mut x.second), 2e-5)?;
            }
        }
        case.check_param(0, "threshold", &d_params.threshold, |x| &mut x.threshold)?;
        case.check_param(1, "beta", &d_params.beta, |x| &mut x.beta)?;
        case.check_param(2, "second decay", &d_params.second_decay, |x| &mut x.second_decay)?;
        case.check_param(3, "gain", &d_params.gain, |x| &mut x.gain)?;
    }
}

/// Large enough to be spread over threads; sums over all columns must not notice.
#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (time, width) = (20, 5000);
    let spread = |len: usize, k: usize| -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + k * 104_729) % 1999) as f32 / 999.5 - 0.7).collect()
    };
    let case = Case {
        spec: NeuronSpec {
            model: Model::AdaptiveLif,
            reset: Reset::Subtract,
            reset_delayed: true,
            fires_at_threshold: false,
        },
        surrogate: Surrogate::ARCTAN,
        detach_reset: false,
        time,
        period: 1,
        width,
        per_neuron: [false; 4],
        params: [vec![0.6], vec![0.9], vec![0.8], vec![0.2]],
        v: spread(width, 1),
        second: spread(width, 2),
        current: spread(time * width, 3),
        d_output: spread(time * width, 4),
        d_v: spread(width, 5),
        d_second: spread(width, 6),
    };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| (case.forward(), case.backward()))
    };
    let alone = with(1);
    assert!(alone.0[0].contains(&1.0) && alone.0[0].contains(&0.0), "some spike, some do not");
    assert_eq!(alone, with(2));
    assert_eq!(alone, with(5));
}
