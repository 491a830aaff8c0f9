//! Meta-SpikeFormer (Yao et al. 2024): the official classification models. Sizes come from the
//! shapes; what no tensor says (the size of images, the heads) is that of the official code.

use super::{ConvertError, weights::Weights};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{Graph, Task};
use spikelet_train::models::metaspikeformer::{official_graph, sizes};

/// Height and width of an image.
const SIZE: usize = 224;
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
    weights.notes.push(format!(
        "widths {:?}, {} classes{}; taken from the official code, not from the file: images of \
         {SIZE} x {SIZE} x {channels}, {} heads",
        config.widths,
        found.classes,
        if config.distilled { ", two heads whose mean is the answer" } else { "" },
        config.heads
    ));
    let mut task = Task { window: 1, ..Task::default() };
    if channels == MEAN.len() {
        (task.mean, task.std) = (MEAN.to_vec(), STD.to_vec());
        let transform = "smaller side to 256 (bicubic), centre 224 x 224, values 0 to 1";
        task.notes.insert("images".to_owned(), transform.to_owned());
    }
    official_graph(&tensors, [SIZE; 2], task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}
