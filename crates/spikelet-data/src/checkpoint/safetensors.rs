//! The header of a safetensors file.

use super::{
    error::{DAMAGED, Fault},
    flatten::Slot,
    source::Source,
    tensor::{Dtype, Encoding, View},
    torch::{Located, Storage},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The format's own limit.
const MAX_HEADER: u64 = 100_000_000;

/// The tensors, in the order of their bytes, and the text metadata.
pub(crate) struct Header {
    pub tensors: Vec<Slot>,
    pub metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawHeader {
    #[serde(default, rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, RawTensor>,
}

#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Whether the file begins like a safetensors file: the length of the header, then JSON.
pub(crate) fn detect(start: &[u8], len: u64) -> bool {
    let Some(length) = start.first_chunk() else { return false };
    let length = u64::from_le_bytes(*length);
    start.get(8) == Some(&b'{') && length <= MAX_HEADER && length <= len - 8
}

/// Reads and checks the header: every tensor's bytes lie in the file, none twice, none unused.
pub(crate) fn read(source: &Source) -> Result<Header, Fault> {
    let length = source.read(0, 8)?.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
    if length > MAX_HEADER {
        return Err(Fault::hostile(0, format!("a header of {length} bytes")));
    }
    let json = source.read(8, length)?;
    let header: RawHeader = serde_json::from_slice(&json).map_err(|error| {
        // The header is one line unless somebody formatted it, so the column is the offset.
        let problem = format!("the header is not valid: {error}");
        Fault::damaged(8 + error.column() as u64, problem)
    })?;
    let data = 8 + length;
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for (name, raw) in header.tensors {
        let [start, end] = raw.data_offsets;
        tensors.push((start, end, name.clone(), locate(&name, raw, data)?));
    }
    tensors.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let mut reached = 0;
    for (start, end, name, _) in &tensors {
        if *start != reached || end < start {
            return Err(broken(8, format!("{name:?} does not follow the tensor before it")));
        }
        reached = *end;
    }
    if data.checked_add(reached) != Some(source.len) {
        let problem = format!(
            "the tensors need {reached} bytes behind the header, the file holds {}",
            source.len - data
        );
        return Err(broken(data, problem));
    }
    let tensors = tensors.into_iter().map(|(_, _, name, located)| (name, located)).collect();
    Ok(Header { tensors, metadata: header.metadata })
}

fn locate(name: &str, raw: RawTensor, data: u64) -> Result<Result<Located, String>, Fault> {
    let dtype = match raw.dtype.as_str() {
        "F64" => Dtype::F64,
        "F32" => Dtype::F32,
        "F16" => Dtype::F16,
        "BF16" => Dtype::BF16,
        "I64" => Dtype::I64,
        "I32" => Dtype::I32,
        "I16" => Dtype::I16,
        "I8" => Dtype::I8,
        "U64" => Dtype::U64,
        "U32" => Dtype::U32,
        "U16" => Dtype::U16,
        "U8" => Dtype::U8,
        "BOOL" => Dtype::Bool,
        other => return Ok(Err(format!("a tensor of unsupported elements ({other})"))),
    };
    let view = View::contiguous(Encoding { dtype, big_endian: false }, raw.shape, false);
    let [start, end] = raw.data_offsets;
    let bytes = view.count().and_then(|count| count.checked_mul(dtype.size() as u64));
    if bytes.is_none() || bytes != end.checked_sub(start) {
        let problem = format!("{name:?} has bytes {start}..{end} but shape {:?}", view.shape);
        return Err(broken(8, problem));
    }
    let start = data.checked_add(start).ok_or_else(|| broken(8, "an offset overflows".into()))?;
    Ok(Ok(Located { view, storage: Storage::Range(start, end - raw.data_offsets[0]) }))
}

fn broken(offset: u64, problem: String) -> Fault {
    Fault::Malformed { offset, problem, fix: DAMAGED }
}
