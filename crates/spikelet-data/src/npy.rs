//! NumPy's array files (`.npy`, versions 1 to 3): numbers in C order, little-endian.

use std::io::{BufRead, Read};
use std::path::Path;

use crate::atomic;
use crate::error::{DataError, Result};
use crate::lines;
use crate::number::Number;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Longest accepted header; NumPy itself refuses more than 10,000 characters by default.
const MAX_HEADER: usize = 1 << 16;

/// What the header of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Number type.
    pub number: Number,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// Bytes before the numbers.
    pub length: u64,
}

/// An array in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Number type.
    pub number: Number,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// The numbers, little-endian, in C order.
    pub bytes: Vec<u8>,
}

impl Array {
    /// The numbers, rounded to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = Vec::new();
        self.number.append_f32(&self.bytes, &mut values);
        values
    }

    /// The numbers as integers, or `None` if one is not whole.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        self.bytes.chunks_exact(self.number.size()).map(|b| self.number.to_i64(b)).collect()
    }
}

impl Header {
    /// Reads the header; the numbers follow in `input`. `file` names it in errors.
    pub fn read(input: &mut impl Read, file: &str) -> Result<Self> {
        let mut start = [0; 8];
        fill(input, &mut start, file, 0, "the magic and version")?;
        if &start[..6] != MAGIC {
            return Err(DataError::offset(file, 0, "not an .npy file (magic \\x93NUMPY)"));
        }
        let (before, text_length) = match start[6] {
            1 => {
                let mut n = [0; 2];
                fill(input, &mut n, file, 8, "the header length")?;
                (10, usize::from(u16::from_le_bytes(n)))
            }
            2 | 3 => {
                let mut n = [0; 4];
                fill(input, &mut n, file, 8, "the header length")?;
                (12, u32::from_le_bytes(n) as usize)
            }
            v => {
                return Err(DataError::offset(
                    file,
                    6,
                    format!("version {v}; known are 1, 2 and 3"),
                ));
            }
        };
        if text_length > MAX_HEADER {
            return Err(DataError::offset(
                file,
                8,
                format!("a header of {text_length} bytes; at most {MAX_HEADER}"),
            ));
        }
        let mut text = vec![0; text_length];
        fill(input, &mut text, file, before, "the header")?;
        let parsed = std::str::from_utf8(&text)
            .map_err(|_| "the header is no text".to_owned())
            .and_then(parse);
        let (number, shape) = parsed.map_err(|reason| DataError::offset(file, before, reason))?;
        Ok(Self { number, shape, length: before + text_length as u64 })
    }

    /// Bytes of the numbers, if an address can count them.
    pub fn data_bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.number.size(), |n, &d| n.checked_mul(d))
    }
}

/// The description, `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, without evaluating it.
fn parse(text: &str) -> Result<(Number, Vec<usize>), String> {
    let inner = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    let mut rest = inner.ok_or("the header is no dictionary")?.trim_start();
    let (mut number, mut shape, mut fortran) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) =
            quoted(rest).ok_or_else(|| format!("expected a quoted key at `{}`", shorten(rest)))?;
        let value = after
            .trim_start()
            .strip_prefix(':')
            .ok_or_else(|| format!("no `:` after key `{key}`"))?;
        let value = value.trim_start();
        rest = match key {
            "descr" => {
                let (descr, after) = quoted(value).ok_or_else(|| {
                    format!("`descr` is `{}`; only plain numbers are read", shorten(value))
                })?;
                number = Some(number_of(descr)?);
                after
            }
            "fortran_order" => {
                let known = [("True", true), ("False", false)];
                let found =
                    known.iter().find_map(|(name, v)| Some((*v, value.strip_prefix(name)?)));
                let (order, after) = found.ok_or("`fortran_order` is neither True nor False")?;
                fortran = Some(order);
                after
            }
            "shape" => {
                let body = value.strip_prefix('(').ok_or("`shape` is no tuple")?;
                let (list, after) = body.split_once(')').ok_or("`shape` is no tuple")?;
                shape = Some(dimensions(list)?);
                after
            }
            _ => return Err(format!("unknown key `{}`", shorten(key))),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    let shape = shape.ok_or("`shape` is missing")?;
    if fortran.ok_or("`fortran_order` is missing")? && shape.len() > 1 {
        return Err(
            "the array is in Fortran order; save numpy.ascontiguousarray(array) instead".into()
        );
    }
    Ok((number.ok_or("`descr` is missing")?, shape))
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn dimensions(list: &str) -> Result<Vec<usize>, String> {
    let items = list.split(',').map(str::trim);
    let n = items.clone().count();
    // A final comma is part of `(3,)`; `()` is a single number.
    let items = items.enumerate().filter(|(i, item)| !(item.is_empty() && i + 1 == n));
    items
        .map(|(_, item)| item.parse().map_err(|_| format!("`{}` is no dimension", shorten(item))))
        .collect()
}

fn number_of(descr: &str) -> Result<Number, String> {
    Ok(match descr {
        "|b1" => Number::Bool,
        "|u1" => Number::U8,
        "|i1" => Number::I8,
        "<u2" => Number::U16,
        "<i2" => Number::I16,
        "<u4" => Number::U32,
        "<i4" => Number::I32,
        "<u8" => Number::U64,
        "<i8" => Number::I64,
        "<f2" => Number::F16,
        "<f4" => Number::F32,
        "<f8" => Number::F64,
        _ => {
            let descr = shorten(descr);
            return Err(format!(
                "numbers of type `{descr}`; read are b1, u1 to u8, i1 to i8, f2 to f8, little-endian"
            ));
        }
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Fills `buffer` or says what was cut off at which offset.
pub(crate) fn fill(
    input: &mut impl Read,
    buffer: &mut [u8],
    file: &str,
    offset: u64,
    what: impl std::fmt::Display,
) -> Result<()> {
    input.read_exact(buffer).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => DataError::offset(
            file,
            offset,
            format!("the file ends within {what} ({} bytes)", buffer.len()),
        ),
        _ => DataError::Io { path: file.to_owned(), source: e },
    })
}

/// Reads a whole array; `file` names it in errors. Memory grows with what is really there.
pub fn read(mut input: impl Read, file: &str) -> Result<Array> {
    let header = Header::read(&mut input, file)?;
    let Some(size) = header.data_bytes() else {
        return Err(DataError::offset(
            file,
            header.length,
            format!("shape {:?} is too large", header.shape),
        ));
    };
    let mut bytes = Vec::new();
    let io = |source| DataError::Io { path: file.to_owned(), source };
    input.by_ref().take(size as u64).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() != size {
        let reason =
            format!("shape {:?} needs {size} bytes, there are {}", header.shape, bytes.len());
        return Err(DataError::offset(file, header.length, reason));
    }
    if input.read(&mut [0]).map_err(io)? != 0 {
        return Err(DataError::offset(
            file,
            header.length + size as u64,
            "bytes after the end of the array",
        ));
    }
    Ok(Array { number: header.number, shape: header.shape, bytes })
}

/// Loads a file.
pub fn load(path: &Path) -> Result<Array> {
    let input: Box<dyn BufRead> = lines::open(path)?;
    read(input, &path.display().to_string())
}

/// The bytes of a version 1 file of f32 values.
///
/// # Panics
/// If `values` does not have the length that `shape` says.
pub fn encode_f32(shape: &[usize], values: &[f32]) -> Vec<u8> {
    assert_eq!(values.len(), shape.iter().product::<usize>(), "values of shape {shape:?}");
    let list: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}), }}", list.trim_end());
    // The numbers start at a multiple of 64 bytes, and the header ends with a line end.
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
    out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// Writes f32 values as a version 1 file, atomically.
///
/// # Panics
/// If `values` does not have the length that `shape` says.
pub fn save_f32(path: &Path, shape: &[usize], values: &[f32]) -> Result<()> {
    atomic::write(path, &encode_f32(shape, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([version, 0]);
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [&[2usize, 3][..], &[6], &[1, 6, 1]] {
            let bytes = encode_f32(shape, &[1.0, -2.0, 3.5, 0.0, 1e-9, 7.0]);
            let array = read(&bytes[..], "a").unwrap();
            assert_eq!((array.number, &array.shape[..]), (Number::F32, shape));
            assert_eq!(array.to_f32(), [1.0, -2.0, 3.5, 0.0, 1e-9, 7.0]);
            assert_eq!(Header::read(&mut &bytes[..], "a").unwrap().length % 64, 0);
        }
        assert_eq!(read(&encode_f32(&[], &[4.0])[..], "a").unwrap().to_f32(), [4.0]);
    }

    #[test]
    fn versions_types_and_header_styles() {
        let header = "{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }    \n";
        for version in [1, 2, 3] {
            let array = read(&file(version, header, &[1, 0, 0xff, 0xff])[..], "a").unwrap();
            assert_eq!((array.shape.clone(), array.to_i64()), (vec![2], Some(vec![1, -1])));
        }
        let other = r#"{"shape":(1,1),"fortran_order":False,"descr":"<f8"}"#;
        assert_eq!(read(&file(1, other, &2.5f64.to_le_bytes())[..], "a").unwrap().to_f32(), [2.5]);
        let column = "{'descr': '|u1', 'fortran_order': True, 'shape': (1,)}";
        assert_eq!(read(&file(1, column, &[9])[..], "a").unwrap().to_f32(), [9.0]);
    }

    #[test]
    fn hostile_headers() {
        let said = |version, header: &str, data: &[u8]| {
            read(&file(version, header, data)[..], "a").unwrap_err().to_string()
        };
        let of = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}}}")
        };
        for (header, expected) in [
            (of("<f4", "True", "(2, 2)"), "Fortran order"),
            (of("|O", "False", "(2,)"), "type `|O`"),
            (of(">f4", "False", "(2,)"), "type `>f4`"),
            (of("<f4", "None", "(2,)"), "neither True nor False"),
            (of("<f4", "False", "(-2,)"), "`-2` is no dimension"),
            (of("<f4", "False", "(2, , 2)"), "`` is no dimension"),
            (of("<f4", "False", "(99999999999, 99999999999)"), "is too large"),
            (of("<f4", "False", "(9999999999,)"), "needs 39999999996 bytes, there are 4"),
            ("{'descr': [('a', '<f4')], 'shape': (1,)}".into(), "only plain numbers"),
            ("{'shape': (1,)}".into(), "`fortran_order` is missing"),
            ("{'é".into(), "no dictionary"),
            ("__import__('os')".into(), "no dictionary"),
        ] {
            let e = said(1, &header, &[0; 4]);
            assert!(e.contains(expected), "{header}: {e}");
        }
        assert!(said(4, "", &[]).contains("version 4"));
        assert!(said(1, &of("<f4", "False", "(1,)"), &[0; 5]).contains("bytes after the end"));
        let mut long = file(2, "", &[]);
        long[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(
            read(&long[..], "a").unwrap_err().to_string().contains("a header of 4294967295 bytes")
        );
    }

    #[test]
    fn truncated_or_flipped_files_never_panic() {
        let good = encode_f32(&[2, 3], &[1.0; 6]);
        for at in 0..good.len() {
            assert!(read(&good[..at], "a").is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let _ = read(&bytes[..], "a");
            }
        }
    }

    #[test]
    fn files_are_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        save_f32(&path, &[2], &[1.0, 2.0]).unwrap();
        assert_eq!(load(&path).unwrap().to_f32(), [1.0, 2.0]);
        assert!(load(&dir.path().join("b.npy")).unwrap_err().to_string().contains("b.npy"));
    }
}
