//! Braille reading: 12 binary tactile channels, 256 steps of 5 ms, 7 letters.
//!
//! The file is a safetensors file with `events_packed` u8 `[n, 384]` (bits of `[256 steps][12 channels]`, least
//! significant first), `labels` u8 `[n]` and `val_index` i32 `[splits, per_split]`: row `k` lists the official
//! validation samples of split `k`.

use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::error::{DataError, Result};
use crate::sequences::Sequences;
use crate::split::Split;

/// Time steps of a sample.
pub const STEPS: usize = 256;
/// Channels of a time step.
pub const CHANNELS: usize = 12;
/// Letters, in class order.
pub const CLASSES: [&str; 7] = ["Space", "A", "E", "I", "O", "U", "Y"];
/// Name of the file in the data folder.
pub const FILE: &str = "braille7.safetensors";

const PACKED: usize = STEPS * CHANNELS / 8;

/// The samples and the official splits.
#[derive(Debug, Clone, PartialEq)]
pub struct Braille {
    /// Binary events, `[n, 256, 12]`. The recordings name no subject, so every group is 0.
    pub sequences: Sequences,
    /// For each official split, its validation samples in the official order.
    pub val_index: Vec<Vec<usize>>,
}

impl Braille {
    /// Official split `k`: validation as listed, in the listed order, and training on everything else. The
    /// official test samples are not published, so `test` is empty.
    pub fn split(&self, k: usize) -> Result<Split> {
        let Some(val) = self.val_index.get(k) else {
            let n = self.val_index.len();
            return Err(DataError::request(format!(
                "split {k}: the official splits are 0 to {}",
                n.saturating_sub(1)
            )));
        };
        let train = (0..self.sequences.n).filter(|i| !val.contains(i)).collect();
        Ok(Split { train, val: val.clone(), test: Vec::new() })
    }
}

/// Loads `braille7.safetensors` of the data folder `dir`.
pub fn load(dir: &Path) -> Result<Braille> {
    let path = dir.join(FILE);
    let bytes = fs::read(&path).map_err(|e| DataError::io(&path, e))?;
    read(&bytes, &path.display().to_string())
}

/// Reads the safetensors bytes; `file` names them in errors.
pub fn read(bytes: &[u8], file: &str) -> Result<Braille> {
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|e| wrong(format!("not a safetensors file: {e}")))?;
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
    let events = tensor("events_packed", Dtype::U8, 2)?;
    let labels = tensor("labels", Dtype::U8, 1)?;
    let index = tensor("val_index", Dtype::I32, 2)?;
    let n = labels.shape()[0];
    if events.shape() != [n, PACKED] {
        return Err(wrong(format!(
            "tensor `events_packed` is {:?}; expected [{n}, {PACKED}]",
            events.shape()
        )));
    }

    let channels = (0..CHANNELS).map(|c| format!("taxel{c}")).collect();
    let mut sequences = Sequences::empty(STEPS, channels, CLASSES.map(String::from).to_vec(), 5.0);
    sequences.x.reserve(n * STEPS * CHANNELS);
    let mut sample = [0.0; STEPS * CHANNELS];
    for (i, (packed, &label)) in events.data().chunks_exact(PACKED).zip(labels.data()).enumerate() {
        if usize::from(label) >= CLASSES.len() {
            return Err(wrong(format!(
                "tensor `labels`: sample {i} has class {label} of {}",
                CLASSES.len()
            )));
        }
        for (bit, value) in sample.iter_mut().enumerate() {
            *value = f32::from(packed[bit / 8] >> (bit % 8) & 1);
        }
        sequences.push(&sample, u32::from(label), 0);
    }

    let per_split = index.shape()[1];
    let mut val_index = Vec::new();
    for (k, row) in index.data().chunks_exact((4 * per_split).max(1)).enumerate() {
        let row: Vec<usize> = row
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
            .collect();
        let mut seen = vec![false; n];
        for &i in &row {
            match seen.get_mut(i) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    return Err(wrong(format!(
                        "tensor `val_index`: split {k} names sample {i} of {n} wrongly or twice"
                    )));
                }
            }
        }
        val_index.push(row);
    }
    Ok(Braille { sequences, val_index })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(packed: &[u8], labels: &[u8], index: &[i32]) -> Vec<u8> {
        let index: Vec<u8> = index.iter().flat_map(|i| i.to_le_bytes()).collect();
        let view =
            |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let n = labels.len();
        let tensors = [
            ("events_packed", view(Dtype::U8, &[n, packed.len() / n], packed)),
            ("labels", view(Dtype::U8, &[n], labels)),
            ("val_index", view(Dtype::I32, &[2, index.len() / 8], &index)),
        ];
        safetensors::serialize(tensors, None).unwrap()
    }

    fn small() -> Vec<u8> {
        let mut packed = [0u8; 3 * PACKED];
        packed[0] = 0b10; // sample 0, step 0, channel 1
        packed[PACKED + 1] = 0b1_0000; // sample 1, bit 12: step 1, channel 0
        packed[3 * PACKED - 1] = 0x80; // sample 2, last step, last channel
        file(&packed, &[6, 0, 3], &[2, 0, 1, 2])
    }

    #[test]
    fn bits_labels_and_splits() {
        let braille = read(&small(), "b").unwrap();
        let s = &braille.sequences;
        s.validate().unwrap();
        assert_eq!((s.n, s.y.clone()), (3, vec![6, 0, 3]));
        let on: Vec<usize> = (0..s.x.len()).filter(|&i| s.x[i] == 1.0).collect();
        assert_eq!(on, [1, STEPS * CHANNELS + 12, 3 * STEPS * CHANNELS - 1]);
        assert_eq!(
            braille.split(0).unwrap(),
            Split { train: vec![1], val: vec![2, 0], test: vec![] }
        );
        assert!(braille.split(2).unwrap_err().to_string().contains("0 to 1"));
    }

    #[test]
    fn wrong_content_is_named() {
        let zero = [0u8; 2 * PACKED];
        let said = |bytes: &[u8]| read(bytes, "b").unwrap_err().to_string();
        assert!(said(&file(&zero, &[0, 7], &[0, 1])).contains("sample 1 has class 7 of 7"));
        assert!(said(&file(&zero, &[0, 1], &[0, 2])).contains("split 1 names sample 2 of 2"));
        assert!(
            said(&file(&zero, &[0, 1], &[0, 0, 1, 1]))
                .contains("split 0 names sample 0 of 2 wrongly or twice")
        );
        assert!(said(&file(&zero[..20], &[0, 1], &[0, 1])).contains("expected [2, 384]"));
        assert!(said(b"no").contains("not a safetensors file"));
    }

    #[test]
    fn truncated_or_flipped_files_never_panic() {
        let good = small();
        for cut in 0..good.len() {
            assert!(read(&good[..cut], "b").is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            let _ = read(&bytes, "b");
        }
    }
}
