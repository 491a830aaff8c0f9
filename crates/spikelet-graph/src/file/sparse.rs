//! Tensors that are mostly zero, as compressed sparse rows (CSR): instead of tensor `w` the file holds
//! `w.csr.starts`, where every row of the last axis starts, `w.csr.columns` and `w.csr.values` of what
//! is not zero.

use super::{
    FileError, Mapped,
    container::{DataType, Entry},
    numbers,
};
use crate::tensor::{Tensor, Values, elements};
use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

const STARTS: &str = ".csr.starts";
const COLUMNS: &str = ".csr.columns";
const VALUES: &str = ".csr.values";

/// At least one of so many values is stored, so that a small file does not ask for much memory.
const MOST_ZEROS: usize = 128;

/// The shapes of tensors that are stored in this way.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// The sparse parts of the tensors that take less than half the room so, and the shapes of these tensors.
pub(super) fn parts(tensors: &BTreeMap<String, Tensor>) -> (BTreeMap<String, Tensor>, Shapes) {
    let (mut parts, mut shapes) = (BTreeMap::new(), Shapes::new());
    for (name, tensor) in tensors {
        let names = [STARTS, COLUMNS, VALUES].map(|end| format!("{name}{end}"));
        if names.iter().any(|name| tensors.contains_key(name)) {
            continue;
        }
        if let Some(found) = parts_of(tensor) {
            shapes.insert(name.clone(), tensor.shape.clone());
            parts.extend(names.into_iter().zip(found));
        }
    }
    (parts, shapes)
}

/// Starts, columns and values, where they are much smaller than the tensor.
fn parts_of(tensor: &Tensor) -> Option<[Tensor; 3]> {
    let Values::F32(dense) = &tensor.values else { return None };
    let width = tensor.row();
    if tensor.shape.len() < 2 || dense.is_empty() || i32::try_from(dense.len()).is_err() {
        return None;
    }
    // The sign of a zero is kept.
    let stored = |value: &f32| value.to_bits() != 0;
    let count = dense.iter().filter(|value| stored(value)).count();
    let numbers = dense.len() / width + 1 + 2 * count;
    if 2 * numbers >= dense.len() || count.saturating_mul(MOST_ZEROS) < dense.len() {
        return None;
    }
    let (mut starts, mut columns, mut values) = (vec![0_i32], Vec::new(), Vec::new());
    for row in dense.chunks_exact(width) {
        for (column, value) in (0..).zip(row).filter(|(_, value)| stored(value)) {
            columns.push(column);
            values.push(*value);
        }
        starts.push(values.len() as i32);
    }
    let vector = |len, values| Tensor { shape: vec![len], values };
    Some([
        vector(starts.len(), Values::I32(starts.into())),
        vector(columns.len(), Values::I32(columns.into())),
        vector(values.len(), Values::F32(values.into())),
    ])
}

/// Takes the parts of the tensor `name` out of what a file holds, and puts it together.
pub(super) fn read(
    name: &str,
    shape: Vec<usize>,
    entries: &mut BTreeMap<String, Entry<'_>>,
    file: Mapped,
) -> Result<Tensor, FileError> {
    let wrong = |problem| FileError::Tensor { tensor: name.into(), field: "csr", problem };
    if entries.contains_key(name) {
        return Err(wrong("the file also holds a tensor of this name".into()));
    }
    let mut part = |end: &str, data_type: DataType| {
        let entry = entries.remove(&format!("{name}{end}"));
        let entry = entry.filter(|entry| entry.data_type == data_type && entry.shape.len() == 1);
        entry.ok_or_else(|| wrong(format!("there is no vector `{name}{end}` of its data type")))
    };
    let starts = part(STARTS, DataType::I32)?;
    let columns = part(COLUMNS, DataType::I32)?;
    let values = part(VALUES, DataType::F32)?;
    let starts = numbers(&starts, file, i32::from_le_bytes);
    let columns = numbers(&columns, file, i32::from_le_bytes);
    let values = numbers(&values, file, f32::from_le_bytes);
    let (len, width) = match (elements(&shape), shape.last()) {
        (Some(len), Some(&width)) if shape.len() > 1 && len > 0 => (len, width),
        _ => return Err(wrong(format!("{shape:?} is no shape of rows"))),
    };
    if values.len().saturating_mul(MOST_ZEROS) < len {
        let problem = format!(
            "{shape:?} asks for {len} values, of which the file holds {}: less than one in {MOST_ZEROS}",
            values.len()
        );
        return Err(wrong(problem));
    }
    if starts.len() != len / width + 1 || columns.len() != values.len() {
        let problem = format!(
            "{} starts, {} columns and {} values do not fit {shape:?}",
            starts.len(),
            columns.len(),
            values.len()
        );
        return Err(wrong(problem));
    }
    let mut dense = vec![0.0; len];
    let mut end = 0;
    for (row, (out, next)) in dense.chunks_exact_mut(width).zip(&starts[1..]).enumerate() {
        let range =
            usize::try_from(starts[row]).ok().filter(|start| *start == end).and_then(|start| {
                end = usize::try_from(*next).ok()?;
                (start <= end && end <= values.len()).then_some(start..end)
            });
        let Some(range) = range else {
            return Err(wrong(format!("row {row} starts at {} and ends at {next}", starts[row])));
        };
        let mut before = -1;
        for (&column, &value) in columns[range.clone()].iter().zip(&values[range]) {
            let place = usize::try_from(column).ok().filter(|_| column > before);
            match place.and_then(|column| out.get_mut(column)) {
                Some(out) => *out = value,
                None => return Err(wrong(format!("row {row} has column {column} of {width}"))),
            }
            before = column;
        }
    }
    if end != values.len() {
        return Err(wrong(format!("the last row ends at {end} of {} values", values.len())));
    }
    Ok(Tensor { shape, values: Values::F32(dense.into()) })
}
