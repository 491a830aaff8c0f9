//! Runs a detector: the first stage over an image, and for two stages its heads over the regions
//! that the first proposes. What lies between is defined in [`spikelet_graph::detection`].

use crate::{error::Error, executor::Executor, profile::Profiler};
use alloc::{borrow::ToOwned, format, string::String, vec, vec::Vec};
use core::ops::Range;
use spikelet_graph::{
    Counters, Detection, Graph, Op,
    detection::{self, Found, MAX_ANCHORS, Rect},
};
use spikelet_kernels::roi_align::{Region, RoiAlign};

/// Regions whose heads run side by side.
const REGIONS: usize = 32;

/// A detector ready to run.
#[derive(Clone, Debug)]
pub struct Detector {
    detection: Detection,
    classes: usize,
    /// Steps that an image is shown for.
    steps: usize,
    /// Rows, columns, channels of an image.
    input: [usize; 3],
    features: Part,
    boxes: Option<Part>,
    masks: Option<Part>,
    /// Of the whole graph.
    nodes: usize,
}

/// A part of the graph, with the places of its outputs among all of its values.
#[derive(Clone, Debug)]
struct Part {
    executor: Executor,
    /// Its nodes among those of the whole graph.
    nodes: Vec<usize>,
    outputs: Vec<(String, Vec<usize>, Range<usize>)>,
}

/// An object found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// Class, score, and box in pixels of the image given.
    pub found: Found,
    /// Its mask of logits, row by row, as many columns as rows, spread over the box.
    pub mask: Option<Vec<f32>>,
}

/// Counts the operations of a detector ([`Detector::detect_profiled`]).
pub struct DetectorProfiler {
    features: Profiler,
    boxes: Option<Profiler>,
    masks: Option<Profiler>,
}

impl DetectorProfiler {
    /// Counters at zero.
    pub fn new(detector: &Detector) -> Self {
        let of = |part: &Part| Profiler::new(&part.executor);
        let (boxes, masks) = (detector.boxes.as_ref().map(of), detector.masks.as_ref().map(of));
        DetectorProfiler { features: of(&detector.features), boxes, masks }
    }
}

impl Detector {
    /// The detector of a graph whose task record says that it is one.
    ///
    /// # Errors
    /// A graph that is not valid, or has other outputs than a detector.
    pub fn new(graph: &Graph) -> Result<Self, Error> {
        graph.validate()?;
        let wrong = |problem: String| Error::NoDetector { graph: graph.name.clone(), problem };
        let Some(detection) = graph.task.detection.clone() else {
            return Err(wrong("its task record has no field `detection`".to_owned()));
        };
        let (classes, steps) = (graph.task.classes.len(), graph.task.window.max(1));
        if classes == 0 {
            return Err(wrong("its task record names no classes".to_owned()));
        }
        let features = Part::new(graph, "image").map_err(wrong)??;
        let &[height, width, channels] = graph.node("image")?.shape.as_slice() else {
            return Err(wrong("its input `image` is no image".to_owned()));
        };
        let part = |input: &str| match graph.node(input) {
            Ok(_) => Part::new(graph, input).map_err(wrong)?.map(Some),
            Err(_) => Ok(None),
        };
        let (boxes, masks) = (part("box_region")?, part("mask_region")?);
        let input = [height, width, channels];
        let nodes = graph.nodes.len();
        let detector = Detector { detection, classes, steps, input, features, boxes, masks, nodes };
        detector.check().map_err(wrong)?;
        Ok(detector)
    }

    /// Whether all outputs are there and as large as settings say.
    fn check(&self) -> Result<(), String> {
        let anchors = self.detection.anchors.per_position();
        let kinds = if self.detection.regions.is_some() { 1 } else { self.classes };
        let mut total = 0_usize;
        for level in 0..self.detection.anchors.strides.len() {
            let scores = self.features.shape(&format!("scores.{level}"))?;
            let deltas = self.features.shape(&format!("deltas.{level}"))?;
            let (&[h, w, c], &[dh, dw, dc]) = (scores, deltas) else {
                return Err(format!("outputs of level {level} are no maps"));
            };
            if [h, w, c] != [dh, dw, anchors * kinds] || dc != 4 * anchors {
                return Err(format!(
                    "level {level} has scores {scores:?} and deltas {deltas:?} for {anchors} \
                     anchors of {kinds} kinds"
                ));
            }
            total = total.saturating_add(h.saturating_mul(w).saturating_mul(anchors));
        }
        if total > MAX_ANCHORS {
            return Err(format!("{total} anchors are over {MAX_ANCHORS}"));
        }
        let Some(regions) = &self.detection.regions else { return Ok(()) };
        let mut width = None;
        for level in 0..regions.strides.len() {
            let shape = self.features.shape(&format!("features.{level}"))?;
            let &[_, _, channels] = shape else {
                return Err(format!("features of level {level} are no map"));
            };
            if *width.get_or_insert(channels) != channels {
                return Err("levels have features of different widths".to_owned());
            }
        }
        let width = width.unwrap_or(0);
        let Some(boxes) = &self.boxes else {
            return Err("there is no input `box_region`".to_owned());
        };
        boxes.takes(regions.side * regions.side * width, "box_region")?;
        boxes.gives("classes", self.classes + 1)?;
        boxes.gives("boxes", 4 * self.classes)?;
        match (regions.mask_side, &self.masks) {
            (None, None) => Ok(()),
            (Some(side), Some(masks)) => {
                masks.takes(side * side * width, "mask_region")?;
                masks.gives("masks", 4 * side * side * self.classes)
            }
            _ => Err("`regions.mask_side` and the input `mask_region` belong together".to_owned()),
        }
    }

    /// Rows, columns and channels of an image.
    pub fn input(&self) -> [usize; 3] {
        self.input
    }

    /// What is in an image `[rows, columns, channels]`, normalised as the task record says; best
    /// first.
    ///
    /// # Errors
    /// An image of another size.
    pub fn detect(&self, image: &[f32]) -> Result<Vec<Detected>, Error> {
        self.detect_with(image, None)
    }

    /// As [`Detector::detect`], and counts operations: those of the heads for every region they look at.
    ///
    /// # Errors
    /// As [`Detector::detect`].
    pub fn detect_profiled(
        &self,
        image: &[f32],
        profiler: &mut DetectorProfiler,
    ) -> Result<Vec<Detected>, Error> {
        self.detect_with(image, Some(profiler))
    }

    /// What a profiler has counted, node by node of the graph of the detector. Samples are images.
    pub fn counters(&self, profiler: &DetectorProfiler) -> Counters {
        let mut all = Counters::new(self.nodes);
        let of_images = profiler.features.counters();
        (all.steps, all.samples) = (of_images.steps, of_images.samples);
        let heads = [&self.boxes, &self.masks].into_iter().flatten();
        let counted = [&profiler.boxes, &profiler.masks].into_iter().flatten();
        let parts =
            core::iter::once((&self.features, &profiler.features)).chain(heads.zip(counted));
        for (part, profiler) in parts {
            for (&node, counted) in part.nodes.iter().zip(&profiler.counters().nodes) {
                all.nodes[node].merge(counted);
            }
        }
        all
    }

    fn detect_with(
        &self,
        image: &[f32],
        profiler: Option<&mut DetectorProfiler>,
    ) -> Result<Vec<Detected>, Error> {
        let (of_features, mut of_boxes, mut of_masks) = match profiler {
            Some(p) => (Some(&mut p.features), p.boxes.as_mut(), p.masks.as_mut()),
            None => (None, None, None),
        };
        let x = image.repeat(self.steps);
        // Regions are cut from the features of every step.
        let every = self.detection.regions.is_some();
        let out = self.features.run(1, &x, every, of_features)?;
        let len = self.features.executor.output_len();
        let last = &out[out.len() - len..];
        let size = [self.input[0], self.input[1]];
        let levels: Vec<([usize; 2], &[f32], &[f32])> = (0..self.detection.anchors.strides.len())
            .map(|level| {
                let scores = format!("scores.{level}");
                let shape = self.features.shape(&scores).unwrap_or(&[]);
                let deltas = self.features.of(last, &format!("deltas.{level}"));
                ([shape[0], shape[1]], self.features.of(last, &scores), deltas)
            })
            .collect();
        let (Some(settings), Some(boxes)) = (&self.detection.regions, &self.boxes) else {
            let found = detection::decisions(&self.detection, &levels, self.classes, size);
            return Ok(found.into_iter().map(|found| Detected { found, mask: None }).collect());
        };
        let rects = detection::proposals(&self.detection, &levels, size);
        let steps: Vec<&[f32]> = out.chunks_exact(len).collect();
        let (mut logits, mut deltas) = (Vec::new(), Vec::new());
        for rects in rects.chunks(REGIONS) {
            let profiler = of_boxes.as_deref_mut();
            let values = self.head(boxes, &steps, rects, settings.side, profiler)?;
            for values in values.chunks_exact(boxes.executor.output_len()) {
                logits.extend_from_slice(boxes.of(values, "classes"));
                deltas.extend_from_slice(boxes.of(values, "boxes"));
            }
        }
        let found = detection::of_regions(settings, &rects, &logits, &deltas, size);
        let mut masks = vec![None; found.len()];
        if let (Some(side), Some(head)) = (settings.mask_side, &self.masks) {
            for (found, masks) in found.chunks(REGIONS).zip(masks.chunks_mut(REGIONS)) {
                let rects: Vec<Rect> = found.iter().map(|found| found.rect).collect();
                let profiler = of_masks.as_deref_mut();
                let values = self.head(head, &steps, &rects, side, profiler)?;
                let each = values.chunks_exact(head.executor.output_len());
                for ((values, found), mask) in each.zip(found).zip(masks) {
                    let output = head.of(values, "masks");
                    *mask = Some(detection::mask_of(output, self.classes, found.class));
                }
            }
        }
        let with_mask = found.into_iter().zip(masks);
        Ok(with_mask.map(|(found, mask)| Detected { found, mask }).collect())
    }

    /// The outputs of a head for regions cut from the features of all steps.
    fn head(
        &self,
        head: &Part,
        steps: &[&[f32]],
        rects: &[Rect],
        side: usize,
        profiler: Option<&mut Profiler>,
    ) -> Result<Vec<f32>, Error> {
        let Some(settings) = &self.detection.regions else { return Ok(Vec::new()) };
        let values = head.executor.input_len();
        let mut x = vec![0.0; steps.len() * rects.len() * values];
        for level in 0..settings.strides.len() {
            let mine: Vec<usize> =
                (0..rects.len()).filter(|&at| settings.level(rects[at]) == level).collect();
            if mine.is_empty() {
                continue;
            }
            let name = format!("features.{level}");
            let &[rows, columns, channels] = self.features.shape(&name).unwrap_or(&[]) else {
                continue;
            };
            let stride = settings.strides[level] as f32;
            let align = RoiAlign { features: [rows, columns, channels], stride, side };
            let regions: Vec<Region> =
                mine.iter().map(|&at| Region { image: 0, rect: rects[at] }).collect();
            for (step, outputs) in steps.iter().enumerate() {
                let cut = align.forward(self.features.of(outputs, &name), &regions);
                for (at, cut) in mine.iter().zip(cut.chunks_exact(values)) {
                    x[(step * rects.len() + at) * values..][..values].copy_from_slice(cut);
                }
            }
        }
        head.run(rects.len(), &x, false, profiler)
    }
}

impl Part {
    /// What belongs to an input.
    fn new(graph: &Graph, input: &str) -> Result<Result<Self, Error>, String> {
        let Some(part) = graph.part(input) else {
            return Err(format!("it has no input `{input}`"));
        };
        let inside = |name: &String| part.nodes.iter().any(|node| node.name == *name);
        let nodes = graph.nodes.iter().enumerate().filter(|(_, node)| inside(&node.name));
        let nodes = nodes.map(|(at, _)| at).collect();
        let mut outputs = Vec::new();
        let mut from = 0;
        for node in part.nodes.iter().filter(|node| matches!(node.op, Op::Output)) {
            outputs.push((node.name.clone(), node.shape.clone(), from..from + node.len()));
            from += node.len();
        }
        Ok(Executor::new(&part).map(|executor| Part { executor, nodes, outputs }))
    }

    /// The results of `every` step, or of the last one, of streams side by side; counted if asked for.
    fn run(
        &self,
        streams: usize,
        x: &[f32],
        every: bool,
        profiler: Option<&mut Profiler>,
    ) -> Result<Vec<f32>, Error> {
        let mut states: Vec<_> = (0..streams).map(|_| self.executor.state()).collect();
        let mut out = Vec::new();
        match (profiler, every) {
            (Some(profiler), _) => {
                self.executor.run_profiled(&mut states, x, &mut out, profiler)?;
            }
            (None, true) => self.executor.run(&mut states, x, &mut out)?,
            (None, false) => self.executor.run_to_end(&mut states, x, &mut out)?,
        }
        if !every {
            out.drain(..out.len().saturating_sub(streams * self.executor.output_len()));
        }
        Ok(out)
    }

    fn output(&self, name: &str) -> Result<&(String, Vec<usize>, Range<usize>), String> {
        let found = self.outputs.iter().find(|(known, ..)| known == name);
        found.ok_or_else(|| format!("it has no output `{name}`"))
    }

    fn shape(&self, name: &str) -> Result<&[usize], String> {
        self.output(name).map(|(_, shape, _)| shape.as_slice())
    }

    fn takes(&self, len: usize, input: &str) -> Result<(), String> {
        match self.executor.input_len() == len {
            true => Ok(()),
            false => Err(format!(
                "the input `{input}` takes {} values, regions have {len}",
                self.executor.input_len()
            )),
        }
    }

    fn gives(&self, name: &str, len: usize) -> Result<(), String> {
        match self.output(name)?.2.len() == len {
            true => Ok(()),
            false => Err(format!("the output `{name}` has not {len} values")),
        }
    }

    /// The values of an output, which is there, among those of a step.
    fn of<'a>(&self, values: &'a [f32], name: &str) -> &'a [f32] {
        self.output(name).map_or(&[], |(_, _, place)| &values[place.clone()])
    }
}
