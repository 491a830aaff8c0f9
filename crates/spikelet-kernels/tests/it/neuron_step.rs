//! The inference step against the equations, written out one neuron at a time.

use crate::common::{quarters, specs};
use proptest::prelude::*;
use spikelet_kernels::neuron::{Model, NeuronSpec, Param, Params, Reset, State, step, step_events};

/// One neuron that remembers its last spike and the threshold it crossed, so that a delayed
/// reset needs no comparison with the stored potential.
#[derive(Clone, Copy, Default)]
struct Reference {
    v: f32,
    i: f32,
    a: f32,
    spiked: bool,
    crossed: f32,
}

struct Values {
    beta: f32,
    second_decay: f32,
    gain: f32,
    threshold: f32,
}

impl Reference {
    fn advance(&mut self, spec: &NeuronSpec, p: &Values, current: f32) -> f32 {
        let beta = p.beta.clamp(0.0, 1.0);
        let decay = p.second_decay.clamp(0.0, 1.0);
        let reset = |v: f32, threshold: f32| match spec.reset {
            Reset::None => v,
            Reset::Subtract => v - threshold,
            Reset::Zero => 0.0,
        };
        let mut v = match spec.model {
            Model::If => self.v + current,
            Model::Lif { input_decay: true } => beta * self.v + (1.0 - beta) * current,
            Model::CubaLif => {
                self.i = decay * self.i + current;
                beta * self.v + self.i
            }
            _ => beta * self.v + current,
        };
        if spec.model == Model::Li {
            self.v = v;
            return v;
        }
        if spec.reset_delayed && self.spiked {
            v = reset(v, self.crossed);
        }
        let mut threshold = p.threshold;
        if spec.model == Model::AdaptiveLif {
            threshold += p.gain * self.a;
        }
        let excess = v - threshold;
        let spike = excess > 0.0 || (spec.fires_at_threshold && excess == 0.0);
        if !spec.reset_delayed && spike {
            v = reset(v, threshold);
        }
        self.v = v;
        self.a = decay * self.a + f32::from(u8::from(spike));
        (self.spiked, self.crossed) = (spike, threshold);
        f32::from(u8::from(spike))
    }
}

fn param(values: &[f32], per_neuron: bool) -> Param<'_> {
    if per_neuron { Param::PerNeuron(values) } else { Param::Shared(values[0]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn steps_follow_the_equations(
        spec in specs(),
        n in 1usize..200,
        period in 1usize..9,
        steps in 1usize..12,
        per_neuron in proptest::array::uniform4(any::<bool>()),
        // beyond 0..=1 on both sides, to see the clamp
        decays in quarters(-1, 5, 16),
        thresholds in quarters(1, 6, 16),
        seed in quarters(-4, 8, 101),
    ) {
        let beta = &decays[..period];
        let second_decay = &decays[period..2 * period];
        let threshold = &thresholds[..period];
        let gain = &thresholds[period..2 * period];
        let params = Params {
            beta: param(beta, per_neuron[0]),
            second_decay: param(second_decay, per_neuron[1]),
            gain: param(gain, per_neuron[2]),
            threshold: param(threshold, per_neuron[3]),
        };
        let of = |values: &[f32], k: usize, j: usize| if per_neuron[k] { values[j % period] } else { values[0] };

        let mut reference = vec![Reference::default(); n];
        let seconds = if spec.has_second() { n } else { 0 };
        let (mut v, mut second) = (vec![0.0; n], vec![0.0; seconds]);
        let (mut v_events, mut second_events) = (v.clone(), second.clone());
        let (mut output, mut events) = (vec![f32::NAN; n], vec![u32::MAX; n]);
        for t in 0..steps {
            let current: Vec<f32> = (0..n).map(|j| seed[(j * 7 + t * 31) % seed.len()]).collect();
            let state = State { v: &mut v, second: &mut second };
            step(&spec, &params, state, &current, &mut output);
            let state = State { v: &mut v_events, second: &mut second_events };
            let count = step_events(&spec, &params, state, &current, &mut events);
            let want: Vec<f32> = (0..n)
                .map(|j| {
                    let values = Values {
                        beta: of(beta, 0, j),
                        second_decay: of(second_decay, 1, j),
                        gain: of(gain, 2, j),
                        threshold: of(threshold, 3, j),
                    };
                    reference[j].advance(&spec, &values, current[j])
                })
                .collect();
            prop_assert_eq!(&output, &want, "step {}", t);
            let spikes: Vec<u32> = (0..n as u32)
                .filter(|j| spec.model != Model::Li && want[*j as usize] == 1.0)
                .collect();
            prop_assert_eq!(&events[..count], &spikes[..]);
            let potentials: Vec<f32> = reference.iter().map(|r| r.v).collect();
            prop_assert_eq!(&v, &potentials);
            prop_assert_eq!(&v_events, &potentials);
            prop_assert_eq!(&second, &second_events);
        }
    }
}

/// snnTorch 1.0: beta 0.5, threshold 1, constant current 0.75, strict comparison, delayed
/// subtraction; computed by hand.
#[test]
fn delayed_subtraction_acts_one_step_after_the_spike() {
    let spec = NeuronSpec {
        model: Model::Lif { input_decay: false },
        reset: Reset::Subtract,
        reset_delayed: true,
        fires_at_threshold: false,
    };
    let params = Params::lif(Param::Shared(0.5), Param::Shared(1.0));
    let (mut v, mut spikes) = ([0.0], [0.0]);
    let trace: Vec<(f32, f32)> = (0..4)
        .map(|_| {
            let state = State { v: &mut v, second: &mut [] };
            step(&spec, &params, state, &[0.75], &mut spikes);
            (v[0], spikes[0])
        })
        .collect();
    assert_eq!(trace, [(0.75, 0.0), (1.125, 1.0), (0.3125, 0.0), (0.90625, 0.0)]);
}

#[test]
#[should_panic(expected = "second state value per neuron")]
fn a_missing_synaptic_current_is_refused() {
    let spec = NeuronSpec {
        model: Model::CubaLif,
        reset: Reset::Zero,
        reset_delayed: false,
        fires_at_threshold: true,
    };
    let half = Param::Shared(0.5);
    let params = Params::cuba_lif(half, half, half);
    step(&spec, &params, State { v: &mut [0.0], second: &mut [] }, &[1.0], &mut [0.0]);
}
