//! SLTT and SLTT-K: outputs, losses, gradients of three rules, statistics, the optimiser's step,
//! spikes, evaluation in training form and in the runtime; neurons, surrogates and standardised
//! kernels one by one.

use crate::{
    compare::{close, gradient, spikes, tolerance},
    files::{Golden, System},
    images::{channels_last, sizes},
};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use spikelet_graph::{Graph, GraphBuilder, Readout, Signal};
use spikelet_kernels::{
    neuron::{Model, NeuronSpec, Reset},
    surrogate::Surrogate,
};
use spikelet_runtime::{Executor, Output, State};
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig, MseTarget},
    lower,
    model::SequenceModel,
    models::convnet::{
        Architecture, Convnet, ConvnetConfig, NfResnet, PreactResnet, from_official, standardized,
    },
    neuron::{Dynamics, NeuronState, NeuronTensors, neuron_step},
    optimizer::Optimizer,
    params::{self, Tensors},
    rule::LearningRule,
};
use std::collections::BTreeMap;

pub fn run() {
    let system = System::open("sltt");
    let mut compared = 0;
    for case in &system.cases {
        let golden = system.file(case);
        compared += match case["kind"].as_str() {
            Some("net") => network(case, &golden),
            Some("micro") => micro(case, &golden),
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        };
    }
    system.finish(compared);
}

fn number(config: &Value, name: &str) -> f64 {
    config[name].as_f64().unwrap_or_else(|| panic!("no number `{name}`"))
}

fn surrogate(name: &str) -> Surrogate {
    match name {
        "triangle" => Surrogate::TRIANGLE,
        "rectangle" => Surrogate::RECTANGLE,
        "sigmoid" => Surrogate::SIGMOID,
        _ => panic!("unknown surrogate {name}"),
    }
}

// Networks.

/// The network a case describes, with its weights.
fn model(config: &Value, golden: &Golden, device: &Device) -> Convnet {
    let network = match config["arch"].as_str() {
        Some("vgg") => {
            let link = |v: &Value| v.as_u64().map_or("P2".to_owned(), |n| format!("{n}C3"));
            let stages = config["cfg"].as_array().expect("a list of stages");
            let links = stages.iter().flat_map(|stage| stage.as_array().expect("a stage"));
            let chain: Vec<String> = links.map(link).collect();
            format!("{}-A2-FC", chain.join("-")).parse().expect("a chain")
        }
        // One block in the first stage, two in the second.
        Some("preact") => Architecture::PreactResnet(PreactResnet {
            widths: sizes(&config["widths"]),
            blocks: vec![1, 2],
            large: false,
        }),
        Some("nf") => Architecture::NfResnet(NfResnet {
            widths: sizes(&config["widths"]),
            blocks: vec![1, 2],
            bottleneck: false,
        }),
        other => panic!("unknown architecture {other:?}"),
    };
    let config_here = ConvnetConfig {
        tau: number(config, "tau") as f32,
        surrogate: surrogate(config["surrogate"].as_str().expect("a name")),
        ..ConvnetConfig::new(network)
    };
    let [h, w, c] = ["H", "W", "c_in"].map(|name| number(config, name) as usize);
    let mut init = Init::new(0, device);
    let classes = number(config, "nc") as usize;
    let model =
        Convnet::new(&config_here, [h, w, c], classes, &mut init).unwrap_or_else(|e| panic!("{e}"));
    from_official(model, &tensors(golden, "weights.")).unwrap_or_else(|e| panic!("{e}"))
}

fn tensors(golden: &Golden, prefix: &str) -> Tensors {
    golden
        .names(prefix)
        .filter(|name| !name.ends_with("num_batches_tracked"))
        .map(|name| (name.to_owned(), golden.tensor(&format!("{prefix}{name}"))))
        .collect()
}

/// The input `[time, batch, values]`; an image is shown at every step.
fn input(config: &Value, golden: &Golden, device: &Device) -> Tensor<3> {
    let (shape, values) = golden.tensor("input");
    let values = channels_last(&shape, &values);
    let [time, batch] = ["T", "B"].map(|name| number(config, name) as usize);
    let per_step = shape[shape.len() - 3..].iter().product();
    let steps = if config["event"] == true { time } else { 1 };
    let x: Tensor<3> = Tensor::from_data(TensorData::new(values, [steps, batch, per_step]), device);
    x.repeat_dim(0, time / steps)
}

fn loss(config: &Value) -> Loss {
    let mse_target = match config["mse_n_reg"].as_bool() {
        Some(true) => MseTarget::OneHot,
        _ if number(config, "loss_means") == 1.0 => MseTarget::Ones,
        _ => panic!("a constant other than 1"),
    };
    let mse = number(config, "loss_lambda") as f32;
    Loss::new(LossConfig { per_step: true, mse, mse_target, ..LossConfig::default() })
}

fn network(case: &Value, golden: &Golden) -> usize {
    let (config, file) = (&case["config"], &case["file"]);
    let device = Device::flex().autodiff();
    let model = params::name_ids(model(config, golden, &device));
    assert_eq!(Some(model.num_params() as u64), case["n_params"].as_u64(), "{file}: parameters");
    let x = input(config, golden, &device);
    let (shape, labels) = golden.tensor("labels");
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, shape), &device);
    let output = tolerance(case, "output_abs");
    let mut compared = 0;
    let rules = [
        ("bptt", LearningRule::Bptt),
        ("bptt", LearningRule::BpttCheckpoint(1)),
        ("bptt", LearningRule::BpttCheckpoint(3)),
        ("sltt", LearningRule::Sltt),
        ("slttk", LearningRule::SlttAt(sizes(&config["ksteps"]))),
    ];
    for (prefix, rule) in rules {
        let what = format!("{file} {rule}");
        let out = rule.gradients(&model, x.clone(), labels.clone(), &loss(config), 0);
        close(
            &format!("{what} outputs"),
            &params::values(out.outputs),
            &golden.tensor("outputs").1,
            output,
        );
        let (_, per_step) = golden.tensor("loss_per_step");
        let expected: f32 = match &rule {
            LearningRule::SlttAt(steps) => steps.iter().map(|&t| per_step[t]).sum(),
            _ => golden.tensor("loss_total").1[0],
        };
        close(&format!("{what} loss"), &[out.loss], &[expected], output);
        compared += 2;
        let found = gradients::collect(&model, &out.gradients);
        for name in golden.names(&format!("grad_{prefix}.")) {
            let (shape, values) = golden.tensor(&format!("grad_{prefix}.{name}"));
            let (_, values) = model.from_official_order(name, &shape, &values);
            // A layer no gradient reached has none here.
            let zeros = vec![0.0; values.len()];
            let found = found.get(name).unwrap_or(&zeros);
            gradient(case, &format!("{what} gradient of {name}"), found, &values);
            compared += 1;
        }
        let stepped = model.clone().learned(out.state);
        compared += same_values(case, &what, "after.", golden, &model, &stepped);
        if rule == LearningRule::Sltt {
            let [lr, decay] = ["lr", "wd"].map(|name| number(config, name));
            let sgd = Optimizer::Sgd { lr, momentum: 0.9, weight_decay: decay as f32 };
            let stepped = sgd.init().step(lr, stepped, out.gradients);
            compared += same_values(case, &what, "after_sgd_sltt.", golden, &model, &stepped);
        }
    }
    let cosines =
        gradients::against_bptt(&LearningRule::Sltt, &model, x.clone(), labels, &loss(config));
    let expected = case["cos_sltt_vs_bptt"].as_f64().expect("a cosine") as f32;
    close(&format!("{file} cosine"), &[cosines.total as f32], &[expected], output);
    compared += train_spikes(case, golden, &model, x);
    let graph = evaluation_graph(&model.valid());
    compared + 1 + evaluation(case, golden, &model.valid()) + runtime(case, golden, &graph)
}

/// The values of `found` that the file has under a prefix.
fn same_values(
    case: &Value,
    what: &str,
    prefix: &str,
    golden: &Golden,
    model: &Convnet,
    found: &Convnet,
) -> usize {
    let found = params::collect(found);
    let expected = tensors(golden, prefix);
    for (name, (shape, values)) in &expected {
        let (_, values) = model.from_official_order(name, shape, values);
        let what = format!("{what} {prefix}{name}");
        close(&what, &found[name].1, &values, tolerance(case, "output_abs"));
    }
    expected.len()
}

/// Spikes of every population while the network learns.
fn train_spikes(case: &Value, golden: &Golden, model: &Convnet, x: Tensor<3>) -> usize {
    let plain = model.valid();
    let x = x.inner();
    let state = plain.training_state(x.dims()[1], &x.device(), 0);
    let mut found = BTreeMap::new();
    plain.run(x, state, &mut |layer, out| {
        if layer.op.is_neurons() {
            found.insert(layer.name.clone(), params::values(out.clone()));
        }
    });
    let mut compared = 0;
    for name in golden.names("spikes.") {
        let (shape, values) = golden.tensor(&format!("spikes.{name}"));
        let what = format!("{} spikes of {name}", case["file"]);
        spikes(case, &what, &found[name], &channels_last(&shape, &values));
        compared += 1;
    }
    assert_eq!(compared, found.len(), "{}: populations", case["file"]);
    compared
}

/// Outputs and firing rates of evaluation, step by step and layer by layer.
fn evaluation(case: &Value, golden: &Golden, model: &Convnet) -> usize {
    let config = &case["config"];
    let x = input(config, golden, &Device::flex());
    let (_, expected) = golden.tensor("eval_outputs");
    let (bound, what) = (tolerance(case, "output_abs"), format!("{} evaluation", case["file"]));
    close(&what, &params::values(model.sequence(x.clone())), &expected, bound);
    let state = model.initial_state(x.dims()[1], &x.device());
    let mut rates = Vec::new();
    let (out, _) = model.run(x, state, &mut |layer, out| {
        if layer.op.is_neurons() {
            rates.push(out.clone().mean().into_scalar::<f32>());
        }
    });
    close(&what, &params::values(out), &expected, bound);
    close(&format!("{what} rates"), &rates, &golden.tensor("eval_firing_rates").1, bound);
    3
}

fn evaluation_graph(model: &Convnet) -> Graph {
    let mut graph = GraphBuilder::new("golden");
    graph.input("input", Signal::Dense, &model.input_shape(0));
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, Readout::Last);
    graph.output("output", "readout");
    lower::finish(graph).unwrap_or_else(|e| panic!("{e}"))
}

/// Outputs and firing rates of the lowered network.
fn runtime(case: &Value, golden: &Golden, graph: &Graph) -> usize {
    let config = &case["config"];
    let what = format!("{} runtime", case["file"]);
    let x = input(config, golden, &Device::flex());
    let [time, batch, _] = x.dims();
    let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut states: Vec<State> = (0..batch).map(|_| executor.state()).collect();
    let mut out = Vec::new();
    let mut fired: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    executor
        .run_observed(&mut states, &params::values(x), &mut out, |seen| {
            if let Output::Spikes(events) = seen.output {
                let (count, len) = fired.entry(seen.name.to_owned()).or_default();
                *count += events.len();
                *len += seen.shape.iter().product::<usize>();
            }
        })
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let bound = tolerance(case, "output_abs");
    let (shape, expected) = golden.tensor("eval_outputs");
    assert_eq!(shape[..2], [time, batch]);
    close(&what, &out, &expected, bound);
    let order = case["lif_order"].as_array().expect("populations in order");
    let (_, rates) = golden.tensor("eval_firing_rates");
    for (name, rate) in order.iter().zip(rates) {
        let name = name.as_str().expect("a name");
        let (count, len) = fired[name];
        close(&format!("{what} rate of {name}"), &[count as f32 / len as f32], &[rate], bound);
    }
    2
}

// One by one.

fn micro(case: &Value, golden: &Golden) -> usize {
    let names: Vec<&str> = golden.names("").collect();
    let bound = tolerance(case, "output_abs");
    let (_, x) = golden.tensor("surrogate.x");
    let fired: Vec<f32> = x.iter().map(|&x| if x >= 0.0 { 1.0 } else { 0.0 }).collect();
    spikes(case, "surrogate.spike", &fired, &golden.tensor("surrogate.spike").1);
    let mut compared = 1;
    for name in &names {
        let parts: Vec<&str> = name.split('.').collect();
        match parts[..] {
            ["surrogate", kind, "grad"] => {
                let found: Vec<f32> = x.iter().map(|&x| surrogate(kind).grad(x)).collect();
                gradient(case, name, &found, &golden.tensor(name).1);
            }
            ["trace", rule @ ("sltt" | "bptt"), kind, ..] if name.ends_with(".spikes") => {
                let stem = name.trim_end_matches(".spikes");
                let tau = stem.rsplit_once("tau").expect("a time constant").1;
                let tau: f64 = tau.parse().expect("a number");
                let spec = NeuronSpec {
                    model: Model::Lif { input_decay: false },
                    reset: Reset::Subtract,
                    reset_delayed: false,
                    fires_at_threshold: true,
                };
                let surrogate = surrogate(kind);
                let dynamics = Dynamics { spec, surrogate, detach_reset: false };
                let trace = Trace { dynamics, tau, threshold: 1.0, factor: 1.0 };
                trace.compare(case, golden, stem, rule == "sltt");
            }
            ["trace", "metaspikeformer_lif", ..] if name.ends_with(".spikes") => {
                let stem = name.trim_end_matches(".spikes");
                let threshold = stem.rsplit_once("vth").expect("a threshold").1;
                let spec = NeuronSpec {
                    model: Model::Lif { input_decay: true },
                    reset: Reset::Zero,
                    reset_delayed: false,
                    fires_at_threshold: true,
                };
                let surrogate = Surrogate::SIGMOID;
                let dynamics = Dynamics { spec, surrogate, detach_reset: true };
                let threshold = threshold.parse().expect("a number");
                let trace = Trace { dynamics, tau: 2.0, threshold, factor: 2.0 };
                trace.compare(case, golden, stem, false);
            }
            ["wsconv", "effective_weight"] => compared += standardized_kernel(case, golden, bound),
            _ => continue,
        }
        compared += 1;
    }
    compared
}

/// One neuron over `trace.x`.
struct Trace {
    dynamics: Dynamics,
    tau: f64,
    threshold: f32,
    /// What the currents are multiplied by.
    factor: f32,
}

impl Trace {
    fn compare(&self, case: &Value, golden: &Golden, stem: &str, detach: bool) {
        let device = Device::flex().autodiff();
        let tensor = |name: &str| -> Tensor<2> {
            let (shape, values) = golden.tensor(name);
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        let x = tensor("trace.x").mul_scalar(self.factor).require_grad();
        let upstream = tensor("trace.upstream_grad");
        let [time, n] = x.dims();
        let params = NeuronTensors {
            beta: Tensor::from_floats([(1.0 - 1.0 / self.tau) as f32], &device),
            threshold: Tensor::from_floats([self.threshold], &device),
            second_decay: None,
            gain: None,
        };
        let mut state = NeuronState { v: Tensor::zeros([1, n], &device), second: None };
        let (mut out, mut potentials) = (Vec::new(), Vec::new());
        for t in 0..time {
            let current = x.clone().narrow(0, t, 1);
            let state_in = if detach { state.detach() } else { state };
            let (spike, next) = neuron_step(current, state_in, params.clone(), self.dynamics);
            potentials.extend(params::values(next.v.clone().inner()));
            out.push(spike);
            state = next;
        }
        let out = Tensor::cat(out, 0);
        let expected = golden.tensor(&format!("{stem}.spikes")).1;
        spikes(case, stem, &params::values(out.clone().inner()), &expected);
        let gradients = (out * upstream).sum().backward();
        let found = params::values(x.grad(&gradients).expect("a gradient"));
        gradient(
            case,
            &format!("{stem} gradient"),
            &found,
            &golden.tensor(&format!("{stem}.grad_x")).1,
        );
        if golden.names(stem).any(|name| name == ".v_after_reset") {
            let expected = golden.tensor(&format!("{stem}.v_after_reset")).1;
            close(stem, &potentials, &expected, tolerance(case, "output_abs"));
        }
    }
}

/// A convolution with a standardised kernel, forwards and backwards.
fn standardized_kernel(case: &Value, golden: &Golden, bound: f32) -> usize {
    let device = Device::flex().autodiff();
    let tensor = |name: &str| -> Tensor<4> {
        let (shape, values) = golden.tensor(&format!("wsconv.{name}"));
        Tensor::from_data(TensorData::new(values, shape), &device)
    };
    let (weight, gain) = (tensor("weight").require_grad(), tensor("gain").require_grad());
    let (x, bias) = (tensor("input").require_grad(), golden.tensor("wsconv.bias"));
    let bias = Tensor::<1>::from_data(TensorData::new(bias.1, bias.0), &device).require_grad();
    let [outputs, _, _, _] = weight.dims();
    let effective =
        standardized(weight.clone().permute([2, 3, 1, 0]), gain.clone().reshape([outputs]));
    let effective = effective.permute([3, 2, 0, 1]);
    let options = burn::tensor::ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let out =
        burn::tensor::module::conv2d(x.clone(), effective.clone(), Some(bias.clone()), options);
    let check = |name: &str, found: Vec<f32>| {
        let what = format!("wsconv.{name}");
        close(&what, &found, &golden.tensor(&what).1, bound);
    };
    check("effective_weight", params::values(effective.inner()));
    check("output", params::values(out.clone().inner()));
    let gradients = (out * tensor("grad_out")).sum().backward();
    let check = |name: &str, found: Vec<f32>| {
        let what = format!("wsconv.grad_{name}");
        gradient(case, &what, &found, &golden.tensor(&what).1);
    };
    check("input", params::values(x.grad(&gradients).expect("a gradient")));
    check("weight", params::values(weight.grad(&gradients).expect("a gradient")));
    check("gain", params::values(gain.grad(&gradients).expect("a gradient")));
    check("bias", params::values(bias.grad(&gradients).expect("a gradient")));
    5
}
