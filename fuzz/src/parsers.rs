//! One function a parser: feeds it arbitrary bytes, which must neither panic nor take memory or
//! time that the size of the input does not justify.
//!
//! `cargo +nightly fuzz run NAME` calls them, and so does the test `fuzz_corpus` of the crate
//! `spikelet` with every file of `fuzz/corpus/NAME` and damaged copies of it.

use flate2::{Compression, write::ZlibEncoder};
use spikelet_chip::{Chip, Clock, Mapping, Wishes, made_up_input, map, simulate};
use spikelet_data::{
    Frames,
    aedat2::Aedat2,
    aedat3::Aedat3,
    braille,
    checkpoint::Checkpoint,
    cifar::Cifar,
    coco,
    columns::Windows,
    csv::{self, CsvConfig},
    event_frames::{EventFramesConfig, Framer, Slice},
    event_stream::EventStream,
    events::{EventReader, read_all},
    evt2::Evt2,
    frames_file, gestures, idx, image_file, jsonl,
    megatron::Megatron,
    nmnist::Nmnist,
    npy,
    picture::Labels,
    sequences_file,
    shd::Spoken,
    stream::{Format, TimeSteps},
    text::{Cut, Text},
    voc,
    vocabulary::{Unit, Vocabulary},
    wisdm_pack::Packed,
    wisdm_text,
};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Signal, Tensor,
    export::{Target, export},
    nir::{self, NirGraph},
};
use spikelet_runtime::{Executor, Prompt};
use std::{io::Write, path::Path};

/// Reads bytes; what it makes of them does not matter here.
pub type Parser = fn(&[u8]);

/// All parsers by the name of their target.
pub const PARSERS: [(&str, Parser); 34] = [
    ("aedat2", aedat2),
    ("aedat3", aedat3),
    ("braille", braille),
    ("checkpoint", checkpoint),
    ("chip", chip),
    ("chip_mapping", chip_mapping),
    ("cifar", cifar),
    ("coco", coco),
    ("csv", csv),
    ("event_stream", event_stream),
    ("evt2", evt2),
    ("frames_file", frames_file),
    ("gesture_labels", gesture_labels),
    ("graph", graph),
    ("idx", idx),
    ("image", image),
    ("jsonl", jsonl),
    ("mask", mask),
    ("megatron", megatron),
    ("nir", nir),
    ("nmnist", nmnist),
    ("npy", npy),
    ("pickle", pickle),
    ("prompt", prompt),
    ("safetensors", safetensors),
    ("sequences_file", sequences_file),
    ("shd", shd),
    ("stream", stream),
    ("text", text),
    ("tokenizer", tokenizer),
    ("torch_zip", torch_zip),
    ("voc", voc),
    ("wisdm_pack", wisdm_pack),
    ("wisdm_text", wisdm_text),
];

/// A checkpoint file of any format.
pub fn checkpoint(data: &[u8]) {
    let Ok(checkpoint) = Checkpoint::from_bytes("fuzz", data.to_vec()) else { return };
    checkpoint.value().to_json(1000);
    let names: Vec<_> = checkpoint.names().take(100).map(str::to_owned).collect();
    for name in names {
        let _ = checkpoint.info(&name);
        let _ = checkpoint.tensor(&name);
    }
}

/// The description of a chip, and a graph on it.
pub fn chip(data: &[u8]) {
    let Ok(chip) = str::from_utf8(data).map(Chip::from_toml) else { return };
    let (Ok(chip), Some(graph)) = (chip, linear_graph()) else { return };
    if let Ok(mapping) = map(&graph, &chip, Wishes::default()) {
        simulated(&graph, &mapping);
    }
}

/// Which core of a chip holds what.
pub fn chip_mapping(data: &[u8]) {
    let (Ok(text), Ok(chip)) = (str::from_utf8(data), Chip::spinnaker2()) else { return };
    let Some(graph) = linear_graph() else { return };
    if let Ok(mapping) = Mapping::read(&graph, &chip, text, false) {
        simulated(&graph, &mapping);
    }
}

fn simulated(graph: &Graph, mapping: &Mapping) {
    if let Ok(x) = made_up_input(graph, 2, 0) {
        let _ = simulate(mapping, graph, &x, Clock::Adaptive, |_| {});
    }
}

/// Two layers of four units.
fn linear_graph() -> Option<Graph> {
    let mut graph = GraphBuilder::new("fuzz");
    let weight = Tensor::f32(&[4, 4], vec![0.5; 16]).ok()?;
    graph.input("x", Signal::Binary, &[4]);
    graph.linear("a", "x", &weight, None, Layout::ByInput);
    graph.linear("b", "a", &weight, None, Layout::ByInput);
    graph.output("y", "b");
    graph.finish().ok()
}

/// A bare pickle.
pub fn pickle(data: &[u8]) {
    checkpoint(&[&[0x80, 2], data].concat());
}

/// The `data.pkl` of a torch archive with one storage, "0", of 64 bytes.
pub fn torch_zip(data: &[u8]) {
    let storage: Vec<u8> = (0..64).collect();
    checkpoint(&archive(&[("a/data.pkl", data), ("a/data/0", &storage)]));
}

/// Header and data of a safetensors file; its length is put before it.
pub fn safetensors(data: &[u8]) {
    let header = data.iter().rposition(|&byte| byte == b'}').map_or(data.len(), |at| at + 1);
    checkpoint(&[&(header as u64).to_le_bytes(), data].concat());
}

/// A NumPy array.
pub fn npy(data: &[u8]) {
    if let Ok(array) = npy::read(data, "fuzz") {
        array.to_f32();
        array.to_i64();
    }
}

/// Labelled CSV.
pub fn csv(data: &[u8]) {
    let config = CsvConfig {
        time: None,
        channels: vec![],
        label: "label".into(),
        group: None,
        classes: vec![],
        window: 2,
        hop: 1,
        step_ms: 1.0,
    };
    let _ = csv::read(data, "fuzz", &config);
    let (time, group) = (Some("time".into()), Some("group".into()));
    let _ = csv::read(data, "fuzz", &CsvConfig { time, group, ..config });
}

/// Time steps in each of the four formats.
pub fn stream(data: &[u8]) {
    let formats = [Format::Csv, Format::Jsonl, Format::Npy, Format::Safetensors];
    for format in formats.into_iter().map(Some).chain([None]) {
        for names in [&[][..], &["x".to_owned(), "y".to_owned()]] {
            let Ok(mut steps) = TimeSteps::new(data, "fuzz", names, format) else { continue };
            let mut step = Vec::new();
            // An array of no columns has steps without end.
            for _ in 0..=data.len() {
                if !matches!(steps.next_step(&mut step), Ok(true)) {
                    break;
                }
            }
        }
    }
}

/// Images or labels in idx form.
pub fn idx(data: &[u8]) {
    let _ = idx::read(data, "fuzz");
}

/// Images of both CIFAR sets.
pub fn cifar(data: &[u8]) {
    for kind in [Cifar::Ten, Cifar::Hundred] {
        let mut frames = Frames::empty([32, 32, 3], 1, vec![], 1.0);
        let _ = kind.read(&mut &*data, "fuzz", &mut frames);
    }
}

/// A PNG or JPEG image.
pub fn image(data: &[u8]) {
    let _ = image_file::decode(data, 20, 16, "fuzz");
}

/// COCO's annotations; masks are run through, not painted.
pub fn coco(data: &[u8]) {
    let Ok(scenes) = coco::read(data, "fuzz", Path::new("images")) else { return };
    for scene in &scenes.images {
        for object in &scene.objects {
            if let Some(Ok(mask)) = object.mask(scene.height, scene.width) {
                mask.area();
                mask.bounding_box();
                mask.text();
            }
        }
    }
}

/// Pascal VOC's annotations of an image.
pub fn voc(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        let _ = voc::read(text, "fuzz");
    }
}

/// A mask of classes.
pub fn mask(data: &[u8]) {
    let _ = Labels::decode(data, "fuzz");
}

/// A file of sequences.
pub fn sequences_file(data: &[u8]) {
    let _ = sequences_file::read(data, "fuzz");
}

/// The header of a file of frames.
pub fn frames_file(data: &[u8]) {
    let _ = frames_file::parse(data, "fuzz");
}

/// An N-MNIST recording.
pub fn nmnist(data: &[u8]) {
    events(&mut Nmnist::new(data, "fuzz"));
}

/// An AEDAT 2 recording.
pub fn aedat2(data: &[u8]) {
    if let Ok(mut reader) = Aedat2::new(data, "fuzz") {
        events(&mut reader);
    }
}

/// An AEDAT 3.1 recording.
pub fn aedat3(data: &[u8]) {
    if let Ok(mut reader) = Aedat3::new(data, "fuzz") {
        events(&mut reader);
    }
}

/// An EVT2 recording.
pub fn evt2(data: &[u8]) {
    if let Ok(mut reader) = Evt2::new(data, "fuzz") {
        events(&mut reader);
    }
}

/// An Event Stream recording.
pub fn event_stream(data: &[u8]) {
    if let Ok(mut reader) = EventStream::new(data, "fuzz") {
        events(&mut reader);
    }
}

/// What is seen when in a gesture recording.
pub fn gesture_labels(data: &[u8]) {
    let _ = gestures::labels(data, "fuzz", 11);
}

/// Spoken words as spikes in HDF5.
pub fn shd(data: &[u8]) {
    let Ok(mut spoken) = Spoken::from_bytes(data.to_vec(), "fuzz") else { return };
    for i in 0..spoken.len() {
        let _ = spoken.recording(i);
    }
}

/// Reads all events; those of a small sensor also become frames.
fn events(reader: &mut dyn EventReader) {
    let sensor = reader.size();
    let Ok(events) = read_all(reader) else { return };
    if sensor[0] * sensor[1] > 1 << 16 {
        return;
    }
    for slice in [Slice::Number, Slice::Time, Slice::Voxel] {
        for window_ms in [0, 1 << 20] {
            let config = EventFramesConfig {
                steps: 2,
                slice,
                window_ms,
                denoise_ms: 5,
                ..Default::default()
            };
            if let Ok(mut framer) = Framer::new(&config, sensor) {
                let _ = framer.frames(&mut events.clone(), |_| Ok(()));
            }
        }
    }
}

/// The lines of one WISDM recording.
pub fn wisdm_text(data: &[u8]) {
    let _ = wisdm_text::read(data, "fuzz", None);
}

/// The packed form of a subject; the bytes as they are, and as the content before compression.
pub fn wisdm_pack(data: &[u8]) {
    let mut packer = ZlibEncoder::new(b"WISDMPK1".to_vec(), Compression::none());
    let packed = packer.write_all(data).and_then(|()| packer.finish()).unwrap_or_default();
    for bytes in [data, &packed] {
        if let Ok(packed) = Packed::decode(bytes, "fuzz") {
            packed.text();
            let _ = packed.recordings("fuzz");
        }
    }
}

/// The Braille data set.
pub fn braille(data: &[u8]) {
    if let Ok(braille) = braille::read(data, "fuzz") {
        let _ = braille.split(0);
    }
}

/// A graph file. What is valid and small must also run.
pub fn graph(data: &[u8]) {
    if let Ok(graph) = Graph::from_bytes(data) {
        runs(&graph);
    }
}

/// A saved prompt: the bytes as they are, and as damage to a prompt of a small language model.
pub fn prompt(data: &[u8]) {
    let mut graph = GraphBuilder::new("fuzz");
    let floats = |shape: &[usize]| Tensor::zeros(shape).expect("a small tensor");
    graph.input("token", Signal::Dense, &[1]);
    graph.embedding("emb", "token", floats(&[4, 2]));
    graph.token_shift("shift", "emb", floats(&[2]));
    graph.linear("head", "shift", &floats(&[4, 2]), None, Layout::ByOutput);
    graph.output("logits", "head");
    let Ok(executor) = graph.finish().map_err(drop).and_then(|g| Executor::new(&g).map_err(drop))
    else {
        return;
    };
    let Ok(mut whole) = Prompt::new(&executor) else { return };
    let _ = whole.read(&executor, &[1, 3, 2], |_| true);
    let mut damaged = whole.to_bytes();
    damaged.iter_mut().zip(data).for_each(|(byte, damage)| *byte ^= damage);
    for bytes in [data, &damaged] {
        if let Ok(mut prompt) = Prompt::from_bytes(&executor, bytes) {
            let _ = prompt.read(&executor, &[0, 3], |_| true);
        }
    }
}

/// A NIR file. What becomes a graph must also run, and be written and read again.
pub fn nir(data: &[u8]) {
    let Ok(read) = nir::read(data.to_vec()) else { return };
    let Ok(import) = read.to_graph("fuzz", None) else { return };
    runs(&import.graph);
    if !is_small(&import.graph) {
        return;
    }
    let Ok(export) = NirGraph::of_graph(&import.graph, import.dt) else { return };
    export.report.text();
    if let Some(bytes) = export.nir.and_then(|nir| nir.to_bytes().ok()) {
        let _ = nir::read(bytes).map(|nir| nir.to_graph("fuzz", None));
    }
}

fn is_small(graph: &Graph) -> bool {
    let elements = graph.nodes.iter().fold(0usize, |sum, node| sum.saturating_add(node.len()));
    let delays = graph.edges.iter().map(|edge| edge.delay).max().unwrap_or(0);
    elements.saturating_mul(delays + 1) <= 1 << 16
}

/// A few steps of a valid graph, if it is small.
fn runs(graph: &Graph) {
    if !is_small(graph) {
        return;
    }
    // What can be exported is printed whole; what cannot is refused.
    let _ = export(graph, Target::C99);
    let Ok(executor) = Executor::new(graph) else { return };
    let mut state = executor.state();
    let x = vec![1.0; executor.input_len()];
    for _ in 0..3 {
        let _ = executor.step(&mut state, &x);
    }
}

/// A zip archive of stored entries without checksums.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let offset = file.len() as u32;
        let size = (content.len() as u32).to_le_bytes();
        let common = [&[20, 0, 0, 0, 0, 0][..], &[0; 8], &size, &size].concat();
        let lengths = [name.len() as u8, 0, 0, 0];
        file.extend([b"PK\x03\x04", &common[..], &lengths, name.as_bytes(), content].concat());
        let place = [&[0; 10][..], &offset.to_le_bytes(), name.as_bytes()].concat();
        directory.extend([b"PK\x01\x02\x14\x00", &common[..], &lengths, &place].concat());
    }
    let (count, size, offset) =
        ([entries.len() as u8, 0], directory.len() as u32, file.len() as u32);
    file.extend(directory);
    file.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
    file.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}

/// Content of a text file: as characters, as bytes, with the vocabulary of a part of it, and as words.
pub fn text(bytes: &[u8]) {
    let known = std::str::from_utf8(&bytes[..bytes.len() / 2]).ok().map(Vocabulary::characters);
    let cut = Cut { window: 3, validation: 0.2, test: 0.1 };
    for (unit, known) in [(Unit::Characters, None), (Unit::Bytes, None), (Unit::Characters, known)]
    {
        if let Ok((text, _)) = Text::new(bytes, "fuzz", unit, known.as_ref(), cut) {
            let starts = text.starts(&(0..text.len()).collect::<Vec<_>>());
            assert_eq!(text.inputs(&starts).len(), text.targets(&starts).len());
            assert!(text.random_start(1, 2, 3) < bytes.len());
            assert!(Vocabulary::from_names(&text.names).is_ok());
        }
    }
    if let Ok((mut text, _)) = Text::new(bytes, "fuzz", Unit::Words, None, cut) {
        text.windows = Windows::CarriedVaried;
        if let Ok(columns) = text.columns(2) {
            let lengths = text.lengths(columns, 1, 2);
            assert_eq!(lengths.iter().sum::<usize>(), columns.length);
            let (tokens, next) = text.rows(columns, columns.length - 1, 1);
            assert!(tokens.len() == 2 && next.iter().all(|t| (*t as usize) < text.names.len()));
        }
        let names = text.vocabulary.names();
        assert!(["<eos>", "<unk>"].iter().all(|name| names.iter().any(|found| found == name)));
    }
}

/// Documents as lines of JSON.
pub fn jsonl(data: &[u8]) {
    let _ = jsonl::documents(data, "fuzz");
}

/// A Megatron index, then, behind the length that the last byte gives, its tokens.
pub fn megatron(data: &[u8]) {
    let Some((last, data)) = data.split_last() else { return };
    let (idx, bin) = data.split_at(data.len().saturating_sub(usize::from(*last)));
    if let Ok(found) = Megatron::from_bytes(idx, bin.to_vec(), "fuzz", 300) {
        (0..found.len()).for_each(|at| {
            found.token(at);
        });
    }
}

/// A file that says what tokens are: a `tokenizer.json`, or characters by their numbers.
pub fn tokenizer(data: &[u8]) {
    let Ok(vocabulary) = Vocabulary::from_file(data, "fuzz") else { return };
    vocabulary.names();
    if let Ok(tokens) = vocabulary.encode("The cat\u{e9}\n  42 <s>".as_bytes(), "fuzz") {
        vocabulary.decode(&tokens);
    }
    vocabulary.decode(&[0, 1, 255, u32::MAX]);
    for token in [0, 1, 255, u32::MAX] {
        vocabulary.bytes(token);
    }
}
