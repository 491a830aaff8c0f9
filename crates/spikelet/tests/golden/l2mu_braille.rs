//! The published Braille network: predictions and spike counts of its own validation samples.

use crate::{
    compare::tolerance,
    files::{Golden, System},
};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use spikelet::convert;
use spikelet_data::{Sequences, braille, find};
use spikelet_graph::Graph;
use spikelet_runtime::{Executor, State};
use spikelet_train::{
    evaluate::argmax,
    model::{SequenceModel, read_out},
    models::l2mu::L2mu,
    params,
};

pub fn run() {
    let Some(folder) = find::for_test("braille") else { return };
    let braille = braille::load(&folder).unwrap_or_else(|e| panic!("{e}"));
    let system = System::open("l2mu_braille");
    let mut compared = 0;
    for case in &system.cases {
        match case["kind"].as_str() {
            Some("predictions") => compared += predictions(&system, case, &braille.sequences),
            kind => panic!("{}: unknown kind {kind:?}", case["file"]),
        }
    }
    system.finish(compared);
}

fn predictions(system: &System, case: &Value, data: &Sequences) -> usize {
    let golden = system.file(case);
    let name = case["config"]["checkpoint"].as_str().expect("`checkpoint` is a name");
    let checkpoint = Golden::open(&system.folder.join(name)).checkpoint;
    let (graph, _) =
        convert::convert(&checkpoint, Some("l2mu")).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (_, index) = golden.tensor("pool_index");
    let index: Vec<usize> = index.iter().map(|&i| i as usize).collect();
    let samples = case["config"]["samples"].as_u64().expect("`samples` is a number") as usize;
    assert_eq!(index.len(), samples, "{}: samples", case["file"]);
    let (shape, logits) = golden.tensor("logits");
    let mut x = Vec::new();
    data.batch(&index, &mut x);
    for (form, found) in [
        ("runtime", in_runtime(&graph, &x, samples)),
        ("training form", in_training_form(&graph, &x, [data.time, samples, data.channels])),
    ] {
        let rows = || found.chunks_exact(shape[1]).zip(logits.chunks_exact(shape[1]));
        for (i, (found, golden)) in rows().enumerate() {
            assert_eq!(argmax(found), argmax(golden), "{form}: prediction of sample {i}");
        }
        let same = rows().filter(|(found, golden)| found == golden).count();
        let needed = tolerance(case, "same_counts") as usize;
        assert!(same >= needed, "{form}: {same} samples with the same counts, {needed} needed");
    }
    2
}

fn in_runtime(graph: &Graph, x: &[f32], samples: usize) -> Vec<f32> {
    let executor = Executor::new(graph).unwrap_or_else(|e| panic!("{e}"));
    let mut states: Vec<State> = (0..samples).map(|_| executor.state()).collect();
    let mut out = Vec::new();
    executor.run_to_end(&mut states, x, &mut out).unwrap_or_else(|e| panic!("{e}"));
    out
}

fn in_training_form(graph: &Graph, x: &[f32], shape: [usize; 3]) -> Vec<f32> {
    let model = L2mu::from_graph(graph, &Device::flex()).unwrap_or_else(|e| panic!("{e}"));
    let x = Tensor::<3>::from_data(TensorData::new(x.to_vec(), shape), &Device::flex());
    params::values(read_out(model.readout(), model.sequence(x)))
}
