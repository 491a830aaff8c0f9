//! Checkpoints as `torch.save` writes them: a stored archive of a pickle and one file a tensor.

use flate2::Crc;
use std::{fmt::Write, fs, path::Path};

/// Name, shape and values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Writes `{"model": {name: tensor, ..}, "epoch": 299}`; `counters` are tensors of one integer.
pub fn save(path: &Path, tensors: &[Named], counters: &[String]) {
    let mut pickle = "(dS'model'\n(d".to_owned();
    let mut files = Vec::new();
    let floats = tensors.iter().map(|(name, shape, values)| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (name, &shape[..], "FloatStorage", values.len(), bytes)
    });
    let integers =
        counters.iter().map(|name| (name, &[][..], "LongStorage", 1, 7_i64.to_le_bytes().to_vec()));
    for (key, (name, shape, storage, len, bytes)) in floats.chain(integers).enumerate() {
        let numbers = |numbers: &[usize]| -> String {
            numbers.iter().map(|number| format!("I{number}\n")).collect()
        };
        let strides: Vec<usize> =
            (1..=shape.len()).map(|axis| shape[axis..].iter().product()).collect();
        let (shape, strides) = (numbers(shape), numbers(&strides));
        write!(
            pickle,
            "S'{name}'\nctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\n{storage}\n\
             S'{key}'\nS'cpu'\nI{len}\ntQI0\n({shape}t({strides}tI00\nNtRs"
        )
        .expect("text");
        files.push((format!("archive/data/{key}"), bytes));
    }
    pickle += "sS'epoch'\nI299\ns.";
    files.insert(0, ("archive/data.pkl".to_owned(), pickle.into_bytes()));
    fs::write(path, archive(&files)).expect("written");
}

/// A zip archive of stored files.
fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let offset = file.len() as u32;
        let mut crc = Crc::new();
        crc.update(content);
        // Version, flags, method, time and date.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend([(content.len() as u32).to_le_bytes(); 2].concat());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (offset, size) = (file.len() as u32, directory.len() as u32);
    let count = (files.len() as u16).to_le_bytes();
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].concat());
    file.extend([size.to_le_bytes(), offset.to_le_bytes()].concat());
    file.extend([0, 0]);
    file
}
