//! The fields of a node, read by type: errors name the node and the field.

use super::{
    error::NirError,
    model::{FieldValues, NirNode},
};

/// A node with its name.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub name: &'a str,
    pub node: &'a NirNode,
}

/// Numbers with their shape.
#[derive(Clone, Debug)]
pub(super) struct Floats {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Fields<'_> {
    /// Floats or integers; all finite.
    pub fn floats(&self, field: &'static str) -> Result<Floats, NirError> {
        let found = self.node.fields.get(field).ok_or_else(|| self.missing(field))?;
        let values: Vec<f64> = match &found.values {
            FieldValues::F32(values) => values.iter().map(|&x| f64::from(x)).collect(),
            FieldValues::F64(values) => values.clone(),
            FieldValues::I64(values) => values.iter().map(|&x| x as f64).collect(),
            FieldValues::Text(_) => return Err(self.wrong(field, "is text, not numbers")),
        };
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(self.wrong(field, format!("holds {value}"))),
            None => Ok(Floats { shape: found.shape.clone(), values }),
        }
    }

    /// As [`Fields::floats`]; without the field, `default` everywhere.
    pub fn floats_or(&self, field: &'static str, default: f64) -> Result<Floats, NirError> {
        match self.node.fields.contains_key(field) {
            true => self.floats(field),
            false => Ok(Floats { shape: Vec::new(), values: vec![default] }),
        }
    }

    /// Sizes that are not negative.
    pub fn sizes(&self, field: &'static str) -> Result<Vec<usize>, NirError> {
        let size = |value: f64| {
            let size = value as usize;
            (size as f64 == value && value < 9e15).then_some(size)
        };
        let values = self.floats(field)?.values;
        let sizes = values.iter().map(|&value| {
            size(value).ok_or_else(|| self.wrong(field, format!("{value} is no size")))
        });
        sizes.collect()
    }

    /// Two sizes, or one that holds for both axes.
    pub fn pair(&self, field: &'static str) -> Result<[usize; 2], NirError> {
        match self.sizes(field)?[..] {
            [both] => Ok([both, both]),
            [vertical, horizontal] => Ok([vertical, horizontal]),
            ref other => Err(self.wrong(field, format!("one or two sizes, not {}", other.len()))),
        }
    }

    /// One size.
    pub fn size(&self, field: &'static str) -> Result<usize, NirError> {
        match self.sizes(field)?[..] {
            [size] => Ok(size),
            ref other => Err(self.wrong(field, format!("one size, not {}", other.len()))),
        }
    }

    /// One integer.
    pub fn integer(&self, field: &'static str) -> Result<i64, NirError> {
        let found = self.node.fields.get(field).ok_or_else(|| self.missing(field))?;
        match &found.values {
            FieldValues::I64(values) if values.len() == 1 => Ok(values[0]),
            _ => Err(self.wrong(field, "must be one integer")),
        }
    }

    /// The text of a field, if it is there and is text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.node.fields.get(field)?.as_text()
    }

    /// An error unless every field is one of these.
    pub fn only(&self, known: &[&str]) -> Result<(), NirError> {
        match self.node.fields.keys().find(|field| !known.contains(&field.as_str())) {
            Some(field) => Err(NirError::UnknownField {
                node: self.name.into(),
                kind: self.node.kind.clone(),
                field: field.clone(),
            }),
            None => Ok(()),
        }
    }

    pub fn wrong(&self, field: &str, problem: impl Into<String>) -> NirError {
        NirError::field(self.name, field, problem)
    }

    fn missing(&self, field: &'static str) -> NirError {
        NirError::MissingField { node: self.name.into(), kind: self.node.kind.clone(), field }
    }
}
