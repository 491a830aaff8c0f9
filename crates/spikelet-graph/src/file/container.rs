//! The safetensors container: a JSON header, then the tensors without gaps.

use super::{FileError, MAX_HEADER, METADATA_KEY};
use crate::tensor::{Tensor, Values, elements};
use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};

/// The data types a graph uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataType {
    F32,
    F16,
    I32,
    I8,
    U8,
}

/// One tensor in the file; its data has the size its shape asks for.
pub(super) struct Entry<'a> {
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) data: &'a [u8],
    /// Where in the file the data starts.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "for memory maps"))]
    pub(super) start: usize,
}

/// What a file holds.
pub(super) struct Container<'a> {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Entry<'a>>,
}

/// A tensor's entry in the header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

const METADATA: &str = "__metadata__";

pub(super) fn read(bytes: &[u8]) -> Result<Container<'_>, FileError> {
    let (header, data) = split(bytes)?;
    let wrong = |problem: String| FileError::Header { problem };
    let header = core::str::from_utf8(header).map_err(|error| wrong(error.to_string()))?;
    if !header.starts_with('{') {
        return Err(wrong("it does not start with `{`".to_string()));
    }
    let header: Header = serde_json::from_str(header).map_err(|error| wrong(error.to_string()))?;
    check_layout(&header.tensors, data.len())?;
    let mut tensors = BTreeMap::new();
    for (name, description) in header.tensors {
        let entry = entry(&name, description, data, bytes.len() - data.len())?;
        tensors.insert(name, entry);
    }
    Ok(Container { metadata: header.metadata, tensors })
}

pub(super) fn write(
    tensors: &BTreeMap<&String, &Tensor>,
    graph: String,
) -> Result<Vec<u8>, FileError> {
    // Wide types first, so that every tensor is aligned.
    let mut order: Vec<(&String, &Tensor)> =
        tensors.iter().map(|(name, tensor)| (*name, *tensor)).collect();
    order.sort_by_key(|(_, tensor)| core::cmp::Reverse(data_type(tensor).width()));
    let mut header = serde_json::Map::new();
    let problem = |error: serde_json::Error| FileError::Header { problem: error.to_string() };
    header.insert(METADATA.into(), serde_json::json!({ METADATA_KEY: graph }));
    let mut end = 0;
    for (name, tensor) in &order {
        let start = end;
        end += tensor.bytes();
        let description = Description {
            dtype: data_type(tensor).name().into(),
            shape: stored_shape(tensor),
            data_offsets: [start, end],
        };
        header.insert((*name).clone(), serde_json::to_value(description).map_err(problem)?);
    }
    let mut header = serde_json::to_string(&header).map_err(problem)?;
    // Data starts on a cache line, for programs that use it where it is.
    while !(8 + header.len()).is_multiple_of(64) {
        header.push(' ');
    }
    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    for (_, tensor) in order {
        append(&mut bytes, &tensor.values);
    }
    Ok(bytes)
}

/// Header and data.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), FileError> {
    let truncated =
        |what, needed, found: usize| FileError::Truncated { what, needed, found: found as u64 };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(truncated("the header length", 8, bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER as u64 {
        return Err(FileError::HeaderLength { length, limit: MAX_HEADER });
    }
    rest.split_at_checked(length as usize).ok_or(truncated("the header", length, rest.len()))
}

/// Checks that the tensors cover the data without gaps or overlaps.
fn check_layout(tensors: &BTreeMap<String, Description>, data: usize) -> Result<(), FileError> {
    let mut order: Vec<(&String, [usize; 2])> =
        tensors.iter().map(|(name, entry)| (name, entry.data_offsets)).collect();
    order.sort_by_key(|(_, offsets)| *offsets);
    let mut expected = 0;
    for (name, [start, end]) in order {
        if start != expected || end < start {
            let problem = format!(
                "{start}..{end} does not follow byte {expected}: tensors lie without gaps or overlaps"
            );
            return Err(FileError::Tensor { tensor: name.clone(), field: "data_offsets", problem });
        }
        expected = end;
    }
    if expected > data {
        let (needed, found) = (expected as u64, data as u64);
        return Err(FileError::Truncated { what: "the tensor data", needed, found });
    }
    if expected < data {
        let problem = format!("{} bytes follow the last tensor", data - expected);
        return Err(FileError::Header { problem });
    }
    Ok(())
}

/// `before` is what precedes the data of all tensors in the file.
fn entry<'a>(
    name: &str,
    description: Description,
    data: &'a [u8],
    before: usize,
) -> Result<Entry<'a>, FileError> {
    let wrong = |field, problem| FileError::Tensor { tensor: name.into(), field, problem };
    let Description { dtype, shape, data_offsets: [start, end] } = description;
    let Some(data_type) = DataType::from_name(&dtype) else {
        let problem = format!("{dtype:?} is not one of F32, F16, I32, I8, U8");
        return Err(wrong("dtype", problem));
    };
    let size = elements(&shape).and_then(|len| len.checked_mul(data_type.width()));
    let data = data.get(start..end).unwrap_or_default();
    if size != Some(data.len()) {
        let problem = format!("{shape:?} of {dtype} does not fit {} bytes", data.len());
        return Err(wrong("shape", problem));
    }
    Ok(Entry { data_type, shape, data, start: before + start })
}

impl DataType {
    fn name(self) -> &'static str {
        match self {
            DataType::F32 => "F32",
            DataType::F16 => "F16",
            DataType::I32 => "I32",
            DataType::I8 => "I8",
            DataType::U8 => "U8",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [DataType::F32, DataType::F16, DataType::I32, DataType::I8, DataType::U8]
            .into_iter()
            .find(|data_type| data_type.name() == name)
    }

    /// Bytes of one element.
    fn width(self) -> usize {
        match self {
            DataType::F32 | DataType::I32 => 4,
            DataType::F16 => 2,
            DataType::I8 | DataType::U8 => 1,
        }
    }
}

fn data_type(tensor: &Tensor) -> DataType {
    match tensor.values {
        Values::F32(_) => DataType::F32,
        Values::F16(_) => DataType::F16,
        Values::I32(_) => DataType::I32,
        Values::I8(_) => DataType::I8,
        Values::I4(_) => DataType::U8,
    }
}

/// The shape in the header: 4-bit integers count in bytes.
fn stored_shape(tensor: &Tensor) -> Vec<usize> {
    let mut shape = tensor.shape.clone();
    if let (Values::I4(_), Some(row)) = (&tensor.values, shape.last_mut()) {
        *row = row.div_ceil(2);
    }
    shape
}

fn append(bytes: &mut Vec<u8>, values: &Values) {
    match values {
        Values::F32(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Values::F16(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Values::I32(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Values::I8(v) => v.iter().for_each(|x| bytes.extend(x.to_le_bytes())),
        Values::I4(v) => bytes.extend_from_slice(v),
    }
}

/// The header; a key that is there twice is an error.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Description>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with one entry per tensor")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
                let mut metadata = None;
                let mut tensors = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let twice = if key == METADATA {
                        metadata.replace(map.next_value()?).is_some()
                    } else {
                        tensors.insert(key.clone(), map.next_value()?).is_some()
                    };
                    if twice {
                        return Err(M::Error::custom(format!("`{key}` is there twice")));
                    }
                }
                Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
