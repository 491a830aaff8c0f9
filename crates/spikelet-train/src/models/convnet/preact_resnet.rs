//! Pre-activation ResNet (He et al. 2016) of spiking neurons. The shortcut carries the *spikes*
//! of the block's first population.

use super::{
    builder::{Builder, ConvSize},
    config::PreactResnet,
    network::LayerId,
};
use crate::models::ModelError;

pub(super) fn build(
    builder: &mut Builder<'_>,
    sizes: &PreactResnet,
    classes: usize,
    dropout: f32,
) -> Result<(), ModelError> {
    let first = sizes.widths.first().copied().unwrap_or(1);
    let mut last = match sizes.large {
        false => builder.conv("conv1", 0, ConvSize { bias: false, ..ConvSize::new(first, 3) })?,
        true => {
            let stem = ConvSize { bias: false, stride: 2, ..ConvSize::new(first, 7) };
            let stem = builder.conv("conv1", 0, stem)?;
            builder.pool("maxpool", stem, 3, 2, 1)?
        }
    };
    for (stage, (&width, &blocks)) in sizes.widths.iter().zip(&sizes.blocks).enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            last = add_block(builder, &name, last, width, stride, dropout)?;
        }
    }
    let norm = builder.batch_norm("bn1", last);
    let spikes = builder.lif("relu1", norm);
    let pooled = match sizes.large {
        false => builder.pool("avgpool", spikes, 4, 4, 0)?,
        true => builder.adaptive("avgpool", spikes, 1),
    };
    let kept = builder.dropout("drop", pooled, dropout);
    let inputs: usize = builder.shape(kept).iter().product();
    // PyTorch's default has this deviation.
    builder.linear("linear", kept, classes, 1.0 / (3.0 * inputs as f32).sqrt())?;
    Ok(())
}

fn add_block(
    builder: &mut Builder<'_>,
    name: &str,
    from: LayerId,
    width: usize,
    stride: usize,
    dropout: f32,
) -> Result<LayerId, ModelError> {
    let part = |part: &str| format!("{name}.{part}");
    let conv = |kernel, stride| ConvSize { stride, ..ConvSize::new(width, kernel) };
    let norm = builder.batch_norm(&part("bn1"), from);
    let spikes = builder.lif(&part("relu1"), norm);
    let x = builder.conv(&part("conv1"), spikes, conv(3, stride))?;
    let x = builder.batch_norm(&part("bn2"), x);
    let x = builder.lif(&part("relu2"), x);
    let x = builder.dropout(&part("dropout"), x, dropout);
    let x = builder.conv(&part("conv2"), x, conv(3, 1))?;
    let shortcut = match stride != 1 || builder.shape(from)[2] != width {
        true => builder.conv(&part("shortcut"), spikes, conv(1, stride))?,
        false => spikes,
    };
    Ok(builder.sum(&part("add"), x, shortcut))
}
