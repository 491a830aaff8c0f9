//! Chains of convolutions: VGG (Simonyan and Zisserman 2015) with neurons in place of rectifiers.

use super::{
    builder::{Builder, ConvSize},
    config::{Chain, Link},
};
use crate::models::ModelError;

/// Layers are numbered as in the official code: `layer1` up to the first pooling, `layer2` up to
/// the second; in each, convolution, normalisation, neurons and drop-out take a number.
pub(super) fn build(
    builder: &mut Builder<'_>,
    Chain(links): &Chain,
    classes: usize,
    dropout: f32,
) -> Result<(), ModelError> {
    let (mut stage, mut index, mut last) = (1, 0, 0);
    for link in links {
        let name = |offset: usize| format!("layer{stage}.{}", index + offset);
        match *link {
            Link::Conv { channels, kernel } => {
                last = builder.conv(&name(0), last, ConvSize::new(channels, kernel))?;
                last = builder.batch_norm(&name(1), last);
                last = builder.lif(&name(2), last);
                last = builder.dropout(&name(3), last, dropout);
                index += 4;
            }
            Link::Pool(size) => {
                last = builder.pool(&name(0), last, size, size, 0)?;
                (stage, index) = (stage + 1, 0);
            }
            Link::Adaptive(size) => last = builder.adaptive("avgpool", last, size),
        }
    }
    builder.linear("classifier.1", last, classes, 0.01)?;
    Ok(())
}
