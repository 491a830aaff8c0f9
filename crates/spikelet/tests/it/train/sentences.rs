//! Classifiers of sentences: padding changes nothing, the runtime computes what training does, and
//! a language model's weights are a start.

use burn::tensor::{Device, Tensor, TensorData};
use spikelet_data::sentences::PADDING;
use spikelet_graph::{Graph, GraphBuilder, Signal};
use spikelet_runtime::Executor;
use spikelet_train::{
    init::Init,
    lower::finish,
    model::{SequenceModel, read_out, step_by_step},
    models::{
        bag_of_words::BagOfWords,
        classifier::{Classifier, Pooling},
        lstm_lm::{LstmLm, LstmLmConfig},
        spikegpt::{SpikeGpt, SpikeGptConfig},
    },
    params,
};

const VOCABULARY: usize = 11;
const CLASSES: usize = 3;
const SENTENCES: [&[f32]; 3] = [&[4.0, 1.0, 10.0, 3.0, 3.0, 7.0], &[2.0], &[9.0, 0.0, 5.0]];

fn tokens(values: Vec<f32>, batch: usize) -> Tensor<3> {
    let time = values.len() / batch;
    Tensor::from_data(TensorData::new(values, [time, batch, 1]), &Device::flex())
}

fn graph<M: SequenceModel>(model: &M) -> Graph {
    let mut graph = GraphBuilder::new("sentences");
    graph.input("input", Signal::Dense, &[1]);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    finish(graph).expect("a graph")
}

/// A batch, every sentence on its own, its steps, and the runtime give the same logits.
fn agree<M: SequenceModel>(model: &M) {
    let longest = SENTENCES.iter().map(|s| s.len()).max().unwrap_or(0);
    let padded = (0..longest)
        .flat_map(|t| SENTENCES.iter().map(move |s| s.get(t).copied().unwrap_or(PADDING)));
    let whole = model.sequence(tokens(padded.collect(), SENTENCES.len()));
    let whole = params::values(read_out(model.readout(), whole));
    assert!(whole.chunks_exact(CLASSES).any(|row| row[0] != row[1]), "something to compare");
    let graph = graph(model);
    let executor = Executor::new(&graph).expect("an executor");
    for (sentence, expected) in SENTENCES.iter().zip(whole.chunks_exact(CLASSES)) {
        let x = tokens(sentence.to_vec(), 1);
        let alone = params::values(read_out(model.readout(), model.sequence(x.clone())));
        let steps = params::values(read_out(model.readout(), step_by_step(model, x)));
        let (mut states, mut run) = ([executor.state()], Vec::new());
        executor.run_to_end(&mut states, sentence, &mut run).expect("tokens");
        for found in [alone, steps, run] {
            for (f, e) in found.iter().zip(expected) {
                assert!((f - e).abs() < 1e-4, "{found:?} is not {expected:?}");
            }
        }
    }
}

#[test]
fn padding_changes_nothing_and_the_runtime_agrees() {
    let mut init = Init::new(4, &Device::flex());
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::Learned] {
        let config = SpikeGptConfig::new(2, 12);
        let body = SpikeGpt::new(&config, VOCABULARY, &mut init).expect("a network");
        let mut model = Classifier::new(body, pooling, CLASSES, &mut init);
        // Scores begin at zero; others show whether they count.
        model.scores = model.scores.map(|_| init.torch_linear(1, [CLASSES, 12]));
        agree(&model);
        let config = LstmLmConfig { layers: 2, width: 8, pooling };
        let body = LstmLm::new(&config, VOCABULARY, &mut init).expect("a network");
        agree(&Classifier::new(body, pooling, CLASSES, &mut init));
    }
    let mut bag = BagOfWords::new(VOCABULARY, CLASSES, &init);
    bag.emb = init.normal(1.0, [VOCABULARY, CLASSES]);
    agree(&bag);
    let raised = BagOfWords::from_graph(&graph(&bag), &Device::flex()).expect("its own graph");
    assert_eq!(params::collect(&raised), params::collect(&bag));
}
