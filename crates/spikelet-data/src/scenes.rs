//! Photographs with objects in them: what detectors learn from.

use std::path::{Component, Path, PathBuf};

use crate::error::{DataError, Result};
use crate::picture::Picture;
use crate::rle::Rle;
use crate::{coco, voc};

/// Most categories of objects.
pub const MAX_CATEGORIES: usize = 1 << 12;
/// Most objects in one image.
pub const MAX_OBJECTS: usize = 1 << 16;

/// Images and the objects in them. Images are read when they are needed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scenes {
    /// Names of the categories.
    pub categories: Vec<String>,
    /// The images; official training part first, then validation and test.
    pub images: Vec<Scene>,
    /// Sizes of the official parts, if there are any.
    pub official: Option<[usize; 3]>,
    /// What was left out and why, one sentence each: boxes without any part inside their image.
    pub dropped: Vec<String>,
}

/// One image.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Its number in the data set; results for others' tools name it.
    pub id: u64,
    /// Its file.
    pub file: PathBuf,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// What is in it.
    pub objects: Vec<Object>,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// An index into the categories.
    pub category: u32,
    /// Left, top, width and height in pixels, within the image.
    pub bbox: [f64; 4],
    /// Pixels that it covers, by its annotation; that of the box if nothing else is known.
    pub area: f64,
    /// Its outline, if it has one.
    pub outline: Option<Outline>,
    /// A crowd of many: detections in it are neither right nor wrong, and it is not learnt.
    pub crowd: bool,
    /// One object too hard to be asked for: as a crowd, but it is one.
    pub difficult: bool,
}

/// Which pixels belong to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline {
    /// The union of polygons, each `x0, y0, x1, y1, ..`.
    Polygons(Vec<Vec<f64>>),
    /// Pixel by pixel.
    Runs(Rle),
}

impl Scenes {
    /// The scenes of the data set called `name`, or of a folder of the user's own in COCO's or Pascal VOC's layout.
    pub fn load(name: &str, root: &Path) -> Result<Self> {
        match name {
            "coco" => coco::load(root),
            "bccd" | "voc2012" => voc::load(root, &[]),
            _ if root.join("Annotations").is_dir() => voc::load(root, &[]),
            _ => coco::load(root),
        }
    }
}

impl Scene {
    /// Its image.
    ///
    /// # Errors
    /// A file that cannot be read, or an image of another size than the annotations say.
    pub fn picture(&self) -> Result<Picture> {
        let picture = Picture::load(&self.file)?;
        let [width, height] = [self.width, self.height].map(|side| side as usize);
        match (picture.width, picture.height) == (width, height) {
            true => Ok(picture),
            false => Err(DataError::file(
                &self.file,
                format!(
                    "{} x {} pixels; its annotations are for {width} x {height}",
                    picture.width, picture.height
                ),
            )),
        }
    }
}

impl Object {
    /// Its pixels in an image of `height` x `width`, if its outline is known.
    pub fn mask(&self, height: u32, width: u32) -> Option<Result<Rle>> {
        Some(match self.outline.as_ref()? {
            Outline::Polygons(polygons) => Rle::polygons(height, width, polygons),
            Outline::Runs(rle) if (rle.height, rle.width) == (height, width) => Ok(rle.clone()),
            Outline::Runs(rle) => Err(DataError::request(format!(
                "a mask of {} x {} in an image of {width} x {height}",
                rle.width, rle.height
            ))),
        })
    }

    /// Whether a detector learns it and is asked for it.
    pub fn counts(&self) -> bool {
        !self.crowd && !self.difficult
    }
}

/// The part of a box `[left, top, width, height]` within an image; `None` if nothing is left.
pub fn clipped(bbox: [f64; 4], width: u32, height: u32) -> Option<[f64; 4]> {
    let [x, y, w, h] = bbox;
    let (left, top) = (x.max(0.0), y.max(0.0));
    let (right, bottom) = ((x + w).min(f64::from(width)), (y + h).min(f64::from(height)));
    (bbox.iter().all(|v| v.is_finite()) && right > left && bottom > top).then_some([
        left,
        top,
        right - left,
        bottom - top,
    ])
}

/// `name` below `folder`; what would lead out of it is an error.
pub(crate) fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !name.is_empty()).then(|| folder.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_cut_at_the_border() {
        assert_eq!(clipped([-2.0, 1.0, 5.0, 20.0], 10, 8), Some([0.0, 1.0, 3.0, 7.0]));
        assert_eq!(clipped([10.0, 1.0, 5.0, 2.0], 10, 8), None);
        assert_eq!(clipped([1.0, 1.0, 0.0, 2.0], 10, 8), None);
        assert_eq!(clipped([f64::NAN, 1.0, 5.0, 2.0], 10, 8), None);
    }

    #[test]
    fn an_image_of_another_size() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.png");
        image::RgbImage::new(3, 2).save(&file).unwrap();
        let mut scene = Scene { id: 0, file, width: 3, height: 2, objects: Vec::new() };
        assert_eq!(scene.picture().unwrap().rgb.len(), 18);
        scene.width = 2;
        let e = scene.picture().unwrap_err().to_string();
        assert!(e.contains("a.png: 3 x 2 pixels; its annotations are for 2 x 2"), "{e}");
    }

    #[test]
    fn names_stay_in_their_folder() {
        let folder = Path::new("f");
        assert_eq!(below(folder, "a/b.jpg"), Some(folder.join("a/b.jpg")));
        assert_eq!(
            ["../b", "/b", "a/../../b", ""].map(|name| below(folder, name)),
            [const { None }; 4]
        );
    }
}
