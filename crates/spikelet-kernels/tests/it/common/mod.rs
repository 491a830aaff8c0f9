//! Random dynamics for the tests of neurons.

use proptest::prelude::*;
use spikelet_kernels::neuron::{Model, NeuronSpec, Reset};
use spikelet_kernels::surrogate::Surrogate;

pub fn specs() -> impl Strategy<Value = NeuronSpec> {
    let model = prop_oneof![
        Just(Model::If),
        any::<bool>().prop_map(|input_decay| Model::Lif { input_decay }),
        Just(Model::CubaLif),
        Just(Model::AdaptiveLif),
        Just(Model::Li),
    ];
    let reset = prop_oneof![Just(Reset::None), Just(Reset::Subtract), Just(Reset::Zero)];
    (model, reset, any::<bool>(), any::<bool>()).prop_map(
        |(model, reset, reset_delayed, fires_at_threshold)| NeuronSpec {
            model,
            reset,
            reset_delayed,
            fires_at_threshold,
        },
    )
}

pub fn surrogates() -> impl Strategy<Value = Surrogate> {
    prop_oneof![
        Just(Surrogate::ARCTAN),
        Just(Surrogate::SIGMOID),
        Just(Surrogate::FastSigmoid { slope: 3.0 }),
        Just(Surrogate::TRIANGLE),
        Just(Surrogate::EGRU),
        Just(Surrogate::RECTANGLE),
        Just(Surrogate::StraightThrough),
    ]
}

/// Multiples of 1/4, so that potentials often equal the threshold exactly.
pub fn quarters(low: i32, high: i32, len: usize) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec((low..=high).prop_map(|q| q as f32 * 0.25), len)
}
