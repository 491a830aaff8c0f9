//! Meta-SpikeFormer: names and numbers of parameters of the published sizes, and every variant in
//! training form, its steps and its graph.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{GraphBuilder, Signal};
use spikelet_runtime::Executor;
use spikelet_train::{
    init::Init,
    lower,
    model::SequenceModel,
    models::{
        convnet::Convnet,
        metaspikeformer::{self, Attention, MetaSpikeformerConfig, Shortcut},
    },
    params,
};

fn network(config: &MetaSpikeformerConfig, size: usize, classes: usize) -> Convnet {
    let mut init = Init::new(3, &Device::flex());
    metaspikeformer::network(config, [size, size, 3], classes, &mut init)
        .unwrap_or_else(|e| panic!("{e}"))
}

/// Names, and numbers of values, of the table in the specification.
#[test]
fn published_sizes_have_the_published_parameters() {
    let sizes = [
        (MetaSpikeformerConfig::M15, 15_112_208, 84_149),
        (MetaSpikeformerConfig::M31, 31_333_864, 121_957),
        (MetaSpikeformerConfig::M55, 55_350_248, 162_565),
        (MetaSpikeformerConfig::M124, 123_741_160, 243_781),
    ];
    for (widths, parameters, buffers) in sizes {
        let model = network(&MetaSpikeformerConfig::new(widths), 224, 1000);
        assert_eq!(model.num_params(), parameters, "{widths:?}");
        let tensors = params::collect(&model);
        let running = |name: &&String| name.contains(".running_");
        let counters = tensors.keys().filter(|name| name.ends_with(".running_var")).count();
        assert_eq!(tensors.len() + counters, 825, "{widths:?}");
        let values: usize =
            tensors.iter().filter(|(n, _)| running(n)).map(|(_, t)| t.1.len()).sum();
        // One counter of batches a normalisation.
        assert_eq!(values + counters, buffers, "{widths:?}");
        for name in [
            "downsample1_1.encode_conv.bias",
            "downsample4.encode_bn.running_mean",
            "ConvBlock1_1.0.Conv.dwconv.weight",
            "ConvBlock2_2.0.bn2.weight",
            "block3.5.attn.proj_conv.0.body.1.bn.bias",
            "block3.0.attn.q_conv.0.body.2.2.running_var",
            "block4.1.attn.v_conv.1.weight",
            "block4.1.mlp.fc2_bn.running_mean",
            "head.bias",
        ] {
            assert!(tensors.contains_key(name), "{name}");
        }
    }
}

#[test]
fn a_second_head_adds_two_tensors() {
    let config = MetaSpikeformerConfig::new([8, 16, 24, 32]);
    let distilled = MetaSpikeformerConfig { distilled: true, ..config.clone() };
    let [one, two] = [&config, &distilled].map(|c| params::collect(&network(c, 32, 5)));
    let added: Vec<&String> = two.keys().filter(|name| !one.contains_key(*name)).collect();
    assert_eq!(added, ["head_kd.bias", "head_kd.weight"]);
}

/// Events, and neurons, of the layers whose names end so, in a fresh network on two made-up images.
fn events(config: &MetaSpikeformerConfig, layers: &str) -> (f32, usize) {
    let model = network(config, 64, 4);
    let values = (0..2 * 64 * 64 * 3).map(|k| 2.0 * (k as f32 * 0.37).sin()).collect();
    let x = Tensor::<3>::from_data(TensorData::new(values, [1, 2, 64 * 64 * 3]), &Device::flex());
    let state = model.training_state(2, &x.device(), 0);
    let (mut events, mut neurons) = (0.0, 0);
    model.run(x, state, &mut |layer, out| {
        if layer.name.ends_with(layers) {
            let out = params::values(out.clone());
            events += out.iter().sum::<f32>();
            neurons += out.len();
        }
    });
    (events, neurons)
}

/// From scratch on small images: with the official start nothing comes through attention.
#[test]
fn a_gain_makes_attention_fire() {
    let [silent, firing] = [1.0, 4.0].map(|attention_gain| {
        let base = MetaSpikeformerConfig::new([8, 16, 32, 32]);
        events(&MetaSpikeformerConfig { attention_gain, ..base }, "attn_lif").0
    });
    assert!(silent < 10.0 && firing > 100.0, "{silent} {firing}");
}

/// Neurons that read a normalisation fire as often as its values lie above the threshold: 2 at one step.
#[test]
fn a_gain_makes_a_sixth_of_the_neurons_fire() {
    let [official, gained] = [1.0, 2.0].map(|norm_gain| {
        let base = MetaSpikeformerConfig::new([8, 16, 32, 32]);
        let (events, neurons) = events(&MetaSpikeformerConfig { norm_gain, ..base }, "0.lif2");
        events / neurons as f32
    });
    assert!((0.01..0.04).contains(&official), "{official}");
    assert!((0.12..0.2).contains(&gained), "{gained}");
}

#[test]
fn every_variant_agrees_with_its_graph() {
    let base = MetaSpikeformerConfig { heads: 2, ..MetaSpikeformerConfig::new([4, 6, 8, 10]) };
    let attention = |attention| MetaSpikeformerConfig { attention, ..base.clone() };
    let shortcut = |shortcut| MetaSpikeformerConfig { shortcut, ..base.clone() };
    let variants = [
        attention(Attention::Sdsa1),
        attention(Attention::Sdsa2),
        attention(Attention::Sdsa4),
        attention(Attention::Conv),
        shortcut(Shortcut::Sew),
        shortcut(Shortcut::Vanilla),
        MetaSpikeformerConfig { distilled: true, ..base.clone() },
    ];
    for config in variants {
        agrees(&config);
    }
}

fn agrees(config: &MetaSpikeformerConfig) {
    let (size, time, batch) = (35, 3, 2);
    let model = network(config, size, 4);
    let values = (0..batch * size * size * 3).map(|k| 4.0 * (k as f32 * 0.37).sin()).collect();
    let x = TensorData::new(values, [1, batch, size * size * 3]);
    let x: Tensor<3> = Tensor::<3>::from_data(x, &Device::flex()).repeat_dim(0, time);
    // Statistics of one batch, so that neurons fire.
    let (_, state) = model.training_sequence(x.clone(), 0);
    let model = model.learned(state);
    let expected = params::values(model.sequence(x.clone()));
    let (whole, _) = model.run(x.clone(), model.initial_state(batch, &x.device()), &mut |_, _| {});
    let mut graph = GraphBuilder::new("variant");
    graph.input("input", Signal::Dense, &model.input_shape(0));
    let last = model.lower(&mut graph, "input");
    graph.output("output", &last);
    let graph = lower::finish(graph).unwrap_or_else(|e| panic!("{config:?}: {e}"));
    let executor = Executor::new(&graph).unwrap_or_else(|e| panic!("{config:?}: {e}"));
    let mut states = vec![executor.state(), executor.state()];
    let mut found = Vec::new();
    executor
        .run(&mut states, &params::values(x), &mut found)
        .unwrap_or_else(|e| panic!("{config:?}: {e}"));
    let close = |found: &[f32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(&expected).all(|(f, e)| (f - e).abs() < 1e-4)
    };
    assert!(close(&params::values(whole)), "{config:?}: layer by layer");
    assert!(close(&found), "{config:?}: graph");
}

#[test]
fn sizes_that_make_no_network_are_refused() {
    let mut init = Init::new(0, &Device::flex());
    for (widths, heads) in [([8, 16, 24, 32], 0), ([7, 16, 24, 32], 4), ([8, 16, 26, 32], 4)] {
        let config = MetaSpikeformerConfig { heads, ..MetaSpikeformerConfig::new(widths) };
        let made = metaspikeformer::network(&config, [32, 32, 3], 10, &mut init);
        assert!(made.is_err(), "{widths:?} {heads}");
    }
    let config = MetaSpikeformerConfig::new([1 << 16; 4]);
    assert!(metaspikeformer::network(&config, [32, 32, 3], 10, &mut init).is_err());
}
