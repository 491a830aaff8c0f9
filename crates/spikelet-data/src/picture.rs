//! Images at their own size, and images whose values are labels.

use std::fs;
use std::io::{BufReader, Cursor};
use std::path::Path;

use image::{DynamicImage, ImageReader, Limits};

use crate::error::{DataError, Result};

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 26;
/// Largest side of an image.
pub const MAX_SIDE: u32 = 1 << 14;
/// Most bytes that decoding one image may take: a photograph of 100 megapixels is larger.
const MAX_DECODED: u64 = 1 << 28;

/// An RGB image, `[height, width, 3]`, row 0 on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values, channels last.
    pub rgb: Vec<u8>,
}

/// One number a pixel, `[height, width]`: class or instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values.
    pub values: Vec<u16>,
}

impl Picture {
    /// Reads a PNG or JPEG file. Grey images become RGB, transparency is dropped.
    pub fn load(path: &Path) -> Result<Self> {
        Self::decode(&bytes_of(path)?, &path.display().to_string())
    }

    /// As [`Self::load`], from the bytes of a file; `file` names it in errors.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self> {
        let image = decoded(bytes, file)?.into_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Ok(Self { width, height, rgb: image.into_raw() })
    }

    /// Writes a PNG file, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let (width, height) = (self.width as u32, self.height as u32);
        let mut bytes = Cursor::new(Vec::new());
        image::write_buffer_with_format(
            &mut bytes,
            &self.rgb,
            width,
            height,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .map_err(|e| DataError::file(path, format!("cannot be written as PNG: {e}")))?;
        crate::atomic::write(path, &bytes.into_inner())
    }

    /// Width and height of the image in a file; no more than its header is read.
    pub fn size_of(path: &Path) -> Result<[usize; 2]> {
        let wrong = |e: &dyn std::fmt::Display| unreadable(&path.display().to_string(), e);
        let file = fs::File::open(path).map_err(|e| DataError::io(path, e))?;
        let mut reader = ImageReader::new(BufReader::new(file))
            .with_guessed_format()
            .map_err(|e| DataError::io(path, e))?;
        reader.limits(limits());
        let (width, height) = reader.into_dimensions().map_err(|e| wrong(&e))?;
        match (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) {
            true => Ok([width as usize, height as usize]),
            false => Err(wrong(&format!("{width} x {height} pixels, at most {MAX_SIDE} a side"))),
        }
    }
}

impl Labels {
    /// Reads a grey PNG of 8 or 16 bits. An image in colour is an error: its colours say nothing of classes.
    pub fn load(path: &Path) -> Result<Self> {
        Self::decode(&bytes_of(path)?, &path.display().to_string())
    }

    /// As [`Self::load`], from the bytes of a file; `file` names it in errors.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self> {
        let image = decoded(bytes, file)?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let values = match image {
            DynamicImage::ImageLuma8(grey) => grey.into_raw().into_iter().map(u16::from).collect(),
            DynamicImage::ImageLuma16(grey) => grey.into_raw(),
            other => {
                let kind = other.color();
                let reason =
                    format!("pixels are {kind:?}; a mask is a grey PNG whose values are labels");
                return Err(DataError::File { file: file.to_owned(), reason });
            }
        };
        Ok(Self { width, height, values })
    }
}

/// The bytes of the file of an image.
pub(crate) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(|e| DataError::io(path, e))?.len();
    if size > MAX_FILE {
        return Err(DataError::file(path, format!("{size} bytes; up to {MAX_FILE} are read")));
    }
    fs::read(path).map_err(|e| DataError::io(path, e))
}

/// A PNG or JPEG image as it is stored.
pub(crate) fn decoded(bytes: &[u8], file: &str) -> Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|source| DataError::Io { path: file.to_owned(), source })?;
    reader.limits(limits());
    let image = reader.decode().map_err(|e| unreadable(file, &e))?;
    match image.width() == 0 || image.height() == 0 {
        true => Err(unreadable(file, &"it has no pixels")),
        false => Ok(image),
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    limits
}

fn unreadable(file: &str, why: &dyn std::fmt::Display) -> DataError {
    DataError::File { file: file.to_owned(), reason: format!("no readable PNG or JPEG: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, ImageBuffer, ImageFormat, Luma, RgbImage};

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn values_are_kept() {
        let picture = RgbImage::from_fn(3, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let read = Picture::decode(&png(picture.clone()), "p").unwrap();
        assert_eq!((read.width, read.height, read.rgb), (3, 2, picture.into_raw()));
        let grey = GrayImage::from_fn(2, 2, |x, y| Luma([(x + 2 * y) as u8]));
        assert_eq!(Labels::decode(&png(grey.clone()), "m").unwrap().values, [0, 1, 2, 3]);
        assert_eq!(Picture::decode(&png(grey), "m").unwrap().rgb.len(), 12);
        let many: ImageBuffer<Luma<u16>, Vec<u16>> =
            ImageBuffer::from_raw(2, 1, vec![7, 60_000]).unwrap();
        assert_eq!(Labels::decode(&png(many), "m").unwrap().values, [7, 60_000]);
    }

    #[test]
    fn hostile_masks() {
        let coloured = png(RgbImage::new(2, 2));
        let e = Labels::decode(&coloured, "m.png").unwrap_err().to_string();
        assert!(e.starts_with("m.png: pixels are Rgb8; a mask is a grey PNG"), "{e}");
        let good = png(GrayImage::from_fn(9, 5, |x, y| Luma([(x * y) as u8])));
        for at in 0..good.len() {
            assert!(Labels::decode(&good[..at], "m").is_err() || at > good.len() - 13);
            let mut bytes = good.clone();
            bytes[at] ^= 0xff;
            let _ = Labels::decode(&bytes, "m");
        }
        let mut large = good;
        large[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(Labels::decode(&large, "m").is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large.png");
        fs::write(&path, &large).unwrap();
        let e = Picture::size_of(&path).unwrap_err().to_string();
        assert!(e.contains("no readable PNG or JPEG"), "{e}");
        fs::write(&path, png(GrayImage::new(4, 3))).unwrap();
        assert_eq!(Picture::size_of(&path).unwrap(), [4, 3]);
    }
}
