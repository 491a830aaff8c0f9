//! What the functions mean by which torch pickles its tensors.

use super::{
    numpy,
    pickle::{Id, Node},
    tensor::{Dtype, Encoding, TensorInfo, View},
    value::Value,
};

/// Where the elements of a tensor are.
#[derive(Clone, Debug)]
pub(crate) enum Storage {
    /// A storage that the container of the pickle knows by this key.
    Key(String),
    /// The bytes of the numpy array that this object is.
    Array(Id),
    /// Offset and length in the file.
    Range(u64, u64),
}

/// A tensor that can be read.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub view: View,
    pub storage: Storage,
}

impl Located {
    pub fn info(&self) -> TensorInfo {
        let shape = self.view.shape.iter().map(|&size| size as usize).collect();
        TensorInfo { dtype: self.view.encoding.dtype, shape }
    }
}

/// `None`: not a tensor. `Some(Err)`: a tensor of a kind this reader does not read, and why.
pub(crate) fn tensor(value: Value) -> Option<Result<Located, String>> {
    match numpy::array(value) {
        Ok(None) => {}
        Ok(Some(array)) => {
            let view = View::contiguous(array.encoding, array.shape, array.fortran);
            return Some(Ok(Located { view, storage: Storage::Array(value.id) }));
        }
        Err(reason) => return Some(Err(reason)),
    }
    let (module, name, args) = value.call()?;
    rebuild(value, module, name, args, 0)
}

/// One line about a tensor, `None` for everything else.
pub(crate) fn describe(value: Value) -> Option<String> {
    let described = match tensor(value)? {
        Ok(located) => {
            let info = located.info();
            format!("tensor {} {:?}", info.dtype.name(), info.shape)
        }
        Err(reason) => reason,
    };
    Some(described)
}

fn rebuild(
    value: Value,
    module: &str,
    name: &str,
    args: &[Id],
    depth: usize,
) -> Option<Result<Located, String>> {
    if !matches!(module, "torch._utils" | "torch._tensor") || !name.starts_with("_rebuild_") {
        return None;
    }
    // A parameter holds a tensor, which may be a view of another class; more levels are nonsense.
    if depth > 4 {
        return Some(Err("a tensor wrapped too many times".into()));
    }
    let inner = |id: Id| {
        let inner = value.at(id);
        let rebuilt = match inner.call() {
            Some((module, name, args)) => rebuild(inner, module, name, args, depth + 1),
            None => None,
        };
        rebuilt.or_else(|| tensor_of_array(inner)).unwrap_or_else(|| Err("not a tensor".into()))
    };
    Some(match (name, args) {
        ("_rebuild_tensor" | "_rebuild_tensor_v2", [storage, offset, shape, strides, ..]) => {
            dense(value, *storage, [*offset, *shape, *strides], None)
        }
        ("_rebuild_tensor_v3", [storage, offset, shape, strides, _, _, dtype, ..]) => {
            dense(value, *storage, [*offset, *shape, *strides], Some(*dtype))
        }
        ("_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..])
        | ("_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor", [data, ..])
        | ("_rebuild_device_tensor_from_cpu_tensor", [data, ..]) => inner(*data),
        ("_rebuild_from_type_v2" | "_rebuild_from_type", [function, _, args, ..]) => {
            let args = value.at(*args).elements();
            value
                .at(*function)
                .global()
                .and_then(|(module, name)| rebuild(value, module, name, args, depth + 1))
                .unwrap_or_else(|| Err("a tensor subclass of an unknown kind".into()))
        }
        ("_rebuild_qtensor", _) => {
            Err("a quantised tensor: call dequantize() on it before saving".into())
        }
        ("_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor", _) => {
            Err("a sparse tensor: call to_dense() on it before saving".into())
        }
        _ => Err(format!("a tensor of an unsupported kind ({module}.{name})")),
    })
}

fn tensor_of_array(value: Value) -> Option<Result<Located, String>> {
    numpy::array(value).ok().flatten().map(|array| {
        let view = View::contiguous(array.encoding, array.shape, array.fortran);
        Ok(Located { view, storage: Storage::Array(value.id) })
    })
}

fn dense(
    value: Value,
    storage: Id,
    [offset, shape, strides]: [Id; 3],
    dtype: Option<Id>,
) -> Result<Located, String> {
    let storage = StorageId::of(value.at(storage))?;
    let stored = storage.dtype(value)?;
    let dtype = match dtype {
        Some(id) => {
            let name = value.at(id).global().map(|(_, name)| name);
            name.and_then(dtype_named).ok_or("a tensor of an unsupported element type")?
        }
        None => stored,
    };
    let offset = value.at(offset).as_i64().and_then(|offset| u64::try_from(offset).ok());
    let shape = match value.at(shape).call() {
        Some(("torch", "Size", [sizes])) => numpy::sizes(value.at(*sizes)),
        _ => numpy::sizes(value.at(shape)),
    };
    let strides = numpy::sizes(value.at(strides));
    let (Some(offset), Some(shape), Some(strides)) = (offset, shape, strides) else {
        return Err("a tensor with a negative or missing offset, size or stride".into());
    };
    let offset = offset.checked_add(storage.view_offset).ok_or("a storage offset out of range")?;
    if shape.len() != strides.len() {
        return Err(format!("a tensor with {} sizes but {} strides", shape.len(), strides.len()));
    }
    // Files are little-endian unless the archive says otherwise; the container corrects this.
    let encoding = Encoding { dtype, big_endian: false };
    let view = View { encoding, offset, shape, strides };
    Ok(Located { view, storage: Storage::Key(storage.key) })
}

/// `("storage", class, key, device, elements)`, and in legacy files `(view key, offset, size)`.
pub(crate) struct StorageId {
    pub key: String,
    class: Id,
    view_offset: u64,
}

impl StorageId {
    pub fn of(value: Value) -> Result<Self, String> {
        let Node::Persistent(id) = value.node() else {
            return Err(match value.call() {
                Some(("torch.storage", "_load_from_bytes", _)) => {
                    "a tensor written by pickle.dump: save it with torch.save".into()
                }
                _ => "a tensor without a storage".into(),
            });
        };
        let parts = value.at(*id).elements();
        let (Some(kind), Some(&class), Some(key)) = (parts.first(), parts.get(1), parts.get(2))
        else {
            return Err("a storage without a key".into());
        };
        if value.at(*kind).as_str() != Some("storage") {
            return Err("a tensor whose storage is something else".into());
        }
        let key = value.at(*key).key().ok_or("a storage whose key is not text")?;
        let view = parts.get(5).and_then(|&view| value.at(view).elements().get(1));
        let view_offset = view.and_then(|&offset| value.at(offset).as_i64()).unwrap_or(0);
        let view_offset = u64::try_from(view_offset).map_err(|_| "a negative storage offset")?;
        Ok(Self { key, class, view_offset })
    }

    /// Bytes of one element, also of types that cannot be read.
    pub fn element_size(&self, value: Value) -> Option<u64> {
        if let Ok(dtype) = self.dtype(value) {
            return Some(dtype.size() as u64);
        }
        match value.at(self.class).global()?.1 {
            "ComplexDoubleStorage" => Some(16),
            "ComplexFloatStorage" => Some(8),
            "QInt32Storage" => Some(4),
            "QInt8Storage" | "QUInt8Storage" => Some(1),
            _ => None,
        }
    }

    /// Type of the elements; bytes for an untyped storage.
    pub fn dtype(&self, value: Value) -> Result<Dtype, String> {
        let (_, class) = value.at(self.class).global().ok_or("a storage without a class")?;
        Ok(match class {
            "DoubleStorage" => Dtype::F64,
            "FloatStorage" => Dtype::F32,
            "HalfStorage" => Dtype::F16,
            "BFloat16Storage" => Dtype::BF16,
            "LongStorage" => Dtype::I64,
            "IntStorage" => Dtype::I32,
            "ShortStorage" => Dtype::I16,
            "CharStorage" => Dtype::I8,
            "ByteStorage" | "UntypedStorage" | "_UntypedStorage" => Dtype::U8,
            "BoolStorage" => Dtype::Bool,
            other => return Err(format!("a tensor of unsupported elements ({other})")),
        })
    }
}

fn dtype_named(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint64" => Dtype::U64,
        "uint32" => Dtype::U32,
        "uint16" => Dtype::U16,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}
