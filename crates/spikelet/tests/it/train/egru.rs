//! EGRU models: steps against sequences, what is random in training, truncated gradients, graphs
//! and back.

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use spikelet_graph::{Graph, GraphBuilder, Signal};
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, step_by_step, steps_from},
    models::{
        egru::{Egru, EgruConfig},
        egru_lm::{EgruLm, EgruLmConfig},
    },
    params,
    rule::LearningRule,
};

const VALUES: usize = 18;
const CLASSES: usize = 4;
const VOCABULARY: usize = 11;

/// Frames of 3 x 3 positions and two polarities, pooled to one position unless `front` is empty.
fn network(front: &str, random: bool, device: &Device) -> Egru {
    let drops = match random {
        true => ["dropout = 0.3", "zoneout = 0.2\ndropconnect = 0.4"],
        false => ["", ""],
    };
    // Weights of which units fire.
    let text = format!(
        "units = 13\nlayers = 2\n{}\n{front}\n\
         [cell]\nthreshold_mean = 0.02\ninit_gain = 8.0\n{}",
        drops[0], drops[1]
    );
    let config: EgruConfig = toml::from_str(&text).expect("a configuration");
    let model = Egru::new(&config, &[3, 3, 2], CLASSES, &mut Init::new(3, device));
    params::name_ids(model.expect("a network"))
}

fn language_model(more: &str, cell: &str, device: &Device) -> EgruLm {
    // Weights of which units fire.
    let text = format!(
        "layers = 3\nembedding = 7\nhidden = 12\n{more}\n\
         [cell]\nthreshold_mean = 0.02\ninit_gain = 8.0\n{cell}"
    );
    let config: EgruLmConfig = toml::from_str(&text).expect("a configuration");
    let model = EgruLm::new(&config, VOCABULARY, 6, &mut Init::new(4, device));
    params::name_ids(model.expect("a network"))
}

fn counts(time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let values = (0..time * batch * VALUES).map(|i| (i * i % 7) as f32 / 3.0).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [time, batch, VALUES]), device)
}

fn tokens(time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let values = (0..time * batch).map(|i| (i * i % VOCABULARY) as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [time, batch, 1]), device)
}

fn close(what: &str, found: Tensor<3>, expected: Tensor<3>) {
    let (found, expected) = (params::values(found), params::values(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
        assert!((f - e).abs() < 1e-5, "{what}[{i}]: {f} is not {e}");
    }
}

#[test]
fn steps_give_what_sequences_give() {
    let device = Device::flex();
    for front in ["", "front = { pool = 1, aggregate = \"diff\" }\n"] {
        let model = network(front, false, &device);
        let x = counts(9, 3, &device);
        close("network", step_by_step(&model, x.clone()), model.sequence(x));
    }
    let model = language_model("", "", &device);
    let x = tokens(9, 3, &device);
    close("language model", step_by_step(&model, x.clone()), model.sequence(x));
}

#[test]
fn steps_drop_what_sequences_drop() {
    let device = Device::flex();
    let model = network("", true, &device);
    let x = counts(8, 3, &device);
    let (at_once, _) = model.training_sequence(x.clone(), 77);
    let (steps, _) = steps_from(&model, x.clone(), model.training_state(3, &device, 77));
    close("network", steps, at_once.clone());
    let (other, _) = model.training_sequence(x, 78);
    assert_ne!(params::values(at_once), params::values(other), "seeds differ");
    for axes in ["official", "intended"] {
        let dropout = format!(
            "dropout = {{ words = 0.2, embedding = 0.3, forward = 0.25, axes = \"{axes}\" }}"
        );
        let model = language_model(&dropout, "dropconnect = 0.5\nzoneout = 0.1", &device);
        let x = tokens(8, 3, &device);
        let (at_once, _) = model.training_sequence(x.clone(), 5);
        let (steps, _) = steps_from(&model, x, model.training_state(3, &device, 5));
        close(axes, steps, at_once);
    }
}

/// With one sequence shown three times, masks over the batch are the same for all, those of every
/// sequence are not.
#[test]
fn axes_decide_what_is_dropped_together() {
    let device = Device::flex();
    for (axes, together) in [("official", true), ("intended", false)] {
        let dropout = format!("dropout = {{ embedding = 0.5, axes = \"{axes}\" }}");
        let model = language_model(&dropout, "", &device);
        let x = tokens(8, 1, &device).repeat_dim(1, 3);
        let (out, _) = model.training_sequence(x, 5);
        let of = |b: usize| params::values(out.clone().narrow(1, b, 1));
        assert_eq!(of(0) == of(1) && of(1) == of(2), together, "{axes}");
    }
}

#[test]
fn truncated_gradients_end_at_segments() {
    let device = Device::flex().autodiff();
    let model = language_model("", "", &device);
    let x = tokens(12, 2, &device);
    let targets: Vec<i32> = (0..24).map(|i| i % VOCABULARY as i32).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [24]), &device);
    let loss = Loss::new(LossConfig::default());
    let run = |rule: LearningRule| {
        let model = EgruLm { dropout: no_dropout(), ..model.clone() };
        let out = rule.gradients(&model, x.clone(), targets.clone(), &loss, 1);
        (out.loss, gradients::collect(&model, &out.gradients))
    };
    let (loss, whole) = run(LearningRule::Bptt);
    for rule in [LearningRule::BpttTruncated(12), LearningRule::BpttCheckpoint(5)] {
        let (found_loss, found) = run(rule.clone());
        assert!((found_loss - loss).abs() < 1e-5, "{rule}");
        for (name, expected) in &whole {
            for (f, e) in found[name].iter().zip(expected) {
                assert!((f - e).abs() < 1e-5, "{rule} {name}: {f} is not {e}");
            }
        }
    }
    let (found_loss, found) = run(LearningRule::BpttTruncated(4));
    assert!((found_loss - loss).abs() < 1e-5, "values go on");
    let name = "rnns.0.recurrent_kernel";
    let differ = found[name].iter().zip(&whole[name]).any(|(f, e)| (f - e).abs() > 1e-6);
    assert!(differ, "gradients do not");
}

fn no_dropout() -> spikelet_train::models::egru_lm::Dropouts {
    toml::from_str("output = 0.0").expect("a table")
}

fn graph<M: SequenceModel>(model: &M, signal: Signal, shape: &[usize]) -> Graph {
    let mut builder = GraphBuilder::new("egru");
    builder.input("input", signal, shape);
    let output = model.lower(&mut builder, "input");
    builder.readout("readout", &output, model.readout());
    builder.output("output", "readout");
    lower::finish(builder).expect("a graph")
}

#[test]
fn graphs_go_back_to_models() {
    let device = Device::flex();
    let model = language_model("projection = true", "", &device);
    let back = EgruLm::from_graph(&graph(&model, Signal::Dense, &[1]), &device);
    assert_eq!(params::collect(&back.expect("a model")), params::collect(&model));
    let model = network("", false, &device);
    let back = Egru::from_graph(&graph(&model, Signal::Dense, &[VALUES]), &device);
    assert_eq!(params::collect(&back.expect("a model")), params::collect(&model));
}

/// Everything in f64.
struct Double;

impl ModuleMapper for Double {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|t| t.inner().cast(DType::F64).autodiff().require_grad())
    }
}

/// Gradients of the parameters in their order.
struct Gradients<'a>(&'a GradientsParams, Vec<Vec<f32>>);

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.0.get::<D>(param.id).expect("a gradient");
        self.1.push(params::values(gradient.cast(DType::F32)));
    }
}

/// Outputs, and the gradients of a loss that weighs every one of them differently.
fn learn<M: SequenceModel>(model: &M, outputs: Tensor<3>) -> (Tensor<3>, Vec<Vec<f32>>) {
    let weights = (0..outputs.shape().num_elements()).map(|i| 1.0 + (i as f32 * 0.3).cos());
    let weights = TensorData::new::<f32, _>(weights.collect(), outputs.dims());
    let weights = Tensor::<3>::from_data(weights, &outputs.device()).cast(outputs.dtype());
    let gradients = (outputs.clone() * weights).sum().backward();
    let gradients = GradientsParams::from_grads(gradients, model);
    let mut visitor = Gradients(&gradients, vec![]);
    model.visit(&mut visitor);
    (outputs.inner().cast(DType::F32), visitor.1)
}

/// In f64 a layer is composed of tensor operations.
#[test]
fn fused_and_composed_layers_agree() {
    fn agree<M: SequenceModel>(model: M, x: Tensor<3>) {
        let [_, batch, _] = x.dims();
        let fused = learn(&model, model.sequence(x.clone()));
        let double = model.map(&mut Double);
        let state = double.initial_state(batch, &x.device());
        let state = state.into_iter().map(|part| part.cast(DType::F64)).collect();
        let (outputs, _) = double.resume(x.cast(DType::F64), state);
        assert_eq!(outputs.dtype(), DType::F64);
        let composed = learn(&double, outputs);
        close("outputs", fused.0, composed.0);
        assert_eq!(fused.1.len(), composed.1.len());
        for (at, (fused, composed)) in fused.1.iter().zip(&composed.1).enumerate() {
            let largest = composed.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(largest > 0.0, "parameter {at} learns");
            for (f, c) in fused.iter().zip(composed) {
                assert!((f - c).abs() < 1e-4 * largest, "parameter {at}: {f} is not {c}");
            }
        }
    }
    let device = Device::flex().autodiff();
    agree(language_model("", "", &device), tokens(9, 3, &device));
    agree(language_model("", "zoneout = 0.2", &device), tokens(9, 3, &device));
    agree(network("", false, &device), counts(9, 3, &device));
}

#[test]
fn thresholds_are_brought_back() {
    let device = Device::flex();
    let mut model = network("", false, &device);
    let outside = Tensor::<2>::from_floats([[-0.5, 0.25, 1.5]], &device).repeat_dim(1, 5);
    let outside: Tensor<1> = outside.reshape([15]).narrow(0, 0, 13);
    model.layers[0].thr = model.layers[0].thr.clone().map(|_| outside);
    let model = model.learned(Vec::new());
    let thresholds = params::values(model.layers[0].thr.val());
    assert_eq!(thresholds[..3], [0.0, 0.25, 1.0]);
}
