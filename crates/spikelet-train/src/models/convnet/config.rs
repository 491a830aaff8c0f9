//! Architectures by name, and the settings of their neurons.

use serde::{Deserialize, Serialize};
use spikelet_kernels::surrogate::Surrogate;
use std::{fmt, str::FromStr};

/// A convolutional spiking network. All neurons are alike: LIF without input decay, threshold 1,
/// immediate soft reset through which gradients flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvnetConfig {
    /// Layers and their sizes.
    pub network: Architecture,
    /// How many steps a still image is shown for; recordings have steps of their own.
    #[serde(default = "six")]
    pub steps: usize,
    /// Time constant in steps: potentials decay by `1 - 1 / tau` a step.
    #[serde(default = "tau")]
    pub tau: f32,
    /// The derivative of a spike.
    #[serde(default = "triangle")]
    pub surrogate: Surrogate,
    /// Fraction of spikes dropped in training, the same ones at every step of a sequence.
    #[serde(default)]
    pub dropout: f32,
    /// Where the rule sees whole sequences (BPTT), normalise over all their steps together; else
    /// every step has statistics of its own.
    #[serde(default)]
    pub norm_over_time: bool,
}

fn six() -> usize {
    6
}

fn tau() -> f32 {
    1.1
}

fn triangle() -> Surrogate {
    Surrogate::TRIANGLE
}

impl ConvnetConfig {
    /// A network with the official settings.
    pub fn new(network: Architecture) -> Self {
        let (tau, surrogate) = (tau(), triangle());
        Self { network, steps: six(), tau, surrogate, dropout: 0.0, norm_over_time: false }
    }

    /// Decay of potentials a step.
    pub fn beta(&self) -> f32 {
        (1.0 - 1.0 / f64::from(self.tau)) as f32
    }
}

/// Layers of a network. In a file: `vgg11`, `resnet18`, `resnet34`, `nf-resnet34`, `nf-resnet50`,
/// `nf-resnet101`, `resnet18@20` (with 20 channels in the first stage; `resnet18-large@20` for large
/// images), or a chain such as `32C3-P2-64C3-P2-FC` (see [`Chain`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Architecture {
    /// One layer after the other.
    Chain(Chain),
    /// Pre-activation ResNet for small images.
    PreactResnet(PreactResnet),
    /// Normaliser-free ResNet for large images.
    NfResnet(NfResnet),
}

/// Layers one after the other, as text joined by `-`: `64C3` a convolution of 64 channels with
/// 3 x 3 taps, normalised, with neurons; `P2` average pooling over 2 x 2; `A7` average pooling to
/// 7 x 7 positions; `FC` at the end, the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(pub Vec<Link>);

/// One layer of a [`Chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Convolution, normalisation, neurons, drop-out.
    Conv {
        /// Output channels.
        channels: usize,
        /// Taps along each axis, odd.
        kernel: usize,
    },
    /// Average pooling over squares of this size.
    Pool(usize),
    /// Average pooling to this many positions along each axis, fewer or more than there are.
    Adaptive(usize),
}

/// Sizes of a pre-activation ResNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreactResnet {
    /// Channels of every stage.
    pub widths: Vec<usize>,
    /// Blocks of every stage.
    pub blocks: Vec<usize>,
    /// For large images: the first convolution and a pooling bring them to a quarter.
    pub large: bool,
}

/// Sizes of a normaliser-free ResNet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfResnet {
    /// Channels of every stage (of its 3 x 3 convolutions).
    pub widths: Vec<usize>,
    /// Blocks of every stage.
    pub blocks: Vec<usize>,
    /// Blocks of three convolutions, the last one four times as wide.
    pub bottleneck: bool,
}

/// A description that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no network: {problem}")]
pub struct ArchitectureError {
    /// As written.
    pub text: String,
    /// What is wrong.
    pub problem: String,
}

const VGG11: &str = "64C3-P2-128C3-P2-256C3-256C3-P2-512C3-512C3-P2-512C3-512C3-P2-A7-FC";

/// The widest layer and the largest window a text may ask for.
const LIMIT: usize = 1 << 16;

/// The networks of the paper.
fn named() -> [(&'static str, Architecture); 6] {
    let widths = || vec![64, 128, 256, 512];
    let preact = |blocks: [usize; 4]| {
        let blocks = blocks.to_vec();
        Architecture::PreactResnet(PreactResnet { widths: widths(), blocks, large: false })
    };
    let nf = |blocks: [usize; 4], bottleneck| {
        let blocks = blocks.to_vec();
        Architecture::NfResnet(NfResnet { widths: widths(), blocks, bottleneck })
    };
    let vgg11 = Chain::parse(VGG11).expect("a chain");
    [
        ("vgg11", Architecture::Chain(vgg11)),
        ("resnet18", preact([2, 2, 2, 2])),
        ("resnet34", preact([3, 4, 6, 3])),
        ("nf-resnet34", nf([3, 4, 6, 3], false)),
        ("nf-resnet50", nf([3, 4, 6, 3], true)),
        ("nf-resnet101", nf([3, 4, 23, 3], true)),
    ]
}

impl Chain {
    fn parse(text: &str) -> Result<Chain, String> {
        let (layers, end) = text.rsplit_once('-').unwrap_or(("", text));
        if end != "FC" || layers.is_empty() {
            return Err("a chain ends in -FC, for example 32C3-P2-64C3-FC".to_owned());
        }
        layers.split('-').map(Link::parse).collect::<Result<_, _>>().map(Chain)
    }
}

/// Blocks of the ResNets that a text can name.
const RESNETS: [(&str, [usize; 4]); 2] = [("resnet18", [2, 2, 2, 2]), ("resnet34", [3, 4, 6, 3])];

impl PreactResnet {
    /// `resnet18@20`: 20 channels in the first of four stages, twice as many in each that follows.
    fn parse(text: &str) -> Option<PreactResnet> {
        let (name, width) = text.split_once('@')?;
        let (name, large) = match name.strip_suffix(LARGE) {
            Some(name) => (name, true),
            None => (name, false),
        };
        let (_, blocks) = RESNETS.into_iter().find(|(known, _)| *known == name)?;
        let width = width.parse().ok().filter(|width| (1..=LIMIT / 8).contains(width))?;
        let widths = (0..4).map(|stage| width << stage).collect();
        Some(PreactResnet { widths, blocks: blocks.to_vec(), large })
    }
}

/// After the name of a ResNet for large images.
const LARGE: &str = "-large";

impl fmt::Display for PreactResnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PreactResnet { widths, blocks, large } = self;
        let large = if *large { LARGE } else { "" };
        match (RESNETS.iter().find(|(_, known)| known[..] == blocks[..]), widths.first()) {
            (Some((name, _)), Some(width)) => write!(f, "{name}{large}@{width}"),
            _ => write!(f, "resnet{large} with widths {widths:?} and blocks {blocks:?}"),
        }
    }
}

impl Link {
    fn parse(text: &str) -> Result<Link, String> {
        let number = |digits: &str| match digits.parse() {
            Ok(n) if (1..=LIMIT).contains(&n) => Ok(n),
            _ => Err(format!("`{digits}` in `{text}` is no size from 1 to {LIMIT}")),
        };
        if let Some(size) = text.strip_prefix('P') {
            return number(size).map(Link::Pool);
        }
        if let Some(size) = text.strip_prefix('A') {
            return number(size).map(Link::Adaptive);
        }
        let Some((channels, kernel)) = text.split_once('C') else {
            return Err(format!("`{text}` is neither like 64C3 nor P2, A7 or FC"));
        };
        let (channels, kernel) = (number(channels)?, number(kernel)?);
        match kernel % 2 {
            1 => Ok(Link::Conv { channels, kernel }),
            _ => Err(format!("the kernel of `{text}` is not odd")),
        }
    }
}

impl FromStr for Architecture {
    type Err = ArchitectureError;

    fn from_str(text: &str) -> Result<Self, ArchitectureError> {
        if let Some((_, found)) = named().into_iter().find(|(name, _)| *name == text) {
            return Ok(found);
        }
        if let Some(found) = PreactResnet::parse(text) {
            return Ok(Architecture::PreactResnet(found));
        }
        let names = named().map(|(name, _)| name).join(", ");
        Chain::parse(text).map(Architecture::Chain).map_err(|problem| ArchitectureError {
            text: text.to_owned(),
            problem: format!("{problem}; or one of {names}; or resnet18@20, resnet18-large@20"),
        })
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = named().into_iter().find(|(_, known)| known == self) {
            return f.write_str(name);
        }
        match self {
            Architecture::Chain(Chain(links)) => {
                for link in links {
                    match link {
                        Link::Conv { channels, kernel } => write!(f, "{channels}C{kernel}-")?,
                        Link::Pool(size) => write!(f, "P{size}-")?,
                        Link::Adaptive(size) => write!(f, "A{size}-")?,
                    }
                }
                f.write_str("FC")
            }
            Architecture::PreactResnet(sizes) => sizes.fmt(f),
            Architecture::NfResnet(NfResnet { widths, blocks, .. }) => {
                write!(f, "nf-resnet with widths {widths:?} and blocks {blocks:?}")
            }
        }
    }
}

impl TryFrom<String> for Architecture {
    type Error = ArchitectureError;

    fn try_from(text: String) -> Result<Self, ArchitectureError> {
        text.parse()
    }
}

impl From<Architecture> for String {
    fn from(architecture: Architecture) -> String {
        architecture.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_chains_round_trip() {
        for text in ["vgg11", "resnet18", "nf-resnet101", "32C3-P2-64C5-A3-FC"] {
            assert_eq!(text.parse::<Architecture>().unwrap().to_string(), text);
        }
        assert_eq!(VGG11.parse::<Architecture>().unwrap().to_string(), "vgg11");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "FC", "32C3", "32C4-FC", "0C3-FC", "P-FC", "99999999C3-FC", "x-FC"] {
            assert!(text.parse::<Architecture>().is_err(), "{text}");
        }
    }
}
