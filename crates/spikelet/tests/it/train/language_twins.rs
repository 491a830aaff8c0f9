//! What SpikeGPT and EGRU are compared with: RWKV without neurons, LSTM and GRU. Forms agree, and the
//! runtime with them.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{GraphBuilder, Signal};
use spikelet_runtime::Executor;
use spikelet_train::{
    init::Init,
    lower::finish,
    model::{SequenceModel, step_by_step},
    models::{
        ModelError,
        classifier::Pooling,
        lstm_lm::{LstmLm, LstmLmConfig},
        rnn_lm::{GruLm, LstmTiedLm, RnnLmConfig},
        spikegpt::{SpikeGpt, SpikeGptConfig},
    },
    params,
};

const VOCABULARY: usize = 9;
const TIME: usize = 11;

fn token(t: usize, stream: usize) -> f32 {
    ((t * t * 5 + 3 * stream) % 31 % VOCABULARY) as f32
}

/// Sequence, steps and runtime give the same logits.
fn forms_agree<M: SequenceModel>(model: &M) {
    let device = Device::flex();
    let batch = 3;
    let tokens = (0..TIME * batch).map(|i| token(i / batch, i % batch)).collect();
    let x = Tensor::from_data(TensorData::new::<f32, _>(tokens, [TIME, batch, 1]), &device);
    let whole = params::values(model.sequence(x.clone()));
    let steps = params::values(step_by_step(model, x));
    let close = |found: f32, expected: f32| {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    };
    assert!(whole.iter().any(|logit| logit.abs() > 0.01), "something to compare");
    steps.iter().zip(&whole).for_each(|(found, expected)| close(*found, *expected));

    let mut graph = GraphBuilder::new("twin");
    graph.input("input", Signal::Dense, &[1]);
    let last = model.lower(&mut graph, "input");
    graph.readout("readout", &last, model.readout());
    graph.output("output", "readout");
    let graph = finish(graph).expect("a graph");
    let executor = Executor::new(&graph).expect("an executor");
    for stream in 0..batch {
        let mut state = executor.state();
        for t in 0..TIME {
            let found = executor.step(&mut state, &[token(t, stream)]).expect("a token").to_vec();
            let at = (t * batch + stream) * VOCABULARY;
            found.iter().zip(&whole[at..]).for_each(|(f, e)| close(*f, *e));
        }
    }
    if let Ok(raised) = M::from_graph(&graph, &device) {
        let (raised, weights) = (params::collect(&raised), params::collect(model));
        assert_eq!(raised.len(), weights.len());
        for (name, (shape, expected)) in &weights {
            let (found_shape, found) = &raised[name];
            assert_eq!(found_shape, shape, "{name}");
            // A graph holds the exponential of a decay.
            let exact = !name.ends_with("time_decay");
            let same = |f: f32, e: f32| f == e || !exact && (f - e).abs() < 1e-6 * e.abs().max(1.0);
            assert!(found.iter().zip(expected).all(|(f, e)| same(*f, *e)), "{name}");
        }
    }
}

#[test]
fn rwkv_without_neurons() {
    let config = SpikeGptConfig { spiking: false, ..SpikeGptConfig::new(3, 16) };
    let model = SpikeGpt::new(&config, VOCABULARY, &mut Init::new(3, &Device::flex()));
    let model = model.expect("a network");
    assert_eq!(Some(model.num_params()), config.parameters(VOCABULARY), "as many as with neurons");
    forms_agree(&model);
}

#[test]
fn lstm() {
    let config = LstmLmConfig { layers: 2, width: 10, pooling: Pooling::Mean };
    let mut init = Init::new(3, &Device::flex());
    let model = LstmLm::new(&config, VOCABULARY, &mut init).expect("a network");
    forms_agree(&model);
    let mut graph = GraphBuilder::new("lstm");
    graph.input("input", Signal::Dense, &[1]);
    let last = model.lower(&mut graph, "input");
    graph.output("output", &last);
    let graph = finish(graph).expect("a graph");
    let raised = LstmLm::from_graph(&graph, &Device::flex()).expect("its own graph");
    assert_eq!(params::collect(&raised), params::collect(&model));
    let refused = LstmLm::new(&LstmLmConfig { layers: 0, ..config.clone() }, VOCABULARY, &mut init);
    assert!(matches!(refused, Err(ModelError::Setting { name: "layers", .. })));
    let refused = LstmLm::new(&LstmLmConfig { width: 1 << 40, ..config }, VOCABULARY, &mut init);
    assert!(matches!(refused, Err(ModelError::TooLarge { .. })));
}

#[test]
fn layers_that_share_their_table() {
    let config = |cell: &str| -> RnnLmConfig {
        let text = format!("cell = \"{cell}\"\nlayers = 3\nembedding = 7\nhidden = 12");
        toml::from_str(&text).expect("a configuration")
    };
    let mut init = Init::new(5, &Device::flex());
    let lstm = LstmTiedLm::new(&config("lstm"), VOCABULARY, 4, &mut init).expect("a network");
    forms_agree(&lstm);
    let gru = GruLm::new(&config("gru"), VOCABULARY, 4, &mut init).expect("a network");
    forms_agree(&gru);
    let refused = RnnLmConfig { dropconnect: 1.0, ..config("gru") };
    let refused = GruLm::new(&refused, VOCABULARY, 4, &mut init);
    assert!(matches!(refused, Err(ModelError::Setting { name: "dropconnect", .. })));
}
