//! Meta-SpikeFormer: stages, spikes, firing rates and logits in training form, in the runtime and
//! with fused convolutions; a training step; losses of distillation.

use crate::{
    compare::{close, gradient, spikes, tolerance},
    files::{Golden, System},
    images::{channels_last, sizes},
};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use spikelet_graph::{Graph, GraphBuilder, Op, Signal};
use spikelet_runtime::{Executor, Output, State};
use spikelet_train::{
    distillation::Distillation,
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, read_out},
    models::{
        convnet::{Convnet, from_official},
        metaspikeformer::{self, MetaSpikeformerConfig},
    },
    params::{self, Tensors},
    rule::LearningRule,
};
use std::collections::BTreeMap;

pub fn run() {
    let system = System::open("metaspikeformer");
    let mut compared = 0;
    for case in &system.cases {
        let golden = system.file(case);
        compared += match case["kind"].as_str() {
            Some("inference") => inference(case, &golden),
            Some("train_step") => train_step(case, &golden),
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        };
    }
    system.finish(compared);
}

fn number(config: &Value, name: &str) -> usize {
    config[name].as_u64().unwrap_or_else(|| panic!("no number `{name}`")) as usize
}

/// The network a case describes, with its weights.
fn model(case: &Value, golden: &Golden, prefix: &str, device: &Device) -> Convnet {
    let config = &case["config"];
    let widths = sizes(&config["embed_dim"]).try_into().expect("four widths");
    let network = MetaSpikeformerConfig {
        heads: number(config, "num_heads"),
        distilled: config["kd"] == true,
        ..MetaSpikeformerConfig::new(widths)
    };
    let (input, _) = golden.tensor("input");
    let &[.., channels, h, w] = input.as_slice() else { panic!("an image") };
    let classes = number(config, "num_classes");
    let model =
        metaspikeformer::network(&network, [h, w, channels], classes, &mut Init::new(0, device))
            .unwrap_or_else(|e| panic!("{e}"));
    let weights: Tensors = golden
        .names(prefix)
        .map(|name| (name.to_owned(), golden.tensor(&format!("{prefix}{name}"))))
        .collect();
    let model = from_official(model, &weights).unwrap_or_else(|e| panic!("{}: {e}", case["file"]));
    assert_eq!(Some(model.num_params() as u64), case["n_params"].as_u64(), "{}", case["file"]);
    model
}

/// The input `[time, batch, values]`; an image is shown at every step.
fn input(golden: &Golden, time: usize, device: &Device) -> Tensor<3> {
    let (shape, values) = golden.tensor("input");
    let values = channels_last(&shape, &values);
    let &[.., batch, channels, h, w] = shape.as_slice() else { panic!("images") };
    let steps = if shape.len() == 5 { shape[0] } else { 1 };
    let x = TensorData::new(values, [steps, batch, channels * h * w]);
    Tensor::from_data(x, device).repeat_dim(0, time / steps)
}

// Inference.

fn inference(case: &Value, golden: &Golden) -> usize {
    let model = model(case, golden, "weights.", &Device::flex());
    let graph = graph(&model);
    let mut fused = graph.clone();
    let names = fused.fuse_convolutions(|_| true).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(names.len(), 4 * 8, "{}: fused convolutions", case["file"]);
    let mut compared = fused_kernels(case, golden, &fused);
    for time in sizes(&case["config"]["T"]) {
        let case = Case { case, golden, time };
        compared += case.training_form(&model);
        compared += case.runtime(&graph, "logits");
        compared += case.runtime(&fused, "logits_fused");
    }
    compared
}

/// What every layer gave in all steps, by name.
type Seen = BTreeMap<String, Vec<f32>>;

/// A case at one number of steps.
struct Case<'a> {
    case: &'a Value,
    golden: &'a Golden,
    time: usize,
}

impl Case<'_> {
    fn what(&self, form: &str) -> String {
        format!("{} T={} {form}", self.case["file"], self.time)
    }

    /// A tensor of this number of steps, if there is one.
    fn tensor(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let name = format!("T{}.{name}", self.time);
        let has = self.golden.names("").any(|known| known == name);
        has.then(|| self.golden.tensor(&name))
    }

    fn training_form(&self, model: &Convnet) -> usize {
        let what = self.what("training form");
        let x = input(self.golden, self.time, &Device::flex());
        let state = model.initial_state(x.dims()[1], &x.device());
        let mut seen = Seen::new();
        let (out, _) = model.run(x.clone(), state, &mut |layer, out| {
            seen.insert(layer.name.clone(), params::values(out.clone()));
        });
        let populations = model.layers().iter().filter(|layer| layer.op.is_neurons()).count();
        assert_eq!(self.populations().len(), populations, "{what}: populations");
        let logits = params::values(read_out(model.readout(), out));
        let mut compared = self.layers(&what, &seen) + self.logits(&what, "logits", &logits);
        if let Some((_, expected)) = self.tensor("logits_head_only") {
            let head = &seen["head"];
            let mean: Vec<f32> = (0..expected.len())
                .map(|k| head.iter().skip(k).step_by(expected.len()).sum::<f32>())
                .map(|sum| sum / self.time as f32)
                .collect();
            close(&format!("{what} head"), &mean, &expected, tolerance(self.case, "output_abs"));
            compared += 1;
        }
        let steps = params::values(read_out(model.readout(), model.sequence(x)));
        compared + self.logits(&format!("{what} step by step"), "logits", &steps)
    }

    fn populations(&self) -> Vec<&str> {
        let order = self.case["lif_order"].as_array().expect("populations in order");
        order.iter().map(|name| name.as_str().expect("a name")).collect()
    }

    /// Stages, attention, spikes and firing rates.
    fn layers(&self, what: &str, seen: &Seen) -> usize {
        let mut compared = 0;
        let stage_abs = tolerance(self.case, "stage_abs");
        let prefix = format!("T{}.", self.time);
        for name in self.golden.names(&prefix) {
            let (shape, values) = self.golden.tensor(&format!("{prefix}{name}"));
            // What has no image lies as one of a single column, or of one position.
            let values = match shape.as_slice() {
                [time, batch, channels, tokens] => {
                    channels_last(&[*time, *batch, *channels, *tokens, 1], &values)
                }
                [_, _, _, _, _] => channels_last(&shape, &values),
                _ => values,
            };
            let what = format!("{what} {name}");
            if let Some(stage) = name.strip_prefix("stage.") {
                // A graph has a normalisation folded into its convolution.
                let names = [
                    stage.to_owned(),
                    format!("{stage}.encode_bn"),
                    format!("{stage}.encode_conv"),
                ];
                let found = names.iter().find_map(|name| seen.get(name)).expect("a stage");
                close(&what, found, &values, stage_abs);
            } else if let Some(attention) = name.strip_prefix("attn_in.") {
                close(&what, &seen[attention], &values, 0.0);
            } else if let Some(population) = name.strip_prefix("spikes.") {
                spikes(self.case, &what, &seen[population], &values);
            } else if name == "final_spikes" {
                spikes(self.case, &what, &seen["lif"], &values);
            } else if name == "firing_rates" {
                let mean = |name: &str| {
                    let spikes = &seen[name];
                    spikes.iter().map(|s| f64::from(*s)).sum::<f64>() as f32 / spikes.len() as f32
                };
                let rates: Vec<f32> = self.populations().into_iter().map(mean).collect();
                close(&what, &rates, &values, tolerance(self.case, "output_abs"));
            } else {
                assert!(name.starts_with("logits"), "{what}: unknown tensor");
                continue;
            }
            compared += 1;
        }
        compared
    }

    /// Logits against those of both precisions.
    fn logits(&self, what: &str, name: &str, found: &[f32]) -> usize {
        let mut compared = 0;
        for name in [name, "logits_f64"] {
            let Some((_, expected)) = self.tensor(name) else { continue };
            close(&format!("{what} {name}"), found, &expected, tolerance(self.case, "output_abs"));
            compared += 1;
        }
        compared
    }

    fn runtime(&self, graph: &Graph, logits: &str) -> usize {
        let what = self.what(&format!("runtime {logits}"));
        let x = input(self.golden, self.time, &Device::flex());
        let [_, batch, _] = x.dims();
        let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut states: Vec<State> = (0..batch).map(|_| executor.state()).collect();
        let (mut out, mut seen) = (Vec::new(), Seen::new());
        let x = params::values(x);
        executor
            .run_observed(&mut states, &x, &mut out, |node| {
                let len: usize = node.shape.iter().product();
                let values = seen.entry(node.name.to_owned()).or_default();
                match node.output {
                    Output::Dense(dense) => values.extend_from_slice(dense),
                    Output::Spikes(events) => {
                        let start = values.len();
                        values.resize(start + len, 0.0);
                        events.iter().for_each(|event| values[start + *event as usize] = 1.0);
                    }
                }
            })
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        // The read-out is valid after every step: the last one counts.
        let last = &out[out.len() - out.len() / self.time..];
        let compared = self.layers(&what, &seen) + self.logits(&what, logits, last);
        let mut unseen = Vec::new();
        let mut states: Vec<State> = (0..batch).map(|_| executor.state()).collect();
        executor.run(&mut states, &x, &mut unseen).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(unseen, out, "{what}: observed or not");
        compared
    }
}

fn graph(model: &Convnet) -> Graph {
    let mut graph = GraphBuilder::new("golden");
    graph.input("input", Signal::Dense, &model.input_shape(0));
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    lower::finish(graph).unwrap_or_else(|e| panic!("{e}"))
}

/// Kernels and biases of fused convolutions.
fn fused_kernels(case: &Value, golden: &Golden, fused: &Graph) -> usize {
    let bound = tolerance(case, "stage_abs");
    let mut compared = 0;
    for name in golden.names("fused.").filter_map(|name| name.strip_suffix(".weight")) {
        let node = fused.node(&format!("{name}.0.body.2.1")).unwrap_or_else(|e| panic!("{e}"));
        let Op::Conv2d { weight, bias: Some(bias), .. } = &node.op else { panic!("{name}: fused") };
        let kernel = fused.tensors[&weight.tensor].permuted(&[3, 2, 0, 1]).expect("four axes");
        let (shape, expected) = golden.tensor(&format!("fused.{name}.weight"));
        assert_eq!(kernel.shape, shape, "{name}");
        close(&format!("{name} fused kernel"), &kernel.to_f32(), &expected, bound);
        let (_, expected) = golden.tensor(&format!("fused.{name}.bias"));
        close(&format!("{name} fused bias"), &fused.tensors[bias].to_f32(), &expected, bound);
        compared += 2;
    }
    compared
}

// Training.

fn train_step(case: &Value, golden: &Golden) -> usize {
    let (file, time) = (&case["file"], number(&case["config"], "T"));
    let device = Device::flex().autodiff();
    let model = params::name_ids(model(case, golden, "weights_before.", &device));
    let x = input(golden, time, &device).require_grad();
    let (shape, labels) = golden.tensor("labels");
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, shape), &device);
    let output = tolerance(case, "output_abs");
    let loss = Loss::new(LossConfig::default());
    let outcome = LearningRule::Bptt.gradients(&model, x.clone(), labels.clone(), &loss, 0);
    close(
        &format!("{file} logits"),
        &params::values(outcome.logits),
        &golden.tensor("logits").1,
        output,
    );
    close(&format!("{file} loss"), &[outcome.loss], &golden.tensor("loss").1, output);
    close(&format!("{file} loss"), &[outcome.loss], &golden.tensor("loss_f64").1, output);
    let mut compared = 3;
    let found = gradients::collect(&model, &outcome.gradients);
    for name in golden.names("grad.") {
        let (shape, values) = golden.tensor(&format!("grad.{name}"));
        let (_, values) = model.from_official_order(name, &shape, &values);
        gradient(case, &format!("{file} gradient of {name}"), &found[name], &values);
        compared += 1;
    }
    assert_eq!(compared - 3, found.len(), "{file}: parameters with gradients");
    let after = params::collect(&model.clone().learned(outcome.state));
    for name in golden.names("after.") {
        let (_, values) = golden.tensor(&format!("after.{name}"));
        close(&format!("{file} after.{name}"), &after[name].1, &values, output);
        compared += 1;
    }
    let (outputs, _) = model.training_sequence(x.clone(), 0);
    let value = loss.of(read_out(model.readout(), outputs), labels);
    let d_x = x.grad(&value.backward()).expect("the input has a gradient");
    let (shape, expected) = golden.tensor("input_grad");
    let found = params::values(d_x.sum_dim(0));
    input_gradient(case, &found, &channels_last(&shape, &expected));
    compared + 1 + distillation(case, golden)
}

/// The gradient of the input. The one in the file is the sum of several backward passes: ten in the
/// file that is here, where one pass of the same network in PyTorch (`benches/peers`) gives a tenth
/// of it, as we do. So the file's must be a whole multiple of ours.
fn input_gradient(case: &Value, found: &[f32], expected: &[f32]) {
    let product = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let passes = (product(found, expected) / product(found, found)).round();
    assert!(passes >= 1.0, "{}: the input gradient points elsewhere", case["file"]);
    println!("{}: the input gradient of the file is that of {passes} passes", case["file"]);
    let found: Vec<f32> = found.iter().map(|x| passes as f32 * x).collect();
    gradient(case, &format!("{} input gradient", case["file"]), &found, expected);
}

/// Stand-alone losses: `kd.loss_{hard or soft}_tau{temperature}_alpha{share of the teacher}`.
fn distillation(case: &Value, golden: &Golden) -> usize {
    let names: Vec<&str> = golden.names("kd.").collect();
    if names.is_empty() {
        return 0;
    }
    let matrix = |name: &str| -> Tensor<2> {
        let (shape, values) = golden.tensor(&format!("kd.{name}"));
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    };
    let (shape, labels) = golden.tensor("kd.labels");
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let labels = Tensor::from_data(TensorData::new(labels, shape), &Device::flex());
    let config = LossConfig { label_smoothing: 0.1, ..LossConfig::default() };
    let base = Loss::new(config).of(matrix("logits"), labels).into_scalar::<f32>();
    let output = tolerance(case, "output_abs");
    close("kd.base_loss", &[base], &golden.tensor("kd.base_loss").1, output);
    let mut compared = 1;
    for name in names.iter().filter_map(|name| name.strip_prefix("loss_")) {
        let (kind, rest) = name.split_once("_tau").expect("a temperature");
        let (temperature, share) = rest.split_once("_alpha").expect("a share");
        let [temperature, share]: [f32; 2] =
            [temperature, share].map(|t| t.parse().expect("a number"));
        let kind = match kind {
            "hard" => Distillation::Hard,
            "soft" => Distillation::Soft { temperature },
            other => panic!("unknown distillation {other}"),
        };
        let taught = kind.loss(matrix("logits_kd"), matrix("teacher_logits")).into_scalar::<f32>();
        let total = (1.0 - share) * base + share * taught;
        close(
            &format!("kd.{name}"),
            &[total],
            &golden.tensor(&format!("kd.loss_{name}")).1,
            output,
        );
        compared += 1;
    }
    compared
}
