//! Every preset: the file is read, its network built for its data, and the recipe is the one that
//! was published.

use burn::{module::Module, tensor::Device};
use serde::de::DeserializeOwned;
use spikelet_data::{columns::Windows, event_frames::Framer, vocabulary::Unit};
use spikelet_train::{
    config::Config,
    detection::{DetectionConfig, DetectionModel},
    init::Init,
    loss::MseTarget,
    models::{
        ModelConfig,
        bag_of_words::BagOfWords,
        classifier::Classifier,
        convnet::Convnet,
        egru::Egru,
        egru_lm::EgruLm,
        gru::Gru,
        l2mu::L2mu,
        lstm::Lstm,
        lstm_lm::LstmLm,
        metaspikeformer,
        recurrent_lm::{Axes, Carry},
        rnn_lm::{Cell, GruLm, LstmTiedLm},
        spike_detector::Detector,
        spikegpt::SpikeGpt,
    },
    optimizer::Optimizer,
    schedule::Schedule,
};
use std::{collections::BTreeMap, fs, path::Path};

/// All files in `presets` of one sort, by `system/task`: of detectors, or of everything else.
fn presets<C: DeserializeOwned>(detectors: bool) -> BTreeMap<String, C> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
    let list = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let files = list(&root).into_iter().filter(|path| path.is_dir()).flat_map(|path| {
        let system = stem(&path);
        list(&path).into_iter().map(move |path| (format!("{system}/{}", stem(&path)), path))
    });
    let read = |(name, path): (String, std::path::PathBuf)| {
        let text = fs::read_to_string(&path).expect("text");
        let mut table: toml::Table = text.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
        // What a search tries is no part of a run.
        table.remove("tune");
        if (table["model"]["kind"].as_str() == Some("spike-detector")) != detectors {
            return None;
        }
        let config = table.try_into().unwrap_or_else(|e| panic!("{name}: {e}"));
        Some((name, config))
    };
    files.filter_map(read).collect()
}

/// Height, width and channels of the images, frames or time steps that a preset learns from, and
/// the classes.
fn data_of(config: &Config) -> ([usize; 3], usize) {
    let frames = &config.data.frames;
    let events = |classes| {
        let framer = Framer::new(&frames.events, [128, 128]).unwrap_or_else(|e| panic!("{e}"));
        (framer.shape(), classes)
    };
    match config.data.dataset.as_str() {
        "cifar-10" => ([32, 32, 3], 10),
        "cifar-100" => ([32, 32, 3], 100),
        "imagenet" => ([frames.size, frames.size, 3], 1000),
        "fashion-mnist" if frames.size > 0 => ([frames.size, frames.size, 1], 10),
        "fashion-mnist" => ([28, 28, 1], 10),
        "dsb2018-nuclei" => ([frames.size, frames.size, 3], 2),
        "ade20k" => ([frames.size, frames.size, 3], 150),
        "cifar10-dvs" => events(10),
        "dvs128-gesture" | "synthetic-gestures" => events(11),
        "wisdm-watch" => ([1, 1, 6], 7),
        "braille" => ([1, 1, 12], 7),
        "synthetic" => ([1, 1, 6], 4),
        // A token; the characters of the text.
        "tinyshakespeare" => ([1, 1, 1], 65),
        "kjv" if config.data.text.unit == Unit::Words => ([1, 1, 1], WORDS),
        "kjv" => ([1, 1, 1], 73),
        "penn-treebank" => ([1, 1, 1], 10_000),
        "wikitext2" if config.data.text.unit == Unit::Words => ([1, 1, 1], 33_278),
        "enwik8.txt" => ([1, 1, 1], 5458),
        "wikitext2" => ([1, 1, 1], TOKENS),
        "openwebtext2.idx" => ([1, 1, 1], 50_277),
        "nlu/mr" | "nlu/subj" | "nlu/sst-2" => ([1, 1, 1], 2),
        "nlu/sst-5" => ([1, 1, 1], 5),
        other => panic!("what is {other}?"),
    }
}

/// Words of the King James Bible, about.
const WORDS: usize = 13_000;
/// Tokens of the tokenizer in `data/tokenizers`.
const TOKENS: usize = 4096;

fn parameters(config: &Config) -> usize {
    let mut init = Init::new(1, &Device::flex());
    let (shape, classes) = data_of(config);
    let inputs = shape.iter().product();
    let sentences = config.data.has_sentences();
    match &config.model {
        ModelConfig::Spikegpt(c) if sentences => {
            let body = SpikeGpt::new(c, TOKENS, &mut init).expect("a network");
            Classifier::new(body, c.pooling, classes, &mut init).num_params()
        }
        ModelConfig::LstmLm(c) if sentences => {
            let body = LstmLm::new(c, TOKENS, &mut init).expect("a network");
            Classifier::new(body, c.pooling, classes, &mut init).num_params()
        }
        ModelConfig::BagOfWords(_) => BagOfWords::new(TOKENS, classes, &init).num_params(),
        ModelConfig::Convnet(c) => {
            Convnet::new(c, shape, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::L2mu(c) => {
            L2mu::new(c, inputs, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::Lstm(c) => Lstm::new(c, inputs, classes, &mut init).num_params(),
        // Too large to be drawn for a test; the formula is that of all others.
        ModelConfig::Spikegpt(c) if c.width > 512 => c.parameters(classes).expect("a count"),
        ModelConfig::Spikegpt(c) => {
            SpikeGpt::new(c, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::LstmLm(c) => {
            LstmLm::new(c, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::Egru(c) => {
            Egru::new(c, &shape, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::EgruLm(c) => {
            EgruLm::new(c, classes, 64, &mut init).expect("a network").num_params()
        }
        ModelConfig::RnnLm(c) if c.cell == Cell::Lstm => {
            LstmTiedLm::new(c, classes, 70, &mut init).expect("a network").num_params()
        }
        ModelConfig::RnnLm(c) => {
            GruLm::new(c, classes, 70, &mut init).expect("a network").num_params()
        }
        ModelConfig::Gru(c) => Gru::new(c, inputs, classes, &mut init).num_params(),
        ModelConfig::MetaSpikeformer(c) => {
            metaspikeformer::network(c, shape, classes, &mut init).expect("a network").num_params()
        }
        ModelConfig::SpikeSegmenter(c) => {
            metaspikeformer::segmentation(c, shape, classes, &mut init)
                .expect("a network")
                .num_params()
        }
        other => panic!("no preset has a {}", other.kind()),
    }
}

#[test]
fn every_preset_builds_its_network() {
    let expected = [
        ("baseline/awd-lstm-penn-treebank", [1, 1, 1], 24_210_800),
        ("baseline/awd-lstm-wikitext2", [1, 1, 1], 33_545_278),
        ("baseline/bag-of-words-mr", [1, 1, 1], 8_192),
        ("baseline/bag-of-words-subj", [1, 1, 1], 8_192),
        ("baseline/gru-lm-kjv", [1, 1, 1], 5_422_664),
        ("baseline/gru-lm-tinyshakespeare", [1, 1, 1], 2_098_369),
        ("baseline/gru-lm-wikitext2-valid", [1, 1, 1], 10_634_110),
        ("baseline/gru-wisdm", [1, 1, 6], 33_107),
        ("baseline/lstm-kjv", [1, 1, 1], 450_279),
        ("baseline/lstm-lm-kjv", [1, 1, 1], 5_417_480),
        ("baseline/lstm-lm-tinyshakespeare", [1, 1, 1], 2_093_185),
        ("baseline/lstm-lm-wikitext2-valid", [1, 1, 1], 10_628_926),
        ("baseline/lstm-mr", [1, 1, 1], 1_478_676),
        ("baseline/lstm-subj", [1, 1, 1], 1_478_676),
        ("baseline/lstm-tinyshakespeare", [1, 1, 1], 447_663),
        ("baseline/lstm-wisdm", [1, 1, 6], 32_601),
        ("egru/dvs-gesture", [128, 128, 2], 5_717_308),
        ("egru/gestures", [32, 32, 2], 149_771),
        ("egru/gestures-conv", [32, 32, 2], 129_915),
        ("egru/kjv", [1, 1, 1], 5_423_496),
        ("egru/penn-treebank", [1, 1, 1], 31_699_150),
        ("egru/tinyshakespeare", [1, 1, 1], 2_099_201),
        ("egru/wikitext2", [1, 1, 1], 49_180_928),
        ("egru/wikitext2-valid", [1, 1, 1], 10_634_942),
        ("egru/wisdm", [1, 1, 6], 317_447),
        ("l2mu/braille", [1, 1, 12], 119_035),
        ("l2mu/wisdm", [1, 1, 6], 33_339),
        // The paper says 16.5 and 58.9 million.
        ("metaspikeformer/ade20k-15m", [512, 512, 3], 16_470_142),
        ("metaspikeformer/ade20k-55m", [512, 512, 3], 58_992_278),
        ("metaspikeformer/fashion-mnist", [64, 64, 1], 1_002_826),
        ("metaspikeformer/fashion-mnist-resnet", [64, 64, 1], 989_549),
        ("metaspikeformer/imagenet-15m-stage1", [224, 224, 3], 15_112_208),
        ("metaspikeformer/imagenet-15m-stage2", [224, 224, 3], 15_112_208),
        ("metaspikeformer/imagenet-31m-stage1", [224, 224, 3], 31_333_864),
        ("metaspikeformer/imagenet-31m-stage2", [224, 224, 3], 31_333_864),
        ("metaspikeformer/imagenet-55m-distilled", [224, 224, 3], 55_991_248),
        ("metaspikeformer/imagenet-55m-stage1", [224, 224, 3], 55_350_248),
        ("metaspikeformer/imagenet-55m-stage2", [224, 224, 3], 55_350_248),
        ("metaspikeformer/nuclei", [256, 256, 3], 3_712_594),
        ("quick/fashion-mnist", [28, 28, 1], 87_434),
        ("quick/gestures", [32, 32, 2], 9_501_387),
        ("quick/synthetic", [1, 1, 6], 1_672),
        // V 2C + L (13 C^2 + 11 C) + 4 C.
        ("quick/tinyshakespeare", [1, 1, 1], 874_752),
        ("sltt/cifar10", [32, 32, 3], 11_176_906),
        ("sltt/cifar100", [32, 32, 3], 11_223_076),
        ("sltt/dvs-cifar10", [48, 48, 2], 9_476_298),
        ("sltt/dvs-gesture", [128, 128, 2], 9_501_387),
        ("sltt/imagenet-101-stage1", [224, 224, 3], 44_549_193),
        ("sltt/imagenet-101-stage2", [224, 224, 3], 44_549_193),
        ("sltt/imagenet-34-stage1", [224, 224, 3], 21_797_688),
        ("sltt/imagenet-34-stage2", [224, 224, 3], 21_797_688),
        ("sltt/imagenet-50-stage1", [224, 224, 3], 25_557_048),
        ("sltt/imagenet-50-stage2", [224, 224, 3], 25_557_048),
        ("spikegpt/enwik8", [1, 1, 1], 46_553_088),
        ("spikegpt/kjv", [1, 1, 1], 448_000),
        ("spikegpt/mr", [1, 1, 1], 1_478_146),
        ("spikegpt/openwebtext2", [1, 1, 1], 215_399_424),
        ("spikegpt/sst-2", [1, 1, 1], 1_478_146),
        ("spikegpt/sst-5", [1, 1, 1], 1_478_533),
        ("spikegpt/subj", [1, 1, 1], 1_478_146),
        ("spikegpt/tinyshakespeare", [1, 1, 1], 445_952),
        ("spikegpt/wikitext2", [1, 1, 1], 1_477_888),
    ];
    let found: Vec<_> = presets::<Config>(false)
        .into_iter()
        .map(|(name, config)| (name, data_of(&config).0, parameters(&config)))
        .collect();
    let expected = expected.map(|(name, shape, n)| (name.to_owned(), shape, n));
    assert_eq!(found, expected);
}

#[test]
fn every_preset_says_what_was_published_and_what_was_run() {
    for (name, config) in presets::<Config>(false) {
        let about = config.about.unwrap_or_else(|| panic!("{name} has no [about]"));
        assert!(!about.summary.is_empty() && !about.source.is_empty(), "{name}");
        assert!(!about.published.is_empty(), "{name}: what was published?");
        let here = ["run here", "not run here"].iter().any(|start| about.here.starts_with(start));
        assert!(here, "{name}: {}", about.here);
    }
}

/// A row of the paper's hyper-parameters: network, steps, epochs, batch, learning rate, weight
/// decay, drop-out, weight of the squared error, its target, figure.
type Row = (&'static str, usize, usize, usize, f64, f64, f32, f32, MseTarget, &'static str);

#[test]
fn recipes_are_the_published_ones() {
    use MseTarget::{OneHot, Ones};
    let rows: [(&str, Row); 10] = [
        ("cifar10", ("resnet18", 6, 200, 128, 0.1, 5e-5, 0.0, 0.05, Ones, "94.44 %")),
        ("cifar100", ("resnet18", 6, 200, 128, 0.1, 5e-4, 0.0, 0.05, Ones, "74.38 %")),
        ("dvs-cifar10", ("vgg11", 10, 300, 128, 0.05, 5e-4, 0.3, 0.05, OneHot, "77.17 %")),
        ("dvs-gesture", ("vgg11", 20, 300, 16, 0.1, 5e-4, 0.4, 0.05, Ones, "97.92 %")),
        ("imagenet-34-stage1", ("nf-resnet34", 1, 100, 256, 0.1, 1e-5, 0.0, 0.0, OneHot, "none")),
        ("imagenet-50-stage1", ("nf-resnet50", 1, 100, 256, 0.1, 1e-5, 0.0, 0.0, OneHot, "none")),
        ("imagenet-101-stage1", ("nf-resnet101", 1, 100, 256, 0.1, 1e-5, 0.0, 0.0, OneHot, "none")),
        (
            "imagenet-34-stage2",
            ("nf-resnet34", 6, 30, 256, 0.001, 0.0, 0.0, 0.0, OneHot, "66.19 %"),
        ),
        (
            "imagenet-50-stage2",
            ("nf-resnet50", 6, 30, 256, 0.001, 0.0, 0.0, 0.0, OneHot, "67.02 %"),
        ),
        (
            "imagenet-101-stage2",
            ("nf-resnet101", 6, 30, 256, 0.001, 0.0, 0.0, 0.0, OneHot, "69.26 %"),
        ),
    ];
    let presets = presets::<Config>(false);
    for (name, row) in rows {
        let (network, steps, epochs, batch, lr, decay, dropout, mse, target, published) = row;
        let config = &presets[&format!("sltt/{name}")];
        let train = &config.train;
        let ModelConfig::Convnet(model) = &config.model else { panic!("{name}: no convnet") };
        let events = matches!(config.data.dataset.as_str(), "cifar10-dvs" | "dvs128-gesture");
        let found = if events { config.data.frames.events.steps } else { model.steps };
        assert_eq!((model.network.to_string().as_str(), found), (network, steps), "{name}");
        assert_eq!((model.tau, model.dropout), (1.1, dropout), "{name}");
        assert_eq!((train.epochs, train.batch_size, train.seed), (epochs, batch, 2022), "{name}");
        assert_eq!((train.rule.to_string(), train.loss.per_step), ("sltt".to_owned(), true));
        assert_eq!((train.loss.mse, train.loss.mse_target), (mse, target), "{name}");
        let cosine = Schedule::Cosine { floor: 0.0, warmup_epochs: 0.0, hold_epochs: 0.0 };
        assert_eq!(train.schedule, cosine, "{name}");
        let Optimizer::Sgd { lr: rate, momentum, weight_decay } = train.optimizer else {
            panic!("{name}: {:?}", train.optimizer)
        };
        assert_eq!((rate, momentum, weight_decay), (lr, 0.9, decay as f32), "{name}");
        assert!(config.about.as_ref().expect("about").published.contains(published), "{name}");
        let stage1 = name.strip_suffix("-stage2").map(|net| format!("runs/sltt-{net}-stage1"));
        assert_eq!(train.init, stage1, "{name}");
    }
}

#[test]
fn detectors_are_made() {
    let presets = presets::<DetectionConfig>(true);
    assert!(!presets.is_empty());
    for (name, config) in presets {
        let DetectionModel::SpikeDetector(model) = &config.model;
        let [height, width] = config.data.size;
        let mut init = Init::new(0, &Device::flex());
        let coco = name == "metaspikeformer/coco-15m";
        let classes = if coco { 80 } else { 3 };
        let detector = Detector::new(model, [height, width, 3], classes, &mut init);
        let detector = detector.unwrap_or_else(|e| panic!("{name}: {e}"));
        if coco {
            // The paper says 34.9 million.
            let parameters = detector.network.num_params();
            assert!((34_850_000..34_950_000).contains(&parameters), "{parameters}");
        }
        let about = config.about.unwrap_or_else(|| panic!("{name} has no [about]"));
        assert!(!about.summary.is_empty() && !about.published.is_empty(), "{name}");
        let here = ["run here", "not run here"].iter().any(|start| about.here.starts_with(start));
        assert!(here, "{name}: {}", about.here);
    }
}

/// The recipes of EGRU's language models and of its gesture network, as the official code and its
/// description state them.
#[test]
fn egru_recipes_are_the_published_ones() {
    let presets = presets::<Config>(false);
    for (name, batch, epochs, hold, lr, decay, embedding) in [
        ("egru/penn-treebank", 64, 1000, 700.0, 1.2e-3, 0.10, 0.6),
        ("egru/wikitext2", 128, 800, 400.0, 1e-3, 0.12, 0.7),
    ] {
        let config = &presets[name];
        let (train, text) = (&config.train, &config.data.text);
        let ModelConfig::EgruLm(model) = &config.model else { panic!("{name}: no language model") };
        assert_eq!((model.layers, model.embedding, model.hidden), (3, 750, 1350), "{name}");
        assert_eq!((model.carry, config.data.window), (Carry::Events, 70), "{name}");
        assert_eq!((text.unit, text.windows), (Unit::Words, Windows::CarriedVaried), "{name}");
        let drops = &model.dropout;
        let found = (drops.words, drops.embedding, drops.forward, drops.output, drops.axes);
        assert_eq!(found, (0.1, embedding, 0.25, 0.5, Axes::Official), "{name}");
        let cell = &model.cell;
        assert_eq!((cell.threshold_mean, cell.train_threshold), (0.01, false), "{name}");
        assert_eq!((cell.dampening, cell.support, cell.dropconnect), (3.6, 3.6, 0.7), "{name}");
        assert_eq!(
            (train.batch_size, train.epochs, train.clip_norm),
            (batch, epochs, 0.1),
            "{name}"
        );
        let Optimizer::AdamW { lr: rate, beta_1, beta_2, weight_decay, .. } = train.optimizer
        else {
            panic!("{name}: {:?}", train.optimizer)
        };
        assert_eq!((rate, beta_1, beta_2, weight_decay), (lr, 0.0, 0.999, decay), "{name}");
        let cosine = Schedule::Cosine { floor: 0.0, warmup_epochs: 0.0, hold_epochs: hold };
        assert_eq!(train.schedule, cosine, "{name}");
    }
    let config = &presets["egru/dvs-gesture"];
    let (train, events) = (&config.train, &config.data.frames.events);
    let ModelConfig::Egru(model) = &config.model else { panic!("no EGRU") };
    assert_eq!((events.steps, events.window_ms, events.size), (68, 1700, 0));
    assert_eq!((model.units, model.layers, model.dropout), (795, 1, 0.6321));
    let cell = &model.cell;
    assert_eq!((cell.support, cell.zoneout, cell.dropconnect), (1.7, 0.2319, 0.08134));
    assert_eq!(cell.threshold_mean, 0.2465);
    assert_eq!((train.batch_size, train.epochs, train.optimizer.lr()), (40, 500, 9.975e-4));
    for (epoch, steps) in [(55.0, 0), (56.0, 1), (499.0, 8)] {
        let factor = train.schedule.factor(epoch, 500.0);
        assert!((factor - 0.8747_f64.powi(steps)).abs() < 1e-9, "epoch {epoch}: {factor}");
    }
}
