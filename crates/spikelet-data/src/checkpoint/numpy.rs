//! Scalars, arrays and data types of numpy inside a pickle.

use super::{
    pickle::{Id, Node},
    tensor::{Dtype, Encoding},
    value::Value,
};

/// numpy and torch both allow 64.
const MAX_AXES: usize = 64;

/// A numpy scalar.
pub(crate) enum Scalar {
    Bool(bool),
    Int(i128),
    Float(f64),
}

/// A numpy array whose bytes lie in the pickle.
pub(crate) struct Array<'a> {
    pub encoding: Encoding,
    pub shape: Vec<u64>,
    pub fortran: bool,
    /// The object that holds the bytes.
    pub bytes: Value<'a>,
}

/// `numpy.core.multiarray.scalar(dtype, bytes)`, or a numpy 2 form of it.
pub(crate) fn scalar(value: Value) -> Option<Scalar> {
    let (module, "scalar", [dtype, bytes, ..]) = value.call()? else { return None };
    if !is_numpy(module) {
        return None;
    }
    let encoding = dtype_of(value.at(*dtype))?;
    let bytes = value.at(*bytes);
    // Text is looked at before it is decoded: it may be long, and shared by many scalars.
    let long = |text: Value| text.as_str().is_some_and(|text| text.len() > 16);
    if long(bytes) || bytes.encoded_bytes().is_some_and(long) {
        return None;
    }
    let bytes = bytes.bytes()?;
    if bytes.len() != encoding.dtype.size() {
        return None;
    }
    Some(match encoding.dtype {
        Dtype::Bool => Scalar::Bool(bytes[0] != 0),
        dtype if dtype.is_integer() => Scalar::Int(encoding.integer(&bytes)),
        _ => Scalar::Float(encoding.float(&bytes)),
    })
}

/// `Ok(None)`: not an array. `Err`: an array of a kind this reader does not read.
pub(crate) fn array<'a>(value: Value<'a>) -> Result<Option<Array<'a>>, String> {
    match value.call() {
        Some((module, "_reconstruct", _)) if is_numpy(module) => {
            let state = value.object().and_then(|object| object.state);
            let parts = state.map_or(&[][..], |state| value.at(state).elements());
            let [_, shape, dtype, fortran, bytes] = parts else {
                return Err("a numpy array without its state".into());
            };
            let fortran = matches!(value.at(*fortran).node(), Node::Bool(true));
            build(value, *shape, *dtype, fortran, *bytes).map(Some)
        }
        Some((module, "_frombuffer", [bytes, dtype, shape, order])) if is_numpy(module) => {
            let fortran = value.at(*order).as_str() == Some("F");
            build(value, *shape, *dtype, fortran, *bytes).map(Some)
        }
        _ => Ok(None),
    }
}

fn build(
    value: Value<'_>,
    shape: Id,
    dtype: Id,
    fortran: bool,
    bytes: Id,
) -> Result<Array<'_>, String> {
    let encoding = dtype_of(value.at(dtype)).ok_or("a numpy array of an unsupported type")?;
    let shape = sizes(value.at(shape)).ok_or("a numpy array with an invalid shape")?;
    Ok(Array { encoding, shape, fortran, bytes: value.at(bytes) })
}

/// The numbers of a shape or of strides.
pub(crate) fn sizes(value: Value) -> Option<Vec<u64>> {
    let items = value.elements();
    if items.len() > MAX_AXES {
        return None;
    }
    items.iter().map(|&id| value.at(id).as_i64().and_then(|size| size.try_into().ok())).collect()
}

/// `numpy.dtype("f4", False, True)` with the state `(3, "<", ...)`.
fn dtype_of(value: Value) -> Option<Encoding> {
    let (module, "dtype", [code, ..]) = value.call()? else { return None };
    if !is_numpy(module) {
        return None;
    }
    let code = value.at(*code).as_str()?;
    let state = value.object().and_then(|object| object.state);
    let order = state.and_then(|state| value.at(state).elements().get(1).copied());
    let big_endian = order.is_some_and(|order| value.at(order).as_str() == Some(">"));
    let dtype = match code.trim_start_matches(['<', '>', '=', '|']) {
        "f8" => Dtype::F64,
        "f4" => Dtype::F32,
        "f2" => Dtype::F16,
        "i8" => Dtype::I64,
        "i4" => Dtype::I32,
        "i2" => Dtype::I16,
        "i1" => Dtype::I8,
        "u8" => Dtype::U64,
        "u4" => Dtype::U32,
        "u2" => Dtype::U16,
        "u1" => Dtype::U8,
        "b1" => Dtype::Bool,
        _ => return None,
    };
    Some(Encoding { dtype, big_endian: big_endian || code.starts_with('>') })
}

fn is_numpy(module: &str) -> bool {
    module == "numpy" || module.starts_with("numpy.")
}
