//! SpikeGPT: published sizes, initial values, forms and backends that agree, drop-out.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use spikelet_train::{
    init::Init,
    loss::{Loss, LossConfig},
    model::{SequenceModel, step_by_step},
    models::{
        ModelError,
        spikegpt::{Blocks, Initialisation, SpikeGpt, SpikeGptConfig},
    },
    params,
    rule::LearningRule,
};
use std::collections::BTreeMap;

const VOCABULARY: usize = 12;

fn fresh(config: &SpikeGptConfig, device: &Device) -> SpikeGpt {
    let model = SpikeGpt::new(config, VOCABULARY, &mut Init::new(7, device));
    params::name_ids(model.unwrap_or_else(|e| panic!("{e}")))
}

/// A small network whose matrices are large enough for its neurons to fire.
fn firing(blocks: Blocks, dropout: f32, device: &Device) -> SpikeGpt {
    struct Scale;
    impl ModuleMapper for Scale {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let factor = if D == 2 { 4.0 } else { 1.0 };
            param.map(|t| t.inner().mul_scalar(factor).autodiff().require_grad())
        }
    }
    let config = SpikeGptConfig { blocks, dropout, ..SpikeGptConfig::new(3, 16) };
    fresh(&config, device).map(&mut Scale)
}

/// Token numbers `[time, batch, 1]`.
fn tokens(time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let values = (0..time * batch).map(|i| (i * i * 5 % 31 % VOCABULARY) as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [time, batch, 1]), device)
}

fn f32s<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    params::values(tensor.cast(DType::F32))
}

/// Gradients by name.
fn collect(model: &SpikeGpt, gradients: &GradientsParams) -> BTreeMap<String, Vec<f32>> {
    struct Collect<'a>(&'a GradientsParams, Vec<String>, BTreeMap<String, Vec<f32>>);
    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.1.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.1.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let name = self.1.join(".");
            let gradient = self.0.get::<D>(param.id).unwrap_or_else(|| panic!("none of {name}"));
            self.2.insert(name, f32s(gradient));
        }
    }
    let mut visitor = Collect(gradients, vec![], BTreeMap::new());
    model.visit(&mut visitor);
    visitor.2
}

fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= bound * largest + 1e-7, "{what}[{i}]: {f} is not {e}");
    }
}

fn all_close(
    found: &BTreeMap<String, Vec<f32>>,
    expected: &BTreeMap<String, Vec<f32>>,
    bound: f32,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, expected) in expected {
        close(name, &found[name], expected, bound);
    }
}

/// Outputs and gradients of a loss that weighs every logit differently.
fn run(model: &SpikeGpt, outputs: Tensor<3>) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let values = f32s(outputs.clone().inner());
    let weights = (0..values.len()).map(|i| 1.0 + (i as f32 * 0.3).cos()).collect();
    let weights = TensorData::new::<f32, _>(weights, outputs.dims());
    let weights = Tensor::<3>::from_data(weights, &outputs.device()).cast(outputs.dtype());
    let gradients = (outputs * weights).sum().backward();
    let gradients = GradientsParams::from_grads(gradients, model);
    (values, collect(model, &gradients))
}

#[test]
fn sizes_are_the_published_ones() {
    assert_eq!(SpikeGptConfig::m45().parameters(5458), Some(46_553_088));
    assert_eq!(SpikeGptConfig::m216().parameters(50_277), Some(215_399_424));
    let config = SpikeGptConfig::new(3, 16);
    let model = fresh(&config, &Device::flex());
    assert_eq!(Some(model.num_params()), config.parameters(VOCABULARY));
    assert_eq!(config.parameters(usize::MAX), None);
}

#[test]
fn settings_out_of_range_are_refused() {
    let config = SpikeGptConfig::new(2, 8);
    let error = |config: SpikeGptConfig, vocabulary| {
        SpikeGpt::new(&config, vocabulary, &mut Init::new(0, &Device::flex())).unwrap_err()
    };
    let setting =
        |error, wanted: &str| matches!(error, ModelError::Setting { name, .. } if name == wanted);
    assert!(setting(error(SpikeGptConfig { layers: 0, ..config.clone() }, 5), "layers"));
    assert!(setting(error(SpikeGptConfig { width: 0, ..config.clone() }, 5), "width"));
    assert!(setting(error(config.clone(), 0), "vocabulary"));
    assert!(setting(error(SpikeGptConfig { dropout: 1.0, ..config.clone() }, 5), "dropout"));
    let huge = SpikeGptConfig { width: 1 << 20, ..config };
    assert!(matches!(error(huge, 5), ModelError::TooLarge { .. }));
}

#[test]
fn initial_values_are_those_of_the_official_code() {
    let device = Device::flex();
    let config = SpikeGptConfig::new(3, 16);
    let model = fresh(&config, &device);
    let spread =
        |values: Vec<f32>| (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
    let close = |found: f32, expected: f64| {
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found} is not {expected}");
    };
    assert!((spread(params::values(model.emb.weight.val())) - 1.0).abs() < 0.2, "N(0, 1)");
    let last = model.blocks[2].att.as_ref().unwrap();
    let decay = params::values(last.time_decay.val());
    close(decay[0], -5.0);
    close(decay[5], -5.0 + 8.0 * (5.0 / 15.0_f64).powf(2.0));
    close(decay[15], 3.0);
    let first = params::values(last.time_first.val());
    for (i, zigzag) in [(0, 0.0), (1, 0.5), (2, -0.5), (3, 0.0)] {
        close(first[i], 0.3_f64.ln() + zigzag);
    }
    let mix = |share: &Param<Tensor<3>>| params::values(share.val())[5];
    close(mix(&last.time_mix_k), (5.0 / 16.0_f64).powf(1.0 / 3.0));
    close(mix(&last.time_mix_v), (5.0 / 16.0_f64).powf(1.0 / 3.0) + 0.3);
    close(mix(&last.time_mix_r), (5.0 / 16.0_f64).powf(1.0 / 6.0));
    close(mix(&model.blocks[0].ffn.time_mix_r), 5.0 / 16.0);
    let key = params::values(last.key.weight.val());
    assert!(key.iter().all(|w| w.abs() <= 0.25), "U(-1/sqrt(16), ..)");
    assert!((spread(key) - 0.25 / 3.0_f32.sqrt()).abs() < 0.02);

    let intended = SpikeGptConfig { init: Initialisation::RwkvInit, ..config };
    let model = fresh(&intended, &device);
    let block = &model.blocks[1];
    let att = block.att.as_ref().unwrap();
    for zero in [&att.key, &att.receptance, &att.output, &block.ffn.value, &block.ffn.receptance] {
        assert!(params::values(zero.weight.val()).iter().all(|w| *w == 0.0));
    }
    // Orthonormal rows or columns: the mean square is the square of the gain over the longer side.
    let gain = |matrix: &Param<Tensor<2>>, expected: f64| {
        let [rows, columns] = matrix.dims();
        close(spread(params::values(matrix.val())), expected / (rows.max(columns) as f64).sqrt());
    };
    gain(&att.value.weight, 1.0);
    gain(&block.ffn.key.weight, 2.0);
    gain(&model.head.weight, 0.5);
    gain(&model.emb.weight, 1e-4 * 4.0);
}

/// In f64 every operation is composed of tensor operations.
#[test]
fn fused_and_composed_operations_agree() {
    struct Double;
    impl ModuleMapper for Double {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|t| t.inner().cast(DType::F64).autodiff().require_grad())
        }
    }
    let device = Device::flex().autodiff();
    for blocks in [Blocks::Rwkv, Blocks::FfnPre] {
        let model = firing(blocks, 0.0, &device);
        let x = tokens(9, 3, &device);
        let mut rate = 0.0;
        let state = model.initial_state(3, &device);
        let (out, _) = model.run(x.clone(), state, &mut |name, value| {
            if name.ends_with(".spikes") {
                rate += value.clone().inner().mean().into_scalar::<f32>() / 6.0;
            }
        });
        assert!((0.02..0.6).contains(&rate), "neurons fire: {rate}");
        let fused = run(&model, out);
        let double = model.map(&mut Double);
        let state = double.initial_state(3, &device).into_iter().map(|t| t.cast(DType::F64));
        let (out, _) = double.run(x.cast(DType::F64), state.collect(), &mut |_, _| {});
        assert_eq!(out.dtype(), DType::F64);
        let composed = run(&double, out);
        close("logits", &fused.0, &composed.0, 1e-5);
        all_close(&fused.1, &composed.1, 1e-4);
    }
}

#[test]
fn steps_give_the_outputs_and_gradients_of_the_sequence() {
    let device = Device::flex().autodiff();
    for blocks in [Blocks::Rwkv, Blocks::FfnPre] {
        let model = firing(blocks, 0.0, &device);
        let x = tokens(7, 2, &device);
        let whole = run(&model, model.sequence(x.clone()));
        let steps = run(&model, step_by_step(&model, x));
        close("logits", &steps.0, &whole.0, 1e-5);
        all_close(&steps.1, &whole.1, 1e-4);
    }
}

/// Segments draw the drop-out of the whole, and pass gradients on through the state.
#[test]
fn segments_learn_what_the_whole_learns() {
    let device = Device::flex().autodiff();
    let model = firing(Blocks::Rwkv, 0.2, &device);
    let x = tokens(8, 3, &device);
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![1_i32, 5, 3], [3]), &device);
    let loss = Loss::new(LossConfig { per_step: true, ..LossConfig::default() });
    let learn = |rule: LearningRule, seed: u64| {
        let found = rule.gradients(&model, x.clone(), targets.clone(), &loss, seed);
        (found.loss, collect(&model, &found.gradients))
    };
    let whole = learn(LearningRule::Bptt, 3);
    let segments = learn(LearningRule::BpttCheckpoint(3), 3);
    assert!((whole.0 - segments.0).abs() < 1e-5, "{} {}", whole.0, segments.0);
    all_close(&segments.1, &whole.1, 1e-4);
    assert_eq!(learn(LearningRule::Bptt, 3), whole, "the seed decides");
    assert_ne!(learn(LearningRule::Bptt, 4).0, whole.0);
    assert_ne!(learn(LearningRule::Sltt, 3).1, whole.1);
}

#[test]
fn dropout_is_fresh_for_every_token_and_off_outside_training() {
    let device = Device::flex();
    let config = SpikeGptConfig { dropout: 0.25, ..SpikeGptConfig::new(1, 32) };
    let model = fresh(&config, &device);
    let (time, batch) = (20, 4);
    let x = Tensor::<3>::zeros([time, batch, 1], &device);
    let block = |state| {
        let mut found = Vec::new();
        model.run(x.clone(), state, &mut |name, value| {
            if name == "0.out" {
                found = params::values(value.clone());
            }
        });
        found
    };
    let plain = block(model.initial_state(batch, &device));
    let dropped = block(model.training_state(batch, &device, 9));
    let mut zeros = 0;
    for (i, (d, p)) in dropped.iter().zip(&plain).enumerate() {
        assert!(*d == 0.0 || (d - p / 0.75).abs() < 1e-5, "[{i}]: {d} of {p}");
        zeros += usize::from(*d == 0.0);
    }
    let share = zeros as f32 / dropped.len() as f32;
    assert!((share - 0.25).abs() < 0.05, "{share}");
    let row = batch * 32;
    let pattern =
        |t: usize| dropped[t * row..][..row].iter().map(|d| *d == 0.0).collect::<Vec<_>>();
    assert_ne!(pattern(3), pattern(4));
}
