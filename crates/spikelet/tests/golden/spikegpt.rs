//! SpikeGPT: logits, currents, spikes, loss and gradients of the training form; logits and states
//! of the recurrent form, with the semantics of the training code and of the published generator;
//! the event graph in the runtime.

use crate::{
    compare::{close, gradient, spikes, tolerance},
    files::{Golden, System},
};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use spikelet::generate::Sampler;
use spikelet_graph::{Graph, GraphBuilder, Signal};
use spikelet_runtime::{Executor, Observation, Output};
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, State, step_by_step},
    models::spikegpt::{Blocks, Semantics, SpikeGpt, SpikeGptConfig},
    params::{self, Tensors},
};
use std::collections::BTreeMap;

pub fn run() {
    let system = System::open("spikegpt");
    let mut compared = 0;
    for case in &system.cases {
        match case["kind"].as_str() {
            Some("model") => {}
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        }
        let golden = system.file(case);
        compared += parallel(case, &golden);
        compared += with_gradients(case, &golden);
        compared += recurrent(case, &golden);
        compared += runtime(case, &golden);
        compared += sampling(case, &golden);
    }
    system.finish(compared);
}

fn size(case: &Value, name: &str) -> usize {
    case["config"][name].as_u64().unwrap_or_else(|| panic!("no size `{name}`")) as usize
}

/// The network of a case with its weights, which have the names of the official code.
fn model(case: &Value, golden: &Golden, device: &Device) -> SpikeGpt {
    let blocks: Blocks = serde_json::from_value(case["config"]["model_type"].clone())
        .unwrap_or_else(|e| panic!("{}: {e}", case["file"]));
    let config = SpikeGptConfig {
        blocks,
        ..SpikeGptConfig::new(size(case, "n_layer"), size(case, "n_embd"))
    };
    let mut init = Init::new(0, device);
    let fresh = SpikeGpt::new(&config, size(case, "vocab"), &mut init);
    let weights: Tensors = golden
        .names("weights.")
        .map(|name| (name.to_owned(), golden.tensor(&format!("weights.{name}"))))
        .collect();
    let fresh = params::name_ids(fresh.unwrap_or_else(|e| panic!("{e}")));
    params::load(fresh, &weights).unwrap_or_else(|e| panic!("{}: {e}", case["file"]))
}

/// A tensor `[batch, time, ..]` of the file as values `[time, batch, ..]`.
fn time_major(golden: &Golden, name: &str) -> Vec<f32> {
    let (shape, values) = golden.tensor(name);
    let (batch, time) = (shape[0], shape[1]);
    let row = values.len() / (batch * time);
    let rows = (0..time).flat_map(|t| (0..batch).map(move |b| (b * time + t) * row));
    rows.flat_map(|start| values[start..start + row].to_vec()).collect()
}

fn tokens(case: &Value, golden: &Golden, device: &Device) -> Tensor<3> {
    let values = time_major(golden, "input.tokens");
    let shape = [size(case, "T"), size(case, "batch"), 1];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a run over `x` from a zero state shows, by name, and its logits.
fn trace(model: &SpikeGpt, x: Tensor<3>) -> (BTreeMap<String, Vec<f32>>, Vec<f32>) {
    let state = model.initial_state(x.dims()[1], &x.device());
    let mut found = BTreeMap::new();
    let (logits, _) = model.run(x, state, &mut |name, value| {
        found.insert(name.to_owned(), params::values(value.clone()));
    });
    (found, params::values(logits))
}

/// The training form without gradients: every current, spike, block and logit.
fn parallel(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex();
    let (found, logits) = trace(&model(case, golden, &device), tokens(case, golden, &device));
    let bound = tolerance(case, "output_abs");
    let of = |name: &str| found.get(name).unwrap_or_else(|| panic!("`{name}` was not seen"));
    let place = |name: &str, what: &str| {
        let (layer, neurons) = name.split_once('.').expect("a layer and its neurons");
        let mix = if neurons == "lif1" { "att" } else { "ffn" };
        format!("{layer}.{mix}.{what}")
    };
    let mut compared = 0;
    for name in golden.names("lif_input.") {
        let expected = time_major(golden, &format!("lif_input.{name}"));
        let what = format!("{} current {name}", case["file"]);
        close(&what, of(&place(name, "current")), &expected, bound);
        compared += 1;
    }
    for name in golden.names("spikes.") {
        let expected = time_major(golden, &format!("spikes.{name}"));
        let what = format!("{} spikes {name}", case["file"]);
        spikes(case, &what, of(&place(name, "spikes")), &expected);
        compared += 1;
    }
    for layer in golden.names("block_out.") {
        let expected = time_major(golden, &format!("block_out.{layer}"));
        close(
            &format!("{} block {layer}", case["file"]),
            of(&format!("{layer}.out")),
            &expected,
            bound,
        );
        compared += 1;
    }
    for name in golden.names("parallel.logits") {
        let expected = time_major(golden, &format!("parallel.logits{name}"));
        close(&format!("{} logits{name}", case["file"]), &logits, &expected, bound);
        compared += 1;
    }
    compared
}

/// The training form on the autodiff device: loss, and the gradient of every tensor the file has
/// one for, with and without the pull on the largest logits.
fn with_gradients(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex().autodiff();
    let file = &case["file"];
    let model = model(case, golden, &device);
    let targets = time_major(golden, "input.targets");
    let rows = targets.len();
    let targets: Vec<i32> = targets.iter().map(|&y| y as i32).collect();
    let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), &device);
    let mut compared = 0;
    for (prefix, l2_wrap) in [("grad.", true), ("grad_no_l2wrap.", false)] {
        let config = LossConfig { l2_wrap, ..LossConfig::default() };
        let logits = model.sequence(tokens(case, golden, &device));
        let logits = logits.reshape([rows, model.vocabulary()]);
        let loss = Loss::new(config).of(logits, targets.clone());
        let value = params::values(loss.clone().inner());
        for name in golden.names("parallel.loss") {
            let (_, expected) = golden.tensor(&format!("parallel.loss{name}"));
            close(&format!("{file} loss{name}"), &value, &expected, tolerance(case, "loss_abs"));
            compared += 1;
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let found = gradients::collect(&model, &gradients);
        for name in golden.names(prefix) {
            let (_, expected) = golden.tensor(&format!("{prefix}{name}"));
            let found = found.get(name).unwrap_or_else(|| panic!("no gradient of `{name}`"));
            gradient(case, &format!("{file} {prefix}{name}"), found, &expected);
            compared += 1;
        }
    }
    compared
}

/// Groups of tensors in a file, and the semantics that give them.
fn runs(model: &SpikeGpt) -> [(&'static str, Semantics); 3] {
    [
        ("parallel", Semantics::EXACT),
        ("rnn_binary_emb", Semantics { binary_embedding: true, rescale: true }),
        ("rnn_raw_emb", Semantics::official_runner(model.vocabulary())),
    ]
}

/// Token by token: the logits of the training form, and those and the state of the official
/// generator.
fn recurrent(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex();
    let model = model(case, golden, &device);
    let x = tokens(case, golden, &device);
    let bound = tolerance(case, "output_abs");
    let mut compared = 0;
    for (prefix, semantics) in runs(&model) {
        if golden.names(prefix).next().is_none() {
            continue;
        }
        let model = model.clone().with_semantics(semantics);
        let what = format!("{} {prefix}", case["file"]);
        let expected = time_major(golden, &format!("{prefix}.logits"));
        let logits = params::values(step_by_step(&model, x.clone()));
        close(&format!("{what} steps"), &logits, &expected, bound);
        let state = model.initial_state(x.dims()[1], &device);
        let (logits, state) = model.run(x.clone(), state, &mut |_, _| {});
        close(&format!("{what} at once"), &params::values(logits), &expected, bound);
        compared += 2 + final_state(golden, &what, prefix, state, bound);
    }
    compared
}

/// The event graph in the runtime, one token a step: spikes and logits of the training form, and
/// logits of the official generator.
fn runtime(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex();
    let model = model(case, golden, &device);
    let x = params::values(tokens(case, golden, &device));
    let bound = tolerance(case, "output_abs");
    let mut compared = 0;
    for (prefix, semantics) in runs(&model) {
        if golden.names(prefix).next().is_none() {
            continue;
        }
        let what = format!("{} runtime {prefix}", case["file"]);
        let graph = graph(model.clone().with_semantics(semantics));
        let executor = Executor::new(&graph).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut states: Vec<_> = (0..size(case, "batch")).map(|_| executor.state()).collect();
        let (mut logits, mut found) = (Vec::new(), BTreeMap::<String, Vec<f32>>::new());
        let seen = |seen: &Observation| {
            if let Output::Spikes(events) = seen.output {
                let mut dense = vec![0.0; seen.shape.iter().product()];
                events.iter().for_each(|&e| dense[e as usize] = 1.0);
                found.entry(seen.name.to_owned()).or_default().extend(dense);
            }
        };
        executor
            .run_observed(&mut states, &x, &mut logits, seen)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let expected = time_major(golden, &format!("{prefix}.logits"));
        close(&format!("{what} logits"), &logits, &expected, bound);
        compared += 1;
        if prefix != "parallel" {
            continue;
        }
        for name in golden.names("spikes.") {
            let (layer, neurons) = name.split_once('.').expect("a layer and its neurons");
            let node = match neurons {
                "lif2" => format!("{layer}.ffn.lif"),
                _ if found.contains_key(&format!("{layer}.att.lif")) => format!("{layer}.att.lif"),
                _ => format!("{layer}.ffnPre.lif"),
            };
            let expected = time_major(golden, &format!("spikes.{name}"));
            spikes(case, &format!("{what} spikes {name}"), &found[&node], &expected);
            compared += 1;
        }
    }
    compared
}

/// What the official sampler hands to the draw, for every temperature and nucleus in the file.
fn sampling(case: &Value, golden: &Golden) -> usize {
    let mut compared = 0;
    for name in golden.names("sampling.probs_temp") {
        let (temperature, top_p) = name.split_once("_topp").expect("temperature and nucleus");
        let number = |text: &str| text.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        let (temperature, top_p) = (number(temperature), number(top_p));
        let sampler = Sampler { temperature, top_p, ..Sampler::default() };
        let (_, logits) = golden.tensor("sampling.logits");
        let (_, expected) = golden.tensor(&format!("sampling.probs_temp{name}"));
        let what = format!("{} weights at temperature {name}", case["file"]);
        let weights = sampler.weights(&logits, &[]);
        close(&what, &weights, &expected, tolerance(case, "output_abs"));
        let kept = |w: &[f32]| w.iter().map(|w| *w > 0.0).collect::<Vec<_>>();
        assert_eq!(kept(&weights), kept(&expected), "{what}: tokens that can be drawn");
        compared += 1;
    }
    compared
}

fn graph(model: SpikeGpt) -> Graph {
    let mut graph = GraphBuilder::new("spikegpt");
    graph.input("input", Signal::Dense, &[1]);
    let output = model.lower(&mut graph, "input");
    graph.output("output", &output);
    lower::finish(graph).unwrap_or_else(|e| panic!("{e}"))
}

/// The final state against the rows of the official generator, if the file has them.
fn final_state(golden: &Golden, what: &str, prefix: &str, state: State, bound: f32) -> usize {
    if !golden.names(&format!("{prefix}.")).any(|name| name == "state") {
        return 0;
    }
    // Ours by layer: token, p, q and o, potentials; token, potentials.
    let layers: Vec<&[Tensor<2>]> = state.chunks_exact(7).collect();
    let rows = |index: &[usize]| -> Vec<f32> {
        let all = layers.iter().flat_map(|layer| index.iter().map(|&i| layer[i].clone()));
        params::values(Tensor::<2>::stack::<3>(all.collect(), 1))
    };
    for (name, index) in [("state", &[5, 0, 1, 2, 3][..]), ("v_lif1", &[4]), ("v_lif2", &[6])] {
        let (_, expected) = golden.tensor(&format!("{prefix}.{name}"));
        close(&format!("{what} {name}"), &rows(index), &expected, bound);
    }
    3
}
