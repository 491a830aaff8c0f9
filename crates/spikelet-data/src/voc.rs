//! Pascal VOC: one XML file an image, with the boxes of its objects.
//!
//! Layout: `JPEGImages/<name>.jpg`, `Annotations/<name>.xml` and perhaps `ImageSets/Main/{train,val,test}.txt`. Corners
//! in the files are numbers of pixels, counted from 1, and both belong to the object.

use std::fs;
use std::path::Path;

use crate::class_folders::entries;
use crate::error::{DataError, Result};
use crate::image_file::ENDINGS;
use crate::picture::{MAX_SIDE, Picture};
use crate::scenes::{MAX_CATEGORIES, MAX_OBJECTS, Object, Scene, Scenes, below, clipped};
use crate::xml::{self, Element};

/// Largest XML file: one of thousands of objects is smaller.
const MAX_FILE: u64 = 1 << 24;

/// What one XML file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Name of the image's file.
    pub file: Option<String>,
    /// Width and height of the image, if they are stated.
    pub size: Option<[u32; 2]>,
    /// Name, corners (left, top, right, bottom, as they are written), `difficult` and line of each object.
    pub objects: Vec<Named>,
}

/// An object as an XML file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// Name of its category.
    pub name: String,
    /// Left, top, right, bottom.
    pub corners: [f64; 4],
    /// Whether it is too hard to be asked for.
    pub difficult: bool,
    /// Line on which it starts.
    pub line: u64,
}

/// Reads one XML file; `file` names it in errors.
pub fn read(text: &str, file: &str) -> Result<Annotation> {
    let root = xml::parse(text, file)?;
    if root.name != "annotation" {
        let reason = format!("<{}> where <annotation> was expected", root.name);
        return Err(DataError::line(file, root.line, reason));
    }
    let size = match root.child("size") {
        Some(size) => {
            let [width, height] = ["width", "height"].map(|side| number(size, side, file));
            size_of([width?, height?], size.line, file)?
        }
        None => None,
    };
    let mut objects = Vec::new();
    for object in root.children.iter().filter(|child| child.name == "object") {
        if objects.len() == MAX_OBJECTS {
            let reason = format!("more than {MAX_OBJECTS} objects");
            return Err(DataError::line(file, object.line, reason));
        }
        let name = part(object, "name", file)?.text.clone();
        let corners = part(object, "bndbox", file)?;
        let [left, top, right, bottom] =
            ["xmin", "ymin", "xmax", "ymax"].map(|corner| number(corners, corner, file));
        objects.push(Named {
            name,
            corners: [left?, top?, right?, bottom?],
            difficult: object.child("difficult").is_some_and(|d| d.text == "1"),
            line: object.line,
        });
    }
    let file = root.child("filename").map(|name| name.text.clone()).filter(|n| !n.is_empty());
    Ok(Annotation { file, size, objects })
}

/// Some files state a size of 0, which says nothing.
fn size_of(sides: [f64; 2], line: u64, file: &str) -> Result<Option<[u32; 2]>> {
    if sides.contains(&0.0) {
        return Ok(None);
    }
    match sides.iter().all(|side| (1.0..=f64::from(MAX_SIDE)).contains(side)) {
        true => Ok(Some(sides.map(|side| side as u32))),
        false => {
            let [width, height] = sides;
            let reason =
                format!("a size of {width} x {height}; sides of 1 to {MAX_SIDE} are possible");
            Err(DataError::line(file, line, reason))
        }
    }
}

fn part<'a>(element: &'a Element, name: &str, file: &str) -> Result<&'a Element> {
    element.child(name).ok_or_else(|| {
        DataError::line(file, element.line, format!("<{}> without <{name}>", element.name))
    })
}

fn number(element: &Element, name: &str, file: &str) -> Result<f64> {
    let value = part(element, name, file)?;
    match value.text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => {
            let short: String = value.text.chars().take(20).collect();
            Err(DataError::line(file, value.line, format!("<{name}> {short:?} is no number")))
        }
    }
}

/// The scenes of a folder, in the order of their names, or of the lists in `ImageSets/Main`.
///
/// Categories are those given, in this order, or without any those that occur, in the order of their names.
pub fn load(root: &Path, categories: &[String]) -> Result<Scenes> {
    let mut scenes = Scenes { categories: categories.to_vec(), ..Scenes::default() };
    let (names, official) = names(root)?;
    let mut found = Vec::new();
    for name in &names {
        let path = root.join("Annotations").join(format!("{name}.xml"));
        let size = fs::metadata(&path).map_err(|e| DataError::io(&path, e))?.len();
        if size > MAX_FILE {
            return Err(DataError::file(&path, format!("{size} bytes; up to {MAX_FILE} are read")));
        }
        let text = fs::read_to_string(&path).map_err(|e| DataError::io(&path, e))?;
        let annotation = read(&text, &path.display().to_string())?;
        if categories.is_empty() {
            for object in &annotation.objects {
                if !scenes.categories.contains(&object.name) {
                    scenes.categories.push(object.name.clone());
                }
            }
            if scenes.categories.len() > MAX_CATEGORIES {
                return Err(DataError::file(
                    &path,
                    format!("more than {MAX_CATEGORIES} categories"),
                ));
            }
        }
        found.push((path, annotation));
    }
    if categories.is_empty() {
        scenes.categories.sort_unstable();
    }
    for ((id, name), (path, annotation)) in names.iter().enumerate().zip(found) {
        let scene = scene(root, id as u64, name, &path, annotation, &mut scenes)?;
        scenes.images.push(scene);
    }
    scenes.official = official;
    Ok(scenes)
}

fn scene(
    root: &Path,
    id: u64,
    name: &str,
    path: &Path,
    annotation: Annotation,
    scenes: &mut Scenes,
) -> Result<Scene> {
    let xml = path.display().to_string();
    let images = root.join("JPEGImages");
    let stated = annotation.file.as_deref().and_then(|file| below(&images, file));
    let by_name = ENDINGS.iter().map(|ending| images.join(format!("{name}.{ending}")));
    let Some(file) = stated.into_iter().chain(by_name).find(|file| file.is_file()) else {
        return Err(DataError::file(path, format!("no image {name}.jpg in {}", images.display())));
    };
    let [width, height] = match annotation.size {
        Some(size) => size,
        None => Picture::size_of(&file)?.map(|side| side as u32),
    };
    let mut objects = Vec::new();
    for Named { name, corners: [left, top, right, bottom], difficult, line } in annotation.objects {
        let Some(category) = scenes.categories.iter().position(|known| *known == name) else {
            let known = scenes.categories.join(", ");
            return Err(DataError::line(
                &xml,
                line,
                format!("category {name:?}; known are {known}"),
            ));
        };
        let bbox = [left - 1.0, top - 1.0, right - left + 1.0, bottom - top + 1.0];
        // A line of no width is a slip of the mouse, although its one pixel could be counted.
        match clipped(bbox, width, height).filter(|_| right > left && bottom > top) {
            Some(bbox) => objects.push(Object {
                category: category as u32,
                bbox,
                area: bbox[2] * bbox[3],
                outline: None,
                crowd: false,
                difficult,
            }),
            None => scenes.dropped.push(format!(
                "{xml}:{line}: the box {left}, {top} to {right}, {bottom} is not in the image of {width} x {height}"
            )),
        }
    }
    Ok(Scene { id, file, width, height, objects })
}

/// Names of the images, and the sizes of official parts.
fn names(root: &Path) -> Result<(Vec<String>, Option<[usize; 3]>)> {
    let lists = root.join("ImageSets/Main");
    if lists.join("train.txt").is_file() {
        let (mut names, mut official) = (Vec::new(), [0; 3]);
        for (part, size) in ["train", "val", "test"].into_iter().zip(&mut official) {
            let path = lists.join(format!("{part}.txt"));
            if !path.is_file() {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|e| DataError::io(&path, e))?;
            for (line, number) in text.lines().zip(1..) {
                let Some(name) = line.split_whitespace().next() else { continue };
                if below(root, name).is_none() {
                    return Err(DataError::line(
                        &path.display().to_string(),
                        number,
                        format!("{name:?} leads out of the folder"),
                    ));
                }
                names.push(name.to_owned());
                *size += 1;
            }
        }
        // Where there is no test part, the validation part is what is reported.
        let official = if official[2] == 0 { [official[0], 0, official[1]] } else { official };
        return Ok((names, Some(official)));
    }
    let folder = root.join("Annotations");
    let xml =
        |path: &std::path::PathBuf| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml"));
    let names: Vec<String> = entries(&folder)?
        .into_iter()
        .filter(xml)
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    match names.is_empty() {
        true => Err(DataError::file(&folder, "no annotations; expected <name>.xml")),
        false => Ok((names, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<annotation>\n<filename>a.jpg</filename>\n<size><width>10</width><height>8</height></size>\n\
        <object><name>cat</name><difficult>1</difficult>\n<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>4</xmax><ymax>8</ymax>\
        </bndbox></object>\n<object><name>ant</name><bndbox><xmin>9.0</xmin><ymin>1</ymin><xmax>30</xmax><ymax>3</ymax>\
        </bndbox></object>\n<object><name>ant</name><bndbox><xmin>5</xmin><ymin>0</ymin><xmax>5</xmax><ymax>3</ymax>\
        </bndbox></object>\n</annotation>";

    fn folder(xml: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for inner in ["JPEGImages", "Annotations", "ImageSets/Main"] {
            fs::create_dir_all(dir.path().join(inner)).unwrap();
        }
        fs::write(dir.path().join("Annotations/a.xml"), xml).unwrap();
        fs::write(dir.path().join("JPEGImages/a.jpg"), "").unwrap();
        dir
    }

    #[test]
    fn corners_are_pixels_counted_from_1() {
        let dir = folder(GOOD);
        let scenes = load(dir.path(), &[]).unwrap();
        assert_eq!(scenes.categories, ["ant", "cat"]);
        let [cat, ant] = &scenes.images[0].objects[..] else { panic!("{scenes:?}") };
        assert_eq!((cat.category, cat.bbox, cat.difficult), (1, [0.0, 1.0, 4.0, 7.0], true));
        assert_eq!((ant.bbox, ant.area, ant.counts()), ([8.0, 0.0, 2.0, 3.0], 6.0, true));
        assert_eq!(scenes.dropped.len(), 1);
        assert!(
            scenes.dropped[0].contains("a.xml:7: the box 5, 0 to 5, 3"),
            "{:?}",
            scenes.dropped
        );
    }

    #[test]
    fn lists_of_parts() {
        let dir = folder(GOOD);
        let list = |part: &str, names: &str| {
            fs::write(dir.path().join(format!("ImageSets/Main/{part}.txt")), names).unwrap();
        };
        list("train", "a\n\n");
        list("val", "a 1\na -1\n");
        assert_eq!(load(dir.path(), &[]).unwrap().official, Some([1, 0, 2]));
        list("test", "../a\n");
        let e = load(dir.path(), &[]).unwrap_err().to_string();
        assert!(e.contains("test.txt:1: \"../a\" leads out"), "{e}");
        list("test", "b\n");
        assert!(load(dir.path(), &[]).unwrap_err().to_string().contains("b.xml"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let known = ["cat".to_owned()];
        let e = load(folder(GOOD).path(), &known).unwrap_err().to_string();
        assert!(e.contains("a.xml:6: category \"ant\"; known are cat"), "{e}");
        for (from, to, said) in [
            ("<xmax>4</xmax>", "<xmax>4x</xmax>", "a.xml:5: <xmax> \"4x\" is no number"),
            ("<xmax>4</xmax>", "", "a.xml:5: <bndbox> without <xmax>"),
            ("<xmax>4</xmax>", "<xmax>inf</xmax>", "is no number"),
            ("<name>cat</name>", "", "a.xml:4: <object> without <name>"),
            ("<width>10</width>", "<width>1e9</width>", "a size of 1000000000 x 8"),
            ("annotation>", "annotatio>", "where <annotation> was expected"),
        ] {
            let e = load(folder(&GOOD.replace(from, to)).path(), &[]).unwrap_err().to_string();
            assert!(e.contains(said), "{e}");
        }
        let dir = folder(GOOD);
        fs::remove_file(dir.path().join("JPEGImages/a.jpg")).unwrap();
        assert!(load(dir.path(), &[]).unwrap_err().to_string().contains("no image a.jpg"));
    }
}
