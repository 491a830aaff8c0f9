//! The EGRU gesture network behind its front end: order and divisors of the inputs, convolutions of
//! official checkpoints against plain loops, the training form against the runtime, the regulariser.

use burn::tensor::{Device, Int, Tensor, TensorData};
use spikelet::convert::convert;
use spikelet_data::{
    aedat3,
    checkpoint::Checkpoint,
    event_frames::{EventFramesConfig, Framer, Slice},
    events::Event,
    gestures,
};
use spikelet_graph::{Graph, GraphBuilder, Op, Readout, Signal, Task, task::EVENTS};
use spikelet_runtime::{Executor, Output};
use spikelet_train::{
    gradients,
    init::Init,
    loss::{Loss, LossConfig},
    lower,
    model::{SequenceModel, step_by_step},
    models::egru::{Aggregate, Egru, EgruConfig, FrontConfig},
    params::{self, Tensors},
    rule::LearningRule,
};

const SIDE: usize = 32;
const CLASSES: usize = 5;
const CHANNELS: [usize; 5] = [3, 4, 5, 4, 6];
const FEATURES: usize = 7;

fn network(more: &str, front: &str, device: &Device) -> Egru {
    // Weights of which units fire.
    let text = format!(
        "units = 11\nlayers = 2\n{more}\n[cell]\nthreshold_mean = 0.02\ninit_gain = 6.0\nsupport = 1.7\n\
         [front]\n{front}"
    );
    let config: EgruConfig = toml::from_str(&text).expect("a configuration");
    let model = Egru::new(&config, &[SIDE, SIDE, 2], CLASSES, &mut Init::new(9, device));
    params::name_ids(model.expect("a network"))
}

fn convolutions(pool: usize) -> String {
    format!(
        "pool = {pool}\naggregate = \"mean\"\ndivide = {{ train = 3.0, test = 2.5 }}\n\
         convolutions = {{ channels = {CHANNELS:?}, features = {FEATURES} }}"
    )
}

/// Sparse counts of events, `[time, batch, SIDE * SIDE * 2]`.
fn counts(time: usize, batch: usize) -> Vec<f32> {
    let n = time * batch * SIDE * SIDE * 2;
    let count = |i: usize| if i * 7919 % 11 < 3 { (i * i % 5) as f32 } else { 0.0 };
    (0..n).map(count).collect()
}

fn tensor(values: &[f32], time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let data = TensorData::new(values.to_vec(), [time, batch, values.len() / (time * batch)]);
    Tensor::from_data(data, device)
}

fn graph(model: &Egru) -> Graph {
    let mut builder = GraphBuilder::new("gestures");
    builder.input("input", model.input_signal(), &[SIDE, SIDE, 2]);
    let output = model.lower(&mut builder, "input");
    builder.readout("readout", &output, model.readout());
    builder.output("output", "readout");
    lower::finish(builder).expect("a graph")
}

fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() < bound, "{what}[{i}]: {f} is not {e}");
    }
}

#[test]
fn polarities_are_brought_together_as_the_official_code_does() {
    let device = Device::flex();
    let (pool, side) = (2, SIDE / 2);
    let values = counts(1, 1);
    let at = |p: usize, y: usize, x: usize| values[(y * SIDE + x) * 2 + p];
    let largest = |p: usize, y: usize, x: usize| {
        let near = [(0, 0), (0, 1), (1, 0), (1, 1)];
        near.map(|(dy, dx)| at(p, 2 * y + dy, 2 * x + dx)).into_iter().fold(0.0, f32::max)
    };
    let positions = || (0..side).flat_map(|y| (0..side).map(move |x| (y, x)));
    let both = |of: &dyn Fn(f32) -> f32| -> Vec<f32> {
        // All positions of one polarity, then those of the other.
        (0..2)
            .flat_map(|p| positions().map(move |(y, x)| (p, y, x)))
            .map(|(p, y, x)| of(largest(p, y, x)))
            .collect()
    };
    let one = |of: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
        positions().map(|(y, x)| of(largest(0, y, x), largest(1, y, x))).collect()
    };
    for (aggregate, expected) in [
        (Aggregate::Mean, one(&|off, on| (off + on) / 2.0)),
        (Aggregate::Diff, one(&|off, on| off - on)),
        (Aggregate::Bool, both(&|count| f32::from(count > 1.0))),
        (Aggregate::None, both(&|count| count)),
    ] {
        let front = FrontConfig::new(pool, aggregate);
        let shape = [SIDE, SIDE, 2];
        let found = params::values(front.run(tensor(&values, 1, 1, &device), shape, false));
        assert_eq!(found, expected, "{aggregate:?}");
        assert_eq!(front.image(shape).unwrap().iter().product::<usize>(), expected.len());
        // The same in a graph.
        let mut builder = GraphBuilder::new("front");
        builder.input("input", Signal::Graded, &shape);
        let last = front.lower(&mut builder, "input");
        builder.output("output", &last);
        let executor = Executor::new(&lower::finish(builder).unwrap()).unwrap();
        let mut out = Vec::new();
        executor.run(&mut [executor.state()], &values, &mut out).unwrap();
        assert_eq!(out, expected, "{aggregate:?} as a graph");
    }
    let front = FrontConfig::new(1, Aggregate::Mean);
    assert!(
        front.image([4, 4, 3]).is_err()
            && FrontConfig { pool: 0, ..front }.image([4, 4, 2]).is_err()
    );
}

/// Every layer's events are the same, the outputs nearly; also a step at a time, and for frames
/// that are pooled first.
#[test]
fn the_training_form_is_the_runtime() {
    let device = Device::flex();
    let (time, batch) = (6, 2);
    let fronts = [
        convolutions(1),
        "pool = 2\naggregate = \"none\"\ndivide = { train = 4.0, test = 4.0 }".to_owned(),
        "pool = 2\naggregate = \"bool\"".to_owned(),
        "pool = 4\naggregate = \"diff\"".to_owned(),
    ];
    for front in fronts {
        let model = network("readout = \"mean\"", &front, &device);
        let values = counts(time, batch);
        let x = tensor(&values, time, batch, &device);
        let mut trained = Vec::new();
        let state = model.initial_state(batch, &device);
        let (out, _) =
            model.run(x.clone(), state, &mut |_, out| trained.push(params::values(out.o.clone())));
        let active = trained.iter().flatten().filter(|o| **o != 0.0).count();
        assert!(active > 20, "{front}: {active} events");
        close(
            "steps",
            &params::values(step_by_step(&model, x)),
            &params::values(out.clone()),
            1e-5,
        );

        let graph = graph(&model);
        let executor = Executor::new(&graph).unwrap();
        let mut states: Vec<_> = (0..batch).map(|_| executor.state()).collect();
        let (mut results, mut events) = (Vec::new(), vec![Vec::new(); 2]);
        executor
            .run_observed(&mut states, &values, &mut results, |seen| {
                let Some(layer) = ["layers.0", "layers.1"].iter().position(|n| *n == seen.name)
                else {
                    return;
                };
                let Output::Dense(y) = seen.output else { panic!("EGRU gives values") };
                events[layer].extend(y.iter().map(|y| f32::from(*y != 0.0)));
            })
            .unwrap();
        assert_eq!(events, trained, "{front}");
        let mean = params::values(out.mean_dim(0));
        close(&front, &results[results.len() - mean.len()..], &mean, 1e-5);
        // And back: the graph knows no front end beside the convolutions, whose weights it holds.
        let back = Egru::from_graph(&graph, &device).expect("a model");
        assert_eq!(params::collect(&back), params::collect(&model), "{front}");
    }
}

#[test]
fn training_divides_by_a_number_of_its_own() {
    let device = Device::flex();
    let model = network("", &convolutions(1), &device);
    let x = tensor(&counts(3, 2), 3, 2, &device);
    let in_training = params::values(model.training_sequence(x.clone(), 1).0);
    // Counts times 3 / 2.5, divided by 3.
    let scaled = model.training_sequence(x.clone().mul_scalar(3.0 / 2.5), 1).0;
    let outside = params::values(model.sequence(x));
    close("scaled", &params::values(scaled), &outside, 1e-5);
    assert_ne!(in_training, outside);
}

/// An official state dictionary for frames of `side`, and what PyTorch's layers would make of an
/// image, by plain loops.
struct Official {
    tensors: Tensors,
}

/// Numbers in the official chain, kernel, stride, padding.
const LAYERS: [(usize, usize, usize, usize); 5] =
    [(0, 11, 4, 2), (3, 5, 1, 2), (6, 3, 1, 1), (9, 3, 1, 1), (12, 3, 1, 1)];

impl Official {
    fn new() -> Official {
        let mut tensors = Tensors::new();
        let mut random = 1_u64;
        let mut add = |name: String, shape: Vec<usize>, scale: f32| {
            let values = (0..shape.iter().product())
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    ((random >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
                })
                .collect();
            tensors.insert(name, (shape, values));
        };
        let mut inputs = 1;
        for ((number, kernel, ..), outputs) in LAYERS.into_iter().zip(CHANNELS) {
            let scale = 2.0 / ((inputs * kernel * kernel) as f32).sqrt();
            add(format!("conv.{number}.weight"), vec![outputs, inputs, kernel, kernel], scale);
            add(format!("conv.{number}.bias"), vec![outputs], 0.1);
            inputs = outputs;
        }
        add("conv.15.weight".to_owned(), vec![FEATURES, inputs], 0.6);
        add("conv.15.bias".to_owned(), vec![FEATURES], 0.1);
        let units = 6;
        add("layers.0.kernel".to_owned(), vec![FEATURES, 3 * units], 0.8);
        add("layers.0.recurrent_kernel".to_owned(), vec![units, 3 * units], 0.8);
        add("layers.0.bias".to_owned(), vec![3 * units], 0.1);
        add("layers.0.recurrent_bias".to_owned(), vec![3 * units], 0.1);
        add("layers.0.thr".to_owned(), vec![units], 0.1);
        for constant in ["dampening_factor", "pseudo_derivative_support", "_max_norm"] {
            add(format!("layers.0.{constant}"), vec![1], 1.0);
        }
        add("fc.weight".to_owned(), vec![gestures::CLASSES.len(), units], 0.5);
        add("fc.bias".to_owned(), vec![gestures::CLASSES.len()], 0.1);
        Official { tensors }
    }

    fn checkpoint(&self) -> Checkpoint {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, (shape, values)) in &self.tensors {
            let start = data.len();
            data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            let offsets = [start, data.len()];
            let entry =
                serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
            header.insert(name.clone(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        Checkpoint::from_bytes("official.safetensors", bytes).unwrap()
    }

    /// What goes into the first EGRU layer for an image of `side` x `side` values.
    fn features(&self, image: Vec<f64>, side: usize) -> Vec<f64> {
        let (mut x, mut size, mut inputs) = (image, side, 1);
        for (at, (number, kernel, stride, padding)) in LAYERS.into_iter().enumerate() {
            let (shape, weight) = &self.tensors[&format!("conv.{number}.weight")];
            let (_, bias) = &self.tensors[&format!("conv.{number}.bias")];
            let (outputs, out_size) = (shape[0], (size + 2 * padding - kernel) / stride + 1);
            let mut y = vec![0.0; outputs * out_size * out_size];
            for o in 0..outputs {
                for r in 0..out_size {
                    for c in 0..out_size {
                        let mut sum = f64::from(bias[o]);
                        for i in 0..inputs {
                            for (dr, dc) in
                                (0..kernel).flat_map(|a| (0..kernel).map(move |b| (a, b)))
                            {
                                let row =
                                    (r * stride + dr).checked_sub(padding).filter(|v| *v < size);
                                let column =
                                    (c * stride + dc).checked_sub(padding).filter(|v| *v < size);
                                if let (Some(row), Some(column)) = (row, column) {
                                    let w = weight[((o * inputs + i) * kernel + dr) * kernel + dc];
                                    sum += f64::from(w) * x[(i * size + row) * size + column];
                                }
                            }
                        }
                        y[(o * out_size + r) * out_size + c] = sum.max(0.0);
                    }
                }
            }
            (x, size, inputs) = (y, out_size, outputs);
            let pooled = at < 2 || at == 2 && side >= 64 || at == 3 && side >= 128;
            if pooled {
                let out = (size - 3) / 2 + 1;
                let near = |i: usize, r: usize, c: usize| {
                    let all = (0..9).map(|k| x[(i * size + 2 * r + k / 3) * size + 2 * c + k % 3]);
                    all.fold(0.0, f64::max)
                };
                let all =
                    (0..inputs * out * out).map(|k| near(k / (out * out), k / out % out, k % out));
                (x, size) = (all.collect(), out);
            }
        }
        assert_eq!(size, 1, "the official matrix wants one position");
        let (_, weight) = &self.tensors["conv.15.weight"];
        let (_, bias) = &self.tensors["conv.15.bias"];
        let row = |o: usize| {
            let products = x.iter().enumerate().map(|(i, x)| x * f64::from(weight[o * inputs + i]));
            products.sum::<f64>() + f64::from(bias[o])
        };
        (0..FEATURES).map(row).collect()
    }
}

#[test]
fn official_convolutions_become_graphs() {
    let official = Official::new();
    for (arch, side) in [(None, 128), (Some("egru-dvs-64"), 64), (Some("egru-dvs-32"), 32)] {
        let (graph, report) =
            convert(&official.checkpoint(), arch).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((report.used.len(), report.unexpected.len()), (official.tensors.len(), 0));
        assert_eq!(graph.task.window, 68);
        let frame: Vec<f32> = (0..128 * 128 * 2)
            .map(|i: usize| if i * 7919 % 13 < 2 { (i % 4) as f32 } else { 0.0 })
            .collect();
        let pool = 128 / side;
        let largest = |p: usize, y: usize, x: usize| {
            let near = (0..pool * pool).map(|k| (y * pool + k / pool, x * pool + k % pool));
            near.map(|(y, x)| f64::from(frame[(y * 128 + x) * 2 + p])).fold(0.0, f64::max)
        };
        let image = (0..side * side).map(|k| (k / side, k % side));
        let image =
            image.map(|(y, x)| (largest(0, y, x) + largest(1, y, x)) / 2.0 / 18.5).collect();
        let expected = official.features(image, side);
        let executor = Executor::new(&graph).unwrap();
        let mut found = Vec::new();
        executor
            .run_observed(&mut [executor.state()], &frame, &mut Vec::new(), |seen| {
                if let ("convolutions.linear", Output::Dense(values)) = (seen.name, seen.output) {
                    found.extend(values.iter().map(|v| f64::from(*v)));
                }
            })
            .unwrap();
        assert_eq!(found.len(), FEATURES);
        let largest = expected.iter().fold(0.0, |m: f64, e| m.max(e.abs()));
        assert!(largest > 0.1, "{expected:?}");
        for (f, e) in found.iter().zip(&expected) {
            assert!(
                (f - e).abs() < 1e-5 * largest.max(1.0),
                "{side}: {found:?} is not {expected:?}"
            );
        }
    }
    // A convolution less, and one of another shape.
    let error = |change: &dyn Fn(&mut Tensors)| {
        let mut changed = Official { tensors: official.tensors.clone() };
        change(&mut changed.tensors);
        convert(&changed.checkpoint(), Some("egru-dvs")).unwrap_err().to_string()
    };
    let without = error(&|tensors| drop(tensors.remove("conv.9.bias")));
    assert!(without.contains("conv.9.bias"), "{without}");
    let other =
        error(&|tensors| drop(tensors.insert("conv.3.weight".into(), (vec![4, 3], vec![0.0; 12]))));
    assert!(other.contains("convolutions.conv.1.weight"), "{other}");
}

/// A converted network takes a recording as it is, in frames of 25 ms, and names the gesture.
#[test]
fn converted_networks_run_on_recordings() {
    let (graph, _) = convert(&Official::new().checkpoint(), None).unwrap();
    let event = |i: u64| Event {
        t: 5_000 + i * 1_000,
        x: (i * 37 % 128) as u16,
        y: (i * 53 % 128) as u16,
        on: i.is_multiple_of(3),
    };
    let events: Vec<Event> = (0..1_800).map(event).collect();
    let folder = tempfile::tempdir().unwrap();
    let [recording, file] = ["r.aedat", "m.safetensors"].map(|name| folder.path().join(name));
    std::fs::write(&recording, aedat3::encode(&events).unwrap()).unwrap();
    graph.save(&file).unwrap();
    let (file, recording) = (file.to_str().unwrap(), recording.to_str().unwrap());
    let done = crate::support::spikelet(["run", file, "--input", recording, "--json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let mut frames = vec![0.0; 68 * 128 * 128 * 2];
    for event in &events {
        let frame = (event.t - events[0].t) as usize / 25_000;
        let place = (usize::from(event.y) * 128 + usize::from(event.x)) * 2 + usize::from(event.on);
        if frame < 68 {
            frames[frame * 128 * 128 * 2 + place] += 1.0;
        }
    }
    let (executor, mut expected) = (Executor::new(&graph).unwrap(), Vec::new());
    executor.run_to_end(&mut [executor.state()], &frames, &mut expected).unwrap();
    let found: serde_json::Value = serde_json::from_str(&done.stdout).expect("one decision");
    let scores = found["scores"].as_array().unwrap();
    assert_eq!(scores.len(), gestures::CLASSES.len());
    for (score, expected) in scores.iter().zip(&expected) {
        assert!((score.as_f64().unwrap() - f64::from(*expected)).abs() < 1e-5, "{found}");
    }
    let best = (0..11).max_by(|&a, &b| expected[a].total_cmp(&expected[b])).unwrap();
    assert_eq!(found["class"], gestures::CLASSES[best]);
}

/// The loss is the cross entropy and the term as its definition says; its gradients are those of the
/// same sum written out, in one piece and in segments.
#[test]
fn the_regulariser_pulls_on_activity_and_states() {
    let device = Device::flex().autodiff();
    let (time, batch) = (6, 2);
    let x = tensor(&counts(time, batch), time, batch, &device);
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![1_i32, 3], [2]), &device);
    let loss = Loss::new(LossConfig::default());
    for (gradient, share) in [("official", None), ("intended", None), ("intended", Some(0.25_f32))]
    {
        let more = share.map_or(String::new(), |share| format!(", states = {share}"));
        let term = format!(
            "regularise = {{ weight = 0.7, activity = 0.2, margin = 0.1, gradient = \"{gradient}\"{more} }}"
        );
        let model = network(&term, "pool = 4\naggregate = \"mean\"", &device);
        let run = |rule: LearningRule| {
            let out = rule.gradients(&model, x.clone(), targets.clone(), &loss, 1);
            (out.loss + out.penalty, gradients::collect(&model, &out.gradients))
        };
        let (found_loss, found) = run(LearningRule::Bptt);

        let (mut states, mut events) = (Vec::new(), Vec::new());
        let (outputs, _) =
            model.run(x.clone(), model.initial_state(batch, &device), &mut |at, out| {
                let base = model.layers[at].thr.val().detach().sub_scalar(0.1);
                states.push((out.h.clone() - base.reshape([1, 1, 11])).mean());
                events.push(out.o.clone().mean());
            });
        let activity = (events[0].clone() + events[1].clone()).mul_scalar(0.5);
        let activity = if gradient == "official" { activity.detach() } else { activity };
        let off = activity.sub_scalar(0.2);
        let above = (states[0].clone() + states[1].clone()).mul_scalar(share.unwrap_or(1.0));
        let term = off.clone() * off + above;
        let logits = outputs.mean_dim(0).squeeze_dim(0);
        let whole = loss.of(logits, targets.clone()) + term.mul_scalar(0.7);
        assert!((whole.clone().into_scalar::<f32>() - found_loss).abs() < 1e-5);
        let expected = burn::optim::GradientsParams::from_grads(whole.backward(), &model);
        let expected = gradients::collect(&model, &expected);
        for (name, expected) in &expected {
            close(&format!("{gradient} {name}"), &found[name], expected, 1e-5);
        }
        for rule in [LearningRule::BpttCheckpoint(2), LearningRule::BpttTruncated(6)] {
            let (segments_loss, segments) = run(rule.clone());
            assert!((segments_loss - found_loss).abs() < 1e-5, "{rule}");
            for (name, expected) in &expected {
                close(&format!("{rule} {name}"), &segments[name], expected, 1e-5);
            }
        }
        let plain = Egru { regularise: None, ..model.clone() };
        let out = LearningRule::Bptt.gradients(&plain, x.clone(), targets.clone(), &loss, 1);
        assert_ne!(gradients::collect(&plain, &out.gradients), found, "the term does something");
    }
}

/// Before its beginning the term is not there, neither in the loss nor in what a state holds.
#[test]
fn the_regulariser_begins_at_an_epoch() {
    let device = Device::flex().autodiff();
    let term = "regularise = { weight = 0.7, gradient = \"intended\", from_epoch = 1.5 }";
    let model = network(term, "pool = 4\naggregate = \"mean\"", &device);
    assert_eq!(model.whole_from(), 1.5);
    let x = tensor(&counts(6, 2), 6, 2, &device);
    let penalty = |epoch: f64| {
        let model = model.clone().at(epoch);
        let (_, state) = model.training_sequence(x.clone(), 1);
        model.penalty(&state).map(|penalty| penalty.into_scalar::<f32>())
    };
    assert_eq!(penalty(1.49), None);
    assert!(penalty(1.5).is_some_and(|penalty| penalty != 0.0));
    let wrong = format!("units = 11\nlayers = 2\n{}\n[cell]", term.replace("1.5", "-1.0"));
    let wrong: EgruConfig = toml::from_str(&wrong).expect("a configuration");
    assert!(wrong.check(9).is_err());
}

/// The lowered network reads counts as events, and its convolutions keep zeros.
#[test]
fn counts_are_events_in_the_graph() {
    let model = network("", &convolutions(1), &Device::flex());
    let graph = graph(&model);
    assert!(matches!(graph.node("input").unwrap().op, Op::Input { signal: Signal::Graded }));
    assert_eq!(model.convolutions.as_ref().map(|front| front.features()), Some(FEATURES));
}

/// `run` and `simulate` take a recording as it is, and make the frames the model was trained on.
#[test]
fn recordings_become_frames_as_in_training() {
    let config = EventFramesConfig {
        steps: 3,
        slice: Slice::Time,
        window_ms: 30,
        size: SIDE,
        ..EventFramesConfig::default()
    };
    let event = |i: u64| Event {
        t: i * 100,
        x: (i * 37 % 128) as u16,
        y: (i * 53 % 128) as u16,
        on: i.is_multiple_of(3),
    };
    let mut events: Vec<Event> = (0..700).map(event).collect();
    let folder = tempfile::tempdir().unwrap();
    let [recording, file] = ["r.aedat", "m.safetensors"].map(|name| folder.path().join(name));
    std::fs::write(&recording, aedat3::encode(&events).unwrap()).unwrap();

    let model = network("", "pool = 4\naggregate = \"mean\"", &Device::flex());
    let mut graph = graph(&model);
    let run = |graph: &Graph, command: &str, more: &[&str]| {
        std::fs::write(&file, graph.to_bytes().unwrap()).unwrap();
        let (file, recording) = (file.to_str().unwrap(), recording.to_str().unwrap());
        let plain = [command, file, "--input", recording, "--json"];
        crate::support::spikelet(plain.iter().chain(more).copied())
    };
    graph.task = Task { window: 3, ..Task::default() };
    let refused = run(&graph, "run", &[]);
    assert!(refused.code != 0 && refused.stderr.contains("does not say"), "{}", refused.stderr);

    graph.task.notes.insert(EVENTS.to_owned(), serde_json::to_string(&config).unwrap());
    let done = run(&graph, "run", &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let executor = Executor::new(&graph).unwrap();
    let mut framer = Framer::new(&config, [128, 128]).unwrap();
    let mut expected = Vec::new();
    let keep = |sample: &[u8]| {
        let x: Vec<f32> = sample.iter().map(|count| f32::from(*count)).collect();
        let mut out = Vec::new();
        executor.run(&mut [executor.state()], &x, &mut out).unwrap();
        expected.push(out[out.len() - CLASSES..].to_vec());
        Ok(())
    };
    framer.frames(&mut events, keep).unwrap();
    let found: Vec<Vec<f32>> = done
        .stdout
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["scores"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
        })
        .collect();
    assert_eq!((found.len(), &found), (2, &expected), "two windows of 30 ms");
    assert!(matches!(graph.node("readout").unwrap().op, Op::Readout { readout: Readout::Mean }));

    let simulated = run(&graph, "simulate", &["--chip", "spinnaker2"]);
    assert_eq!(simulated.code, 0, "{}", simulated.stderr);
    let report: serde_json::Value = serde_json::from_str(&simulated.stdout).unwrap();
    let output: Vec<f32> =
        report["output"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    assert_eq!(output, expected[0], "the chip says what the runtime says");
}
