//! Reads trained networks of other frameworks: PyTorch checkpoints (`.pt`, `.pth`, `.ckpt`; zip
//! archives and the stream of torch before 1.6), plain pickles, and safetensors.
//!
//! Nothing in a file is ever executed. A pickle is read as data: classes and functions it names
//! stay names ([`Kind::Object`]), and only a tensor that depends on something unknown is an
//! error, when it is asked for. Tensors are read from the file on demand.
//!
//! ```no_run
//! # fn main() -> Result<(), spikelet_data::checkpoint::CheckpointError> {
//! use spikelet_data::checkpoint::Checkpoint;
//! let checkpoint = Checkpoint::open("model.ckpt".as_ref())?;
//! for name in checkpoint.names() {
//!     println!("{name}: {:?}", checkpoint.info(name)?.shape);
//! }
//! let lr = checkpoint.value().get("hyper_parameters").and_then(|h| h.get("lr"));
//! println!("learning rate {:?}", lr.and_then(|lr| lr.as_f64()));
//! # Ok(())
//! # }
//! ```

mod error;
mod flatten;
mod input;
mod legacy;
mod literal;
mod numpy;
mod pickle;
mod safetensors;
mod source;
mod tensor;
mod torch;
mod value;
mod zip;

pub use error::CheckpointError;
pub use tensor::{Dtype, TensorF32, TensorInfo};
pub use value::{Kind, Value};

use error::Fault;
use flatten::Slot;
use input::Input;
use pickle::{Node, Pickle};
use source::Source;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};
use torch::{Located, Storage};
use zip::Archive;

/// The container of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What `torch.save` writes since 1.6.
    TorchZip,
    /// What `torch.save` wrote before.
    TorchLegacy,
    /// A pickle without torch storages.
    Pickle,
    /// Hugging Face's tensor file.
    Safetensors,
}

/// An open checkpoint: its tensors by name, and everything else as a [`Value`].
pub struct Checkpoint {
    source: Source,
    format: Format,
    pickle: Pickle,
    tensors: Vec<Slot>,
    index: HashMap<String, usize>,
    storages: Storages,
}

/// Where the storages are that tensors refer to by key.
enum Storages {
    None,
    Zip { archive: Archive, prefix: String, big_endian: bool },
    Legacy(HashMap<String, (u64, u64)>),
}

impl Checkpoint {
    /// Opens a file, whatever its name; the format is told from the content.
    ///
    /// # Errors
    /// When the file cannot be read, is none of the formats, or is damaged.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let source = Source::open(path)
            .map_err(|source| CheckpointError::Io { file: path.to_path_buf(), source })?;
        Self::read(source)
    }

    /// Reads a checkpoint in memory; `name` stands for the file in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, CheckpointError> {
        Self::read(Source::memory(name, bytes))
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Names of all tensors, in the order of the file: the dictionary keys on the way to each,
    /// joined by dots, such as `state_dict.layer.weight`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    /// What to put before the names of a state dict: `state_dict.` in a Lightning checkpoint,
    /// `model.` or the like in others, nothing where the file is a state dict itself.
    pub fn state_dict_prefix(&self) -> &'static str {
        let prefixes = ["state_dict.", "model_state_dict.", "model_state.", "model.", "net."];
        let root = self.value();
        let is_dict = |prefix: &&&str| root.get(prefix.trim_end_matches('.')).is_some();
        let holds_tensors = |prefix: &&&str| self.names().any(|name| name.starts_with(**prefix));
        prefixes.iter().filter(is_dict).find(holds_tensors).copied().unwrap_or("")
    }

    /// Type and shape of a tensor.
    ///
    /// # Errors
    /// When there is no such tensor, or it is of a kind that cannot be read.
    pub fn info(&self, name: &str) -> Result<TensorInfo, CheckpointError> {
        self.locate(name).map(Located::info)
    }

    /// Reads a tensor, contiguous and converted to `f32`.
    ///
    /// # Errors
    /// When there is no such tensor, it is of a kind that cannot be read, or its bytes are damaged.
    pub fn tensor(&self, name: &str) -> Result<TensorF32, CheckpointError> {
        let located = self.locate(name)?;
        let read = self.read_tensor(located);
        read.map_err(|fault| fault.at(&self.source.path, &format!("tensor {name:?}")))
    }

    /// Everything in the file. For safetensors, the metadata as text.
    pub fn value(&self) -> Value<'_> {
        Value { pickle: &self.pickle, id: self.pickle.root }
    }

    fn read(source: Source) -> Result<Self, CheckpointError> {
        let whole_file = |fault: Fault| fault.at(&source.path, "the file");
        let start = source.read(0, source.len.min(512)).map_err(whole_file)?;
        let format = detect(&start, source.len).map_err(whole_file)?;
        let (pickle, tensors, storages) = match format {
            Format::Safetensors => {
                let header =
                    safetensors::read(&source).map_err(|f| f.at(&source.path, "header"))?;
                (metadata_pickle(header.metadata), header.tensors, Storages::None)
            }
            Format::TorchZip => {
                let archive = Archive::open(&source).map_err(whole_file)?;
                let (pickle, storages) = open_zip(&source, archive)?;
                let tensors = tensors_of(&pickle, &source)?;
                (pickle, tensors, storages)
            }
            Format::TorchLegacy => {
                let legacy = legacy::read(&source).map_err(whole_file)?;
                let tensors = tensors_of(&legacy.pickle, &source)?;
                (legacy.pickle, tensors, Storages::Legacy(legacy.storages))
            }
            Format::Pickle => {
                let pickle = Pickle::read(&mut Input::new(&source, 0)).map_err(whole_file)?;
                let tensors = tensors_of(&pickle, &source)?;
                (pickle, tensors, Storages::None)
            }
        };
        // The first of two tensors with the same name is the one that is found.
        let mut index = HashMap::with_capacity(tensors.len());
        for (position, (name, _)) in tensors.iter().enumerate() {
            index.entry(name.clone()).or_insert(position);
        }
        Ok(Self { source, format, pickle, tensors, index, storages })
    }

    fn locate(&self, name: &str) -> Result<&Located, CheckpointError> {
        let file = || self.source.path.clone();
        let Some(&position) = self.index.get(name) else {
            let nearest = self.nearest(name).map(str::to_owned);
            return Err(CheckpointError::NotFound { file: file(), name: name.into(), nearest });
        };
        self.tensors[position].1.as_ref().map_err(|reason| CheckpointError::Unsupported {
            file: file(),
            entry: format!("tensor {name:?}"),
            problem: reason.clone(),
        })
    }

    /// The name with the longest common ending, which is where names of other wrappers agree.
    fn nearest(&self, name: &str) -> Option<&str> {
        let common = |other: &str| {
            other.bytes().rev().zip(name.bytes().rev()).take_while(|(a, b)| a == b).count()
        };
        self.names().max_by_key(|other| common(other)).filter(|other| common(other) > 0)
    }

    fn read_tensor(&self, located: &Located) -> Result<TensorF32, Fault> {
        let mut view = located.view.clone();
        let range = |available| view.range(available).map_err(|problem| Fault::hostile(0, problem));
        let bytes = match &located.storage {
            Storage::Range(offset, length) => {
                let (start, length) = range(*length)?;
                self.source.read(offset + start, length)?
            }
            Storage::Array(id) => {
                let array = numpy::array(self.value().at(*id)).ok().flatten();
                let bytes = array.and_then(|array| array.bytes.bytes());
                let bytes = bytes.ok_or_else(|| {
                    Fault::Unsupported("a numpy array that does not hold its bytes".into())
                })?;
                let (start, length) = range(bytes.len() as u64)?;
                // The range lies within `bytes`.
                bytes[start as usize..(start + length) as usize].to_vec()
            }
            Storage::Key(key) => match &self.storages {
                Storages::Zip { archive, prefix, big_endian } => {
                    let entry = archive.entries.get(&format!("{prefix}data/{key}"));
                    let entry = entry.ok_or_else(|| missing_storage(key))?;
                    let (start, length) = range(entry.size)?;
                    view.encoding.big_endian = *big_endian;
                    entry.read(&self.source, start, length)?
                }
                Storages::Legacy(storages) => {
                    let (offset, length) = storages.get(key).ok_or_else(|| missing_storage(key))?;
                    let (start, length) = range(*length)?;
                    self.source.read(offset + start, length)?
                }
                Storages::None => return Err(missing_storage(key)),
            },
        };
        let data = view.gather(&bytes);
        // A tensor without elements may claim any size along its other axes.
        let sizes = view.shape.iter().map(|&size| usize::try_from(size).ok());
        let shape = sizes.collect::<Option<Vec<_>>>();
        let shape =
            shape.ok_or_else(|| Fault::hostile(0, "a size that does not fit this machine"))?;
        Ok(TensorF32 { shape, data })
    }
}

fn detect(start: &[u8], len: u64) -> Result<Format, Fault> {
    let unsupported = |what: &str| Err(Fault::Unsupported(what.into()));
    match start {
        [] => Err(Fault::damaged(0, "the file is empty")),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Ok(Format::TorchZip),
        _ if legacy::detect(start) => Ok(Format::TorchLegacy),
        _ if safetensors::detect(start, len) => Ok(Format::Safetensors),
        [0x80, 0..=5, ..] => Ok(Format::Pickle),
        [0x89, b'H', b'D', b'F', ..] => {
            unsupported("an HDF5 file (Keras): export the weights as safetensors")
        }
        [b'G', b'G', b'U', b'F', ..] => unsupported("a GGUF file: convert it to safetensors"),
        _ if start.get(257..262) == Some(b"ustar") => unsupported(
            "a tar archive (torch before 0.1.10): load it with an old torch and save it anew",
        ),
        // Protocol 0 has no header; a container or a global comes first.
        [b'(' | b'c' | b']' | b'}', ..] => Ok(Format::Pickle),
        _ => unsupported(
            "neither a torch checkpoint, a pickle nor safetensors: check that the download is \
             complete and not a web page or a Git LFS pointer",
        ),
    }
}

fn open_zip(source: &Source, archive: Archive) -> Result<(Pickle, Storages), CheckpointError> {
    let pickles =
        archive.entries.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    // A file with several networks keeps the outermost first.
    let Some(name) = pickles.min_by_key(|name| name.matches('/').count()).cloned() else {
        let problem = "a zip archive without data.pkl, so not written by torch.save".into();
        return Err(Fault::Unsupported(problem).at(&source.path, "the file"));
    };
    let prefix = name.trim_end_matches("data.pkl").to_owned();
    let read = |name: &str| match archive.entries.get(name) {
        Some(entry) => entry.read_all(source).map(Some).map_err(|f| f.at(&source.path, name)),
        None => Ok(None),
    };
    let order = read(&format!("{prefix}byteorder"))?;
    let big_endian = match order.as_deref() {
        None | Some(b"little") => false,
        Some(b"big") => true,
        Some(_) => {
            let fault = Fault::damaged(0, "the byte order is neither little nor big");
            return Err(fault.at(&source.path, &format!("{prefix}byteorder")));
        }
    };
    let bytes = Source::memory(&name, read(&name)?.unwrap_or_default());
    let pickle = Pickle::read(&mut Input::new(&bytes, 0));
    let pickle = pickle.map_err(|fault| fault.at(&source.path, &name))?;
    Ok((pickle, Storages::Zip { archive, prefix, big_endian }))
}

fn tensors_of(pickle: &Pickle, source: &Source) -> Result<Vec<Slot>, CheckpointError> {
    let root = Value { pickle, id: pickle.root };
    flatten::tensors(root).map_err(|fault| fault.at(&source.path, "the pickle"))
}

/// Text metadata in the form every other format has.
fn metadata_pickle(metadata: BTreeMap<String, String>) -> Pickle {
    let mut nodes = Vec::with_capacity(2 * metadata.len() + 1);
    let mut entries = Vec::with_capacity(metadata.len());
    for (key, text) in metadata {
        let id = nodes.len() as u32;
        nodes.extend([Node::Str(key.into()), Node::Str(text.into())]);
        entries.push((id, id + 1));
    }
    nodes.push(Node::Dict(entries));
    Pickle { root: (nodes.len() - 1) as u32, nodes }
}

fn missing_storage(key: &str) -> Fault {
    Fault::damaged(0, format!("its storage {key} is not in the file"))
}
