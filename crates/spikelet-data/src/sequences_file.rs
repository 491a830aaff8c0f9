//! Sequences in one safetensors file: what imported data is kept as.
//!
//! Tensors `x` f32 `[n, time, channels]`, `y` u32 `[n]` and `group` u32 `[n]`; the metadata entry
//! `spikelet.sequences` holds class names, channel names and the length of a time step as JSON.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{DataError, Result};
use crate::sequences::Sequences;

const KEY: &str = "spikelet.sequences";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    classes: Vec<String>,
    channels: Vec<String>,
    step_ms: f32,
}

/// Writes `data`, atomically.
pub fn save(path: &Path, data: &Sequences) -> Result<()> {
    data.validate()?;
    let about = About {
        classes: data.classes.clone(),
        channels: data.channel_names.clone(),
        step_ms: data.step_ms,
    };
    let wrong =
        |e: &dyn std::fmt::Display| DataError::file(path, format!("cannot be written: {e}"));
    let about = serde_json::to_string(&about).map_err(|e| wrong(&e))?;
    let x: Vec<u8> = data.x.iter().flat_map(|v| v.to_le_bytes()).collect();
    let [y, group] = [&data.y, &data.group]
        .map(|list| list.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    let view = |dtype, shape: &[usize], bytes| {
        TensorView::new(dtype, shape.to_vec(), bytes).map_err(|e| wrong(&e))
    };
    let tensors = [
        ("x", view(Dtype::F32, &[data.n, data.time, data.channels], &x)?),
        ("y", view(Dtype::U32, &[data.n], &y)?),
        ("group", view(Dtype::U32, &[data.n], &group)?),
    ];
    let metadata = HashMap::from([(KEY.to_owned(), about)]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| wrong(&e))?;
    atomic::write(path, &bytes)
}

/// Loads a file.
pub fn load(path: &Path) -> Result<Sequences> {
    read(&fs::read(path).map_err(|e| DataError::io(path, e))?, &path.display().to_string())
}

/// Reads the bytes of a file; `file` names it in errors.
pub fn read(bytes: &[u8], file: &str) -> Result<Sequences> {
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|e| wrong(format!("not a safetensors file: {e}")))?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(e.to_string()))?;
    let about = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let about =
        about.ok_or_else(|| wrong(format!("no metadata `{KEY}`; this is no file of sequences")))?;
    let about: About =
        serde_json::from_str(about).map_err(|e| wrong(format!("metadata `{KEY}`: {e}")))?;
    let tensor = |name: &str, dtype: Dtype, rank: usize| {
        let view =
            tensors.tensor(name).map_err(|_| wrong(format!("tensor `{name}` is missing")))?;
        match view.dtype() == dtype && view.shape().len() == rank {
            true => Ok(view),
            false => {
                let have = format!("{:?} {:?}", view.dtype(), view.shape());
                Err(wrong(format!("tensor `{name}` is {have}; expected {dtype:?} of rank {rank}")))
            }
        }
    };
    let x = tensor("x", Dtype::F32, 3)?;
    let integers = |name: &str| -> Result<Vec<u32>> {
        let view = tensor(name, Dtype::U32, 1)?;
        Ok(view.data().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
    };
    let data = Sequences {
        x: x.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        n: x.shape()[0],
        time: x.shape()[1],
        channels: x.shape()[2],
        y: integers("y")?,
        group: integers("group")?,
        classes: about.classes,
        channel_names: about.channels,
        step_ms: about.step_ms,
    };
    data.validate().map_err(|e| wrong(e.to_string()))?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::TimeSteps;
    use crate::synthetic::{SyntheticConfig, generate};

    fn small() -> Sequences {
        generate(&SyntheticConfig { n: 3, time: 2, channels: 2, ..Default::default() })
    }

    #[test]
    fn what_is_saved_is_loaded_and_streams() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.safetensors");
        save(&path, &small()).unwrap();
        assert_eq!(load(&path).unwrap(), small());
        let mut steps = TimeSteps::open(&path, &small().channel_names).unwrap();
        let (mut all, mut step) = (Vec::new(), Vec::new());
        while steps.next_step(&mut step).unwrap() {
            all.extend_from_slice(&step);
        }
        assert_eq!(all, small().x);
        assert!(save(&path, &Sequences { n: 9, ..small() }).is_err());
    }

    #[test]
    fn damaged_files_never_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.safetensors");
        save(&path, &small()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            assert!(read(&good[..at], "s").is_err(), "cut at {at}");
            for bit in [0, 3, 7] {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                if let Ok(data) = read(&bytes, "s") {
                    data.validate().unwrap();
                }
            }
        }
    }
}
