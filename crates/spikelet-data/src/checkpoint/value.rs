//! The Python objects of a checkpoint as data: dictionaries, lists, numbers, text.

use super::{
    numpy,
    pickle::{Id, Node, Object, Pickle},
};
use std::borrow::Cow;

/// Nested deeper than this, a value is not followed any further.
pub(crate) const MAX_DEPTH: usize = 64;

/// A Python object in a checkpoint: a cheap handle into it.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pub(crate) pickle: &'a Pickle,
    pub(crate) id: Id,
}

/// What a [`Value`] is.
pub enum Kind<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer, also of numpy.
    Int(i128),
    /// A float, also of numpy.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// Raw bytes; [`Value::bytes`] gives them.
    Bytes,
    /// A list, tuple or set.
    Sequence(Vec<Value<'a>>),
    /// A dictionary of any class, in the order of the file.
    Mapping(Vec<(Value<'a>, Value<'a>)>),
    /// A class or function, `module.name`.
    Global(String),
    /// An instance of any other class, with its attributes.
    Object {
        /// `module.name` of the class, or of the function whose result it is.
        class: String,
        /// The arguments it was made with.
        arguments: Vec<Value<'a>>,
        /// The attributes, by name.
        attributes: Vec<(Value<'a>, Value<'a>)>,
    },
}

impl<'a> Value<'a> {
    /// What this is. Classes that nobody knows are [`Kind::Object`].
    pub fn kind(self) -> Kind<'a> {
        match self.node() {
            Node::None => Kind::None,
            Node::Bool(value) => Kind::Bool(*value),
            Node::Int(value) => Kind::Int(*value),
            Node::Float(value) => Kind::Float(*value),
            Node::Str(text) => Kind::Str(text),
            Node::Bytes(_) => Kind::Bytes,
            Node::LargeInt(bytes) => object(format!("int of {bytes} bytes")),
            Node::Persistent(_) => object("persistent object".into()),
            Node::Global(names) => Kind::Global(names.join(".")),
            Node::Tuple(_) | Node::List(_) | Node::Set(_) | Node::Dict(_) => self.container(),
            Node::Object(_) => match numpy::scalar(self) {
                Some(numpy::Scalar::Bool(value)) => Kind::Bool(value),
                Some(numpy::Scalar::Int(value)) => Kind::Int(value),
                Some(numpy::Scalar::Float(value)) => Kind::Float(value),
                None => self.container(),
            },
        }
    }

    /// The value of a dictionary's key, or of an object's attribute.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let found = |pairs: &[(Id, Id)]| {
            // Python keeps the last value of a key.
            let same =
                |&&(k, _): &&(Id, Id)| matches!(self.at(k).node(), Node::Str(s) if **s == *key);
            pairs.iter().rev().find(same).map(|&(_, value)| self.at(value))
        };
        found(&self.entry_ids()).or_else(|| found(&self.attribute_ids()))
    }

    /// The text, if it is text.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one, a numpy scalar or a bool.
    pub fn as_f64(self) -> Option<f64> {
        match self.kind() {
            Kind::Bool(value) => Some(value.into()),
            Kind::Int(value) => Some(value as f64),
            Kind::Float(value) => Some(value),
            _ => None,
        }
    }

    /// The number, if it is a whole one.
    pub fn as_i64(self) -> Option<i64> {
        match self.kind() {
            Kind::Bool(value) => Some(value.into()),
            Kind::Int(value) => value.try_into().ok(),
            // The range in which every whole f64 is exact.
            Kind::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => None,
        }
    }

    /// The value as JSON for display: tensors and unknown objects as text, at most `limit` values.
    pub fn to_json(self, limit: usize) -> serde_json::Value {
        self.json(&mut { limit }, 0)
    }

    fn json(self, budget: &mut usize, depth: usize) -> serde_json::Value {
        use serde_json::Value as Json;
        if *budget == 0 || depth > MAX_DEPTH {
            return Json::from("...");
        }
        *budget -= 1;
        if let Some(text) = super::torch::describe(self) {
            return Json::from(text);
        }
        match self.kind() {
            Kind::None => Json::Null,
            Kind::Bool(value) => value.into(),
            Kind::Int(value) => match i64::try_from(value) {
                Ok(value) => value.into(),
                Err(_) => value.to_string().into(),
            },
            // JSON has no NaN or infinity.
            Kind::Float(value) => serde_json::Number::from_f64(value)
                .map_or_else(|| value.to_string().into(), Json::from),
            Kind::Str(text) => text.into(),
            Kind::Bytes => match self.bytes() {
                Some(bytes) => format!("{} bytes", bytes.len()).into(),
                None => "bytes".into(),
            },
            Kind::Global(name) => name.into(),
            Kind::Sequence(items) => {
                let shown = items.into_iter().take(*budget + 1);
                shown.map(|item| item.json(budget, depth + 1)).collect()
            }
            Kind::Mapping(entries) => Json::Object(self.json_entries(entries, budget, depth)),
            Kind::Object { class, arguments, attributes } => {
                let mut fields = self.json_entries(attributes, budget, depth);
                fields.insert("class".into(), class.into());
                if !arguments.is_empty() {
                    let shown = arguments.into_iter().take(*budget + 1);
                    let shown = shown.map(|value| value.json(budget, depth + 1)).collect();
                    fields.insert("arguments".into(), shown);
                }
                Json::Object(fields)
            }
        }
    }

    fn json_entries(
        self,
        entries: Vec<(Value<'a>, Value<'a>)>,
        budget: &mut usize,
        depth: usize,
    ) -> serde_json::Map<String, serde_json::Value> {
        let mut fields = serde_json::Map::new();
        for (key, value) in entries.into_iter().take(*budget + 1) {
            let key = key.key().unwrap_or_else(|| "(key)".into());
            fields.insert(key, value.json(budget, depth + 1));
        }
        fields
    }

    /// The text under which a dictionary key appears in the name of a tensor.
    pub(crate) fn key(self) -> Option<String> {
        match self.kind() {
            Kind::Str(text) => Some(text.to_owned()),
            Kind::Int(number) => Some(number.to_string()),
            Kind::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    pub(crate) fn node(self) -> &'a Node {
        &self.pickle.nodes[self.id as usize]
    }

    pub(crate) fn at(self, id: Id) -> Value<'a> {
        Value { pickle: self.pickle, id }
    }

    pub(crate) fn object(self) -> Option<&'a Object> {
        match self.node() {
            Node::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub(crate) fn global(self) -> Option<(&'a str, &'a str)> {
        match self.node() {
            Node::Global(names) => Some((&names[0], &names[1])),
            // Legacy files wrap the classes of modules: ("module", class, file, source).
            Node::Persistent(id) => match self.at(*id).elements() {
                [kind, class, ..] if self.at(*kind).as_str() == Some("module") => {
                    match self.at(*class).node() {
                        Node::Global(names) => Some((&names[0], &names[1])),
                        _ => None,
                    }
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The function or class that was called to make this, and the arguments.
    pub(crate) fn call(self) -> Option<(&'a str, &'a str, &'a [Id])> {
        let object = self.object()?;
        let (module, name) = self.at(object.class).global()?;
        Some((module, name, self.at(object.args).elements()))
    }

    /// The items of a list, tuple or set.
    pub(crate) fn elements(self) -> &'a [Id] {
        match self.node() {
            Node::Tuple(items) => items,
            Node::List(items) | Node::Set(items) => items,
            Node::Object(object) => &object.items,
            _ => &[],
        }
    }

    /// The raw bytes of a `bytes` or `bytearray`, or of a Python 2 `str`.
    pub fn bytes(self) -> Option<Cow<'a, [u8]>> {
        match self.node() {
            Node::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
            Node::Str(text) => Some(Cow::Borrowed(text.as_bytes())),
            _ => match self.encoded_bytes()?.node() {
                Node::Bytes(bytes) => Some(Cow::Borrowed(bytes)),
                Node::Str(text) => {
                    let latin1 = text.chars().map(|c| u8::try_from(c).ok());
                    latin1.collect::<Option<Vec<u8>>>().map(Cow::Owned)
                }
                _ => Some(Cow::Borrowed(&[])),
            },
        }
    }

    /// What the bytes were made of where protocols below 3 wrote them as text to be encoded.
    pub(crate) fn encoded_bytes(self) -> Option<Value<'a>> {
        let (module, name, args) = self.call()?;
        match (module, name, args) {
            ("_codecs", "encode", [text, ..]) => Some(self.at(*text)),
            ("__builtin__" | "builtins", "bytes" | "bytearray", [inner, ..]) => {
                Some(self.at(*inner).encoded_bytes_once())
            }
            ("__builtin__" | "builtins", "bytes" | "bytearray", []) => {
                Some(self.at(self.object()?.args))
            }
            _ => None,
        }
    }

    /// `bytearray(_codecs.encode(text, "latin1"))`: looks through the inner call.
    fn encoded_bytes_once(self) -> Value<'a> {
        match self.call() {
            Some(("_codecs", "encode", [text, ..])) => self.at(*text),
            _ => self,
        }
    }

    /// Keys and values of a dictionary of any class.
    pub(crate) fn entry_ids(self) -> Cow<'a, [(Id, Id)]> {
        let object = match self.node() {
            Node::Dict(entries) => return Cow::Borrowed(entries),
            Node::Object(object) => object,
            _ => return Cow::Borrowed(&[]),
        };
        if !object.entries.is_empty() {
            return Cow::Borrowed(&object.entries);
        }
        // Python 2 wrote OrderedDict([[key, value], ...]), dict([...]) likewise.
        let Some((_, "OrderedDict" | "dict" | "Counter", [argument, ..])) = self.call() else {
            return Cow::Borrowed(&[]);
        };
        let argument = self.at(*argument);
        if let Node::Dict(entries) = argument.node() {
            return Cow::Borrowed(entries);
        }
        let pair = |&id: &Id| match self.at(id).elements() {
            [key, value] => Some((*key, *value)),
            _ => None,
        };
        Cow::Owned(argument.elements().iter().filter_map(pair).collect())
    }

    /// Names and values of an object's attributes.
    pub(crate) fn attribute_ids(self) -> Cow<'a, [(Id, Id)]> {
        let Some(state) = self.object().and_then(|object| object.state) else {
            return Cow::Borrowed(&[]);
        };
        // With __slots__ the state is a pair: attributes, slots.
        match self.at(state).elements() {
            [attributes, slots] => {
                let mut all = self.at(*attributes).entry_ids().into_owned();
                all.extend_from_slice(&self.at(*slots).entry_ids());
                Cow::Owned(all)
            }
            _ => self.at(state).entry_ids(),
        }
    }

    fn container(self) -> Kind<'a> {
        let values = |ids: &[Id]| ids.iter().map(|&id| self.at(id)).collect();
        let pairs = |ids: Cow<[(Id, Id)]>| {
            ids.iter().map(|&(key, value)| (self.at(key), self.at(value))).collect()
        };
        let Node::Object(object) = self.node() else {
            return match self.node() {
                Node::Dict(_) => Kind::Mapping(pairs(self.entry_ids())),
                _ => Kind::Sequence(values(self.elements())),
            };
        };
        if self.encoded_bytes().is_some() {
            return Kind::Bytes;
        }
        if !object.items.is_empty() {
            return Kind::Sequence(values(&object.items));
        }
        let entries = self.entry_ids();
        let call = self.call();
        let class = match call {
            // Protocols 0 and 1: the class is an argument.
            Some(("copy_reg" | "copyreg", "_reconstructor", [class, ..])) => {
                self.at(*class).global()
            }
            _ => call.map(|(module, name, _)| (module, name)),
        };
        match (class, call) {
            (
                Some(("__builtin__" | "builtins", "set" | "frozenset" | "list" | "tuple")),
                Some((_, _, args)),
            )
            | (Some(("torch", "Size")), Some((_, _, args))) => Kind::Sequence(
                args.first().map_or_else(Vec::new, |&a| values(self.at(a).elements())),
            ),
            (Some((_, "OrderedDict" | "dict" | "defaultdict" | "Counter")), _) => {
                Kind::Mapping(pairs(entries))
            }
            (Some(("argparse", "Namespace") | ("types", "SimpleNamespace")), _) => {
                Kind::Mapping(pairs(self.attribute_ids()))
            }
            _ if !entries.is_empty() => Kind::Mapping(pairs(entries)),
            (class, _) => Kind::Object {
                class: class.map_or_else(
                    || "unknown".to_owned(),
                    |(module, name)| format!("{module}.{name}"),
                ),
                arguments: values(self.at(object.args).elements()),
                attributes: pairs(self.attribute_ids()),
            },
        }
    }
}

fn object(class: String) -> Kind<'static> {
    Kind::Object { class, arguments: Vec::new(), attributes: Vec::new() }
}
