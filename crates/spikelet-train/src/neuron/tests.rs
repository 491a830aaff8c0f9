//! The fused operation against its composed form, and the module around them.

use burn::module::Param;
use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use proptest::prelude::*;
use spikelet_kernels::neuron::{Model, NeuronSpec, Reset};
use spikelet_kernels::surrogate::Surrogate;

use super::*;

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn vector<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("f32")
}

/// Multiples of 1/4, so that potentials often equal the threshold exactly.
fn quarters(low: i32, high: i32, len: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((low..=high).prop_map(|q| q as f32 * 0.25), len)
}

fn dynamics() -> impl Strategy<Value = Dynamics> {
    let model = prop_oneof![
        Just(Model::If),
        any::<bool>().prop_map(|input_decay| Model::Lif { input_decay }),
        Just(Model::CubaLif),
        Just(Model::AdaptiveLif),
        Just(Model::Li),
    ];
    let reset = prop_oneof![Just(Reset::None), Just(Reset::Subtract), Just(Reset::Zero)];
    let surrogate = prop_oneof![
        Just(Surrogate::ARCTAN),
        Just(Surrogate::SIGMOID),
        Just(Surrogate::FastSigmoid { slope: 3.0 }),
        Just(Surrogate::EGRU),
        Just(Surrogate::RECTANGLE),
        Just(Surrogate::StraightThrough),
    ];
    (model, reset, surrogate, any::<[bool; 3]>()).prop_map(
        |(model, reset, surrogate, [reset_delayed, fires_at_threshold, detach_reset])| Dynamics {
            spec: NeuronSpec { model, reset, reset_delayed, fires_at_threshold },
            surrogate,
            detach_reset,
        },
    )
}

/// Values of a run `[time, batch, neurons]` and the weights of its loss.
#[derive(Clone, Debug)]
struct Case {
    dynamics: Dynamics,
    shape: [usize; 3],
    current: Vec<f32>,
    v: Vec<f32>,
    second: Vec<f32>,
    /// threshold, beta, second decay, gain
    params: [Vec<f32>; 4],
    weights: [Vec<f32>; 3],
    /// Whether outputs and final state are part of the loss.
    in_loss: [bool; 2],
}

fn cases() -> impl Strategy<Value = Case> {
    (dynamics(), 1usize..6, 1usize..4, 1usize..5, any::<[bool; 4]>()).prop_flat_map(
        |(dynamics, time, batch, neurons, per_neuron)| {
            let width = batch * neurons;
            let len = |k: usize| if per_neuron[k] { neurons } else { 1 };
            let params = [
                quarters(1, 5, len(0)).boxed(),
                quarters(-1, 5, len(1)).boxed(),
                quarters(-1, 5, len(2)).boxed(),
                quarters(1, 4, len(3)).boxed(),
            ];
            let weights = [
                quarters(-4, 4, time * width).boxed(),
                quarters(-4, 4, width).boxed(),
                quarters(-4, 4, width).boxed(),
            ];
            let state = (quarters(-2, 6, width), quarters(0, 4, width));
            let in_loss = prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])];
            (quarters(-4, 8, time * width), state, params, weights, in_loss).prop_map(
                move |(current, (v, second), params, weights, in_loss)| Case {
                    dynamics,
                    shape: [time, batch, neurons],
                    current,
                    v,
                    second,
                    params,
                    weights,
                    in_loss,
                },
            )
        },
    )
}

type Form = fn(Tensor<3>, NeuronState, NeuronTensors, Dynamics) -> (Tensor<3>, NeuronState);

/// Runs over the first half of the steps and goes on from its final state.
fn in_two_chunks(
    current: Tensor<3>,
    state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<3>, NeuronState) {
    let [time, ..] = current.dims();
    let half = time / 2;
    if half == 0 {
        return neuron_sequence_from(current, state, params, dynamics);
    }
    let (first, state) =
        neuron_sequence_from(current.clone().narrow(0, 0, half), state, params.clone(), dynamics);
    let rest = current.narrow(0, half, time - half);
    let (second, state) = neuron_sequence_from(rest, state, params, dynamics);
    (Tensor::cat(vec![first, second], 0), state)
}

/// One call a time step.
fn step_by_step(
    current: Tensor<3>,
    mut state: NeuronState,
    params: NeuronTensors,
    dynamics: Dynamics,
) -> (Tensor<3>, NeuronState) {
    let mut outputs = Vec::new();
    for current in current.iter_dim(0) {
        let current = current.squeeze_dim::<2>(0);
        let (output, next) = neuron_step(current, state, params.clone(), dynamics);
        outputs.push(output);
        state = next;
    }
    (Tensor::stack(outputs, 0), state)
}

impl Case {
    /// Values (outputs, final state) and gradients (current, state, parameters) of a form.
    fn run(&self, form: Form) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let device = Device::flex().autodiff();
        let [_, batch, neurons] = self.shape;
        let has_second = self.dynamics.spec.has_second();
        let leaf = |values: &[f32]| tensor::<1>(values, [values.len()], &device).require_grad();
        let (current, v, second) = (leaf(&self.current), leaf(&self.v), leaf(&self.second));
        let [threshold, beta, second_decay, gain] = self.params.each_ref().map(|p| leaf(p));
        let state = NeuronState {
            v: v.clone().reshape([batch, neurons]),
            second: has_second.then(|| second.clone().reshape([batch, neurons])),
        };
        let adaptive = self.dynamics.spec.model == Model::AdaptiveLif;
        let params = NeuronTensors {
            beta: beta.clone(),
            threshold: threshold.clone(),
            second_decay: has_second.then(|| second_decay.clone()),
            gain: adaptive.then(|| gain.clone()),
        };
        let (output, end) = form(current.clone().reshape(self.shape), state, params, self.dynamics);
        let plain = |tensor: Tensor<2>| vector(tensor.inner());
        let mut results = vec![vector(output.clone().inner()), plain(end.v.clone())];
        results.extend(end.second.clone().map(plain));

        let weigh = |values: &[f32]| tensor(values, [batch, neurons], &device);
        let mut loss = Tensor::<1>::zeros([1], &device);
        if self.in_loss[0] {
            loss = loss + (output * tensor(&self.weights[0], self.shape, &device)).sum();
        }
        if self.in_loss[1] {
            loss = loss + (end.v * weigh(&self.weights[1])).sum();
            if let Some(second) = end.second {
                loss = loss + (second * weigh(&self.weights[2])).sum();
            }
        }
        let gradients = loss.backward();
        let all = [current, v, second, threshold, beta, second_decay, gain];
        let gradients = all
            .iter()
            .map(|leaf| match leaf.grad(&gradients) {
                Some(gradient) => vector(gradient),
                None => vec![0.0; leaf.dims()[0]],
            })
            .collect();
        (results, gradients)
    }

    fn agree(&self, form: Form, oracle: Form) -> Result<(), TestCaseError> {
        let (results, gradients) = self.run(form);
        let (expected_results, expected_gradients) = self.run(oracle);
        prop_assert_eq!(results, expected_results);
        let names = ["current", "v", "second", "threshold", "beta", "second decay", "gain"];
        for (name, (got, want)) in names.iter().zip(gradients.iter().zip(&expected_gradients)) {
            prop_assert_eq!(got.len(), want.len());
            let size = want.iter().fold(1.0_f32, |size, w| size.max(w.abs()));
            for (got, want) in got.iter().zip(want) {
                prop_assert!(
                    (got - want).abs() <= 1e-5 * size,
                    "{}: {}, expected {}",
                    name,
                    got,
                    want
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn fused_equals_composed(case in cases()) {
        case.agree(neuron_sequence_from, composed::sequence)?;
    }

    #[test]
    fn chunks_and_steps_equal_the_sequence(case in cases()) {
        case.agree(in_two_chunks, neuron_sequence_from)?;
        case.agree(step_by_step, neuron_sequence_from)?;
    }
}

fn lif() -> NeuronConfig {
    NeuronConfig { beta: Some(0.5.into()), ..NeuronConfig::new(NeuronModel::Lif) }
}

/// snnTorch: beta 0.5, threshold 1, constant current 0.75, by hand.
#[test]
fn the_default_is_snntorch() {
    let device = Device::flex();
    let neurons = lif().init(1, &device).expect("valid");
    let (spikes, end) = neurons.sequence_from(
        Tensor::<3>::full([4, 1, 1], 0.75, &device),
        neurons.initial_state(&[1, 1], &device),
    );
    assert_eq!(vector(spikes), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(vector(end.v), [0.90625]);
}

#[test]
fn views_and_other_types_give_the_same_spikes() {
    let device = Device::flex();
    let neurons = lif().init(5, &device).expect("valid");
    let current = Tensor::<4>::random([6, 3, 2, 5], Distribution::Uniform(-1.0, 2.0), &device);
    let expected = vector(neurons.sequence(current.clone()));
    assert!(expected.contains(&1.0) && expected.contains(&0.0));

    let swapped = vector(neurons.sequence(current.clone().swap_dims(1, 2)).swap_dims(1, 2));
    assert_eq!(swapped, expected);

    let double = |t: Tensor<1>| t.cast(DType::F64);
    let params = neurons.tensors();
    let state = neurons.initial_state(&[3, 2, 5], &device);
    assert!(fused::applies(&current, &state));
    assert!(!fused::applies(&current.clone().cast(DType::F64), &state));
    let params = NeuronTensors {
        beta: double(params.beta),
        threshold: double(params.threshold),
        second_decay: None,
        gain: None,
    };
    let spikes = neuron_sequence(current.cast(DType::F64), params, neurons.dynamics);
    assert_eq!(vector(spikes.cast(DType::F32)), expected);
}

#[test]
fn gradients_of_a_leaky_integrator_are_difference_quotients() {
    let device = Device::flex().autodiff();
    let current = Tensor::<3>::random([7, 2, 3], Distribution::Uniform(-1.0, 1.0), &device);
    let weights = Tensor::<3>::random([7, 2, 3], Distribution::Uniform(-1.0, 1.0), &device);
    let config = |beta: f32| NeuronConfig {
        beta: Some(ParameterConfig { value: beta, learnable: true, per_neuron: false }),
        ..NeuronConfig::new(NeuronModel::Li)
    };
    let loss = |beta: f32| {
        let neurons = config(beta).init(3, &device).expect("valid");
        ((neurons.sequence(current.clone()) * weights.clone()).sum(), neurons)
    };
    let (value, neurons) = loss(0.7);
    let beta = neurons.beta.as_ref().expect("a decay").val();
    let got: f32 = beta.grad(&value.backward()).expect("a gradient").into_scalar();
    let at = |beta: f32| loss(beta).0.into_scalar::<f32>();
    let quotient = (at(0.71) - at(0.69)) / 0.02;
    assert!((got - quotient).abs() < 5e-3 * (1.0 + quotient.abs()), "{got}, quotient {quotient}");
}

/// SpikingJelly's `ParametricLIFNode` with decayed input: `v + (x - v) sigmoid(w)`.
#[test]
fn parametric_lif_learns_its_decay() {
    let device = Device::flex().autodiff();
    let config = NeuronConfig {
        beta: Some(ParameterConfig { value: 0.5, learnable: true, per_neuron: true }),
        parametric: true,
        input_decay: true,
        reset: ResetKind::Zero,
        reset_delayed: false,
        fires_at_threshold: true,
        ..NeuronConfig::new(NeuronModel::Lif)
    };
    let mut neurons = config.init(2, &device).expect("valid");
    assert!(neurons.beta.is_none());
    assert_eq!(vector(neurons.w.as_ref().expect("w").val().inner()), [0.0, 0.0]);
    let w = tensor::<1>(&[1.0, -2.0], [2], &device);
    neurons.w = Some(Param::from_tensor(w));

    let x = [0.4_f32, 0.9, -0.3];
    let current = tensor(&[x[0], x[0], x[1], x[1], x[2], x[2]], [3, 1, 2], &device);
    let state = neurons.initial_state(&[1, 2], &device);
    let (spikes, end) = neurons.sequence_from(current, state);
    assert_eq!(vector(spikes.inner()), [0.0; 6], "a potential below the largest input never fires");
    let by_hand = |w: f32| {
        let rate = 1.0 / (1.0 + (-w).exp());
        x.iter().fold(0.0, |v, x| v + (x - v) * rate)
    };
    for (got, w) in vector(end.v.clone().inner()).iter().zip([1.0, -2.0]) {
        assert!((got - by_hand(w)).abs() < 1e-6, "{got}, {}", by_hand(w));
    }
    let gradients = end.v.sum().backward();
    let got = vector(neurons.w.expect("w").val().grad(&gradients).expect("a gradient"));
    for (got, w) in got.iter().zip([1.0, -2.0]) {
        let quotient = (by_hand(w + 1e-2) - by_hand(w - 1e-2)) / 2e-2;
        assert!((got - quotient).abs() < 1e-4, "{got}, quotient {quotient}");
    }
}

#[test]
fn only_learnable_parameters_have_gradients() {
    let device = Device::flex().autodiff();
    let config = NeuronConfig {
        threshold: ParameterConfig { value: 0.3, learnable: true, per_neuron: true },
        ..lif()
    };
    let neurons = config.init(4, &device).expect("valid");
    let current = Tensor::<3>::full([5, 2, 4], 0.2, &device);
    let gradients = neurons.sequence(current).sum().backward();
    let threshold = neurons.threshold.val().grad(&gradients).expect("a gradient");
    assert!(vector(threshold).iter().all(|g| *g < 0.0), "a higher threshold, fewer spikes");
    assert!(neurons.beta.expect("a decay").val().grad(&gradients).is_none());
}

#[test]
fn lowering_clamps_decays_and_names_tensors() {
    let device = Device::flex();
    let config = NeuronConfig {
        alpha: Some(0.25.into()),
        threshold: ParameterConfig { value: 0.5, learnable: true, per_neuron: true },
        reset_delayed: false,
        ..NeuronConfig { model: NeuronModel::CubaLif, ..lif() }
    };
    let mut neurons = config.init(3, &device).expect("valid");
    neurons.beta = Some(Param::from_tensor(tensor(&[1.5, 0.5, -0.5], [3], &device)));
    let mut builder = spikelet_graph::GraphBuilder::new("test");
    builder.input("input", spikelet_graph::Signal::Dense, &[3]);
    let lowered = neurons.lower("h", &mut builder);
    assert_eq!(
        lowered,
        spikelet_graph::Neuron {
            membrane: spikelet_graph::Membrane::CubaLif {
                alpha: spikelet_graph::Param::Shared(0.25),
                beta: spikelet_graph::Param::Tensor("h.beta".into()),
            },
            threshold: spikelet_graph::Param::Tensor("h.threshold".into()),
            fires_at_threshold: false,
            reset: spikelet_graph::Reset::Subtract,
            reset_delayed: false,
        }
    );
    builder.neuron("h", &["input"], lowered);
    builder.output("output", "h");
    let graph = builder.finish().expect("a valid graph");
    let values = |name: &str| graph.tensors[name].values.clone();
    assert_eq!(values("h.beta"), spikelet_graph::Values::F32(vec![1.0, 0.5, 0.0].into()));
    assert_eq!(values("h.threshold"), spikelet_graph::Values::F32(vec![0.5; 3].into()));
}

#[test]
fn settings_are_read_and_checked() {
    let read = |text: &str| serde_json::from_str::<NeuronConfig>(text);
    let config = read(
        r#"{"model": "cuba-lif", "alpha": 1, "beta": {"value": 0.9, "learnable": true},
            "surrogate": {"kind": "fast-sigmoid", "slope": 25.0}}"#,
    )
    .expect("valid");
    assert_eq!(config.alpha, Some(1.0.into()));
    let beta = ParameterConfig { value: 0.9, learnable: true, per_neuron: false };
    assert_eq!(config.beta, Some(beta));
    assert_eq!(config.surrogate, Surrogate::FAST_SIGMOID);
    assert_eq!(config.check(), Ok(()));
    let text = serde_json::to_string(&config).expect("settings are plain data");
    assert_eq!(read(&text).expect("what was written"), config);

    for unknown in [
        r#"{"model": "lif", "beta": 0.5, "tau": 2}"#,
        r#"{"model": "lif", "beta": {"value": 0.5, "learned": true}}"#,
        r#"{"model": "lif", "beta": 0.5, "surrogate": {"kind": "arctan", "alpha": 2.0, "a": 1}}"#,
        r#"{"model": "lif", "beta": "half"}"#,
    ] {
        assert!(read(unknown).is_err(), "{unknown}");
    }
    for (text, message) in [
        (r#"{"model": "lif"}"#, "needs `beta`"),
        (r#"{"model": "if", "beta": 0.5}"#, "has no `beta`"),
        (r#"{"model": "adaptive-lif", "beta": 0.5, "rho": 0.5}"#, "needs `gain`"),
        (r#"{"model": "li", "beta": 0.5, "input_decay": true}"#, "has no `input_decay`"),
        (r#"{"model": "lif", "beta": 1.5}"#, "between 0 and 1"),
        (r#"{"model": "lif", "beta": 1.0, "parametric": true}"#, "strictly between"),
    ] {
        let error = read(text).expect("well-formed").check().expect_err(text);
        assert!(error.to_string().contains(message), "{text}: {error}");
    }
}
