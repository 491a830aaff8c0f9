//! A NIR graph as its file holds it: named nodes of 19 types with arrays as fields, and edges.
//!
//! Nested graphs are flattened as they are read: node `b` of graph `a` is `a.b`, and the markers
//! where values enter and leave the inner graph are of the type [`PORT`].

use std::collections::BTreeMap;

/// The type of the markers of a nested graph: passes on the sum of its inputs.
pub const PORT: &str = "NIRGraph port";

/// A NIR graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NirGraph {
    /// Version of the program that wrote the file.
    pub version: String,
    /// The nodes by name.
    pub nodes: BTreeMap<String, NirNode>,
    /// The edges: source, target.
    pub edges: Vec<[String; 2]>,
    /// What no reader may rely on.
    pub metadata: BTreeMap<String, Field>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NirNode {
    /// Its type, such as `CubaLIF`.
    pub kind: String,
    /// Its fields by name.
    pub fields: BTreeMap<String, Field>,
    /// What no reader may rely on.
    pub metadata: BTreeMap<String, Field>,
}

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, row-major; as many as the shape says.
    pub values: FieldValues,
}

/// The values of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValues {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Integers.
    I64(Vec<i64>),
    /// Strings.
    Text(Vec<String>),
}

impl Field {
    /// A scalar string.
    pub fn text(text: impl Into<String>) -> Self {
        Field { shape: Vec::new(), values: FieldValues::Text(vec![text.into()]) }
    }

    /// A scalar integer.
    pub fn integer(value: i64) -> Self {
        Field { shape: Vec::new(), values: FieldValues::I64(vec![value]) }
    }

    /// A vector of sizes.
    pub fn sizes(sizes: &[usize]) -> Self {
        // A size of memory fits in 63 bits.
        let values = sizes.iter().map(|&size| size as i64).collect();
        Field { shape: vec![sizes.len()], values: FieldValues::I64(values) }
    }

    /// The name of the element type, such as `f32`.
    pub fn data_type(&self) -> &'static str {
        match &self.values {
            FieldValues::F32(_) => "f32",
            FieldValues::F64(_) => "f64",
            FieldValues::I64(_) => "i64",
            FieldValues::Text(_) => "text",
        }
    }

    /// The text of a scalar string.
    pub fn as_text(&self) -> Option<&str> {
        match &self.values {
            FieldValues::Text(texts) if texts.len() == 1 => texts.first().map(String::as_str),
            _ => None,
        }
    }

    /// The value of a scalar number.
    pub fn as_number(&self) -> Option<f64> {
        match &self.values {
            FieldValues::F32(values) => values.first().copied().map(f64::from),
            FieldValues::F64(values) => values.first().copied(),
            FieldValues::I64(values) => values.first().map(|&value| value as f64),
            FieldValues::Text(_) => None,
        }
        .filter(|_| self.shape.iter().product::<usize>() == 1)
    }
}
