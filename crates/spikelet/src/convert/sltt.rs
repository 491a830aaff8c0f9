//! The convolutional networks of SLTT (Meng et al. 2023): spiking VGG, pre-activation ResNet,
//! normaliser-free ResNet. Sizes come from the shapes; what no tensor says (the size of images,
//! the time constant) is that of the official code.

use super::{
    ConvertError,
    weights::{Weights, root},
};
use spikelet_data::checkpoint::Checkpoint;
use spikelet_graph::{Graph, Task};
use spikelet_train::models::convnet::{
    Architecture, Chain, ConvnetConfig, Link, NfResnet, PreactResnet, official_graph,
};

/// Deeper networks than this are none of these.
const MAX_DEPTH: usize = 256;

pub(super) fn vgg_root(checkpoint: &Checkpoint) -> Option<String> {
    root(checkpoint, &["layer1.0.weight", "layer1.1.running_mean", "classifier.1.weight"])
}

pub(super) fn preact_root(checkpoint: &Checkpoint) -> Option<String> {
    root(checkpoint, &["conv1.weight", "layer1.0.bn1.running_mean", "linear.weight"])
}

pub(super) fn nf_root(checkpoint: &Checkpoint) -> Option<String> {
    root(checkpoint, &["conv1.gain", "layer1.0.skipinit_gain", "fc.weight"])
}

/// Stages of convolutions at 0, 4, 8, ..; each ends in a pooling over 2 x 2, the last one in
/// adaptive pooling besides.
pub(super) fn vgg(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let (mut links, mut channels, mut inputs) = (Vec::new(), 1, 1);
    let mut stages = 0;
    for stage in 1..=MAX_DEPTH {
        let before = links.len();
        for k in 0..MAX_DEPTH {
            let name = format!("layer{stage}.{}.weight", 4 * k);
            if !weights.has(&name) {
                break;
            }
            let shape = weights.read(&name, 4)?.shape;
            if links.is_empty() {
                inputs = shape[1];
            }
            channels = shape[0];
            links.push(Link::Conv { channels, kernel: shape[2] });
        }
        if links.len() == before {
            break;
        }
        links.push(Link::Pool(2));
        stages = stage;
    }
    let classifier = weights.read("classifier.1.weight", 2)?.shape;
    let positions = classifier[1] / channels.max(1);
    links.push(Link::Adaptive(positions.isqrt().max(1)));
    // 48 x 48 frames of DVS-CIFAR10; 128 x 128 of DVS128 Gesture, which has 11 classes.
    let side = if classifier[0] == 11 { 128 } else { 48 };
    let side = side.max(1 << stages.min(12));
    finish(weights, Architecture::Chain(Chain(links)), [side, side, inputs], classifier[0])
}

pub(super) fn preact(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let (blocks, widths) = stages(weights, "conv1.weight")?;
    let inputs = weights.read("conv1.weight", 4)?.shape[1];
    let classifier = weights.read("linear.weight", 2)?.shape;
    let positions = classifier[1] / widths.last().copied().unwrap_or(1).max(1);
    let side = (4 * positions.isqrt().max(1)) << blocks.len().saturating_sub(1).min(12);
    let sizes = PreactResnet { widths, blocks, large: false };
    finish(weights, Architecture::PreactResnet(sizes), [side, side, inputs], classifier[0])
}

pub(super) fn nf(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let bottleneck = weights.has("layer1.0.conv3.weight");
    let (blocks, widths) = stages(weights, "conv1.weight")?;
    let inputs = weights.read("conv1.weight", 4)?.shape[1];
    let classes = weights.read("fc.weight", 2)?.shape[0];
    let sizes = NfResnet { widths, blocks, bottleneck };
    finish(weights, Architecture::NfResnet(sizes), [224, 224, inputs], classes)
}

/// Blocks of every stage, and the channels of the first convolution of its first block.
fn stages(weights: &mut Weights, conv: &str) -> Result<(Vec<usize>, Vec<usize>), ConvertError> {
    let (mut blocks, mut widths) = (Vec::new(), Vec::new());
    for stage in 1..=MAX_DEPTH {
        let has = |block: &usize| weights.has(&format!("layer{stage}.{block}.{conv}"));
        let count = (0..MAX_DEPTH).take_while(has).count();
        if count == 0 {
            break;
        }
        widths.push(weights.read(&format!("layer{stage}.0.{conv}"), 4)?.shape[0]);
        blocks.push(count);
    }
    Ok((blocks, widths))
}

fn finish(
    weights: &mut Weights,
    network: Architecture,
    input: [usize; 3],
    classes: usize,
) -> Result<Graph, ConvertError> {
    let config = ConvnetConfig::new(network);
    let [side, _, channels] = input;
    weights.notes.push(format!(
        "{}, {classes} classes; taken from the official code, not from the file: images of \
         {side} x {side} x {channels}, time constant {} steps",
        config.network, config.tau
    ));
    let tensors = weights.read_all()?;
    let task = Task { window: config.steps, ..Task::default() };
    official_graph(&config, input, classes, &tensors, task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}
