//! PNG and JPEG images, brought to one size.

use std::path::Path;

use image::imageops::FilterType;

use crate::error::{DataError, Result};
use crate::picture::{MAX_SIDE, bytes_of, decoded};

/// Endings of the files that are read.
pub const ENDINGS: [&str; 3] = ["jpeg", "jpg", "png"];

/// One image as `[side, side, 3]`: the shorter side is scaled to `scaled` (cubic filter), then the middle is cut out.
pub fn load(path: &Path, scaled: usize, side: usize) -> Result<Vec<u8>> {
    decode(&bytes_of(path)?, scaled, side, &path.display().to_string())
}

/// As [`load`], from the bytes of a file; `file` names it in errors.
pub fn decode(bytes: &[u8], scaled: usize, side: usize, file: &str) -> Result<Vec<u8>> {
    let wrong = |reason: String| DataError::File { file: file.to_owned(), reason };
    if side == 0 || side > scaled || scaled > MAX_SIDE as usize {
        return Err(wrong(format!("size {side} of {scaled}; 1 to {MAX_SIDE} are possible")));
    }
    let image = decoded(bytes, file)?.into_rgb8();
    let (width, height) = image.dimensions();
    let (shorter, longer) = (width.min(height), width.max(height));
    // What is wider than this would take more memory scaled than decoded.
    if shorter == 0 || longer / shorter > 64 {
        return Err(wrong(format!("{width} x {height}: the sides differ too much")));
    }
    let (side, least) = (side as u32, scaled as u32);
    let scaled = |length: u32| {
        ((u64::from(length) * u64::from(least) + u64::from(shorter) / 2) / u64::from(shorter))
            as u32
    };
    let (w, h) = (scaled(width).max(least), scaled(height).max(least));
    let image = match (w, h) == (width, height) {
        true => image,
        false => image::imageops::resize(&image, w, h, FilterType::CatmullRom),
    };
    let (left, top) = ((w - side) / 2, (h - side) / 2);
    Ok(image::imageops::crop_imm(&image, left, top, side, side).to_image().into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    use image::{ImageFormat, Rgb, RgbImage};

    fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn the_middle_is_kept_at_the_wanted_size() {
        let image = RgbImage::from_fn(4, 2, |x, y| Rgb([(10 * x) as u8, y as u8, 7]));
        let middle = decode(&encoded(&image, ImageFormat::Png), 2, 2, "i").unwrap();
        assert_eq!(middle, [10, 0, 7, 20, 0, 7, 10, 1, 7, 20, 1, 7]);
        let official = decode(&encoded(&image, ImageFormat::Png), 2, 1, "i").unwrap();
        assert_eq!(official, [10, 0, 7], "a smaller middle");
        let grey = RgbImage::from_pixel(40, 30, Rgb([120; 3]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let scaled = decode(&encoded(&grey, format), 8, 8, "i").unwrap();
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
                let _ = decode(&good[..at], 4, 4, "i");
                let mut bytes = good.clone();
                bytes[at] ^= 0xff;
                let _ = decode(&bytes, 4, 4, "i");
            }
        }
        // A PNG header that promises 2^31 - 1 pixels in both directions.
        let mut png = encoded(&image, ImageFormat::Png);
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode(&png, 4, 4, "i").unwrap_err().to_string().starts_with("i: no readable PNG"));
        assert!(decode(b"", 4, 4, "i").is_err() && decode(b"GIF89a", 4, 4, "i").is_err());
        let thin = RgbImage::new(1000, 2);
        let e = decode(&encoded(&thin, ImageFormat::Png), 4, 4, "i").unwrap_err().to_string();
        assert!(e.contains("1000 x 2"), "{e}");
    }
}
