//! EGRU: outputs, states, events, traces and gradients of single layers; logits, carried events and
//! gradients of the language model over two windows; the gesture stack from its events on. Each in
//! the training form and as an event graph in the runtime.

use crate::{
    compare::{close, gradient, spikes, tolerance},
    files::{Golden, System},
};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use serde_json::Value;
use spikelet_graph::{Graph, GraphBuilder, Op, Readout, Signal};
use spikelet_runtime::{Executor, Observation, Output};
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, State, read_out},
    models::{
        egru::{Aggregate, CellConfig, Egru, EgruConfig, EgruLayer, FrontConfig, learned, pseudo},
        egru_lm::{Carry, EgruLm},
    },
    ops::egru::{EgruOutputs, EgruSettings, EgruState, EgruWeights, egru_sequence},
    params::{self, Tensors},
};
use std::{collections::BTreeMap, sync::Arc};

pub fn run() {
    let system = System::open("egru");
    let mut compared = 0;
    for case in &system.cases {
        let golden = system.file(case);
        compared += match case["kind"].as_str() {
            Some("cell") => cell(case, &golden) + cell_runtime(case, &golden),
            Some("language model") => language(case, &golden) + language_runtime(case, &golden),
            Some("dvs stack, no conv front end") => gestures(case, &golden),
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        };
    }
    system.finish(compared);
}

fn size(case: &Value, name: &str) -> usize {
    case["config"][name].as_u64().unwrap_or_else(|| panic!("no size `{name}`")) as usize
}

fn number(case: &Value, name: &str) -> f32 {
    case["config"][name].as_f64().unwrap_or_else(|| panic!("no number `{name}`")) as f32
}

fn weights(golden: &Golden) -> Tensors {
    let names = golden.names("weights.");
    names.map(|name| (name.to_owned(), golden.tensor(&format!("weights.{name}")))).collect()
}

fn tensor<const D: usize>(golden: &Golden, name: &str, device: &Device) -> Tensor<D> {
    let (shape, values) = golden.tensor(name);
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor `[batch, time, ..]` of the file as values `[time, batch, ..]`.
fn time_major(golden: &Golden, name: &str) -> Vec<f32> {
    let (shape, values) = golden.tensor(name);
    let (batch, time) = (shape[0], shape[1]);
    let row = values.len() / (batch * time);
    let rows = (0..time).flat_map(|t| (0..batch).map(move |b| (b * time + t) * row));
    rows.flat_map(|start| values[start..start + row].to_vec()).collect()
}

/// The layer of a case, its zoneout as in the case.
fn layer(case: &Value, golden: &Golden, device: &Device) -> EgruLayer {
    let config = CellConfig {
        zoneout: number(case, "zoneout"),
        dampening: number(case, "dampening_factor"),
        support: number(case, "pseudo_derivative_support"),
        ..CellConfig::default()
    };
    let mut init = Init::new(0, device);
    let fresh = EgruLayer::new(&config, size(case, "input"), size(case, "hidden"), &mut init);
    let fresh = params::name_ids(fresh);
    let layer = params::load(fresh, &learned(&weights(golden)));
    layer.unwrap_or_else(|e| panic!("{}: {e}", case["file"])).clamped()
}

/// The outputs of a layer from `y0`, zoned out by the mask of the file in training.
fn outputs(
    case: &Value,
    golden: &Golden,
    layer: &EgruLayer,
    x: Tensor<3>,
    y0: Tensor<2>,
) -> EgruOutputs {
    let zeros = y0.zeros_like();
    let state = EgruState { y: y0, h: zeros.clone(), trace: zeros };
    if case["config"]["training"] == false {
        return layer.run(x, state, None, 0);
    }
    let weights = EgruWeights {
        kernel: layer.kernel.val(),
        recurrent: layer.recurrent_kernel.val(),
        bias: layer.bias.val(),
        recurrent_bias: layer.recurrent_bias.val(),
        threshold: layer.thr.val(),
    };
    let masks = golden.names("input.").any(|name| name == "zoneout_mask");
    let mask = masks.then(|| Arc::new(golden.tensor("input.zoneout_mask").1));
    let settings =
        EgruSettings { pseudo: pseudo(&crate::egru::weights(golden), ""), share: 1.0, mask };
    egru_sequence(x, weights, state, settings)
}

/// A layer in its training form: everything it gives, the loss, and gradients where there are some.
fn cell(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex().autodiff();
    let (file, bound) = (&case["file"], tolerance(case, "output_abs"));
    let layer = layer(case, golden, &device);
    let x = tensor::<3>(golden, "input.x", &device).require_grad();
    let y0 = tensor::<2>(golden, "input.y0", &device).require_grad();
    let out = outputs(case, golden, &layer, x.clone(), y0.clone());
    let mut compared = 0;
    let all = [("y", &out.y), ("h", &out.h), ("o", &out.o), ("trace", &out.trace)];
    let mut loss = Tensor::<1>::zeros([1], &device);
    for (name, found) in all {
        let (shape, expected) = golden.tensor(&format!("out.{name}"));
        let values = params::values(found.clone());
        match name {
            "o" => spikes(case, &format!("{file} o"), &values, &expected),
            _ => close(&format!("{file} {name}"), &values, &expected, bound),
        }
        let weight = tensor::<3>(golden, &format!("loss_weight.{name}"), &device);
        loss = loss + (found.clone() * weight).sum().div_scalar((shape[0] * shape[1]) as f32);
        compared += 1;
    }
    for name in ["out.y_f64", "out.h_f64"] {
        let found = if name == "out.y_f64" { &out.y } else { &out.h };
        let values = params::values(found.clone());
        close(&format!("{file} {name}"), &values, &golden.tensor(name).1, bound);
        compared += 1;
    }
    for name in ["loss", "loss_f64"] {
        close(
            &format!("{file} {name}"),
            &params::values(loss.clone()),
            &golden.tensor(name).1,
            bound,
        );
        compared += 1;
    }
    if golden.names("grad.").next().is_none() {
        return compared;
    }
    let mut backward = loss.backward();
    let mut found = BTreeMap::from([
        ("input".to_owned(), params::values(x.grad_remove(&mut backward).expect("gradient of x"))),
        ("y0".to_owned(), params::values(y0.grad_remove(&mut backward).expect("gradient of y0"))),
    ]);
    let by_parameter = GradientsParams::from_grads(backward, &layer);
    found.extend(gradients::collect(&layer, &by_parameter));
    for prefix in ["grad.", "grad_f64."] {
        for name in golden.names(prefix) {
            let (_, expected) = golden.tensor(&format!("{prefix}{name}"));
            let found = found.get(name).unwrap_or_else(|| panic!("no gradient of `{name}`"));
            gradient(case, &format!("{file} {prefix}{name}"), found, &expected);
            compared += 1;
        }
    }
    compared
}

/// What nodes give over a run, by name: outputs, and potentials under `name.h`.
type Seen = BTreeMap<String, Vec<f32>>;

/// Runs `x` `[time, streams, values]` through a graph from fresh states; also the results.
fn observe(what: &str, graph: &Graph, streams: usize, x: &[f32]) -> (Seen, Vec<f32>) {
    let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut states: Vec<_> = (0..streams).map(|_| executor.state()).collect();
    let (mut results, mut found) = (Vec::new(), Seen::new());
    let see = |seen: &Observation| {
        let mut values = match seen.output {
            Output::Dense(values) => values.to_vec(),
            Output::Spikes(_) => Vec::new(),
        };
        found.entry(seen.name.to_owned()).or_default().append(&mut values);
        if let Some(h) = seen.potential {
            found.entry(format!("{}.h", seen.name)).or_default().extend(h);
        }
    };
    executor
        .run_observed(&mut states, x, &mut results, see)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    (found, results)
}

/// The layer as a graph, its first events fed through an edge of their own. Zoneout drawn at random
/// exists in training only.
fn cell_runtime(case: &Value, golden: &Golden) -> usize {
    let (file, bound) = (format!("{} runtime", case["file"]), tolerance(case, "output_abs"));
    if case["config"]["training"] == true && number(case, "zoneout") > 0.0 {
        return 0;
    }
    let layer = layer(case, golden, &Device::flex());
    let (inputs, units) = (size(case, "input"), size(case, "hidden"));
    let mut builder = GraphBuilder::new("cell");
    builder.input("y0", Signal::Graded, &[units]);
    builder.input("x", Signal::Dense, &[inputs]);
    layer.lower(&mut builder, "cell", "x", false, None);
    builder.edge("y0", "cell", 1);
    builder.output("y", "cell");
    let graph = lower::finish(builder).unwrap_or_else(|e| panic!("{file}: {e}"));
    let first = graph.validate().expect("a valid graph").order[0];
    let y0_first = graph.nodes[first].name == "y0";
    let (shape, x) = golden.tensor("input.x");
    let (_, y0) = golden.tensor("input.y0");
    let (time, batch) = (shape[0], shape[1]);
    let mut rows = Vec::new();
    for t in 0..time {
        for b in 0..batch {
            let start = match t {
                0 => y0[b * units..(b + 1) * units].to_vec(),
                _ => vec![0.0; units],
            };
            let x = &x[(t * batch + b) * inputs..][..inputs];
            match y0_first {
                true => rows.extend(start.iter().chain(x)),
                false => rows.extend(x.iter().chain(&start)),
            }
        }
    }
    let (seen, _) = observe(&file, &graph, batch, &rows);
    let events: Vec<f32> = seen["cell"].iter().map(|y| if *y != 0.0 { 1.0 } else { 0.0 }).collect();
    spikes(case, &format!("{file} o"), &events, &golden.tensor("out.o").1);
    close(&format!("{file} y"), &seen["cell"], &golden.tensor("out.y").1, bound);
    close(&format!("{file} h"), &seen["cell.h"], &golden.tensor("out.h").1, bound);
    3
}

/// The same of a tensor that a file may lack.
fn given(golden: &Golden, name: &str) -> Option<Vec<f32>> {
    golden.names("").any(|found| found == name).then(|| time_major(golden, name))
}

/// Tokens `first..first + T` of every sequence, `[T, batch, 1]`.
fn tokens(case: &Value, golden: &Golden, first: usize, device: &Device) -> Tensor<3> {
    let all = time_major(golden, "input.tokens");
    let (time, batch) = (size(case, "T"), size(case, "B"));
    let window = all[first * batch..(first + time) * batch].to_vec();
    Tensor::from_data(TensorData::new(window, [time, batch, 1]), device)
}

fn language_model(case: &Value, golden: &Golden, device: &Device) -> EgruLm {
    let window = size(case, "T");
    let model = EgruLm::of_official(&weights(golden), window, device);
    model.unwrap_or_else(|e| panic!("{}: {e}", case["file"]))
}

/// Both windows: every layer, the logits, what is carried; loss, gradients and backward sparsity of
/// the first.
fn language(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex().autodiff();
    let (file, bound) = (&case["file"], tolerance(case, "output_abs"));
    let model = language_model(case, golden, &device);
    let mut state = model.initial_state(size(case, "B"), &device);
    let mut compared = 0;
    for (window, first) in [("window1", 0), ("window2", size(case, "T"))] {
        let mut check = |layer: usize, out: &EgruOutputs| {
            for (name, found) in [("y", &out.y), ("h", &out.h), ("events", &out.o)] {
                let part = format!("{window}.{name}.{layer}");
                let Some(expected) = given(golden, &part) else { continue };
                let found = params::values(found.clone());
                match name {
                    "events" => spikes(case, &format!("{file} {part}"), &found, &expected),
                    _ => close(&format!("{file} {part}"), &found, &expected, bound),
                }
                compared += 1;
            }
        };
        let (logits, last) = model.run(tokens(case, golden, first, &device), state, &mut check);
        let log_probs = params::values(log_softmax(logits.clone(), 2));
        for name in ["log_probs", "log_probs_f64"] {
            let name = format!("{window}.{name}");
            close(&format!("{file} {name}"), &log_probs, &time_major(golden, &name), bound);
            compared += 1;
        }
        state = model.carried(last);
        if window == "window1" {
            let x = tokens(case, golden, first, &device);
            let found: Vec<f32> =
                model.sparsity(x).iter().map(|layer| layer.backward_official as f32).collect();
            let name = "window1.backward_sparsity";
            close(&format!("{file} {name}"), &found, &golden.tensor(name).1, bound);
            compared += 1;
            compared += carried(case, golden, &state) + learns(case, golden, &model, logits);
        }
    }
    compared
}

/// The events of the last step, and nothing else.
fn carried(case: &Value, golden: &Golden, state: &State) -> usize {
    for (layer, parts) in state.chunks(2).enumerate() {
        let name = format!("carry.{layer}");
        let (_, expected) = golden.tensor(&name);
        let found = params::values(parts[0].clone());
        close(
            &format!("{} {name}", case["file"]),
            &found,
            &expected,
            tolerance(case, "output_abs"),
        );
        let rest = params::values(parts[1].clone());
        assert!(rest.iter().all(|h| *h == 0.0), "{}: states start again", case["file"]);
    }
    state.len() / 2
}

/// Loss and gradients of the first window.
fn learns(case: &Value, golden: &Golden, model: &EgruLm, logits: Tensor<3>) -> usize {
    let (file, time, batch) = (&case["file"], size(case, "T"), size(case, "B"));
    let targets = time_major(golden, "input.tokens");
    let targets: Vec<i32> =
        targets[batch..(time + 1) * batch].iter().map(|&token| token as i32).collect();
    let targets = TensorData::new(targets, [time * batch]);
    let targets = Tensor::<1, Int>::from_data(targets, &logits.device());
    let logits = logits.reshape([time * batch, model.vocabulary()]);
    let loss = Loss::new(LossConfig::default()).of(logits, targets);
    let value = params::values(loss.clone());
    for name in ["window1.loss", "window1.loss_f64"] {
        let bound = tolerance(case, "output_abs");
        close(&format!("{file} {name}"), &value, &golden.tensor(name).1, bound);
    }
    let by_parameter = GradientsParams::from_grads(loss.backward(), model);
    let found = gradients::collect(model, &by_parameter);
    let mut compared = 2;
    for name in golden.names("grad.") {
        let (_, expected) = golden.tensor(&format!("grad.{name}"));
        let found = found.get(name).unwrap_or_else(|| panic!("no gradient of `{name}`"));
        gradient(case, &format!("{file} grad.{name}"), found, &expected);
        compared += 1;
    }
    compared
}

/// Both windows as one stream: the graph restarts its states by itself.
fn language_runtime(case: &Value, golden: &Golden) -> usize {
    let what = format!("{} runtime", case["file"]);
    let (device, bound) = (Device::flex(), tolerance(case, "output_abs"));
    let (batch, time) = (size(case, "B"), size(case, "T"));
    let model = language_model(case, golden, &device);
    assert_eq!(model.carry, Carry::Events);
    let mut builder = GraphBuilder::new("language model");
    builder.input("input", Signal::Dense, &[1]);
    let output = model.lower(&mut builder, "input");
    builder.output("output", &output);
    let graph = lower::finish(builder).unwrap_or_else(|e| panic!("{what}: {e}"));
    let x: Vec<f32> = [0, time]
        .into_iter()
        .flat_map(|first| params::values(tokens(case, golden, first, &device)))
        .collect();
    let (seen, logits) = observe(&what, &graph, batch, &x);
    let mut compared = 0;
    for (window, name) in ["window1", "window2"].into_iter().enumerate() {
        let part = |all: &[f32]| all.chunks(all.len() / 2).nth(window).expect("half").to_vec();
        for layer in 0..size(case, "layers") {
            let y = part(&seen[&format!("rnns.{layer}")]);
            let events: Vec<f32> = y.iter().map(|y| if *y != 0.0 { 1.0 } else { 0.0 }).collect();
            let h = part(&seen[&format!("rnns.{layer}.h")]);
            for (part, found) in [("y", &y), ("h", &h), ("events", &events)] {
                let part = format!("{name}.{part}.{layer}");
                let Some(expected) = given(golden, &part) else { continue };
                match part.contains("events") {
                    true => spikes(case, &format!("{what} {part}"), found, &expected),
                    false => close(&format!("{what} {part}"), found, &expected, bound),
                }
                compared += 1;
            }
        }
        let shape = [time, batch, model.vocabulary()];
        let logits = Tensor::<3>::from_data(TensorData::new(part(&logits), shape), &device);
        let found = params::values(log_softmax(logits, 2));
        let expected = time_major(golden, &format!("{name}.log_probs"));
        close(&format!("{what} {name} log_probs"), &found, &expected, bound);
        compared += 1;
    }
    compared
}

/// The frames of a case, `[time, batch, side * side * 2]`, channels last.
fn frames(case: &Value, golden: &Golden) -> (Vec<f32>, [usize; 3]) {
    let side = size(case, "frame_size") * size(case, "pool_kernel");
    let (time, batch) = (size(case, "T"), size(case, "B"));
    let mut frames = vec![0.0; time * batch * side * side * 2];
    let (_, events) = golden.tensor("input.events");
    for event in events.chunks_exact(5) {
        let [b, t, p, y, x] = [0, 1, 2, 3, 4].map(|k| event[k] as usize);
        frames[(((t * batch + b) * side + y) * side + x) * 2 + p] += 1.0;
    }
    (frames, [side, side, 2])
}

/// The gesture stack: both layers, logits, loss, gradients; the same as a graph.
fn gestures(case: &Value, golden: &Golden) -> usize {
    let device = Device::flex().autodiff();
    let (file, bound) = (&case["file"], tolerance(case, "output_abs"));
    let aggregate: Aggregate = serde_json::from_value(case["config"]["agg"].clone())
        .unwrap_or_else(|e| panic!("{file}: {e}"));
    let readout = match case["config"]["use_all_timesteps"] == true {
        true => Readout::Mean,
        false => Readout::Last,
    };
    let cell = CellConfig {
        dampening: number(case, "dampening_factor"),
        support: number(case, "pseudo_derivative_support"),
        ..CellConfig::default()
    };
    let config = EgruConfig {
        units: size(case, "units"),
        layers: size(case, "layers"),
        dropout: 0.0,
        cell,
        front: Some(FrontConfig::new(size(case, "pool_kernel"), aggregate)),
        regularise: None,
        readout,
    };
    let (frames, shape) = frames(case, golden);
    let weights = weights(golden);
    let classes = weights["fc.bias"].1.len();
    let fresh = Egru::new(&config, &shape, classes, &mut Init::new(0, &device));
    let fresh = params::name_ids(fresh.unwrap_or_else(|e| panic!("{file}: {e}")));
    let model = params::load(fresh, &learned(&weights)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let model = model.learned(State::new());

    let (time, batch) = (size(case, "T"), size(case, "B"));
    let x = TensorData::new(frames.clone(), [time, batch, shape.iter().product()]);
    let x = Tensor::<3>::from_data(x, &device);
    let mut compared = 0;
    let state = model.initial_state(batch, &device);
    let (outputs, _) = model.run(x, state, &mut |layer, out| {
        for (name, found) in [("y", &out.y), ("h", &out.h), ("trace", &out.trace)] {
            let name = format!("{name}.{layer}");
            let found = params::values(found.clone());
            close(&format!("{file} {name}"), &found, &time_major(golden, &name), bound);
        }
        let name = format!("events.{layer}");
        let found = params::values(out.o.clone());
        spikes(case, &format!("{file} {name}"), &found, &time_major(golden, &name));
        compared += 4;
    });
    let logits = read_out(model.readout(), outputs);
    let expected = golden.tensor("logits").1;
    close(&format!("{file} logits"), &params::values(logits.clone()), &expected, bound);
    let (_, labels) = golden.tensor("input.labels");
    let labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [batch]), &device);
    let loss = Loss::new(LossConfig::default()).of(logits, labels);
    close(&format!("{file} loss"), &params::values(loss.clone()), &golden.tensor("loss").1, bound);
    let by_parameter = GradientsParams::from_grads(loss.backward(), &model);
    let found = gradients::collect(&model, &by_parameter);
    for name in golden.names("grad.") {
        let (_, expected) = golden.tensor(&format!("grad.{name}"));
        let found = found.get(name).unwrap_or_else(|| panic!("no gradient of `{name}`"));
        gradient(case, &format!("{file} grad.{name}"), found, &expected);
        compared += 1;
    }
    compared + 2 + gestures_runtime(case, golden, &model, &frames)
}

fn gestures_runtime(case: &Value, golden: &Golden, model: &Egru, frames: &[f32]) -> usize {
    let what = format!("{} runtime", case["file"]);
    let (batch, bound) = (size(case, "B"), tolerance(case, "output_abs"));
    let mut builder = GraphBuilder::new("gestures");
    let values = frames.len() / (batch * size(case, "T"));
    builder.input("input", Signal::Dense, &model.input_shape(values));
    let output = model.lower(&mut builder, "input");
    builder.readout("readout", &output, model.readout());
    builder.output("output", "readout");
    let graph = lower::finish(builder).unwrap_or_else(|e| panic!("{what}: {e}"));
    let (seen, logits) = observe(&what, &graph, batch, frames);
    let mut compared = 1;
    for (index, layer) in graph.nodes.iter().filter(|n| matches!(n.op, Op::Egru { .. })).enumerate()
    {
        let y = &seen[&layer.name];
        let events: Vec<f32> = y.iter().map(|y| if *y != 0.0 { 1.0 } else { 0.0 }).collect();
        let of = |name: &str| time_major(golden, &format!("{name}.{index}"));
        spikes(case, &format!("{what} events {index}"), &events, &of("events"));
        close(&format!("{what} y {index}"), y, &of("y"), bound);
        close(&format!("{what} h {index}"), &seen[&format!("{}.h", layer.name)], &of("h"), bound);
        let trace = &seen[&format!("{}.trace", layer.name)];
        close(&format!("{what} trace {index}"), trace, &of("trace"), bound);
        compared += 4;
    }
    let last = &logits[logits.len() - golden.tensor("logits").1.len()..];
    close(&format!("{what} logits"), last, &golden.tensor("logits").1, bound);
    compared
}
