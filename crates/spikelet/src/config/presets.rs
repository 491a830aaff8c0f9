//! The presets: built into the binary from `presets/`.

use crate::failure::{Failure, Result};
use spikelet_data::nearest::nearest;

/// A preset.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// `system/task`.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(Preset {
            name: $name,
            text: include_str!(concat!("../../../../presets/", $name, ".toml")),
        }),*]
    };
}

/// Every preset, in the order of their names. A file in `presets/` that is not named here fails
/// a test.
pub const PRESETS: &[Preset] = presets![
    "baseline/awd-lstm-penn-treebank",
    "baseline/awd-lstm-wikitext2",
    "baseline/bag-of-words-mr",
    "baseline/bag-of-words-subj",
    "baseline/gru-lm-kjv",
    "baseline/gru-lm-tinyshakespeare",
    "baseline/gru-lm-wikitext2-valid",
    "baseline/gru-wisdm",
    "baseline/lstm-kjv",
    "baseline/lstm-lm-kjv",
    "baseline/lstm-lm-tinyshakespeare",
    "baseline/lstm-lm-wikitext2-valid",
    "baseline/lstm-mr",
    "baseline/lstm-subj",
    "baseline/lstm-tinyshakespeare",
    "baseline/lstm-wisdm",
    "egru/dvs-gesture",
    "egru/gestures",
    "egru/gestures-conv",
    "egru/kjv",
    "egru/penn-treebank",
    "egru/tinyshakespeare",
    "egru/wikitext2",
    "egru/wikitext2-valid",
    "egru/wisdm",
    "l2mu/braille",
    "l2mu/wisdm",
    "metaspikeformer/ade20k-15m",
    "metaspikeformer/ade20k-55m",
    "metaspikeformer/bccd",
    "metaspikeformer/bccd-relu",
    "metaspikeformer/coco-15m",
    "metaspikeformer/fashion-mnist",
    "metaspikeformer/fashion-mnist-resnet",
    "metaspikeformer/imagenet-15m-stage1",
    "metaspikeformer/imagenet-15m-stage2",
    "metaspikeformer/imagenet-31m-stage1",
    "metaspikeformer/imagenet-31m-stage2",
    "metaspikeformer/imagenet-55m-distilled",
    "metaspikeformer/imagenet-55m-stage1",
    "metaspikeformer/imagenet-55m-stage2",
    "metaspikeformer/nuclei",
    "quick/fashion-mnist",
    "quick/gestures",
    "quick/synthetic",
    "quick/tinyshakespeare",
    "sltt/cifar10",
    "sltt/cifar100",
    "sltt/dvs-cifar10",
    "sltt/dvs-gesture",
    "sltt/imagenet-101-stage1",
    "sltt/imagenet-101-stage2",
    "sltt/imagenet-34-stage1",
    "sltt/imagenet-34-stage2",
    "sltt/imagenet-50-stage1",
    "sltt/imagenet-50-stage2",
    "spikegpt/enwik8",
    "spikegpt/kjv",
    "spikegpt/mr",
    "spikegpt/openwebtext2",
    "spikegpt/sst-2",
    "spikegpt/sst-5",
    "spikegpt/subj",
    "spikegpt/tinyshakespeare",
    "spikegpt/wikitext2",
];

/// The preset of this name.
pub fn find(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let list = names.join(", ");
        let help = match nearest(name, names.iter().copied()) {
            Some(nearest) => format!("did you mean `{nearest}`? Presets: {list}"),
            None => format!("presets: {list}; a configuration file ends in .toml"),
        };
        Failure::usage(format!("no preset is called `{name}`")).help(help)
    })
}
