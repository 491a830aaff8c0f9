//! The networks: backbone, pyramid and first stage in one, box head, mask head.

use super::config::{BOX_SIDE, DetectorConfig, FEATURES, Head, MASK_SIDE, SingleStage, TwoStage};
use crate::{
    init::Init,
    model::SequenceModel,
    models::{
        ModelError,
        convnet::{
            Convnet,
            build::{Builder, ConvSize, Draw, LayerId, MAX_WEIGHTS},
        },
        metaspikeformer::{backbone, settings},
    },
    ops::roi_align::roi_align,
};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use spikelet_graph::{Detection, detection::Rect};
use spikelet_kernels::roi_align::Region;

/// How often an anchor is an object before anything is learned (Lin et al. 2017).
const PRIOR: f32 = 0.01;
/// Spread of the first weights of predictions.
const PREDICTION_STD: f32 = 0.01;
/// The same of the deltas of the second stage.
const BOX_STD: f32 = 0.001;

type Result<T> = std::result::Result<T, ModelError>;

/// The networks of a detector.
#[derive(Module, Debug)]
pub struct Network {
    /// From the image to the outputs of all levels: per level scores and deltas, and for a second
    /// stage its features.
    pub features: Convnet,
    /// From a region to classes and boxes.
    pub box_head: Option<Convnet>,
    /// From a region to masks.
    pub mask_head: Option<Convnet>,
}

/// A detector.
#[derive(Clone, Debug)]
pub struct Detector {
    /// What learns.
    pub network: Network,
    /// What turns outputs into boxes.
    pub detection: Detection,
    /// Height, width, channels of an image.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// How often an image is shown.
    pub steps: usize,
}

/// What the first stage gives for a batch.
pub struct FirstStage {
    /// Logits of all anchors of all levels, `[batch, anchors, classes]` (`[.., 1]` for regions), the
    /// mean over time.
    pub scores: Tensor<3>,
    /// `[batch, anchors, 4]`, the mean over time.
    pub deltas: Tensor<3>,
    /// Features of levels, `[time * batch, h, w, channels]`.
    pub features: Vec<Tensor<4>>,
}

impl Detector {
    /// A fresh detector for images `[h, w, channels]`.
    ///
    /// # Errors
    /// Settings that make none, images whose sides are no multiples of 16.
    pub fn new(
        config: &DetectorConfig,
        input: [usize; 3],
        classes: usize,
        init: &mut Init,
    ) -> Result<Detector> {
        config.check()?;
        for (name, size) in [("height", input[0]), ("width", input[1])] {
            if size == 0 || !size.is_multiple_of(16) || size > 4096 {
                let (value, range) = (size as f32, "a multiple of 16 up to 4096");
                return Err(ModelError::Setting { name, value, range });
            }
        }
        if !(1..=4096).contains(&classes) {
            let (name, value, range) = ("classes", classes as f32, "1 to 4096");
            return Err(ModelError::Setting { name, value, range });
        }
        let features = features(config, input, classes, init)?;
        let (box_head, mask_head) = match &config.head {
            Head::SingleStage(_) => (None, None),
            Head::TwoStage(two) => {
                let boxes = box_head(config, two, classes, init)?;
                let masks = two.masks.then(|| mask_head(config, two, classes, init)).transpose()?;
                (Some(boxes), masks)
            }
        };
        let network = Network { features, box_head, mask_head };
        let (detection, steps) = (config.detection(), config.backbone.steps);
        Ok(Detector { network, detection, input, classes, steps })
    }

    /// Levels that predict.
    pub fn levels(&self) -> usize {
        self.detection.anchors.strides.len()
    }

    /// Rows and columns of every level.
    pub fn sizes(&self) -> Vec<[usize; 2]> {
        let shapes = self.network.features.output_shapes();
        shapes.iter().step_by(2).take(self.levels()).map(|[h, w, _]| [*h, *w]).collect()
    }

    /// What one anchor of the first stage scores: classes, or the one kind "object".
    pub fn kinds(&self) -> usize {
        if self.detection.regions.is_some() { 1 } else { self.classes }
    }

    /// The first stage for images `[batch, h * w * channels]`, all steps at once; and the state
    /// after, which [`SequenceModel::learned`] takes if `seed` starts a state to learn from.
    pub fn first_stage(
        &self,
        images: Tensor<2>,
        seed: Option<u64>,
    ) -> (FirstStage, crate::model::State) {
        let [batch, _] = images.dims();
        let device = images.device();
        let features = &self.network.features;
        let state = match seed {
            Some(seed) => features.training_state(batch, &device, seed),
            None => features.initial_state(batch, &device),
        };
        let x = images.unsqueeze::<3>().repeat_dim(0, self.steps);
        let (mut outputs, state) = features.outputs(x, state);
        let rest = outputs.split_off(2 * self.levels());
        let (mut scores, mut deltas) = (Vec::new(), Vec::new());
        for (at, output) in outputs.into_iter().enumerate() {
            let width = if at % 2 == 0 { self.kinds() } else { 4 };
            let [rows, h, w, channels] = output.dims();
            let anchors = h * w * channels / width;
            let output = output.reshape([self.steps, rows / self.steps, anchors, width]);
            let mean = output.mean_dim(0).squeeze_dim::<3>(0);
            if at % 2 == 0 { scores.push(mean) } else { deltas.push(mean) }
        }
        let (scores, deltas) = (Tensor::cat(scores, 1), Tensor::cat(deltas, 1));
        (FirstStage { scores, deltas, features: rest }, state)
    }

    /// Logits of classes `[region, classes + 1]` and deltas `[region, classes * 4]`, means over
    /// time; the state as above.
    pub fn boxes(
        &self,
        features: &[Tensor<4>],
        regions: &[Region],
        seed: Option<u64>,
    ) -> (Tensor<2>, Tensor<2>, crate::model::State) {
        let head = self.network.box_head.as_ref().expect("a detector of two stages");
        let (mut outputs, state) = self.head(head, features, regions, BOX_SIDE, seed);
        let flat = |output: Tensor<4>| {
            let [rows, _, _, width] = output.dims();
            let output = output.reshape([self.steps, rows / self.steps, width]);
            output.mean_dim(0).squeeze_dim::<2>(0)
        };
        let deltas = outputs.pop().expect("two outputs");
        let classes = outputs.pop().expect("two outputs");
        (flat(classes), flat(deltas), state)
    }

    /// Logits of masks `[region, side, 4 side, classes]` (four pixels of a position in its row),
    /// the mean over time; the state as above.
    pub fn masks(
        &self,
        features: &[Tensor<4>],
        regions: &[Region],
        seed: Option<u64>,
    ) -> (Tensor<4>, crate::model::State) {
        let head = self.network.mask_head.as_ref().expect("a detector with masks");
        let (mut outputs, state) = self.head(head, features, regions, MASK_SIDE, seed);
        let output = outputs.pop().expect("one output");
        let [rows, h, w, classes] = output.dims();
        let output = output.reshape([self.steps, rows / self.steps, h * w * classes]);
        let mean = output.mean_dim(0).reshape([rows / self.steps, h, w, classes]);
        (mean, state)
    }

    fn head(
        &self,
        head: &Convnet,
        features: &[Tensor<4>],
        regions: &[Region],
        side: usize,
        seed: Option<u64>,
    ) -> (Vec<Tensor<4>>, crate::model::State) {
        let device = features[0].device();
        let cut = self.cut(features, regions, side);
        let values = cut.dims()[1..].iter().product();
        let x: Tensor<3> = cut.reshape([self.steps, regions.len(), values]);
        let state = match seed {
            Some(seed) => head.training_state(regions.len(), &device, seed),
            None => head.initial_state(regions.len(), &device),
        };
        head.outputs(x, state)
    }

    /// Regions of the features of all steps, `[time * region, side, side, channels]`, each cut from
    /// the level of its size.
    fn cut(&self, features: &[Tensor<4>], regions: &[Region], side: usize) -> Tensor<4> {
        let settings = self.detection.regions.as_ref().expect("a detector of two stages");
        let device = features[0].device();
        let images = features[0].dims()[0] / self.steps;
        let levels: Vec<usize> = regions.iter().map(|r| settings.level(r.rect)).collect();
        let (mut parts, mut place) = (Vec::new(), vec![0; regions.len() * self.steps]);
        let mut placed = 0;
        for (level, features) in features.iter().enumerate() {
            let mine: Vec<usize> = (0..regions.len()).filter(|&r| levels[r] == level).collect();
            if mine.is_empty() {
                continue;
            }
            let mut cut = Vec::with_capacity(mine.len() * self.steps);
            for step in 0..self.steps {
                for &region in &mine {
                    let Region { image, rect } = regions[region];
                    cut.push(Region { image: step * images + image, rect });
                    place[step * regions.len() + region] = placed;
                    placed += 1;
                }
            }
            let stride = settings.strides[level] as f32;
            parts.push(roi_align(features.clone(), cut, stride, side));
        }
        let n = place.len();
        let order = Tensor::<1, Int>::from_data(TensorData::new(place, [n]), &device);
        match parts.len() {
            // In the wanted order already.
            1 => parts.remove(0),
            _ => Tensor::cat(parts, 0).select(0, order),
        }
    }

    /// Regions of proposals of every image.
    pub fn regions_of(proposals: &[Vec<Rect>]) -> Vec<Region> {
        let each = proposals.iter().enumerate();
        each.flat_map(|(image, rects)| rects.iter().map(move |&rect| Region { image, rect }))
            .collect()
    }
}

fn features(
    config: &DetectorConfig,
    input: [usize; 3],
    classes: usize,
    init: &mut Init,
) -> Result<Convnet> {
    let builder = Builder::new(input, Convnet::empty(settings()), MAX_WEIGHTS, Draw::FanIn, init);
    let mut builder = builder.with_units(config.units);
    builder.scope("backbone.");
    let (builder, [_, features @ ..]) = backbone(builder, &config.backbone)?;
    let mut neck = Parts { builder, config };
    let pyramid = neck.pyramid(features)?;
    match &config.head {
        Head::SingleStage(single) => neck.single_stage(single, &pyramid, classes)?,
        Head::TwoStage(_) => neck.proposals(&pyramid)?,
    }
    if let Head::TwoStage(_) = config.head {
        let cut_from = pyramid.iter().zip(&config.levels).filter(|(_, level)| **level < FEATURES);
        cut_from.for_each(|(&layer, _)| neck.builder.output(layer));
    }
    Ok(neck.builder.finish())
}

struct Parts<'a> {
    builder: Builder<'a>,
    config: &'a DetectorConfig,
}

impl Parts<'_> {
    /// SpikeFPN: the levels that predict.
    fn pyramid(&mut self, features: [LayerId; FEATURES]) -> Result<Vec<LayerId>> {
        let levels = &self.config.levels;
        self.builder.scope("neck.");
        let finest = levels[0].min(FEATURES - 1);
        let mut sums = [0; FEATURES];
        for level in (finest..FEATURES).rev() {
            let name = format!("lateral_convs.{level}.1.0.conv");
            let spikes = self.builder.lif(&format!("lateral_convs.{level}.0"), features[level]);
            let x = self.builder.conv(&name, spikes, ConvSize::new(self.config.channels, 1))?;
            let mut x = self.normalized(&format!("lateral_convs.{level}.1.0.bn"), x);
            let builder = &mut self.builder;
            if level + 1 < FEATURES {
                let [h, w, _] = builder.shape(x);
                let [ch, cw, _] = builder.shape(sums[level + 1]);
                let coarse = match [ch, cw] == [h, w] {
                    true => sums[level + 1],
                    false => builder.resize(&format!("up.{level}"), sums[level + 1], [h, w]),
                };
                x = builder.sum(&format!("sum.{level}"), x, coarse);
            }
            sums[level] = x;
        }
        let mut outputs = Vec::new();
        let mut last = None;
        for &level in levels {
            let at = level.min(FEATURES - 1);
            let output = match last.filter(|_| level == FEATURES) {
                Some(output) => output,
                None => {
                    let spikes = self.builder.lif(&format!("fpn_convs.{at}.0"), sums[at]);
                    let name = format!("fpn_convs.{at}.1.0.conv");
                    let size = ConvSize::new(self.config.channels, 3);
                    let x = self.builder.conv(&name, spikes, size)?;
                    self.normalized(&format!("fpn_convs.{at}.1.0.bn"), x)
                }
            };
            if at == FEATURES - 1 {
                last = Some(output);
            }
            outputs.push(match level == FEATURES {
                true => self.builder.pool("p6", output, 1, 2, 0)?,
                false => output,
            });
        }
        Ok(outputs)
    }

    /// The normalisation behind a convolution, if there are any.
    fn normalized(&mut self, name: &str, conv: LayerId) -> LayerId {
        match self.config.norm {
            true => self.builder.scaled_norm(name, conv, self.config.backbone.norm_gain),
            false => conv,
        }
    }

    /// SpikeRPN.
    fn proposals(&mut self, pyramid: &[LayerId]) -> Result<()> {
        self.builder.scope("rpn_head.");
        let anchors = self.config.scales.len() * self.config.ratios.len();
        let mut first: Option<[LayerId; 3]> = None;
        for (level, &from) in pyramid.iter().enumerate() {
            let like = first.map(|layers| layers.map(Some)).unwrap_or([None; 3]);
            let channels = self.config.channels;
            let (conv, x) = self.hidden("rpn_conv", level, from, channels, like[0])?;
            let scores = self.prediction("rpn_cls", level, x, anchors, like[1], 0.0)?;
            let deltas = self.prediction("rpn_reg", level, x, 4 * anchors, like[2], 0.0)?;
            first.get_or_insert([conv, scores, deltas]);
            self.builder.output(scores);
            self.builder.output(deltas);
        }
        Ok(())
    }

    /// The head of a single stage.
    fn single_stage(
        &mut self,
        head: &SingleStage,
        pyramid: &[LayerId],
        classes: usize,
    ) -> Result<()> {
        self.builder.scope("bbox_head.");
        let anchors = self.config.scales.len() * self.config.ratios.len();
        let rare = -((1.0 - PRIOR) / PRIOR).ln();
        let outputs =
            [("cls_convs", "retina_cls", classes, rare), ("reg_convs", "retina_reg", 4, 0.0)];
        // Convolutions of the first level, which the others share.
        let mut first: Vec<LayerId> = Vec::new();
        for (level, &from) in pyramid.iter().enumerate() {
            let shared = first.clone();
            let mut shared = shared.into_iter();
            for (tower, last, width, bias) in outputs {
                let mut x = from;
                for conv in 0..head.convs {
                    let name = format!("{tower}.{conv}");
                    let (layer, out) =
                        self.hidden(&name, level, x, self.config.channels, shared.next())?;
                    if level == 0 {
                        first.push(layer);
                    }
                    x = out;
                }
                let out = self.prediction(last, level, x, width * anchors, shared.next(), bias)?;
                if level == 0 {
                    first.push(out);
                }
                self.builder.output(out);
            }
        }
        Ok(())
    }

    /// Neurons and a 3 x 3 convolution; what level 0 has is shared.
    fn hidden(
        &mut self,
        name: &str,
        level: usize,
        from: LayerId,
        channels: usize,
        like: Option<LayerId>,
    ) -> Result<(LayerId, LayerId)> {
        let conv = self.shared(name, level, from, ConvSize::new(channels, 3), like)?;
        let out = self.normalized(&of_level(&format!("{name}.1.0.bn"), level), conv);
        Ok((conv, out))
    }

    fn prediction(
        &mut self,
        name: &str,
        level: usize,
        from: LayerId,
        channels: usize,
        like: Option<LayerId>,
        bias: f32,
    ) -> Result<LayerId> {
        // The single stage looks around once more; regions do not.
        let kernel = if name.starts_with("retina") { 3 } else { 1 };
        let conv = self.shared(name, level, from, ConvSize::new(channels, kernel), like)?;
        if like.is_none() {
            self.builder.restart(conv, PREDICTION_STD, |_| bias);
        }
        Ok(conv)
    }

    fn shared(
        &mut self,
        name: &str,
        level: usize,
        from: LayerId,
        size: ConvSize,
        like: Option<LayerId>,
    ) -> Result<LayerId> {
        let spikes = self.builder.lif(&of_level(&format!("{name}.0"), level), from);
        let name = format!("{name}.1.0");
        match like {
            Some(like) => Ok(self.builder.conv_again(&of_level(&name, level), spikes, like)),
            None => self.builder.conv(&name, spikes, size),
        }
    }
}

/// A name of the first level is the official one.
fn of_level(name: &str, level: usize) -> String {
    if level == 0 { name.to_owned() } else { format!("{name}@{level}") }
}

fn box_head(
    config: &DetectorConfig,
    two: &TwoStage,
    classes: usize,
    init: &mut Init,
) -> Result<Convnet> {
    let input = [BOX_SIDE, BOX_SIDE, config.channels];
    let builder = Builder::new(input, Convnet::empty(settings()), MAX_WEIGHTS, Draw::FanIn, init);
    let mut builder = builder.with_units(config.units);
    builder.scope("roi_head.bbox_head.");
    let mut x = 0;
    for fc in 0..2 {
        let spikes = builder.lif(&format!("shared_fcs.{fc}.0"), x);
        let [h, w, channels] = builder.shape(spikes);
        // Xavier's spread.
        let std = (2.0 / (h * w * channels + two.hidden) as f32).sqrt();
        x = builder.linear(&format!("shared_fcs.{fc}.1"), spikes, two.hidden, std)?;
        if config.norm {
            x = builder.batch_norm(&format!("shared_fcs.{fc}.bn"), x);
        }
    }
    let scores = builder.linear("fc_cls", x, classes + 1, PREDICTION_STD)?;
    let deltas = builder.linear("fc_reg", x, 4 * classes, BOX_STD)?;
    builder.output(scores);
    builder.output(deltas);
    Ok(builder.finish())
}

/// Rectifiers stay behind the convolutions, as in the official code.
fn mask_head(
    config: &DetectorConfig,
    two: &TwoStage,
    classes: usize,
    init: &mut Init,
) -> Result<Convnet> {
    let input = [MASK_SIDE, MASK_SIDE, config.channels];
    let builder = Builder::new(input, Convnet::empty(settings()), MAX_WEIGHTS, Draw::FanIn, init);
    let mut builder = builder.with_units(config.units);
    builder.scope("roi_head.mask_head.");
    let mut x = 0;
    for conv in 0..two.mask_convs {
        let part = |part: &str| format!("convs.{conv}.{part}");
        let spikes = builder.lif(&part("0"), x);
        x = builder.conv(&part("1.0.conv"), spikes, ConvSize::new(config.channels, 3))?;
        if config.norm {
            x = builder.batch_norm(&part("1.0.bn"), x);
        }
        x = builder.relu(&part("1.0.activate"), x);
    }
    let spikes = builder.lif("upsample.0", x);
    let x = builder.deconv("upsample.1", spikes, config.channels)?;
    let spikes = builder.lif("conv_logits.0", x);
    builder.conv("conv_logits.1", spikes, ConvSize::new(classes, 1))?;
    Ok(builder.finish())
}
