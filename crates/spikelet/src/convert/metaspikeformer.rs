//! Meta-SpikeFormer (Yao et al. 2024): the official classification models. Sizes come from the
//! shapes; what no tensor says (the size of images unless the user does, the heads) is that of the
//! official code.

use super::{ConvertError, weights::Weights};
use crate::labelled::DATA_NOTE;
use spikelet_data::{
    checkpoint::Checkpoint,
    source::{DataConfig, SplitConfig},
};
use spikelet_graph::{Graph, Task};
use spikelet_train::models::metaspikeformer::{official_graph, sizes};

/// Height and width of an image.
const SIZE: usize = 224;
/// What the shorter side is scaled to before the middle is cut out.
const RESIZE: usize = 256;
/// Of ImageNet, per channel.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

pub(super) fn root(checkpoint: &Checkpoint) -> Option<String> {
    let names = [
        "downsample1_1.encode_conv.weight",
        "ConvBlock1_1.0.Conv.pwconv1.weight",
        "block3.0.attn.q_conv.0.body.0.weight",
        "head.weight",
    ];
    super::weights::root(checkpoint, &names)
}

pub(super) fn convert(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let tensors = weights.read_all()?;
    let found = sizes(&tensors).map_err(|source| weights.not_this_network(source.to_string()))?;
    let (config, channels) = (&found.config, found.channels);
    let size = weights.size.unwrap_or(SIZE);
    weights.notes.push(format!(
        "widths {:?}, {} classes{}; taken from the official code, not from the file: images of \
         {size} x {size} x {channels}, {} heads",
        config.widths,
        found.classes,
        if config.distilled { ", two heads whose mean is the answer" } else { "" },
        config.heads
    ));
    let mut task = Task { window: 1, ..Task::default() };
    if channels == MEAN.len() {
        (task.mean, task.std) = (MEAN.to_vec(), STD.to_vec());
        let data = evaluation(size);
        let note =
            serde_json::to_string(&data).map_err(|e| weights.not_this_network(e.to_string()))?;
        task.notes.insert(DATA_NOTE.to_owned(), note);
        task.dataset = Some(data.dataset);
    }
    official_graph(&tensors, [size; 2], task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}

/// ImageNet as the official code evaluates on it; for other sizes the same share is cut out.
fn evaluation(size: usize) -> DataConfig {
    let mut data = DataConfig::new("imagenet", SplitConfig::official(0));
    data.normalize = true;
    data.frames.size = size;
    data.frames.resize = (size * RESIZE + SIZE / 2) / SIZE;
    (data.frames.mean, data.frames.std) = (MEAN.to_vec(), STD.to_vec());
    data
}
