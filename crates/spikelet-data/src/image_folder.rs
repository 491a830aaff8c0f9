//! Folders of PNG and JPEG images, one folder a class, as ImageNet and most image sets of users are laid out.
//!
//! `<root>/<class>/<image>`, or `<root>/{train,val,test}/<class>/<image>`; where there is no `test`, `val` is what
//! is reported. Classes and images are taken in the order of their names.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{ImageReader, Limits};

use crate::error::{DataError, Result};
use crate::frames::MAX_CLASSES;
use crate::frames_file::FramesWriter;

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 26;
/// Largest side of an image.
const MAX_SIDE: u32 = 1 << 14;
/// Most bytes that decoding one image may take: a photograph of 100 megapixels is larger.
const MAX_DECODED: u64 = 1 << 28;

/// The images of a folder, not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    /// Class names, in order.
    pub classes: Vec<String>,
    /// Each image and its class; training part first, then validation and test.
    pub images: Vec<(PathBuf, u32)>,
    /// Sizes of the parts, if the folder has them.
    pub official: Option<[usize; 3]>,
}

/// Lists the images below `root`.
pub fn list(root: &Path) -> Result<ImageFolder> {
    let has = |part: &str| root.join(part).is_dir();
    if !has("train") {
        let classes = folders(root)?;
        let images = images_of(root, &classes)?;
        return ImageFolder { classes, images, official: None }.checked(root);
    }
    let (val, test) = match (has("val"), has("test")) {
        (_, false) => (None, has("val").then_some("val")),
        (val, true) => (val.then_some("val"), Some("test")),
    };
    let classes = folders(&root.join("train"))?;
    let (mut images, mut official) = (Vec::new(), [0; 3]);
    for (size, part) in official.iter_mut().zip([Some("train"), val, test]) {
        if let Some(part) = part {
            let found = images_of(&root.join(part), &classes)?;
            *size = found.len();
            images.extend(found);
        }
    }
    ImageFolder { classes, images, official: Some(official) }.checked(root)
}

impl ImageFolder {
    fn checked(self, root: &Path) -> Result<Self> {
        match self.images.is_empty() {
            false => Ok(self),
            true => Err(DataError::file(
                root,
                "no images; expected <class>/<name>.png or .jpg, or these in train, val and test",
            )),
        }
    }

    /// Decodes all images to `side` x `side` x 3 into `out`, one at a time.
    pub fn decode(&self, side: usize, out: &mut FramesWriter) -> Result<()> {
        for (path, class) in &self.images {
            out.push(&load(path, side)?, *class, 0)?;
        }
        Ok(())
    }
}

/// One image as `[side, side, 3]`: the shorter side is scaled to `side` (cubic filter), then the middle is cut out.
pub fn load(path: &Path, side: usize) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(|e| DataError::io(path, e))?.len();
    if size > MAX_FILE {
        return Err(DataError::file(path, format!("{size} bytes; up to {MAX_FILE} are read")));
    }
    decode(&fs::read(path).map_err(|e| DataError::io(path, e))?, side, &path.display().to_string())
}

/// As [`load`], from the bytes of a file; `file` names it in errors.
pub fn decode(bytes: &[u8], side: usize, file: &str) -> Result<Vec<u8>> {
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    if !(1..=MAX_SIDE as usize).contains(&side) {
        return Err(wrong(format!("size {side}; 1 to {MAX_SIDE} are possible")));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DataError::Io { path: file.to_owned(), source })?;
    reader.limits(limits);
    let image = reader.decode().map_err(|e| wrong(format!("no readable PNG or JPEG: {e}")))?;
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    let (shorter, longer) = (width.min(height), width.max(height));
    // What is wider than this would take more memory scaled than decoded.
    if shorter == 0 || longer / shorter > 64 {
        return Err(wrong(format!("{width} x {height}: the sides differ too much")));
    }
    let side = side as u32;
    let scaled = |length: u32| {
        ((u64::from(length) * u64::from(side) + u64::from(shorter) / 2) / u64::from(shorter)) as u32
    };
    let (w, h) = (scaled(width).max(side), scaled(height).max(side));
    let image = match (w, h) == (width, height) {
        true => image,
        false => image::imageops::resize(&image, w, h, FilterType::CatmullRom),
    };
    let (left, top) = ((w - side) / 2, (h - side) / 2);
    Ok(image::imageops::crop_imm(&image, left, top, side, side).to_image().into_raw())
}

fn images_of(folder: &Path, classes: &[String]) -> Result<Vec<(PathBuf, u32)>> {
    let mut images = Vec::new();
    for name in folders(folder)? {
        let Some(class) = classes.iter().position(|c| *c == name) else {
            return Err(DataError::file(
                &folder.join(&name),
                "this class has no folder in the training part",
            ));
        };
        let mut of_class = entries(&folder.join(&name))?;
        of_class.retain(|path| {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            ["png", "jpg", "jpeg"].contains(&extension.to_lowercase().as_str())
        });
        images.extend(of_class.into_iter().map(|path| (path, class as u32)));
    }
    Ok(images)
}

fn folders(root: &Path) -> Result<Vec<String>> {
    let names: Vec<String> = entries(root)?
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    match names.len() {
        0..=MAX_CLASSES => Ok(names),
        n => Err(DataError::file(root, format!("{n} folders; up to {MAX_CLASSES} classes"))),
    }
}

/// Everything in a folder, in the order of names.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| DataError::io(folder, e);
    let mut paths = fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageFormat, Rgb, RgbImage};

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn put(path: &Path, value: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = RgbImage::from_pixel(3, 2, Rgb([value; 3]));
        fs::write(path, encoded(&image, ImageFormat::Png)).unwrap();
    }

    #[test]
    fn folders_are_classes_and_parts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (i, name) in ["cat/2.png", "cat/1.png", "dog/1.png"].iter().enumerate() {
            put(&at(name), i as u8);
        }
        fs::write(at("cat/notes.txt"), "no image").unwrap();
        let plain = list(dir.path()).unwrap();
        assert_eq!((plain.classes.len(), plain.official), (2, None));
        assert_eq!(plain.images[0], (at("cat/1.png"), 0));
        assert_eq!(plain.images[2], (at("dog/1.png"), 1));

        put(&at("train/a/1.png"), 1);
        put(&at("train/b/1.png"), 1);
        put(&at("val/b/1.png"), 1);
        let parts = list(dir.path()).unwrap();
        assert_eq!((parts.official, parts.images[2].1), (Some([2, 0, 1]), 1));
        put(&at("test/a/1.png"), 1);
        assert_eq!(list(dir.path()).unwrap().official, Some([2, 1, 1]));
        put(&at("test/c/1.png"), 1);
        assert!(list(dir.path()).unwrap_err().to_string().contains("no folder in the training"));
        let empty = tempfile::tempdir().unwrap();
        assert!(list(empty.path()).unwrap_err().to_string().contains("no images"));
    }

    #[test]
    fn the_middle_is_kept_at_the_wanted_size() {
        let image = RgbImage::from_fn(4, 2, |x, y| Rgb([(10 * x) as u8, y as u8, 7]));
        let middle = decode(&encoded(&image, ImageFormat::Png), 2, "i").unwrap();
        assert_eq!(middle, [10, 0, 7, 20, 0, 7, 10, 1, 7, 20, 1, 7]);
        let grey = RgbImage::from_pixel(40, 30, Rgb([120; 3]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let scaled = decode(&encoded(&grey, format), 8, "i").unwrap();
            assert_eq!(scaled.len(), 8 * 8 * 3);
            assert!(scaled.iter().all(|v| v.abs_diff(120) <= 1));
        }
    }

    #[test]
    fn hostile_images() {
        let image = RgbImage::from_fn(9, 5, |x, y| Rgb([(x * y) as u8, 3, 200]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let good = encoded(&image, format);
            for at in 0..good.len() {
                let _ = decode(&good[..at], 4, "i");
                let mut bytes = good.clone();
                bytes[at] ^= 0xff;
                let _ = decode(&bytes, 4, "i");
            }
        }
        // A PNG header that promises 2^31 - 1 pixels in both directions.
        let mut png = encoded(&image, ImageFormat::Png);
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode(&png, 4, "i").unwrap_err().to_string().starts_with("i: no readable PNG"));
        assert!(decode(b"", 4, "i").is_err() && decode(b"GIF89a", 4, "i").is_err());
        let thin = RgbImage::new(1000, 2);
        let e = decode(&encoded(&thin, ImageFormat::Png), 4, "i").unwrap_err().to_string();
        assert!(e.contains("1000 x 2"), "{e}");
    }
}
