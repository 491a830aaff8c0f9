//! The graph file: round trips, and files that are broken in every way.

use crate::common::{Numbers, convolutional, gated, lif, small};
use proptest::prelude::*;
use spikelet_graph::{
    FileError, Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling,
    Readout, Reset, Signal, Task, Tensor, Values,
    compress::{Bits, Scope, prune, quantize, remove_neurons},
    file::METADATA_KEY,
};

/// A graph with int8 and int4 weights and a full task record.
fn compressed() -> Graph {
    let mut graph = small(3);
    let mut numbers = Numbers(9);
    for (name, values) in [("w_h", true), ("out", false)] {
        let tensor = graph.tensors.get_mut(&format!("{name}.weight")).unwrap();
        tensor.values = if values {
            Values::I8((0..tensor.len()).map(|_| numbers.next() as i8).collect())
        } else {
            Values::I4((0..tensor.shape[0]).map(|_| numbers.next() as u8).collect())
        };
        let scales = Tensor::f32(&[tensor.shape[1]], vec![0.01; tensor.shape[1]]).unwrap();
        graph.tensors.insert(format!("{name}.scale"), scales);
        let node = graph.nodes.iter_mut().find(|node| node.name == name).unwrap();
        node.op.weights_mut()[0].scale = Some(format!("{name}.scale"));
    }
    let half = Values::F16((0..30).map(|i| 0x3c00 + i).collect());
    let shape = graph.tensors["w_x.weight"].shape.clone();
    graph.tensors.insert("w_x.weight".into(), Tensor::new(&shape, half).unwrap());
    graph.task = Task {
        dataset: Some("braille".into()),
        classes: vec!["A".into(), "\"quoted\" \u{e9}".into()],
        channels: vec!["a".into(), "b".into(), "c".into(), "d".into(), "e".into()],
        window: 256,
        step_ms: Some(5.0),
        mean: vec![0.1; 5],
        std: vec![1.5; 5],
        tokenizer: Some("{\"version\": \"1.0\"}".into()),
        detection: None,
        notes: [("preset".into(), "l2mu/braille".into())].into(),
    };
    graph.validate().unwrap();
    graph
}

fn examples() -> Vec<Graph> {
    vec![compressed(), convolutional(2), gated(2)]
}

#[test]
fn round_trip() {
    for graph in examples() {
        let bytes = graph.to_bytes().unwrap();
        let read = Graph::from_bytes(&bytes).unwrap();
        assert_eq!(read, graph);
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }
}

#[test]
fn any_safetensors_reader_opens_the_file() {
    let graph = compressed();
    let bytes = graph.to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), graph.tensors.len());
    let bias = file.tensor("out.bias").unwrap();
    assert_eq!(bias.shape(), [2]);
    let values: Vec<f32> =
        bias.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(Values::F32(values.into()), graph.tensors["out.bias"].values);
    let packed = file.tensor("out.weight").unwrap();
    assert_eq!((packed.dtype(), packed.shape()), (safetensors::Dtype::U8, &[6, 1][..]));
}

#[test]
fn an_invalid_graph_is_not_written() {
    let mut graph = small(1);
    graph.tensors.remove("out.bias");
    assert!(matches!(graph.to_bytes(), Err(FileError::Graph(_))));
}

#[test]
fn saving_replaces_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for graph in examples() {
        graph.save(&path).unwrap();
        assert_eq!(Graph::load(&path).unwrap(), graph);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let missing = folder.path().join("nowhere").join("model.safetensors");
    assert!(matches!(small(1).save(&missing), Err(FileError::Io { .. })));
    assert!(matches!(Graph::load(&missing), Err(FileError::Io { .. })));
    assert!(matches!(Graph::load(folder.path()), Err(FileError::Io { .. })));
    // A failed replacement leaves what was there, and no temporary file.
    let occupied = folder.path().join("folder");
    std::fs::create_dir(&occupied).unwrap();
    assert!(matches!(small(1).save(&occupied), Err(FileError::Io { .. })));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    std::fs::write(&path, b"not a graph").unwrap();
    let problem = Graph::load(&path).unwrap_err().to_string();
    assert!(problem.contains("model.safetensors") && problem.contains("8 bytes"), "{problem}");
}

/// Header and data of a file.
fn parts(bytes: &[u8]) -> (String, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (String::from_utf8(bytes[8..8 + length].to_vec()).unwrap(), bytes[8 + length..].to_vec())
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Whatever is read must be valid and fit for every pass; anything else is an error, never a
/// panic.
fn survives(bytes: &[u8]) -> bool {
    match Graph::from_bytes(bytes) {
        Ok(graph) => {
            graph.validate().expect("what is read is valid");
            graph.describe().expect("and can be described");
            // The passes may refuse it (a product may overflow) but must not panic.
            let _ = quantize(&graph, Bits::Four, &[]);
            let _ = prune(&graph, 0.5, Scope::Global, &[]);
            let _ = remove_neurons(&graph, 0.5, &[]).map(|(smaller, _)| smaller.validate());
            let _ = graph.clone().fold_scales();
            true
        }
        Err(problem) => {
            assert!(!problem.to_string().is_empty());
            false
        }
    }
}

#[test]
fn every_truncation_is_an_error() {
    for graph in examples() {
        let bytes = graph.to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(!survives(&bytes[..length]), "truncated to {length} bytes");
        }
        assert!(!survives(&[&bytes[..], &[0]].concat()), "one byte too many");
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for graph in examples() {
        let bytes = graph.to_bytes().unwrap();
        let data = bytes.len() - parts(&bytes).1.len();
        for position in 0..bytes.len() {
            let masks: &[u8] = if position < data { &[0x01, 0x10, 0xff] } else { &[0xff] };
            for mask in masks {
                let mut changed = bytes.clone();
                changed[position] ^= mask;
                survives(&changed);
            }
        }
    }
}

/// Every number of the header and of the graph JSON in it, replaced by hostile ones.
#[test]
fn hostile_numbers_never_panic() {
    let hostile = [
        "0",
        "1",
        "-1",
        "0.5",
        "4095",
        "268435456",
        "9223372036854775807",
        "18446744073709551615",
        "1e999",
        "null",
        "\"\"",
        "[]",
        "{}",
    ];
    for graph in examples() {
        let (header, data) = parts(&graph.to_bytes().unwrap());
        let bytes = header.as_bytes();
        let mut position = 0;
        while position < bytes.len() {
            let length = bytes[position..].iter().take_while(|b| b.is_ascii_digit()).count();
            if length > 0 {
                for number in hostile {
                    let number = number.replace('"', "\\\"");
                    let changed =
                        [&header[..position], &number, &header[position + length..]].concat();
                    survives(&join(&changed, &data));
                }
            }
            position += length.max(1);
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let graph = compressed();
    let bytes = graph.to_bytes().unwrap();
    let (header, data) = parts(&bytes);
    let read = |bytes: &[u8]| Graph::from_bytes(bytes).expect_err("broken").to_string();
    let edited = |from: &str, to: &str| {
        assert!(header.contains(from), "{from} is in the header");
        read(&join(&header.replacen(from, to, 1), &data))
    };

    assert!(read(&[]).contains("the header length needs 8 bytes"));
    for length in [u64::MAX, 100_000_001] {
        let problem = read(&[&length.to_le_bytes(), &bytes[8..]].concat());
        assert!(problem.contains("over the limit"), "{problem}");
    }
    let problem = read(&[&1_000_000_u64.to_le_bytes(), &bytes[8..]].concat());
    assert!(problem.contains("the header needs 1000000 bytes"), "{problem}");
    assert!(read(&bytes[..bytes.len() - 1]).contains("the tensor data needs"));
    assert!(read(&join("[]", &[])).contains("does not start with `{`"));
    assert!(read(&join("{}", &[])).contains(METADATA_KEY));
    assert!(edited("\\\"version\\\":1", "\\\"version\\\":2").contains("has version 2"));
    assert!(edited("\\\"task\\\":", "\\\"tsk\\\":").contains("unknown field `tsk`"));
    assert!(edited("\\\"op\\\":\\\"linear\\\"", "\\\"op\\\":\\\"lnear\\\"").contains("lnear"));
    assert!(edited("\"dtype\":\"I8\"", "\"dtype\":\"F64\"").contains("\"F64\" is not one of"));
    assert!(edited("\"dtype\":\"U8\"", "\"dtype\":\"I8\"").contains("stored as U8"));
    assert!(edited("\"dtype\":\"I8\"", "\"dtype\":\"U8\"").contains("only used for 4-bit"));
    let problem = edited("\\\"out.weight\\\":[6,2]", "\\\"out.weight\\\":[6,9]");
    assert!(problem.contains("`int4`"), "{problem}");
    let problem = edited("\"shape\":[2]", "\"shape\":[18446744073709551615]");
    assert!(problem.contains("field `shape`"), "{problem}");

    // Two tensors at the same place, and a gap.
    let start = header.find("\"data_offsets\":[0,").unwrap();
    let first = &header[start..start + header[start..].find(']').unwrap() + 1];
    let size: usize = first["\"data_offsets\":[0,".len()..first.len() - 1].parse().unwrap();
    let second = format!("\"data_offsets\":[{size},");
    for start in [0, size + 4] {
        let problem = edited(&second, &format!("\"data_offsets\":[{start},"));
        assert!(problem.contains("without gaps or overlaps"), "{problem}");
    }
    let twice = header.replacen("\"out.bias\":", "\"u.bias\":", 1);
    let twice = twice.replacen("\"out.scale\":", "\"u.bias\":", 1);
    assert!(read(&join(&twice, &data)).contains("there twice"));
    let missing = edited("\"out.bias\":", "\"out.bios\":");
    assert!(missing.contains("`out.bias`"), "{missing}");
}

/// A graph of random layers behind one another, from what proptest draws.
fn random_graph(layers: &[(u8, usize)], seed: u64) -> Graph {
    let mut numbers = Numbers(seed);
    let mut graph = GraphBuilder::new("random");
    let (mut channels, mut image) = (1 + numbers.below(4), Some([3, 4]));
    graph.input("x", Signal::Graded, &[3, 4, channels]);
    let mut last = String::from("x");
    for (index, &(kind, size)) in layers.iter().enumerate() {
        let name = format!("layer {index} \u{3b1}");
        let layout = if numbers.below(2) == 0 { Layout::ByInput } else { Layout::ByOutput };
        match (kind, image) {
            (0 | 1, Some(_)) => {
                let kernel = numbers.tensor(&[size, channels, 3, 3]);
                let bias = (kind == 0).then(|| numbers.tensor(&[size]));
                graph.conv2d(&name, &last, &kernel, bias, layout, [1, 1], [1, 1], 1);
                channels = size;
            }
            (2, Some(_)) => {
                let pooling = [Pooling::Max, Pooling::Sum, Pooling::Average][numbers.below(3)];
                let (kernel, stride) = ([1, 2], [1, 1]);
                graph.node(&name, Op::Pool2d { pooling, kernel, stride, padding: [0, 1] });
                graph.edge(&last, &name, 0);
                image = image.map(|[h, w]| [h, w + 1]);
            }
            (3 | 8, Some([height, width])) => {
                graph.node(&name, Op::Flatten);
                graph.edge(&last, &name, 0);
                (channels, image) = (channels * height * width, None);
            }
            (8, None) => {
                let (memories, order) = (channels, size);
                let (a, b) = (numbers.tensor(&[order, order]), numbers.tensor(&[order]));
                graph.legendre(&name, &last, (name.as_str(), 1), memories, a, b);
                channels *= order;
            }
            (9, None) => {
                let (w, r) =
                    (numbers.tensor(&[4 * size, channels]), numbers.tensor(&[4 * size, size]));
                graph.lstm(&name, &last, &w, &r, numbers.tensor(&[4 * size]), layout);
                channels = size;
            }
            (4, _) => {
                let function =
                    [Function::Relu, Function::Tanh, Function::Sigmoid][numbers.below(3)];
                graph.node(&name, Op::Activation { function });
                graph.edge(&last, &name, 0);
            }
            (5, _) => graph.neuron(&name, &[&last], random_neuron(&mut numbers)),
            (6, _) => {
                let threshold =
                    graph.tensor(&format!("{name}.threshold"), numbers.tensor(&[channels]));
                let neuron = Neuron { threshold: Param::Tensor(threshold), ..lif(0.25, 1.0) };
                graph.neuron(&name, &[&last], neuron);
                graph.edge((last.as_str(), 1 + numbers.below(5)), &name, 0);
            }
            _ => {
                let weight = numbers.tensor(&[size, channels]);
                graph.linear(&name, &last, &weight, None, layout);
                channels = size;
            }
        }
        last = name;
    }
    graph.readout("read-out", &last, Readout::Mean);
    graph.output("y", "read-out");
    graph.finish().unwrap()
}

fn random_neuron(numbers: &mut Numbers) -> Neuron {
    let mut unit = || Param::Shared(numbers.real().abs());
    let (beta, rho) = (unit(), unit());
    let threshold = Param::Shared(numbers.real() * 1e-20);
    let membrane = match numbers.below(5) {
        0 => Membrane::If,
        1 => Membrane::Lif { beta, input_decay: true },
        2 => Membrane::CubaLif { alpha: rho, beta },
        3 => Membrane::AdaptiveLif { beta, rho, gain: Param::Shared(1.8) },
        _ => Membrane::Li { beta },
    };
    let reset = [Reset::None, Reset::Subtract, Reset::Zero][numbers.below(3)];
    Neuron {
        membrane,
        threshold,
        fires_at_threshold: numbers.below(2) == 0,
        reset,
        reset_delayed: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_round_trip(
        layers in proptest::collection::vec((0_u8..10, 1_usize..5), 1..9),
        seed: u64,
    ) {
        let graph = random_graph(&layers, seed);
        let bytes = graph.to_bytes().unwrap();
        prop_assert_eq!(&Graph::from_bytes(&bytes).unwrap(), &graph);
        let counts = graph.counts().unwrap();
        prop_assert_eq!(counts.nodes.len(), graph.nodes.len());
    }

    #[test]
    fn parameters_survive_bit_for_bit(bits in 0_u32..0x3f80_0000, threshold: f32) {
        prop_assume!(threshold.is_finite());
        let mut graph = GraphBuilder::new("one");
        graph.input("x", Signal::Dense, &[1]);
        graph.neuron("s", &["x"], lif(f32::from_bits(bits), threshold));
        graph.output("y", "s");
        let graph = graph.finish().unwrap();
        prop_assert_eq!(Graph::from_bytes(&graph.to_bytes().unwrap()).unwrap(), graph);
    }
}

/// A layer of 40 x 30 weights, of which three in a row are not zero.
fn pruned() -> Graph {
    let mut graph = GraphBuilder::new("pruned");
    graph.input("x", Signal::Graded, &[30]);
    let value = |at: usize| match (at % 30 + at / 30) % 10 {
        0 => at as f32 + 0.5,
        _ => 0.0,
    };
    let mut values: Vec<f32> = (0..1200).map(value).collect();
    values[1] = -0.0;
    let weight = Tensor::f32(&[40, 30], values).unwrap();
    graph.linear("w", "x", &weight, None, Layout::ByOutput);
    graph.output("y", "w");
    graph.finish().unwrap()
}

#[test]
fn pruned_weights_are_stored_as_sparse_rows() {
    let graph = pruned();
    let bytes = graph.to_bytes().unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 3, "the matrix itself is not there");
    let words = |name: &str| -> Vec<[u8; 4]> {
        let tensor = file.tensor(name).unwrap();
        tensor.data().chunks(4).map(|b| b.try_into().unwrap()).collect()
    };
    let integers = |name: &str| words(name).into_iter().map(i32::from_le_bytes).collect::<Vec<_>>();
    let [starts, columns] = ["w.weight.csr.starts", "w.weight.csr.columns"].map(integers);
    let values = words("w.weight.csr.values").into_iter().map(f32::from_le_bytes);
    let values: Vec<f32> = values.collect();
    assert_eq!((starts[0], starts[1], starts[2], starts[40]), (0, 4, 7, 121));
    assert_eq!(columns[..7], [0, 1, 10, 20, 9, 19, 29]);
    assert_eq!(values[..5], [0.5, -0.0, 10.5, 20.5, 39.5]);
    // Every bit comes back, also of a zero with a sign.
    let read = Graph::from_bytes(&bytes).unwrap();
    assert_eq!(read, graph);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pruned.safetensors");
    graph.save(&path).unwrap();
    assert_eq!(Graph::load(&path).unwrap(), graph, "mapped");
    // What is hardly pruned, or nothing but zeros, stays whole.
    for most in [2, 1200] {
        let mut other = graph.clone();
        let values = (0..1200).map(|at| if at % most == 1 { 1.0 } else { 0.0 });
        let weight = Tensor::f32(&[40, 30], values.collect()).unwrap();
        other.tensors.insert("w.weight".into(), weight);
        let bytes = other.to_bytes().unwrap();
        assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 1);
        assert_eq!(Graph::from_bytes(&bytes).unwrap(), other);
    }
}

/// A file that another program wrote, byte by byte from the description: two weights in a row.
#[test]
fn sparse_rows_from_elsewhere_are_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/graph/pruned");
    let graph = Graph::load(file).unwrap();
    let tensor = &graph.tensors["w.weight"];
    assert_eq!(tensor.shape, [16, 20]);
    for (at, value) in tensor.to_f32().into_iter().enumerate() {
        let (row, column) = (at / 20, at % 20);
        let there = column == 3 * row % 20 || column == (7 * row + 5) % 20;
        let expected = if there { 0.25 * (row + 1) as f32 } else { 0.0 };
        assert_eq!(value, expected, "row {row}, column {column}");
    }
}

#[test]
fn broken_sparse_rows_are_named_and_take_no_memory() {
    let (header, data) = parts(&pruned().to_bytes().unwrap());
    let read = |header: &str, data: &[u8]| {
        Graph::from_bytes(&join(header, data)).expect_err("broken").to_string()
    };
    let edited = |from: &str, to: &str| {
        assert!(header.contains(from), "{from} is in {header}");
        read(&header.replacen(from, to, 1), &data)
    };
    let shape = "\\\"csr\\\":{\\\"w.weight\\\":[40,30]}";
    let shaped = |with: &str| edited(shape, &shape.replace("[40,30]", with));
    for (shape, wanted) in [
        ("[40,4000000000]", "less than one in 128"),
        ("[18446744073709551615,30]", "no shape of rows"),
        ("[1200]", "no shape of rows"),
        ("[0,30]", "no shape of rows"),
        ("[]", "no shape of rows"),
        ("[30,40]", "do not fit"),
        ("[40,29]", "has column 29 of 29"),
    ] {
        let problem = shaped(shape);
        assert!(problem.contains("field `csr`") && problem.contains(wanted), "{shape}: {problem}");
    }
    assert!(edited("w.weight.csr.columns", "w.weight.csr.rows").contains("there is no vector"));
    assert!(edited("\\\"w.weight\\\":[40,30]", "\\\"v\\\":[40,30]").contains("`v.csr.starts`"));
    // Columns and starts that lead elsewhere.
    let file = join(&header, &data);
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let place = |name: &str| {
        let part = file.tensor(name).unwrap().data();
        data.windows(part.len()).position(|window| window == part).unwrap()
    };
    let [starts, columns] = ["w.weight.csr.starts", "w.weight.csr.columns"].map(place);
    for (at, value, wanted) in [
        (starts, 1, "row 0 starts at 1"),
        (starts + 4, -1, "row 0 starts at 0 and ends at -1"),
        (starts + 4, i32::MAX, "row 0 starts at 0"),
        (starts + 160, 120, "ends at 120 of 121"),
        (columns, -1, "column -1"),
        (columns, 30, "column 30"),
        (columns + 4, 0, "column 0"),
    ] {
        let mut data = data.clone();
        data[at..at + 4].copy_from_slice(&i32::to_le_bytes(value));
        let problem = read(&header, &data);
        assert!(problem.contains(wanted), "{wanted}: {problem}");
    }
}
