//! Reads what the real `torch.save`, `pickle` and safetensors wrote, and compares every value.

use spikelet_data::checkpoint::{Checkpoint, CheckpointError, Format, Kind, Value};
use std::path::{Path, PathBuf};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&fixtures().join(name)).unwrap_or_else(|error| panic!("{error}"))
}

fn expected() -> serde_json::Map<String, serde_json::Value> {
    let text = std::fs::read(fixtures().join("expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn every_fixture_has_the_values_torch_saved() {
    let mut tensors = 0;
    for (file, expected) in expected() {
        let checkpoint = open(&file);
        let mut names: Vec<_> = checkpoint.names().collect();
        for (name, expected) in expected["tensors"].as_object().unwrap() {
            names.retain(|other| other != name);
            let info = checkpoint.info(name).unwrap_or_else(|error| panic!("{error}"));
            let tensor = checkpoint.tensor(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(info.dtype.name(), expected["dtype"], "{file}: {name}");
            let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
            assert_eq!((&info.shape, &tensor.shape), (&shape, &shape), "{file}: {name}");
            let values: Vec<f64> = serde_json::from_value(expected["values"].clone()).unwrap();
            let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            assert_eq!(tensor.data, values, "{file}: {name}");
            tensors += 1;
        }
        let unsupported = expected["unsupported"].as_array().map_or(&[][..], |names| names);
        for name in unsupported.iter().map(|name| name.as_str().unwrap()) {
            names.retain(|&other| other != name);
            let error = checkpoint.tensor(name).unwrap_err();
            assert!(matches!(error, CheckpointError::Unsupported { .. }), "{file}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(names.is_empty(), "{file}: tensors nobody expected: {names:?}");
        for (path, expected) in expected["values"].as_object().unwrap() {
            let value = path.split('/').try_fold(checkpoint.value(), |value, key| value.get(key));
            let value = value.unwrap_or_else(|| panic!("{file}: no value {path}"));
            assert_eq!(&value.to_json(1000), expected, "{file}: {path}");
        }
    }
    assert!(tensors > 100, "only {tensors} tensors compared");
}

#[test]
fn formats_are_told_from_the_content() {
    for (file, format) in [
        ("dtypes.pt", Format::TorchZip),
        ("dtypes_deflated.pt", Format::TorchZip),
        ("dtypes_legacy.pt", Format::TorchLegacy),
        ("plain_protocol0.pkl", Format::Pickle),
        ("plain_protocol1.pkl", Format::Pickle),
        ("plain_protocol5.pkl", Format::Pickle),
    ] {
        assert_eq!(open(file).format(), format, "{file}");
    }
}

#[test]
fn unknown_classes_are_opaque() {
    let checkpoint = open("custom.pt");
    let Some(Kind::Object { class, .. }) = checkpoint.value().get("trainer").map(Value::kind)
    else {
        panic!("the trainer is not an object");
    };
    assert_eq!(class, "__main__.Trainer");
    let Some(Kind::Object { class, arguments, .. }) =
        checkpoint.value().get("colour").map(Value::kind)
    else {
        panic!("the colour is not an object");
    };
    assert_eq!((class.as_str(), arguments.len()), ("__main__.Colour", 1));
}

#[test]
fn state_dict_prefix_names_the_wrapper() {
    assert_eq!(open("lightning.ckpt").state_dict_prefix(), "state_dict.");
    assert_eq!(open("dtypes.pt").state_dict_prefix(), "");
}

#[test]
fn bytes_of_every_protocol() {
    for protocol in 0..6 {
        let checkpoint = open(&format!("plain_protocol{protocol}.pkl"));
        let bytes = checkpoint.value().get("bytes").and_then(Value::bytes).unwrap();
        assert_eq!(*bytes, [0, 0xff, 0x80], "protocol {protocol}");
    }
}

#[test]
fn cycles_end() {
    let checkpoint = open("plain_protocol4.pkl");
    let text = checkpoint.value().get("cycle").unwrap().to_json(1000).to_string();
    assert!(text.contains("..."), "{text}");
}

#[test]
fn a_missing_name_suggests_the_nearest() {
    let error = open("lightning.ckpt").tensor("model.body.0.weight").unwrap_err().to_string();
    assert!(error.contains("state_dict.body.0.weight"), "{error}");
}

#[test]
fn safetensors_tensors_and_metadata() {
    let header = br#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"I16","shape":[2,2],"data_offsets":[0,8]},"e":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[12,13]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend([1, 0, 2, 0, 3, 0, 0xff, 0xff, 0x80, 0x3f, 0, 0xc0, 0]);
    let checkpoint = Checkpoint::from_bytes("x.safetensors", file).unwrap();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b", "e"]);
    assert_eq!(checkpoint.tensor("a").unwrap().data, [1.0, 2.0, 3.0, -1.0]);
    assert_eq!(checkpoint.tensor("b").unwrap().data, [1.0, -2.0]);
    assert!(matches!(checkpoint.tensor("e"), Err(CheckpointError::Unsupported { .. })));
    assert_eq!(checkpoint.value().get("format").and_then(Value::as_str), Some("pt"));
}
