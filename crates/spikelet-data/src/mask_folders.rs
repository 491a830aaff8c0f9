//! Images with one mask each: what segmenting networks learn from.
//!
//! Layout: `images/<name>.{jpg,jpeg,png}` and `masks/<name>.png`, or below both the same folders of parts, `train`, `val`
//! and `test`; ADE20K calls the masks `annotations` and the parts `training` and `validation`. A mask is a grey image
//! of the same size whose values are classes or instances.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::class_folders::entries;
use crate::error::{DataError, Result};
use crate::image_file::ENDINGS;
use crate::picture::{Labels, Picture};

/// Class of a pixel that is neither learnt nor counted.
pub const NO_CLASS: u8 = u8::MAX;
/// Most classes of pixels.
pub const MAX_CLASSES: usize = NO_CLASS as usize;

/// What the values of masks mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskValues {
    /// The class; 255 is none.
    #[default]
    Classes,
    /// The class plus 1; 0 is none (ADE20K).
    ClassesFromOne,
    /// 0 for the background, class 0; others number the objects, class 1.
    Instances,
}

/// What the masks of the data set called `name` hold, and how many classes; classes of a user's own set are as many as
/// there can be.
pub fn meaning(name: &str) -> (MaskValues, usize) {
    match name {
        "dsb2018-nuclei" => (MaskValues::Instances, 2),
        "ade20k" => (MaskValues::ClassesFromOne, 150),
        _ => (MaskValues::Classes, MAX_CLASSES),
    }
}

/// An image and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskedImage {
    /// File of the image.
    pub image: PathBuf,
    /// File of the mask.
    pub mask: PathBuf,
}

/// The images of a folder, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskFolders {
    /// Images, in the order of names; official training part first, then validation and test.
    pub images: Vec<MaskedImage>,
    /// Sizes of the parts, if the folder has them.
    pub official: Option<[usize; 3]>,
}

/// Lists a folder.
///
/// # Errors
/// Folders that are missing, and images without a mask.
pub fn list(root: &Path) -> Result<MaskFolders> {
    let images = root.join("images");
    let masks = ["masks", "annotations"].map(|name| root.join(name));
    let Some(masks) = masks.into_iter().find(|folder| folder.is_dir()) else {
        return Err(DataError::file(root, "expected the folders images and masks"));
    };
    let parts = [&["train", "training"][..], &["val", "validation"], &["test", "testing"]]
        .map(|names| names.iter().find(|name| images.join(name).is_dir()));
    if parts[0].is_none() {
        let images = pairs(&images, &masks)?;
        return Ok(MaskFolders { images, official: None });
    }
    let (mut all, mut official) = (Vec::new(), [0; 3]);
    for (part, size) in parts.into_iter().zip(&mut official) {
        let Some(part) = part else { continue };
        let found = pairs(&images.join(part), &masks.join(part))?;
        *size = found.len();
        all.extend(found);
    }
    // Where there is no test part, the validation part is what is reported.
    let official = if official[2] == 0 { [official[0], 0, official[1]] } else { official };
    Ok(MaskFolders { images: all, official: Some(official) })
}

fn pairs(images: &Path, masks: &Path) -> Result<Vec<MaskedImage>> {
    let mask_of = by_stem(masks, &["png"])?;
    let pairs = by_stem(images, &ENDINGS)?.into_iter().map(|(name, image)| {
        let Some(mask) = mask_of.get(&name).cloned() else {
            return Err(DataError::file(
                &image,
                format!("no mask; expected {}", masks.join(format!("{name}.png")).display()),
            ));
        };
        Ok(MaskedImage { image, mask })
    });
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    match pairs.is_empty() {
        true => Err(DataError::file(images, "no images")),
        false => Ok(pairs),
    }
}

fn by_stem(folder: &Path, endings: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for path in entries(folder)? {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(stem) = stem.filter(|_| endings.contains(&ending.as_str())) {
            found.insert(stem.to_owned(), path);
        }
    }
    Ok(found)
}

impl MaskedImage {
    /// The image and its mask.
    ///
    /// # Errors
    /// Files that cannot be read, and masks of another size than the image.
    pub fn load(&self) -> Result<(Picture, Labels)> {
        let (picture, labels) = (Picture::load(&self.image)?, Labels::load(&self.mask)?);
        if (picture.width, picture.height) != (labels.width, labels.height) {
            return Err(DataError::file(
                &self.mask,
                format!(
                    "a mask of {} x {} for an image of {} x {}",
                    labels.width, labels.height, picture.width, picture.height
                ),
            ));
        }
        Ok((picture, labels))
    }

    /// The class of each pixel of its mask, or [`NO_CLASS`].
    ///
    /// # Errors
    /// Values that stand for no class below `classes`.
    pub fn classes(&self, labels: &Labels, values: MaskValues, classes: usize) -> Result<Vec<u8>> {
        let class = |(at, &value): (usize, &u16)| {
            let class = match (values, value) {
                (MaskValues::Classes, 255) | (MaskValues::ClassesFromOne, 0) => {
                    return Ok(NO_CLASS);
                }
                (MaskValues::Classes, class) => class,
                (MaskValues::ClassesFromOne, class) => class - 1,
                (MaskValues::Instances, number) => u16::from(number > 0),
            };
            match usize::from(class) < classes.min(MAX_CLASSES) {
                true => Ok(class as u8),
                false => Err(DataError::file(
                    &self.mask,
                    format!(
                        "value {value} at column {}, row {}: there are {classes} classes",
                        at % labels.width,
                        at / labels.width
                    ),
                )),
            }
        };
        labels.values.iter().enumerate().map(class).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma, RgbImage};
    use std::fs;

    fn put(root: &Path, part: &str, masks: &str, name: &str, size: [u32; 2]) {
        for folder in ["images", masks] {
            fs::create_dir_all(root.join(folder).join(part)).unwrap();
        }
        RgbImage::new(3, 2)
            .save(root.join("images").join(part).join(format!("{name}.png")))
            .unwrap();
        let mask = GrayImage::from_fn(size[0], size[1], |x, _| Luma([x as u8]));
        mask.save(root.join(masks).join(part).join(format!("{name}.png"))).unwrap();
    }

    #[test]
    fn plain_folders() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert!(list(root).unwrap_err().to_string().contains("the folders images and masks"));
        put(root, "", "masks", "b", [3, 2]);
        put(root, "", "masks", "a", [2, 3]);
        let found = list(root).unwrap();
        assert_eq!((found.images.len(), found.official), (2, None));
        let e = found.images[0].load().unwrap_err().to_string();
        assert!(e.contains("a.png: a mask of 2 x 3 for an image of 3 x 2"), "{e}");
        let image = &found.images[1];
        let (_, labels) = image.load().unwrap();
        let classes = |values, n| image.classes(&labels, values, n);
        assert_eq!(classes(MaskValues::Classes, 3).unwrap(), [0, 1, 2, 0, 1, 2]);
        assert_eq!(classes(MaskValues::ClassesFromOne, 2).unwrap()[..3], [NO_CLASS, 0, 1]);
        assert_eq!(classes(MaskValues::Instances, 2).unwrap()[..3], [0, 1, 1]);
        let e = classes(MaskValues::Classes, 2).unwrap_err().to_string();
        assert!(e.contains("value 2 at column 2, row 0: there are 2 classes"), "{e}");
        fs::remove_file(root.join("masks/a.png")).unwrap();
        assert!(list(root).unwrap_err().to_string().contains("a.png: no mask"));
    }

    #[test]
    fn parts() {
        let dir = tempfile::tempdir().unwrap();
        for (part, name) in [("training", "a"), ("training", "b"), ("validation", "c")] {
            put(dir.path(), part, "annotations", name, [3, 2]);
        }
        let found = list(dir.path()).unwrap();
        assert_eq!((found.images.len(), found.official), (3, Some([2, 0, 1])));
        assert!(found.images[2].image.ends_with("validation/c.png"));
    }
}
