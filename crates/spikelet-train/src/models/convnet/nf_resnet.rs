//! Normaliser-free ResNet (Brock et al. 2021) of spiking neurons: standardised kernels, and a
//! variance that is known and divided out instead of measured.

use super::{
    builder::{Builder, ConvSize},
    config::NfResnet,
    network::LayerId,
};
use crate::models::ModelError;

/// What a residual branch adds to the variance is its square.
const ALPHA: f32 = 0.2;
/// Makes the variance of spikes about one.
const SPIKE_GAIN: f32 = 2.74;

pub(super) fn build(
    builder: &mut Builder<'_>,
    sizes: &NfResnet,
    classes: usize,
) -> Result<(), ModelError> {
    let first = sizes.widths.first().copied().unwrap_or(1);
    let stem = builder.conv("conv1", 0, conv(first, 7, 2))?;
    let mut last = builder.pool("maxpool", stem, 3, 2, 1)?;
    let mut variance = 1.0_f32;
    for (stage, (&width, &blocks)) in sizes.widths.iter().zip(&sizes.blocks).enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            let outputs = if sizes.bottleneck { 4 * width } else { width };
            let downsample = stride != 1 || builder.shape(last)[2] != outputs;
            let block = Block { name, width, outputs, stride, downsample };
            last = block.build(builder, last, variance.sqrt())?;
            variance = if downsample { 1.0 + ALPHA * ALPHA } else { variance + ALPHA * ALPHA };
        }
    }
    let pooled = builder.adaptive("avgpool", last, 1);
    builder.linear("fc", pooled, classes, 0.0)?;
    Ok(())
}

fn conv(channels: usize, kernel: usize, stride: usize) -> ConvSize {
    ConvSize { stride, standardized: true, ..ConvSize::new(channels, kernel) }
}

struct Block {
    name: String,
    width: usize,
    outputs: usize,
    stride: usize,
    downsample: bool,
}

impl Block {
    fn build(
        &self,
        builder: &mut Builder<'_>,
        from: LayerId,
        deviation: f32,
    ) -> Result<LayerId, ModelError> {
        let part = |part: &str| format!("{}.{part}", self.name);
        let scaled = match deviation == 1.0 {
            true => from,
            false => builder.scale(&part("beta"), from, 1.0 / deviation),
        };
        let spikes = self.spikes(builder, 1, scaled);
        let identity = match self.downsample {
            true => {
                builder.conv(&part("downsample"), spikes, conv(self.outputs, 1, self.stride))?
            }
            false => from,
        };
        let mut x = spikes;
        // A block of two convolutions strides in the first, one of three in the second.
        let (width, outputs, stride) = (self.width, self.outputs, self.stride);
        let all = match outputs == width {
            true => vec![conv(width, 3, stride), conv(width, 3, 1)],
            false => vec![conv(width, 1, 1), conv(width, 3, stride), conv(outputs, 1, 1)],
        };
        for (k, size) in all.into_iter().enumerate() {
            if k > 0 {
                x = self.spikes(builder, k + 1, x);
            }
            x = builder.conv(&part(&format!("conv{}", k + 1)), x, size)?;
        }
        let branch = builder.gain(&part("skipinit_gain"), x, ALPHA);
        Ok(builder.sum(&part("add"), branch, identity))
    }

    fn spikes(&self, builder: &mut Builder<'_>, number: usize, from: LayerId) -> LayerId {
        let name = format!("{}.sn{number}", self.name);
        let spikes = builder.lif(&name, from);
        builder.scale(&format!("{name}.gain"), spikes, SPIKE_GAIN)
    }
}
