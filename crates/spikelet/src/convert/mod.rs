//! Converts official PyTorch checkpoints of other projects to event graphs.
//!
//! An architecture is recognised by the names of its tensors, its dimensions come from their
//! shapes. Every tensor of the state dict is either used or reported; what is missing is an error
//! that lists all of it at once.

#[cfg(feature = "train")]
mod egru;
mod error;
mod l2mu;
mod l2mu_input;
#[cfg(feature = "train")]
mod metaspikeformer;
mod neurobench_wisdm;
mod sinabs_mnist;
#[cfg(feature = "train")]
mod sltt;
#[cfg(feature = "train")]
pub(crate) mod spikegpt;
mod tokens;
mod weights;

pub use error::ConvertError;
pub use tokens::name_tokens;

use serde::Serialize;
use spikelet_data::{checkpoint::Checkpoint, nearest};
use spikelet_graph::Graph;
use weights::Weights;

/// An architecture that can be converted.
pub struct Architecture {
    /// Name for `--arch`.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Finds its tensors in a checkpoint: what stands before their names, or nothing.
    root: fn(&Checkpoint) -> Option<String>,
    convert: fn(&mut Weights) -> Result<Graph, ConvertError>,
}

/// All architectures, in the order in which they are tried.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "l2mu",
        what: "L2MU of LIF or CuBa-LIF neurons (Fra et al. 2024), both generations of the official code",
        root: l2mu::root,
        convert: l2mu::convert,
    },
    Architecture {
        name: "neurobench-wisdm-scnn",
        what: "NeuroBench's spiking CNN for WISDM (conv1d, conv1d, linear; three LIF populations)",
        root: neurobench_wisdm::root,
        convert: neurobench_wisdm::convert,
    },
    Architecture {
        name: "sinabs-mnist",
        what: "sinabs' MNIST network before its conversion to spikes (three convolutions, two linear layers, ReLU)",
        root: sinabs_mnist::root,
        convert: sinabs_mnist::convert,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "sltt-vgg",
        what: "spiking VGG with batch normalisation (Meng et al. 2023)",
        root: sltt::vgg_root,
        convert: sltt::vgg,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "sltt-resnet",
        what: "spiking pre-activation ResNet (Meng et al. 2023)",
        root: sltt::preact_root,
        convert: sltt::preact,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "sltt-nf-resnet",
        what: "spiking normaliser-free ResNet (Meng et al. 2023)",
        root: sltt::nf_root,
        convert: sltt::nf,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "metaspikeformer",
        what: "Meta-SpikeFormer for classification (Yao et al. 2024), with or without a second head",
        root: metaspikeformer::root,
        convert: metaspikeformer::convert,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "spikegpt",
        what: "SpikeGPT (Zhu et al. 2023) as its training code computes it",
        root: spikegpt::root,
        convert: spikegpt::exact,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "spikegpt-runner",
        what: "SpikeGPT as its published generator computes it",
        root: spikegpt::root,
        convert: spikegpt::runner,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "egru-lm",
        what: "EGRU language model (Subramoney et al. 2023), in windows of 70 as its code evaluates it",
        root: egru::language_root,
        convert: egru::windows,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "egru-lm-stream",
        what: "EGRU language model as one stream without windows",
        root: egru::language_root,
        convert: egru::stream,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "egru-dvs",
        what: "EGRU gesture network, with convolutions on frames of 128 x 128 or without them",
        root: egru::gestures_root,
        convert: egru::gestures,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "egru-dvs-64",
        what: "EGRU gesture network with convolutions on frames of 64 x 64",
        root: egru::gestures_root,
        convert: egru::gestures_64,
    },
    #[cfg(feature = "train")]
    Architecture {
        name: "egru-dvs-32",
        what: "EGRU gesture network with convolutions on frames of 32 x 32",
        root: egru::gestures_root,
        convert: egru::gestures_32,
    },
];

/// Whether the user must say for how many steps this architecture is shown an image.
pub fn asks_for_steps(arch: &str) -> bool {
    arch == "metaspikeformer"
}

/// Whether the user may say for which size of images an architecture is converted.
pub fn takes_size(arch: &str) -> bool {
    arch == "metaspikeformer"
}

/// What was done, for the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The architecture.
    pub arch: String,
    /// What stands before the names of its tensors in the file.
    pub root: String,
    /// Tensors used.
    pub used: Vec<String>,
    /// Tensors of the state dict that the architecture does not know.
    pub unexpected: Vec<String>,
    /// What was inferred or assumed.
    pub notes: Vec<String>,
}

/// Converts a checkpoint; without `arch`, to the first architecture whose tensors it holds.
///
/// # Errors
/// An unknown or unrecognised architecture, missing tensors, shapes that contradict one another,
/// and everything that is wrong with the file itself.
pub fn convert(
    checkpoint: &Checkpoint,
    arch: Option<&str>,
) -> Result<(Graph, Report), ConvertError> {
    convert_for(checkpoint, arch, None)
}

/// As [`convert`]; `size` is the height and width of images, where the architecture [`takes_size`].
///
/// # Errors
/// As [`convert`].
pub fn convert_for(
    checkpoint: &Checkpoint,
    arch: Option<&str>,
    size: Option<usize>,
) -> Result<(Graph, Report), ConvertError> {
    let file = checkpoint.path();
    let architecture = match arch {
        Some(name) => ARCHITECTURES.iter().find(|a| a.name == name).ok_or_else(|| {
            let suggestion = nearest::suggest(name, ARCHITECTURES.iter().map(|a| a.name));
            ConvertError::UnknownArchitecture { name: name.to_owned(), suggestion }
        })?,
        None => ARCHITECTURES.iter().find(|a| (a.root)(checkpoint).is_some()).ok_or_else(|| {
            ConvertError::Unrecognised {
                file: file.to_path_buf(),
                tensors: checkpoint.names().count(),
                first: checkpoint.names().take(4).map(str::to_owned).collect(),
            }
        })?,
    };
    let root = (architecture.root)(checkpoint);
    let root = root.unwrap_or_else(|| checkpoint.state_dict_prefix().to_owned());
    let mut weights = Weights::new(checkpoint, architecture.name, root);
    weights.size = size;
    let graph = (architecture.convert)(&mut weights)?;
    Ok((graph, weights.into_report()))
}
