//! L2MU, both generations: traces step by step, the sequence form with its gradients, the graph.

use crate::{
    compare::{close, gradient, spikes, tolerance},
    files::{Golden, System},
};
use burn::module::Param;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use spikelet::convert;
use spikelet_graph::Graph;
use spikelet_runtime::{Executor, Output, State};
use spikelet_train::{
    loss::cross_entropy,
    model::{SequenceModel, read_out},
    models::l2mu::{L2mu, Trace},
    params,
};
use std::collections::BTreeMap;

pub fn run() {
    let system = System::open("l2mu");
    let mut compared = 0;
    for case in &system.cases {
        match case["kind"].as_str() {
            Some("leaky_v2" | "har_original") => {}
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        }
        let golden = system.file(case);
        let (graph, _) = convert::convert(&golden.checkpoint, Some("l2mu"))
            .unwrap_or_else(|e| panic!("{}: {e}", case["file"]));
        compared += traces(case, &golden, &graph);
        compared += gradients(case, &golden, &graph);
        compared += runtime(case, &golden, &graph);
    }
    system.finish(compared);
}

fn model(graph: &Graph, device: &Device) -> L2mu {
    L2mu::from_graph(graph, device).unwrap_or_else(|e| panic!("{e}"))
}

fn input(golden: &Golden, device: &Device) -> Tensor<3> {
    let (shape, values) = golden.tensor("input");
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The step form, every population at every step.
fn traces(case: &Value, golden: &Golden, graph: &Graph) -> usize {
    let device = Device::flex();
    let model = model(graph, &device);
    let x = input(golden, &device);
    let mut state = model.initial_state(x.dims()[1], &x.device());
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for x in x.iter_dim(0) {
        let (traces, next) = model.trace(x.squeeze_dim(0), state);
        for trace in traces {
            for (name, tensor) in named(trace, &model) {
                found.entry(name).or_default().extend(params::values(tensor));
            }
        }
        state = next;
    }
    let mut compared = 0;
    for name in golden.names("trace.") {
        let what = format!("{} step {name}", case["file"]);
        let found = found.get(name).unwrap_or_else(|| panic!("{what}: not traced"));
        let (_, values) = golden.tensor(&format!("trace.{name}"));
        match name.starts_with("s_") {
            true => spikes(case, &what, found, &values),
            false => close(&what, found, &values, tolerance(case, "output_abs")),
        }
        compared += 1;
    }
    let (_, output) = golden.tensor("output");
    spikes(case, &format!("{} step output", case["file"]), &found["s_out"], &output);
    compared + 1
}

/// The tensors of a trace under the names of the golden file; the populations of all channels of
/// the input module are one here.
fn named(trace: Trace, model: &L2mu) -> Vec<(String, Tensor<2>)> {
    // The official code keeps the potential before its reset, an immediate reset here is done.
    let neurons = model.populations().into_iter().find(|(name, ..)| *name == trace.population);
    let (_, _, neurons) = neurons.expect("a population of the model");
    let v = match model.constants.reset_delayed {
        true => trace.state.v,
        false => trace.state.v + trace.spikes.clone() * neurons.threshold.unsqueeze(),
    };
    let all = [
        Some(("curr", trace.current)),
        Some(("v", v)),
        trace.state.second.map(|i| ("i", i)),
        Some(("s", trace.spikes)),
    ];
    let all = all.into_iter().flatten();
    if trace.population != "enc_ch" {
        return all.map(|(k, t)| (format!("{k}_{}", trace.population), t)).collect();
    }
    let [channels, population] = model.encoder.as_ref().expect("an encoder").weight.val().dims();
    all.flat_map(|(k, t)| {
        let name = move |c| format!("{k}_enc_ch{c}");
        (0..channels)
            .map(|c| (name(c), t.clone().narrow(1, c * population, population)))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The sequence form: outputs, loss, and the gradient of every tensor the file has one for.
fn gradients(case: &Value, golden: &Golden, graph: &Graph) -> usize {
    let device = Device::flex().autodiff();
    let model = model(graph, &device);
    let file = &case["file"];
    let output = model.sequence(input(golden, &device));
    let (_, expected) = golden.tensor("output");
    let values = params::values(output.clone().inner());
    spikes(case, &format!("{file} sequence output"), &values, &expected);
    let logits = read_out(model.readout(), output);
    let (_, expected) = golden.tensor("logits");
    let bound = tolerance(case, "output_abs");
    close(&format!("{file} logits"), &params::values(logits.clone().inner()), &expected, bound);
    let (shape, labels) = golden.tensor("label");
    let labels: Vec<i32> = labels.iter().map(|&y| y as i32).collect();
    let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, shape), &device);
    let loss = cross_entropy(logits, labels, None);
    let (_, expected) = golden.tensor("loss");
    close(&format!("{file} loss"), &params::values(loss.clone().inner()), &expected, bound);
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let mut compared = 3;
    for name in golden.names("grad.") {
        let what = format!("{file} grad {name}");
        let (_, expected) = golden.tensor(&format!("grad.{name}"));
        gradient(case, &what, &of(&model, &gradients, name), &expected);
        compared += 1;
    }
    compared
}

/// The gradient of the tensor that has this name in the official code.
fn of(model: &L2mu, gradients: &GradientsParams, name: &str) -> Vec<f32> {
    fn values<const D: usize>(gradients: &GradientsParams, p: &Param<Tensor<D>>) -> Vec<f32> {
        params::values(gradients.get::<D>(p.id).expect("a gradient"))
    }
    let g = gradients;
    let name = name.trim_start_matches("slmu.").trim_start_matches("l2mu_cell.");
    let matrices = [
        ("e_x", &model.e_x),
        ("e_h", &model.e_h),
        ("e_m", &model.e_m),
        ("W_x", &model.w_x),
        ("W_h", &model.w_h),
        ("W_m", &model.w_m),
        ("output_transformation", &model.w_o),
    ];
    let stem = name.trim_end_matches(".weight");
    if let Some((_, p)) = matrices.iter().find(|(n, _)| *n == stem) {
        return values(g, p);
    }
    if name == "output_transformation.bias" {
        return values(g, &model.b_o);
    }
    let populations = [("u", &model.u), ("m", &model.m), ("h", &model.h), ("output", &model.out)];
    for (population, neurons) in populations {
        if name == format!("spk_{population}.threshold") {
            return values(g, &neurons.threshold);
        }
        if name == format!("spk_{population}.beta") {
            return values(g, neurons.beta.as_ref().expect("a decay"));
        }
    }
    let encoder = model.encoder.as_ref().unwrap_or_else(|| panic!("no parameter for `{name}`"));
    for (layer, part) in encoder.layers.iter().zip(["encoder", "decoder"]) {
        if name == format!("input_encoder.{part}.weight") {
            return values(g, &layer.weight);
        }
        if name == format!("input_encoder.{part}.bias") {
            return values(g, &layer.bias);
        }
    }
    let mut parts = name.rsplit('.');
    let (kind, channel) = (parts.next(), parts.next().and_then(|c| c.parse::<usize>().ok()));
    let channel = channel.unwrap_or_else(|| panic!("no parameter for `{name}`"));
    let all = match kind {
        Some("weight") => values(g, &encoder.weight),
        Some("bias") => values(g, &encoder.bias),
        _ => panic!("no parameter for `{name}`"),
    };
    let population = encoder.weight.val().dims()[1];
    all[channel * population..][..population].to_vec()
}

/// The event graph in the runtime, and the graph of the model trained here: spikes of every
/// population at every step, and the read-out.
fn runtime(case: &Value, golden: &Golden, graph: &Graph) -> usize {
    let (shape, x) = golden.tensor("input");
    let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{}: {e}", case["file"]));
    let mut states: Vec<State> = (0..shape[1]).map(|_| executor.state()).collect();
    let mut out = Vec::new();
    let mut found: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
    executor
        .run_observed(&mut states, &x, &mut out, |seen| {
            let mut dense = vec![0.0; seen.shape.iter().product()];
            match seen.output {
                Output::Spikes(events) => events.iter().for_each(|&e| dense[e as usize] = 1.0),
                Output::Dense(values) => dense.copy_from_slice(values),
            }
            found.entry(seen.name.to_owned()).or_default().push(dense);
        })
        .unwrap_or_else(|e| panic!("{}: {e}", case["file"]));
    let mut compared = 0;
    for name in golden.names("trace.s_") {
        let what = format!("{} runtime spikes of {name}", case["file"]);
        let (shape, expected) = golden.tensor(&format!("trace.s_{name}"));
        let found = population(&found, name, &shape);
        spikes(case, &what, &found, &expected);
        compared += 1;
    }
    let (_, logits) = golden.tensor("logits");
    let last = &out[out.len() - logits.len()..];
    let bound = tolerance(case, "output_abs");
    close(&format!("{} runtime logits", case["file"]), last, &logits, bound);
    compared + 1
}

/// The spikes of the population of this official name, `[time, batch, neurons]`.
fn population(found: &BTreeMap<String, Vec<Vec<f32>>>, name: &str, shape: &[usize]) -> Vec<f32> {
    let node = match name {
        "enc_encoder" => "encoder",
        "enc_decoder" => "decoder",
        channel if channel.starts_with("enc_ch") => "populations",
        other => other,
    };
    let rows = found.get(node).unwrap_or_else(|| panic!("no node `{node}` was seen"));
    match name.strip_prefix("enc_ch").and_then(|c| c.parse::<usize>().ok()) {
        None => rows.concat(),
        Some(channel) => {
            let n = shape[2];
            rows.iter().flat_map(|row| row[channel * n..][..n].to_vec()).collect()
        }
    }
}
