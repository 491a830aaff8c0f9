//! `spikelet eval` of a detector: average precision, by the rules of COCO.

use super::picture::{image_of, in_picture};
use crate::{
    failure::{Failure, Outcome, Result},
    labelled::{DATA_NOTE, Part, Source},
    model::Model,
    table::Table,
    ui::Ui,
};
use serde::{Deserialize, Serialize};
use spikelet_data::{
    coco_eval::{self, CocoFigures, Detection, ImageResult, Overlap, Truth},
    nearest::suggest,
    rle::Rle,
    scenes_source::{DividedScenes, ScenesConfig},
};
use spikelet_graph::{Counters, Graph, detection::paste};
use spikelet_runtime::{Detector, DetectorProfiler};
use std::path::PathBuf;

/// Average precision, as shares of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapFigures {
    /// At an overlap of 0.5.
    pub map50: f64,
    /// The mean over overlaps from 0.5 to 0.95.
    pub map: f64,
    /// Of every category: at 0.5, and the mean; nothing for one that no image has.
    pub categories: Vec<(String, Option<f64>, Option<f64>)>,
}

impl MapFigures {
    /// The figures of interest, with names.
    pub fn new(figures: &CocoFigures, categories: &[String]) -> MapFigures {
        let of = |(name, [map, map50]): (&String, &[Option<f64>; 2])| (name.clone(), *map50, *map);
        MapFigures {
            map50: figures.ap50.unwrap_or_default(),
            map: figures.ap.unwrap_or_default(),
            categories: categories.iter().zip(&figures.categories).map(of).collect(),
        }
    }

    /// One line.
    pub fn line(&self, what: &str) -> String {
        format!(
            "{what}: mAP@0.5 {:.2} %, mAP@0.5:0.95 {:.2} %",
            100.0 * self.map50,
            100.0 * self.map
        )
    }

    /// A row for every category.
    pub fn table(&self) -> Table {
        let percent =
            |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{:.2} %", 100.0 * v));
        let mut table = Table::new(["class", "AP@0.5", "AP@0.5:0.95"]);
        for (name, map50, map) in &self.categories {
            table.row([name.clone(), percent(*map50), percent(*map)]);
        }
        table
    }
}

#[derive(Serialize)]
struct Report {
    model: PathBuf,
    data: String,
    images: usize,
    boxes: MapFigures,
    #[serde(skip_serializing_if = "Option::is_none")]
    masks: Option<MapFigures>,
}

/// The scenes of a command.
pub struct Labelled {
    data: DividedScenes,
    /// Those of the part.
    index: Vec<usize>,
    /// Data set, split and part in words.
    pub name: String,
}

/// Measures a detector.
pub fn eval(model: &Model, source: &Source, ui: &Ui) -> Result {
    let labelled = Labelled::load(&model.graph, source)?;
    let (boxes, masks) = labelled.figures(&model.graph, ui)?;
    let images = labelled.index.len();
    let report = Report { model: model.path.clone(), data: labelled.name, images, boxes, masks };
    let text = || {
        let mut text =
            format!("{}\n{} images, {}\n\n", report.boxes.line("boxes"), images, report.data);
        text += &report.boxes.table().text();
        if let Some(masks) = &report.masks {
            text += &format!("\n{}\n\n{}", masks.line("masks"), masks.table().text());
        }
        text
    };
    ui.print(text, &report)?;
    Ok(Outcome::Done)
}

impl Labelled {
    /// Loads the scenes for a detector: those the user names, or those it learned from.
    pub fn load(graph: &Graph, source: &Source) -> Result<Labelled> {
        let task = &graph.task;
        let config = match task.notes.get(DATA_NOTE) {
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Failure::from(error).context(format!("note `{DATA_NOTE}` of {}", graph.name))
            })?,
            None => {
                let [height, width, _] = Detector::new(graph)?.input();
                let dataset = task.dataset.clone().unwrap_or_default();
                ScenesConfig::new(&dataset, [height, width])
            }
        };
        let data = config.load(source.data.as_deref())?;
        let split = &data.split;
        let (part, index) = match source.split {
            Some(Part::Train) => ("training part", split.train.clone()),
            Some(Part::Validation) => ("validation part", split.val.clone()),
            Some(Part::All) => ("all parts", (0..data.scenes.images.len()).collect()),
            Some(Part::Test) | None => ("test part", split.test.clone()),
        };
        if index.is_empty() {
            return Err(Failure::usage(format!("the {part} is empty: {}", data.split_name))
                .help("choose another part with --split"));
        }
        let name = format!("{}, {}, {part}", config.dataset, data.split_name);
        Ok(Labelled { data, index, name })
    }

    /// Average precision of boxes, and of masks where detector and scenes have them.
    pub fn figures(&self, graph: &Graph, ui: &Ui) -> Result<(MapFigures, Option<MapFigures>)> {
        let detector = Detector::new(graph)?;
        let categories = &graph.task.classes;
        let places = category_places(categories, &self.data.scenes.categories)?;
        let bar = ui.progress(self.index.len() as u64, "images");
        let mut results = Vec::with_capacity(self.index.len());
        let regions = graph.task.detection.as_ref().and_then(|d| d.regions.as_ref());
        let mut with_masks = regions.is_some_and(|r| r.mask_side.is_some());
        for &scene in &self.index {
            let result = result(&detector, graph, &self.data, scene, &places)?;
            with_masks &= result.truths.iter().all(|truth| truth.mask.is_some());
            results.push(result);
            bar.inc(1);
        }
        bar.finish_and_clear();
        let figures = |overlap| -> Result<MapFigures> {
            let figures = coco_eval::evaluate(&results, categories.len(), overlap)?;
            Ok(MapFigures::new(&figures, categories))
        };
        let masks = with_masks.then(|| figures(Overlap::Mask)).transpose()?;
        Ok((figures(Overlap::Box)?, masks))
    }

    /// What a detector does to the first `limit` scenes of the part (0: to all), node by node.
    pub fn count_operations(&self, graph: &Graph, limit: usize) -> Result<Counters> {
        let detector = Detector::new(graph)?;
        let mut profiler = DetectorProfiler::new(&detector);
        let limit = if limit > 0 { limit } else { self.index.len() };
        for &scene in self.index.iter().take(limit) {
            let seen = self.data.whole(scene)?;
            detector.detect_profiled(&image_of(&graph.task, &seen.pixels), &mut profiler)?;
        }
        Ok(detector.counters(&profiler))
    }
}

/// For every category of the data its place among the classes of the model.
fn category_places(classes: &[String], categories: &[String]) -> Result<Vec<u32>> {
    let place = |category: &String| match classes.iter().position(|known| known == category) {
        Some(place) => Ok(place as u32),
        None => {
            let hint = suggest(category, classes.iter().map(String::as_str));
            Err(Failure::input(format!("the model has no class `{category}`{hint}")))
        }
    };
    categories.iter().map(place).collect()
}

fn result(
    detector: &Detector,
    graph: &Graph,
    data: &DividedScenes,
    index: usize,
    places: &[u32],
) -> Result<ImageResult> {
    let scene = &data.scenes.images[index];
    let size = [scene.height as usize, scene.width as usize];
    let mut truths = Vec::with_capacity(scene.objects.len());
    for object in &scene.objects {
        truths.push(Truth {
            category: places[object.category as usize],
            bbox: object.bbox,
            area: object.area,
            crowd: object.crowd,
            ignored: object.difficult,
            mask: object.mask(scene.height, scene.width).transpose()?,
        });
    }
    let seen = data.whole(index)?;
    let image = image_of(&graph.task, &seen.pixels);
    let mut detections = Vec::new();
    for detected in detector.detect(&image)? {
        let rect = in_picture(&seen.view, &detected, size);
        let mask = match &detected.mask {
            None => None,
            Some(mask) => {
                let pixels = paste(mask, mask.len().isqrt(), rect, size);
                Some(Rle::of(scene.height, scene.width, |pixel| pixels[pixel])?)
            }
        };
        let [left, top, right, bottom] = rect.map(f64::from);
        detections.push(Detection {
            category: detected.found.class as u32,
            score: f64::from(detected.found.score),
            bbox: [left, top, right - left, bottom - top],
            mask,
        });
    }
    Ok(ImageResult { truths, detections })
}
