//! `spikelet run` of a detector: what is in a picture, and a copy of it with boxes and masks.

use crate::{
    failure::{Failure, Outcome, Result},
    model::Model,
    table::Table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{draw::colour, picture::Picture, view::View};
use spikelet_graph::{
    Task,
    detection::{Rect, clip, paste},
};
use spikelet_runtime::{Detected, Detector};
use std::path::Path;

/// Pixels of a side of a box, for every so many of the picture.
const LINE: usize = 200;

#[derive(Serialize)]
struct Report {
    width: usize,
    height: usize,
    objects: Vec<Object>,
}

#[derive(Serialize)]
struct Object {
    class: String,
    score: f32,
    /// Left, top, right, bottom in pixels of the picture.
    bbox: Rect,
    /// Pixels of its mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    area: Option<usize>,
    /// Its colour in what is painted.
    colour: String,
}

/// Detects what is in a picture, and paints it if there is a file for it. Objects of a score below
/// `least` are left out.
pub fn run(model: &Model, input: &Path, draw: Option<&Path>, least: f32, ui: &Ui) -> Result {
    if !(0.0..=1.0).contains(&least) {
        return Err(Failure::usage(format!("--least {least}: a score is from 0 to 1")));
    }
    let detector = Detector::new(&model.graph)?;
    let mut picture = Picture::load(input)?;
    let [rows, columns, channels] = detector.input();
    if channels != 3 {
        return Err(Failure::input(format!(
            "{} looks at {channels} channels, a picture has 3",
            model.path.display()
        )));
    }
    let view = View::whole(picture.height, picture.width, [rows, columns]);
    let task = &model.graph.task;
    let found = detector.detect(&image_of(task, &view.of(&picture)))?;
    let size = [picture.height, picture.width];
    let mut objects = Vec::new();
    // The best on top.
    for detected in found.iter().filter(|detected| detected.found.score >= least).rev() {
        let rect = in_picture(&view, detected, size);
        let (class, paint) = (detected.found.class, colour(detected.found.class));
        let pixels = detected.mask.as_ref().map(|mask| paste(mask, mask.len().isqrt(), rect, size));
        if draw.is_some() {
            if let Some(pixels) = &pixels {
                picture.tint(pixels, paint);
            }
            let width = (size[0].min(size[1]) / LINE).max(1) + 1;
            picture.frame(rect, width, paint);
        }
        let [r, g, b] = paint;
        objects.push(Object {
            class: task.classes.get(class).cloned().unwrap_or_else(|| class.to_string()),
            score: detected.found.score,
            bbox: rect,
            area: pixels.map(|pixels| pixels.iter().filter(|pixel| **pixel).count()),
            colour: format!("#{r:02x}{g:02x}{b:02x}"),
        });
    }
    objects.reverse();
    if let Some(path) = draw {
        picture.save(path)?;
    }
    let report = Report { width: size[1], height: size[0], objects };
    ui.print(|| report.text(draw), &report)?;
    Ok(Outcome::Done)
}

impl Report {
    fn text(&self, draw: Option<&Path>) -> String {
        let mut table = Table::new(["class", "score", "left", "top", "right", "bottom", "colour"]);
        for object in &self.objects {
            let place = object.bbox.map(|value| format!("{value:.0}"));
            let [left, top, right, bottom] = place;
            let score = format!("{:.3}", object.score);
            let (class, colour) = (object.class.clone(), object.colour.clone());
            table.row([class, score, left, top, right, bottom, colour]);
        }
        let painted = draw.map(|path| format!("\npainted: {}", path.display()));
        format!(
            "{} objects in {} x {} pixels\n\n{}{}",
            self.objects.len(),
            self.width,
            self.height,
            table.text(),
            painted.unwrap_or_default()
        )
    }
}

/// Pixels `[rows, columns, 3]` as a detector looks at them.
pub(super) fn image_of(task: &Task, pixels: &[u8]) -> Vec<f32> {
    let mut image: Vec<f32> = pixels.iter().map(|value| f32::from(*value) / 255.0).collect();
    crate::evaluate::normalise(task, &mut image);
    image
}

/// The box of an object in the picture itself.
pub(super) fn in_picture(view: &View, detected: &Detected, size: [usize; 2]) -> Rect {
    clip(view.back(detected.found.rect), size)
}
