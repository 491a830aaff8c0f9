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
use spikelet_graph::detection::paste;
use spikelet_runtime::Detector;
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

/// Measures a detector.
pub fn eval(model: &Model, source: &Source, ui: &Ui) -> Result {
    let detector = Detector::new(&model.graph)?;
    let (data, part, name) = scenes(model, &detector, source)?;
    let categories = &model.graph.task.classes;
    let places = category_places(categories, &data.scenes.categories)?;
    let bar = ui.progress(part.len() as u64, "images");
    let mut results = Vec::with_capacity(part.len());
    let mut with_masks = model
        .graph
        .task
        .detection
        .as_ref()
        .and_then(|d| d.regions.as_ref())
        .is_some_and(|r| r.mask_side.is_some());
    for &scene in &part {
        let result = result(&detector, model, &data, scene, &places)?;
        with_masks &= result.truths.iter().all(|truth| truth.mask.is_some());
        results.push(result);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let figures = |overlap| -> Result<MapFigures> {
        let figures = coco_eval::evaluate(&results, categories.len(), overlap)?;
        Ok(MapFigures::new(&figures, categories))
    };
    let boxes = figures(Overlap::Box)?;
    let masks = with_masks.then(|| figures(Overlap::Mask)).transpose()?;
    let images = part.len();
    let report = Report { model: model.path.clone(), data: name, images, boxes, masks };
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

/// The scenes of a command, which of them, and both in words.
fn scenes(
    model: &Model,
    detector: &Detector,
    source: &Source,
) -> Result<(DividedScenes, Vec<usize>, String)> {
    let task = &model.graph.task;
    let config = match task.notes.get(DATA_NOTE) {
        Some(text) => serde_json::from_str(text).map_err(|error| {
            Failure::from(error).context(format!("note `{DATA_NOTE}` of {}", model.path.display()))
        })?,
        None => {
            let [height, width, _] = detector.input();
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
    Ok((data, index, name))
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
    model: &Model,
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
    let image = image_of(&model.graph.task, &seen.pixels);
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
