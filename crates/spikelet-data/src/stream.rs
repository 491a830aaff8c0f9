//! Time steps one after the other from a file or standard input, in constant memory.
//!
//! | format | a time step is |
//! | --- | --- |
//! | CSV | a row: with a header the columns named like the channels, without one all columns |
//! | JSONL | a line: `[1.5, 2.0]`, or an object with a number for each channel |
//! | NPY | a row of the last dimension; one dimension: one channel |
//! | safetensors | the same, of the tensor `x` or `input` or the only one |
//!
//! Each may be compressed with gzip.

use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde_json::Value;

use crate::error::{DataError, Result};
use crate::lines::{self, Lines, MAX_LINE};
use crate::nearest;
use crate::stream_arrays::ArrayRows;
use crate::table::Table;

/// Format of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Delimited text.
    Csv,
    /// A JSON array or object a line.
    Jsonl,
    /// NumPy array.
    Npy,
    /// Safetensors file.
    Safetensors,
}

impl Format {
    /// The format that the ending of a file name (before `.gz`) says.
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".gz").unwrap_or(name);
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "npy" => Some(Self::Npy),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }

    /// The format that content starting like this has.
    pub fn of_content(start: &[u8]) -> Self {
        let first = start.iter().find(|b| !b.is_ascii_whitespace());
        match first {
            Some(0x93) => Self::Npy,
            // A safetensors file starts with a small 64-bit length, so with zero bytes among the first eight.
            _ if start.iter().take(8).any(|&b| b == 0) => Self::Safetensors,
            Some(b'[' | b'{') => Self::Jsonl,
            _ => Self::Csv,
        }
    }
}

/// A stream of time steps.
pub struct TimeSteps<'a> {
    source: Source<'a>,
    file: String,
    channels: usize,
    /// Channel names the caller wants; empty: whatever there is.
    names: Vec<String>,
    steps: u64,
    /// The first step of JSONL without names, read ahead to learn the number of channels.
    ahead: Option<Vec<f32>>,
}

enum Source<'a> {
    Csv { table: Table<Box<dyn BufRead + 'a>>, columns: Vec<usize> },
    Jsonl(Lines<Box<dyn BufRead + 'a>>),
    Array(ArrayRows<Box<dyn BufRead + 'a>>),
}

impl TimeSteps<'static> {
    /// Opens a file, or standard input for `-`. The format follows from the name, else from the content.
    ///
    /// `names` are the channels to read, in order. Without names every number of a step is a channel.
    pub fn open(path: &Path, names: &[String]) -> Result<Self> {
        if path.as_os_str() == "-" {
            let input = lines::decompress(BufReader::with_capacity(1 << 16, io::stdin()));
            let input =
                input.map_err(|source| DataError::Io { path: "standard input".into(), source })?;
            return Self::new(input, "standard input", names, None);
        }
        Self::new(lines::open(path)?, &path.display().to_string(), names, Format::of_name(path))
    }
}

impl<'a> TimeSteps<'a> {
    /// Reads from `input`; `file` names it in errors. Without a format the content tells it.
    pub fn new(
        mut input: impl BufRead + 'a,
        file: &str,
        names: &[String],
        format: Option<Format>,
    ) -> Result<Self> {
        let format = match format {
            Some(format) => format,
            None => {
                let start = input
                    .fill_buf()
                    .map_err(|source| DataError::Io { path: file.to_owned(), source })?;
                Format::of_content(start)
            }
        };
        let input: Box<dyn BufRead + 'a> = Box::new(input);
        let mut steps = Self {
            source: match format {
                Format::Csv => {
                    let table = Table::new(input, file)?;
                    Source::Csv { columns: columns(&table, names)?, table }
                }
                Format::Jsonl => Source::Jsonl(Lines::new(input, file, MAX_LINE)),
                Format::Npy => Source::Array(ArrayRows::npy(input, file)?),
                Format::Safetensors => Source::Array(ArrayRows::safetensors(input, file)?),
            },
            file: file.to_owned(),
            channels: names.len(),
            names: names.to_vec(),
            steps: 0,
            ahead: None,
        };
        let found = match &steps.source {
            Source::Csv { columns, .. } => columns.len(),
            Source::Array(rows) => rows.channels(),
            Source::Jsonl(_) if !names.is_empty() => names.len(),
            Source::Jsonl(_) => {
                let mut first = Vec::new();
                if steps.read(&mut first)? {
                    steps.ahead = Some(first.clone());
                }
                first.len()
            }
        };
        if !names.is_empty() && found != names.len() {
            let reason = format!(
                "a time step has {found} channels; expected {}: {}",
                names.len(),
                names.join(", ")
            );
            return Err(DataError::File { file: file.to_owned(), reason });
        }
        steps.channels = found;
        Ok(steps)
    }

    /// Numbers in each time step.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Time steps given out so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Writes the next time step over `step`; `false` at the end of the stream.
    pub fn next_step(&mut self, step: &mut Vec<f32>) -> Result<bool> {
        match self.ahead.take() {
            Some(first) => *step = first,
            None if !self.read(step)? => return Ok(false),
            None => {}
        }
        self.steps += 1;
        Ok(true)
    }

    fn read(&mut self, step: &mut Vec<f32>) -> Result<bool> {
        step.clear();
        match &mut self.source {
            Source::Csv { table, columns } => {
                if !table.next_row()? {
                    return Ok(false);
                }
                for &column in columns.iter() {
                    step.push(table.number(column)?);
                }
            }
            Source::Jsonl(lines) => loop {
                let Some(line) = lines.next_line()? else { return Ok(false) };
                if line.trim().is_empty() {
                    continue;
                }
                let parsed = json(line, &self.names, step).and_then(|()| match self.channels {
                    0 if !step.is_empty() => Ok(()),
                    n if n > 0 && n == step.len() => Ok(()),
                    n => Err(format!(
                        "{} numbers; expected {}",
                        step.len(),
                        if n == 0 { "one or more" } else { "as many as there are channels" }
                    )),
                });
                match parsed {
                    Ok(()) => break,
                    Err(reason) => return Err(lines.error(reason)),
                }
            },
            Source::Array(rows) => {
                if !rows.next_row(step)? {
                    return Ok(false);
                }
                if let Some(channel) = step.iter().position(|v| !v.is_finite()) {
                    let reason = format!(
                        "time step {}, channel {channel}: {} is not finite",
                        self.steps, step[channel]
                    );
                    return Err(DataError::File { file: self.file.clone(), reason });
                }
            }
        }
        Ok(true)
    }
}

/// The columns of the wanted channels.
fn columns(table: &Table<impl BufRead>, names: &[String]) -> Result<Vec<usize>> {
    match (table.header().is_empty(), names.is_empty()) {
        (false, false) => names.iter().map(|name| table.column(name)).collect(),
        (false, true) => Ok((0..table.header().len()).collect()),
        (true, _) => Ok((0..table.row().len()).collect()),
    }
}

/// Parses one line of JSONL.
fn json(line: &str, names: &[String], step: &mut Vec<f32>) -> Result<(), String> {
    let number = |value: &Value, what: &str| match value.as_f64().map(|v| v as f32) {
        Some(v) if v.is_finite() => Ok(v),
        _ => Err(format!("{what} is no finite number")),
    };
    match serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))? {
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                step.push(number(item, &format!("element {i}"))?);
            }
            Ok(())
        }
        Value::Object(_) if names.is_empty() => {
            Err("an object, but no channel names are known; give an array".into())
        }
        Value::Object(map) => {
            for name in names {
                let value = map.get(name).ok_or_else(|| {
                    format!(
                        "no key `{name}`{}",
                        nearest::suggest(name, map.keys().map(String::as_str))
                    )
                })?;
                step.push(number(value, &format!("key `{name}`"))?);
            }
            Ok(())
        }
        _ => Err("neither an array nor an object".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy;

    fn all(bytes: &[u8], names: &[&str]) -> Result<Vec<Vec<f32>>> {
        let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
        let mut steps = TimeSteps::new(bytes, "s", &names, None)?;
        let (mut out, mut step) = (Vec::new(), Vec::new());
        while steps.next_step(&mut step)? {
            assert_eq!(step.len(), steps.channels());
            out.push(step.clone());
        }
        assert_eq!(steps.steps() as usize, out.len());
        Ok(out)
    }

    fn said(bytes: &[u8], names: &[&str]) -> String {
        all(bytes, names).unwrap_err().to_string()
    }

    fn safetensors(name: &str, shape: &[usize], values: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = |data| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), data)
                .unwrap()
        };
        safetensors::serialize([(name, view(&bytes)), ("zz", view(&bytes))], None).unwrap()
    }

    #[test]
    fn every_format_gives_the_same_steps() {
        let expected = [[1.0, 2.0], [3.0, 4.5], [5.0, 6.0]];
        let values = expected.concat();
        for bytes in [
            &b"ax,ay\n1,2\n3,4.5\n5,6\n"[..],
            b"1,2\n3,4.5\n5,6",
            b"ay;label;ax\n2;walk;1\n4.5;walk;3\n6;walk;5\n",
            b"[1,2]\n\n[3,4.5]\n[5,6]",
            b"{\"ay\":2,\"ax\":1}\n{\"ax\":3,\"ay\":4.5,\"x\":null}\n{\"ax\":5,\"ay\":6}\n",
            &npy::encode_f32(&[3, 2], &values),
            &npy::encode_f32(&[1, 3, 2], &values),
            &safetensors("x", &[3, 2], &values),
            &safetensors("input", &[3, 2], &values),
        ] {
            assert_eq!(all(bytes, &["ax", "ay"]).unwrap(), expected);
        }
        assert_eq!(all(b"[1,2]\n[3,4]\n", &[]).unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(all(b"a,b,c\n1,2,3\n", &[]).unwrap(), [[1.0, 2.0, 3.0]]);
        assert_eq!(
            all(&npy::encode_f32(&[3], &[1.0, 2.0, 3.0]), &[]).unwrap(),
            [[1.0], [2.0], [3.0]]
        );
        assert!(all(b"", &["a"]).is_err() && all(b"\n\n[1]\n", &["a"]).unwrap() == [[1.0]]);
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(said(b"ax,az\n1,2\n", &["ax", "ay"]), "s:1: no column `ay`; did you mean `ax`?");
        assert_eq!(
            said(b"1,2,3\n", &["ax", "ay"]),
            "s: a time step has 3 channels; expected 2: ax, ay"
        );
        assert_eq!(
            said(b"ax,ay\n1,2\n1,inf\n", &["ax", "ay"]),
            "s:3: column `ay`: `inf` is no finite number"
        );
        assert_eq!(
            said(b"[1,2]\n[1]\n", &["ax", "ay"]),
            "s:2: 1 numbers; expected as many as there are channels"
        );
        assert_eq!(said(b"[1,2]\n[1,null]\n", &[]), "s:2: element 1 is no finite number");
        assert_eq!(
            said(b"{\"ax\":1,\"by\":2}\n", &["ax", "ay"]),
            "s:1: no key `ay`; did you mean `ax`?"
        );
        assert!(said(b"{\"ax\":1}\n", &[]).contains("no channel names are known"));
        assert!(said(b"[]\n", &[]).contains("expected one or more"));
        assert!(said(b"[1,\n", &["a"]).starts_with("s:1: not JSON"));
        let nan = npy::encode_f32(&[2, 2], &[1.0, 2.0, 3.0, f32::NAN]);
        assert_eq!(said(&nan, &[]), "s: time step 1, channel 1: NaN is not finite");
        assert!(
            said(&npy::encode_f32(&[2, 3], &[0.0; 6]), &["ax", "ay"]).contains("has 3 channels")
        );
        assert!(
            said(&safetensors("y", &[1, 2], &[0.0; 2]), &[]).contains("neither `x` nor `input`")
        );
    }

    #[test]
    fn names_of_files() {
        for (name, format) in
            [("a.csv", Format::Csv), ("b.ndjson.gz", Format::Jsonl), ("c.npy", Format::Npy)]
        {
            assert_eq!(Format::of_name(Path::new(name)), Some(format));
        }
        assert_eq!(Format::of_name(Path::new("a.bin")), None);
    }

    #[test]
    fn truncated_or_flipped_streams_never_panic() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let texts = [&b"ax,ay\n1,2\n3,4\n"[..], b"[1,2]\n{\"ax\":3,\"ay\":4}\n"];
        let arrays = [npy::encode_f32(&[2, 2], &values), safetensors("x", &[2, 2], &values)];
        for good in texts.into_iter().chain(arrays.iter().map(Vec::as_slice)) {
            assert_eq!(all(good, &["ax", "ay"]).unwrap().len(), 2);
            for at in 0..good.len() {
                let _ = all(&good[..at], &["ax", "ay"]);
                for bit in 0..8 {
                    let mut bytes = good.to_vec();
                    bytes[at] ^= 1 << bit;
                    let _ = all(&bytes, &["ax", "ay"]);
                    let _ = all(&bytes, &[]);
                }
            }
        }
        for (bytes, format) in arrays.iter().zip([Format::Npy, Format::Safetensors]) {
            let read = |cut: usize| {
                let mut steps = TimeSteps::new(&bytes[..cut], "s", &[], Some(format))?;
                while steps.next_step(&mut Vec::new())? {}
                Ok::<_, DataError>(())
            };
            // The second tensor of the safetensors file is not read.
            let needed = bytes.len() - if format == Format::Npy { 0 } else { 16 };
            assert!((0..needed).all(|cut| read(cut).is_err()), "{format:?}");
            assert!(read(needed).is_ok());
        }
    }
}
