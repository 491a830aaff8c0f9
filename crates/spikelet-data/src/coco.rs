//! COCO's JSON of images, categories and annotated objects, with boxes, polygons and run-length masks.
//!
//! Layout: `annotations/instances_{train2017,val2017}.json` beside the folders `train2017` and `val2017`, or one
//! `annotations.json` (or any single JSON file) beside or above the images.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::class_folders::entries;
use crate::error::{DataError, Result};
use crate::picture::MAX_SIDE;
use crate::rle::Rle;
use crate::scenes::{MAX_CATEGORIES, MAX_OBJECTS, Object, Outline, Scene, Scenes, below, clipped};

/// Largest file of annotations: that of COCO's training part has 450 MB.
const MAX_FILE: u64 = 1 << 30;

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    width: u32,
    height: u32,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<Segmentation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [u32; 2], counts: Counts },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Text(String),
    Numbers(Vec<u32>),
}

/// The scenes that a JSON file describes; images lie in `folder`. `file` names the JSON in errors.
///
/// # Errors
/// No such JSON, sizes that are not possible, annotations of unknown images or categories, masks that do not fit
/// their image, file names that lead out of the folder.
pub fn read(json: &[u8], file: &str, folder: &Path) -> Result<Scenes> {
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    let content: File =
        serde_json::from_slice(json).map_err(|e| wrong(format!("no COCO annotations: {e}")))?;
    if content.categories.len() > MAX_CATEGORIES {
        let n = content.categories.len();
        return Err(wrong(format!("{n} categories; up to {MAX_CATEGORIES} are possible")));
    }
    let mut scenes = Scenes::default();
    let mut category_of = HashMap::new();
    for Category { id, name } in content.categories {
        if category_of.insert(id, scenes.categories.len() as u32).is_some() {
            return Err(wrong(format!("category {id} is there twice")));
        }
        scenes.categories.push(name);
    }
    let mut image_of = HashMap::new();
    for Image { id, file_name, width, height } in content.images {
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(wrong(format!(
                "image {id}: {width} x {height}; sides of 1 to {MAX_SIDE} are possible"
            )));
        }
        let Some(file) = below(folder, &file_name) else {
            return Err(wrong(format!(
                "image {id}: file_name {file_name:?} leads out of the folder of images"
            )));
        };
        if image_of.insert(id, scenes.images.len()).is_some() {
            return Err(wrong(format!("image {id} is there twice")));
        }
        scenes.images.push(Scene { id, file, width, height, objects: Vec::new() });
    }
    for (number, annotation) in content.annotations.into_iter().enumerate() {
        let wrong = |reason: String| wrong(format!("annotations[{number}]: {reason}"));
        let id = annotation.image_id;
        let Some(scene) = image_of.get(&id).map(|&at| &mut scenes.images[at]) else {
            return Err(wrong(format!("image_id {id} is not among the images")));
        };
        let category = annotation.category_id;
        let Some(&category) = category_of.get(&category) else {
            return Err(wrong(format!("category_id {category} is not among the categories")));
        };
        match object(annotation, category, scene).map_err(|e| wrong(e.to_string()))? {
            Some(object) if scene.objects.len() < MAX_OBJECTS => scene.objects.push(object),
            Some(_) => {
                return Err(wrong(format!("more than {MAX_OBJECTS} objects in image {id}")));
            }
            None => scenes
                .dropped
                .push(format!("{file}: annotations[{number}]: no part of the box is in the image")),
        }
    }
    Ok(scenes)
}

fn object(annotation: Annotation, category: u32, scene: &Scene) -> Result<Option<Object>> {
    let Scene { width, height, .. } = *scene;
    let outline = match annotation.segmentation {
        None => None,
        Some(Segmentation::Polygons(polygons)) if polygons.is_empty() => None,
        Some(Segmentation::Polygons(polygons)) => {
            // Drawn only to see that it can be.
            Rle::polygons(height, width, &polygons)?;
            Some(Outline::Polygons(polygons))
        }
        Some(Segmentation::Runs { size, .. }) if size != [height, width] => {
            return Err(DataError::request(format!(
                "a mask of {} x {} in an image of {width} x {height}",
                size[1], size[0]
            )));
        }
        Some(Segmentation::Runs { counts: Counts::Text(text), .. }) => {
            Some(Outline::Runs(Rle::parse(height, width, &text)?))
        }
        Some(Segmentation::Runs { counts: Counts::Numbers(counts), .. }) => {
            Some(Outline::Runs(Rle::new(height, width, counts)?))
        }
    };
    let [_, _, w, h] = annotation.bbox;
    let area = annotation.area.unwrap_or(w * h);
    Ok(clipped(annotation.bbox, width, height).map(|bbox| Object {
        category,
        bbox,
        area,
        outline,
        crowd: annotation.iscrowd != 0,
        difficult: false,
    }))
}

/// The scenes of a folder.
pub fn load(root: &Path) -> Result<Scenes> {
    let [train, val] = ["train2017", "val2017"]
        .map(|part| (root.join(format!("annotations/instances_{part}.json")), root.join(part)));
    if !train.0.is_file() && !val.0.is_file() {
        let json = single_json(root)?;
        return of_file(&json, &images_of(root));
    }
    let mut all = Scenes::default();
    let mut official = [0; 3];
    for (part, (json, images)) in [train, val].into_iter().enumerate() {
        if !json.is_file() {
            continue;
        }
        let scenes = of_file(&json, &images)?;
        if !all.categories.is_empty() && all.categories != scenes.categories {
            return Err(DataError::file(&json, "other categories than in the training part"));
        }
        all.categories = scenes.categories;
        // The validation part is what is reported: the test part's annotations are secret.
        official[2 * part] = scenes.images.len();
        all.images.extend(scenes.images);
        all.dropped.extend(scenes.dropped);
    }
    all.official = Some(official);
    Ok(all)
}

fn of_file(json: &Path, images: &Path) -> Result<Scenes> {
    let size = fs::metadata(json).map_err(|e| DataError::io(json, e))?.len();
    if size > MAX_FILE {
        return Err(DataError::file(json, format!("{size} bytes; up to {MAX_FILE} are read")));
    }
    let bytes = fs::read(json).map_err(|e| DataError::io(json, e))?;
    read(&bytes, &json.display().to_string(), images)
}

/// The one JSON file of a folder or of its folder `annotations`.
pub(crate) fn single_json(root: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for folder in [root.to_path_buf(), root.join("annotations")] {
        if folder.is_dir() {
            found.extend(
                entries(&folder)?.into_iter().filter(|path| {
                    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
                }),
            );
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        n => Err(DataError::file(
            root,
            format!(
                "{n} JSON files; expected annotations/instances_train2017.json or a single one"
            ),
        )),
    }
}

fn images_of(root: &Path) -> PathBuf {
    let inner = root.join("images");
    if inner.is_dir() { inner } else { root.to_path_buf() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"info": {}, "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
        "images": [{"id": 5, "file_name": "a.jpg", "width": 6, "height": 4},
                   {"id": 2, "file_name": "sub/b.jpg", "width": 3, "height": 2}],
        "annotations": [
          {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 1, 2, 2], "area": 4, "iscrowd": 0,
           "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]},
          {"id": 2, "image_id": 2, "category_id": 7, "bbox": [1, 0, 9, 2], "iscrowd": 1,
           "segmentation": {"size": [2, 3], "counts": [2, 3, 1]}},
          {"id": 3, "image_id": 2, "category_id": 7, "bbox": [9, 0, 9, 2],
           "segmentation": {"size": [2, 3], "counts": "231"}}]}"#;

    #[test]
    fn everything_is_found() {
        let scenes = read(GOOD.as_bytes(), "f.json", Path::new("images")).unwrap();
        assert_eq!(scenes.categories, ["cat", "dog"]);
        assert_eq!(scenes.images[1].file, Path::new("images/sub/b.jpg"));
        let object = &scenes.images[0].objects[0];
        assert_eq!((object.category, object.area, object.crowd), (1, 4.0, false));
        assert_eq!(object.mask(4, 6).unwrap().unwrap().area(), 4);
        let crowd = &scenes.images[1].objects[0];
        assert_eq!((crowd.bbox, crowd.crowd, crowd.area), ([1.0, 0.0, 2.0, 2.0], true, 18.0));
        assert_eq!(crowd.mask(2, 3).unwrap().unwrap().area(), 3);
        assert!(crowd.mask(3, 3).unwrap().is_err());
        assert_eq!(scenes.dropped.len(), 1, "{:?}", scenes.dropped);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("\"image_id\": 5", "\"image_id\": 6", "annotations[0]: image_id 6 is not among"),
            ("\"category_id\": 3", "\"category_id\": 4", "annotations[0]: category_id 4 is not"),
            (
                "\"size\": [2, 3], \"counts\": [",
                "\"size\": [3, 2], \"counts\": [",
                "[1]: a mask of 2 x 3 in",
            ),
            ("[2, 3, 1]", "[2, 3, 4294967295]", "runs of 4294967300 pixels"),
            ("\"231\"", "\"2310\"", "annotations[2]: runs of"),
            ("[[1, 1, 3, 1, 3, 3, 1, 3]]", "[[1, 1, 1e9, 1, 3, 3]]", "coordinate 1000000000"),
            ("[[1, 1, 3, 1, 3, 3, 1, 3]]", "[[1, 1]]", "a polygon of 2 numbers"),
            ("\"width\": 6", "\"width\": 4000000000", "image 5: 4000000000 x 4; sides"),
            ("sub/b.jpg", "../b.jpg", "leads out of the folder"),
            ("\"id\": 2, \"file", "\"id\": 5, \"file", "image 5 is there twice"),
            ("\"categories\"", "\"kategories\"", "no COCO annotations: missing field `categories`"),
            ("\"id\": 3, \"name\"", "\"id\": 7, \"name\"", "category 7 is there twice"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let broken = GOOD.replacen(from, to, 1);
            let e = read(broken.as_bytes(), "f.json", Path::new("i")).unwrap_err().to_string();
            assert!(e.starts_with("f.json: ") && e.contains(said), "{e}");
        }
    }

    #[test]
    fn official_parts_and_a_single_file() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("annotations");
        fs::create_dir_all(&notes).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("0 JSON files"));
        fs::write(notes.join("all.json"), GOOD).unwrap();
        assert_eq!(load(dir.path()).unwrap().official, None);
        for part in ["train", "val"] {
            fs::write(notes.join(format!("instances_{part}2017.json")), GOOD).unwrap();
        }
        let both = load(dir.path()).unwrap();
        assert_eq!((both.official, both.images.len()), (Some([2, 0, 2]), 4));
        assert!(both.images[2].file.ends_with("val2017/a.jpg"));
        fs::write(notes.join("instances_val2017.json"), GOOD.replace("dog", "cow")).unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("other categories"));
    }
}
