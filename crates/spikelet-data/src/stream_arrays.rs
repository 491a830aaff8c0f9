//! Rows of one array in an .npy or safetensors file, read one after the other.

use std::io::{self, BufRead, Read};

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::error::{DataError, Result};
use crate::npy::{Header, fill};
use crate::number::Number;

/// Longest accepted safetensors header.
const MAX_HEADER: u64 = 1 << 24;
/// Most numbers in a row.
const MAX_CHANNELS: usize = 1 << 20;

/// An array being read row by row: a row is its last dimension.
pub(crate) struct ArrayRows<R> {
    input: R,
    file: String,
    number: Number,
    channels: usize,
    left: u64,
    offset: u64,
    buffer: Vec<u8>,
    /// Whether the file must end with the array.
    last: bool,
}

impl<R: BufRead> ArrayRows<R> {
    /// The array of an .npy file.
    pub(crate) fn npy(mut input: R, file: &str) -> Result<Self> {
        let header = Header::read(&mut input, file)?;
        Self::new(input, file, header.number, &header.shape, header.length, true)
    }

    /// The tensor `x` or `input` of a safetensors file, or the only one.
    pub(crate) fn safetensors(mut input: R, file: &str) -> Result<Self> {
        let mut length = [0; 8];
        fill(&mut input, &mut length, file, 0, "the header length")?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER {
            return Err(DataError::offset(
                file,
                0,
                format!("a header of {length} bytes; at most {MAX_HEADER}"),
            ));
        }
        let mut text = Vec::new();
        let io = |source| DataError::Io { path: file.to_owned(), source };
        input.by_ref().take(length).read_to_end(&mut text).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&text)
            .map_err(|e| DataError::offset(file, 8, format!("not a safetensors header: {e}")))?;
        let names = metadata.offset_keys();
        let name = match &names[..] {
            [only] => only,
            _ => names
                .iter()
                .find(|n| *n == "x")
                .or(names.iter().find(|n| *n == "input"))
                .ok_or_else(|| {
                    let list = names.join(", ");
                    DataError::offset(
                        file,
                        8,
                        format!("neither `x` nor `input` among the tensors: {list}"),
                    )
                })?,
        };
        let info = metadata
            .info(name)
            .ok_or_else(|| DataError::offset(file, 8, format!("no tensor `{name}`")))?;
        let number = number_of(info.dtype).ok_or_else(|| {
            DataError::offset(
                file,
                8,
                format!("tensor `{name}` has numbers of type {}, which are not read", info.dtype),
            )
        })?;
        // The input may be a pipe, so what lies before the tensor is read and dropped.
        let skip = info.data_offsets.0 as u64;
        let start = 8 + length;
        let skipped = io::copy(&mut input.by_ref().take(skip), &mut io::sink()).map_err(io)?;
        if skipped != skip {
            return Err(DataError::offset(
                file,
                start + skipped,
                format!("the file ends before tensor `{name}`"),
            ));
        }
        Self::new(input, file, number, &info.shape, start + skip, false)
    }

    fn new(
        input: R,
        file: &str,
        number: Number,
        shape: &[usize],
        offset: u64,
        last: bool,
    ) -> Result<Self> {
        let (steps, channels) = match shape {
            [] => (&[][..], 1),
            [_] => (shape, 1),
            [steps @ .., channels] => (steps, *channels),
        };
        if channels == 0 || channels > MAX_CHANNELS {
            let reason =
                format!("shape {shape:?}: {channels} channels; 1 to {MAX_CHANNELS} are read");
            return Err(DataError::File { file: file.to_owned(), reason });
        }
        let left =
            steps.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).ok_or_else(|| {
                DataError::File {
                    file: file.to_owned(),
                    reason: format!("shape {shape:?} is too large"),
                }
            })?;
        let buffer = vec![0; channels * number.size()];
        Ok(Self { input, file: file.to_owned(), number, channels, left, offset, buffer, last })
    }

    /// Numbers in each row.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Writes the next row over `row`; `false` after the last.
    pub(crate) fn next_row(&mut self, row: &mut Vec<f32>) -> Result<bool> {
        row.clear();
        if self.left == 0 {
            let more = self.last && self.input.fill_buf().is_ok_and(|rest| !rest.is_empty());
            return match more {
                true => Err(DataError::offset(
                    &self.file,
                    self.offset,
                    "bytes after the end of the array",
                )),
                false => Ok(false),
            };
        }
        let what = format_args!("the array, {} rows before its end,", self.left);
        fill(&mut self.input, &mut self.buffer, &self.file, self.offset, what)?;
        self.left -= 1;
        self.offset += self.buffer.len() as u64;
        self.number.append_f32(&self.buffer, row);
        Ok(true)
    }
}

fn number_of(dtype: Dtype) -> Option<Number> {
    Some(match dtype {
        Dtype::BOOL => Number::Bool,
        Dtype::U8 => Number::U8,
        Dtype::I8 => Number::I8,
        Dtype::U16 => Number::U16,
        Dtype::I16 => Number::I16,
        Dtype::U32 => Number::U32,
        Dtype::I32 => Number::I32,
        Dtype::U64 => Number::U64,
        Dtype::I64 => Number::I64,
        Dtype::F16 => Number::F16,
        Dtype::BF16 => Number::Bf16,
        Dtype::F32 => Number::F32,
        Dtype::F64 => Number::F64,
        _ => return None,
    })
}
