//! NIR files as bytes: the one module that knows `hdf5-pure`.
//!
//! ```text
//! /version                 text: version of the program that wrote the file
//! /node                    the graph:
//!   type                   text "NIRGraph"
//!   edges                  text [edges, 2]: source, target
//!   nodes/<name>/type      text: one of NIR's types, also "NIRGraph" again
//!   nodes/<name>/<field>   an array or text
//!   metadata/<name>        optional, here and in every node
//! ```

use super::{
    error::NirError,
    model::{Field, FieldValues, NirGraph, NirNode, PORT},
};
use hdf5_pure::{DType, Dataset, File, FileBuilder, Group, LibVer, VlenStringReadOptions};
use std::collections::BTreeMap;

/// The most nodes of a file, those of nested graphs included.
pub const MAX_NODES: usize = 1 << 16;
/// The most edges of a file.
pub const MAX_EDGES: usize = 1 << 18;
/// How deep graphs may nest.
const MAX_DEPTH: usize = 16;
/// The most axes of an array.
const MAX_AXES: usize = 8;
/// The most fields of a node or entries of its metadata.
const MAX_FIELDS: usize = 64;
/// How much larger than its file an array can be: what deflate reaches at most.
const MOST_INFLATION: u64 = 1032;
/// Group of the graph, and of its nodes.
const ROOT: &str = "node";
const NODES: &str = "nodes";
const METADATA: &str = "metadata";

/// Reads a file from bytes, nested graphs flattened.
///
/// Safe on any input: every size is checked against the size of the file before memory is taken.
///
/// # Errors
/// Bytes that are no HDF5 file, or one that does not hold a NIR graph.
pub fn read(bytes: Vec<u8>) -> Result<NirGraph, NirError> {
    let size = bytes.len() as u64;
    let left = size.saturating_mul(MOST_INFLATION);
    let file = File::from_bytes(bytes).map_err(|error| hdf5("file", &error))?;
    let mut reader = Reader { size, left, graph: NirGraph::default() };
    if let Ok(version) = file.dataset("version") {
        reader.graph.version = reader.text("version", &version)?;
    }
    let root = file.group(ROOT).map_err(|error| hdf5(ROOT, &error))?;
    let datasets = datasets(ROOT, &root)?;
    match datasets.get("type").map(|kind| reader.text(ROOT, kind)).transpose()?.as_deref() {
        Some("NIRGraph") => {}
        Some(kind) => return Err(NirError::UnknownKind { node: ROOT.into(), kind: kind.into() }),
        None => return Err(no_field(ROOT, "type")),
    }
    reader.graph.metadata = reader.metadata(ROOT, &root)?;
    reader.nested("", &root, 0)?;
    Ok(reader.graph)
}

struct Reader {
    /// Bytes of the file.
    size: u64,
    /// Bytes of content that the file may still hold.
    left: u64,
    graph: NirGraph,
}

/// The markers of a nested graph: where values enter and leave.
#[derive(Default)]
struct Ports {
    input: Vec<String>,
    output: Vec<String>,
}

impl Reader {
    /// Adds the nodes and edges of a graph; those of an inner one behind `prefix`.
    fn nested(&mut self, prefix: &str, group: &Group, depth: usize) -> Result<Ports, NirError> {
        let place = if prefix.is_empty() { ROOT } else { prefix.trim_end_matches('.') };
        if depth > MAX_DEPTH {
            let problem = format!("graphs nest deeper than {MAX_DEPTH}");
            return Err(NirError::TooLarge { place: place.into(), problem });
        }
        let nodes = group.group(NODES).map_err(|error| hdf5(place, &error))?;
        let members = nodes.iter_groups().map_err(|error| hdf5(place, &error))?;
        let mut inner: BTreeMap<String, Ports> = BTreeMap::new();
        let mut ports = Ports::default();
        for (short, member) in members {
            let name = format!("{prefix}{short}");
            let mut fields = datasets(&name, &member)?;
            let kind = fields.remove("type").ok_or_else(|| no_field(&name, "type"))?;
            let kind = self.text(&name, &kind)?;
            if kind == "NIRGraph" {
                let ends = self.nested(&format!("{name}."), &member, depth + 1)?;
                inner.insert(short, ends);
                continue;
            }
            let mut node = NirNode { kind, ..NirNode::default() };
            for (field, dataset) in fields {
                let value = self.field(&format!("{name}/{field}"), &dataset)?;
                node.fields.insert(field, value);
            }
            node.metadata = self.metadata(&name, &member)?;
            if depth > 0 && matches!(node.kind.as_str(), "Input" | "Output") {
                let end = if node.kind == "Input" { &mut ports.input } else { &mut ports.output };
                end.push(name.clone());
                node.kind = PORT.into();
            }
            if self.graph.nodes.len() >= MAX_NODES {
                let problem = format!("over {MAX_NODES} nodes");
                return Err(NirError::TooLarge { place: name, problem });
            }
            if self.graph.nodes.insert(name.clone(), node).is_some() {
                return Err(NirError::node(&name, "two nodes have this name"));
            }
        }
        self.edges(prefix, group, &inner)?;
        Ok(ports)
    }

    /// Adds the edges of a graph; those of an inner graph go to and from its markers.
    fn edges(
        &mut self,
        prefix: &str,
        group: &Group,
        inner: &BTreeMap<String, Ports>,
    ) -> Result<(), NirError> {
        let place = format!("{prefix}edges");
        let dataset = group.dataset("edges").map_err(|error| hdf5(&place, &error))?;
        let shape = self.shape(&place, &dataset)?;
        // Without edges h5py writes an empty vector.
        if !matches!(shape[..], [_, 2] | [0]) {
            let problem = format!("has shape {shape:?} where [edges, 2] is needed");
            return Err(NirError::field(ROOT, &place, problem));
        }
        let names = self.texts(&place, &dataset, &shape)?;
        for [from, to] in names.as_chunks::<2>().0 {
            let end = |name: &String, what: &str, pick: fn(&Ports) -> &Vec<String>| {
                let Some(ports) = inner.get(name) else { return Ok(format!("{prefix}{name}")) };
                match &pick(ports)[..] {
                    [port] => Ok(port.clone()),
                    other => Err(NirError::Edge {
                        from: from.clone(),
                        to: to.clone(),
                        problem: format!("graph `{name}` has {} {what}, not one", other.len()),
                    }),
                }
            };
            let from = end(from, "outputs", |ports| &ports.output)?;
            let to = end(to, "inputs", |ports| &ports.input)?;
            self.graph.edges.push([from, to]);
        }
        if self.graph.edges.len() > MAX_EDGES {
            return Err(NirError::TooLarge { place, problem: format!("over {MAX_EDGES} edges") });
        }
        Ok(())
    }

    /// Arrays and texts beside a graph or node; what is of another kind is left out.
    fn metadata(
        &mut self,
        place: &str,
        group: &Group,
    ) -> Result<BTreeMap<String, Field>, NirError> {
        let Ok(group) = group.group(METADATA) else { return Ok(BTreeMap::new()) };
        let place = format!("{place}/{METADATA}");
        let mut metadata = BTreeMap::new();
        for (name, dataset) in datasets(&place, &group)? {
            if let Ok(field) = self.field(&format!("{place}/{name}"), &dataset) {
                metadata.insert(name, field);
            }
        }
        Ok(metadata)
    }

    fn field(&mut self, place: &str, dataset: &Dataset) -> Result<Field, NirError> {
        let wrong = |error: hdf5_pure::Error| hdf5(place, &error);
        let shape = self.shape(place, dataset)?;
        let values = match dataset.dtype().map_err(wrong)? {
            DType::F32 => FieldValues::F32(dataset.read_f32().map_err(wrong)?),
            DType::F64 => FieldValues::F64(dataset.read_f64().map_err(wrong)?),
            DType::String | DType::VariableLengthString => {
                FieldValues::Text(self.texts(place, dataset, &shape)?)
            }
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
                FieldValues::I64(dataset.read_i64().map_err(wrong)?)
            }
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => {
                let values = dataset.read_u64().map_err(wrong)?;
                let signed = values.into_iter().map(|value| i64::try_from(value).ok());
                let signed: Option<Vec<i64>> = signed.collect();
                FieldValues::I64(signed.ok_or_else(|| other(place, "holds a value over 2^63"))?)
            }
            kind => return Err(other(place, &format!("values of type {kind} are not read"))),
        };
        let found = match &values {
            FieldValues::F32(values) => values.len(),
            FieldValues::F64(values) => values.len(),
            FieldValues::I64(values) => values.len(),
            FieldValues::Text(values) => values.len(),
        };
        match shape.iter().product::<usize>() == found {
            true => Ok(Field { shape, values }),
            false => Err(other(place, &format!("{found} values do not fill shape {shape:?}"))),
        }
    }

    fn text(&mut self, place: &str, dataset: &Dataset) -> Result<String, NirError> {
        let shape = self.shape(place, dataset)?;
        let one = self.texts(place, dataset, &shape)?.into_iter().next();
        one.ok_or_else(|| other(place, "is empty where one text is needed"))
    }

    /// The texts of a dataset whose shape has been checked.
    fn texts(
        &mut self,
        place: &str,
        dataset: &Dataset,
        shape: &[usize],
    ) -> Result<Vec<String>, NirError> {
        let wrong = |error: hdf5_pure::Error| hdf5(place, &error);
        let texts = match dataset.dtype().map_err(wrong)? {
            // A vector of no edges may have any type.
            _ if shape.contains(&0) => Vec::new(),
            DType::String => dataset.read_string().map_err(wrong)?,
            DType::VariableLengthString => {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let limits = VlenStringReadOptions::new().with_max_payload_bytes(left);
                dataset.read_vlen_strings(limits).map_err(wrong)?
            }
            kind => return Err(other(place, &format!("is {kind} where text is needed"))),
        };
        let bytes: usize = texts.iter().map(String::len).sum();
        self.left = self.left.saturating_sub(bytes as u64);
        Ok(texts)
    }

    /// The shape of a dataset that is no larger than what the file can still hold.
    fn shape(&mut self, place: &str, dataset: &Dataset) -> Result<Vec<usize>, NirError> {
        let wrong = |error: hdf5_pure::Error| hdf5(place, &error);
        let shape = dataset.shape().map_err(wrong)?;
        let chunk = dataset.chunk_shape().map_err(wrong)?.unwrap_or_default();
        let size = dataset.element_size().map_err(wrong)?;
        let bytes =
            |shape: &[u64]| shape.iter().try_fold(size, |product, &axis| product.checked_mul(axis));
        // What is not in chunks is not compressed.
        let limit = if dataset.is_chunked() { self.left } else { self.left.min(self.size) };
        match (bytes(&shape), bytes(&chunk)) {
            (Some(bytes), Some(chunk)) if bytes.max(chunk) <= limit => {
                // Values are kept as they are or widened to 64 bits.
                let elements = bytes / size.max(1);
                self.left = self.left.saturating_sub(bytes.max(elements.saturating_mul(8)));
            }
            _ => {
                let problem = format!("shape {shape:?} is more than the file can hold");
                return Err(NirError::TooLarge { place: place.into(), problem });
            }
        }
        let sizes = shape.iter().map(|&axis| usize::try_from(axis).ok());
        let sizes: Option<Vec<usize>> = sizes.collect();
        sizes.filter(|sizes| sizes.len() <= MAX_AXES).ok_or_else(|| {
            let problem = format!("shape {shape:?} has too many axes");
            NirError::TooLarge { place: place.into(), problem }
        })
    }
}

fn datasets(place: &str, group: &Group) -> Result<BTreeMap<String, Dataset>, NirError> {
    let all = group.iter_datasets().map_err(|error| hdf5(place, &error))?;
    if all.len() > MAX_FIELDS {
        let problem = format!("{} fields; the limit is {MAX_FIELDS}", all.len());
        return Err(NirError::TooLarge { place: place.into(), problem });
    }
    Ok(all.collect())
}

fn hdf5(place: &str, error: &hdf5_pure::Error) -> NirError {
    NirError::Hdf5 { place: place.into(), problem: error.to_string() }
}

fn other(place: &str, problem: &str) -> NirError {
    NirError::Hdf5 { place: place.into(), problem: problem.into() }
}

fn no_field(node: &str, field: &'static str) -> NirError {
    NirError::MissingField { node: node.into(), kind: "unknown".into(), field }
}

/// The file as bytes. Everything is written contiguous and uncompressed; equal graphs give equal
/// bytes.
///
/// # Errors
/// Names that HDF5 cannot hold.
pub fn write(graph: &NirGraph) -> Result<Vec<u8>, NirError> {
    let mut file = FileBuilder::new();
    // The oldest format there is a writer for: every HDF5 library of the last fifteen years.
    file.with_libver_bounds(LibVer::V18, LibVer::V18);
    put(file.create_dataset("version"), &Field::text(&graph.version));
    let mut root = file.create_group(ROOT);
    put(root.create_dataset("type"), &Field::text("NIRGraph"));
    let ends = graph.edges.iter().flatten().cloned().collect();
    let edges = Field { shape: vec![graph.edges.len(), 2], values: FieldValues::Text(ends) };
    put(root.create_dataset("edges"), &edges);
    add_metadata(&mut root, &graph.metadata);
    let mut nodes = root.create_group(NODES);
    for (name, node) in &graph.nodes {
        let mut group = nodes.create_group(name);
        put(group.create_dataset("type"), &Field::text(&node.kind));
        for (name, field) in &node.fields {
            put(group.create_dataset(name), field);
        }
        add_metadata(&mut group, &node.metadata);
        nodes.add_group(group.finish());
    }
    root.add_group(nodes.finish());
    file.add_group(root.finish());
    file.finish().map_err(|error| hdf5("file", &error))
}

fn add_metadata(group: &mut hdf5_pure::GroupBuilder, metadata: &BTreeMap<String, Field>) {
    if metadata.is_empty() {
        return;
    }
    let mut inner = group.create_group(METADATA);
    for (name, field) in metadata {
        put(inner.create_dataset(name), field);
    }
    group.add_group(inner.finish());
}

fn put(dataset: &mut hdf5_pure::DatasetBuilder, field: &Field) {
    let shape: Vec<u64> = field.shape.iter().map(|&size| size as u64).collect();
    match &field.values {
        FieldValues::F32(values) => dataset.with_f32_data(values),
        FieldValues::F64(values) => dataset.with_f64_data(values),
        FieldValues::I64(values) => dataset.with_i64_data(values),
        FieldValues::Text(texts) => {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            dataset.with_vlen_strings(&texts)
        }
    };
    dataset.with_shape(&shape);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one graph whose only node holds what `fill` puts there.
    fn file(edges: &[u64], fill: impl FnOnce(&mut hdf5_pure::GroupBuilder)) -> Vec<u8> {
        let mut file = FileBuilder::new();
        let mut root = file.create_group(ROOT);
        put(root.create_dataset("type"), &Field::text("NIRGraph"));
        let names = vec!["a"; edges.iter().product::<u64>() as usize];
        root.create_dataset("edges").with_vlen_strings(&names).with_shape(edges);
        let mut nodes = root.create_group(NODES);
        let mut node = nodes.create_group("a");
        fill(&mut node);
        nodes.add_group(node.finish());
        root.add_group(nodes.finish());
        file.add_group(root.finish());
        file.finish().unwrap()
    }

    fn error(bytes: Vec<u8>) -> String {
        read(bytes).unwrap_err().to_string()
    }

    #[test]
    fn numbers_of_all_sizes_are_read() {
        let graph = read(file(&[1, 2], |node| {
            put(node.create_dataset("type"), &Field::text("LIF"));
            node.create_dataset("a").with_data(&[1i8, -1]);
            node.create_dataset("b").with_data(&[1u32, 2]);
            node.create_dataset("c").with_f64_data(&[0.5; 4]).with_shape(&[2, 2]).with_deflate(4);
        }))
        .unwrap();
        let fields = &graph.nodes["a"].fields;
        assert_eq!(fields["a"].values, FieldValues::I64(vec![1, -1]));
        assert_eq!(fields["b"].values, FieldValues::I64(vec![1, 2]));
        assert_eq!((&fields["c"].shape[..], fields["c"].data_type()), (&[2, 2][..], "f64"));
        assert_eq!(graph.edges, [["a".to_owned(), "a".to_owned()]]);
    }

    #[test]
    fn what_is_no_nir_file_is_refused() {
        assert!(error(b"no HDF5 file".to_vec()).contains("signature"));
        assert!(error(FileBuilder::new().finish().unwrap()).contains("`node`"));
        let kind = |node: &mut hdf5_pure::GroupBuilder| {
            put(node.create_dataset("type"), &Field::text("LIF"));
        };
        assert!(error(file(&[1, 3], kind)).contains("[edges, 2] is needed"));
        assert!(error(file(&[1, 2], |_| {})).contains("node `a` (unknown) has no field `type`"));
        let number = file(&[1, 2], |node| put(node.create_dataset("type"), &Field::integer(1)));
        assert!(error(number).contains("`a`: is i64 where text is needed"));
    }

    #[test]
    fn an_array_larger_than_what_is_left_of_its_file_is_refused() {
        let bytes = file(&[1, 2], |node| {
            node.create_dataset("flat").with_f32_data(&[0.0; 8]);
            node.create_dataset("deflated").with_f32_data(&[0.0; 8]).with_deflate(4);
        });
        let file = File::from_bytes(bytes).unwrap();
        for (name, size, left, fits) in [
            ("flat", 32, 100, true),
            ("flat", 31, 100, false),
            ("flat", 100, 31, false),
            ("deflated", 31, 100, true),
            ("deflated", 100, 31, false),
        ] {
            let mut reader = Reader { size, left, graph: NirGraph::default() };
            let dataset = file.dataset(&format!("node/nodes/a/{name}")).unwrap();
            let shape = reader.shape(name, &dataset);
            assert_eq!(shape.is_ok(), fits, "{name} of {size}, {left} left: {shape:?}");
            // Eight values of 64 bits: what they may be widened to.
            assert_eq!(reader.left, if fits { left - 64 } else { left });
        }
    }
}
