//! Images with a class for every pixel, of one size: what segmenting networks are trained on.
//!
//! Images are brought to a square, whole and with their sides in proportion; around them nothing has a class. They lie
//! in a mapped file, red, green, blue and class of each pixel side by side.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::find::find;
use crate::frames::Frames;
use crate::frames_file::FramesWriter;
use crate::frames_source::cached;
use crate::mask_augment::MaskAugmentConfig;
use crate::mask_folders::{self, MAX_CLASSES, MaskValues, MaskedImage, NO_CLASS};
use crate::normalize::Normalization;
use crate::picture::{Labels, Picture};
use crate::registry::{self, Holds};
use crate::samples::NO_LABEL;
use crate::source::DataConfig;
use crate::split::Split;
use crate::view::View;

/// Values of a stored pixel: red, green, blue, class.
const VALUES: usize = 4;
/// Height and width where none is given.
const SIZE: usize = 256;

/// How masks are read and samples changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MasksConfig {
    /// Names of the classes of a set of the user's own, in the order of their values.
    pub classes: Vec<String>,
    /// What the values of its masks mean.
    pub values: MaskValues,
    /// Random changes to training samples.
    pub augment: MaskAugmentConfig,
}

/// Images, each with a class for every pixel.
#[derive(Debug, Clone)]
pub struct Masked {
    /// Height and width.
    pub size: usize,
    /// How often an image is shown.
    pub shown: usize,
    /// Where each sample comes from.
    pub files: Vec<MaskedImage>,
    /// `[size, size, 4]` bytes each.
    frames: Frames,
    normalization: Option<Normalization>,
    /// Value of each stored byte in each colour, `[256, 3]`.
    table: Vec<f32>,
}

/// Images and their parts.
#[derive(Clone, Debug)]
pub struct DividedMasked {
    /// All samples.
    pub masked: Masked,
    /// The parts.
    pub split: Split,
    /// The split in words, for reports.
    pub split_name: String,
}

impl Masked {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.frames.n
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.frames.classes
    }

    /// What colours are normalised with, of values from 0 to 1.
    pub fn normalization(&self) -> Option<&Normalization> {
        self.normalization.as_ref()
    }

    /// Normalises what batches hold from now on; `None` ends it.
    pub fn normalize(&mut self, normalization: Option<Normalization>) -> Result<()> {
        // The checks are those of frames of three channels.
        let mut colours = Frames::empty([1, 1, 3], 1, Vec::new(), 1.0);
        colours.normalize(normalization.clone())?;
        self.table = table(normalization.as_ref());
        self.normalization = normalization;
        Ok(())
    }

    /// The samples of `index` as `[batch, size * size * 3]`.
    pub fn batch(&self, index: &[usize], out: &mut Vec<f32>) {
        out.clear();
        index.iter().for_each(|&i| self.colours(self.frames.sample(i), out));
    }

    /// As [`Self::batch`], with the random changes of an epoch, and the class of every pixel.
    pub fn train_batch(
        &self,
        index: &[usize],
        augment: &MaskAugmentConfig,
        seed: u64,
        epoch: u64,
    ) -> (Vec<f32>, Vec<u32>) {
        let (mut x, mut labels) = (Vec::new(), Vec::new());
        for &i in index {
            let sample =
                augment.draw(seed, epoch, i as u64).apply(self.frames.sample(i), self.size);
            self.colours(&sample, &mut x);
            labels.extend(classes(&sample));
        }
        (x, labels)
    }

    /// The class of every pixel of some samples, [`NO_LABEL`] where there is none.
    pub fn labels_of(&self, index: &[usize]) -> Vec<u32> {
        index.iter().flat_map(|&i| classes(self.frames.sample(i))).collect()
    }

    /// Number of pixels of each class in some samples.
    pub fn class_counts(&self, index: &[usize]) -> Vec<u64> {
        let mut counts = vec![0; self.classes().len()];
        for label in index.iter().flat_map(|&i| classes(self.frames.sample(i))) {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// The colours of a sample, `[size, size, 3]`.
    pub fn picture(&self, i: usize) -> Picture {
        let rgb =
            self.frames.sample(i).chunks_exact(VALUES).flat_map(|p| [p[0], p[1], p[2]]).collect();
        Picture { width: self.size, height: self.size, rgb }
    }

    /// The numbers of the objects of a sample's mask, in its size; `None` if its masks hold classes.
    pub fn instances(&self, i: usize, values: MaskValues) -> Option<Result<Vec<u16>>> {
        (values == MaskValues::Instances).then(|| {
            let labels = Labels::load(&self.files[i].mask)?;
            Ok(nearest(&labels, self.size, 0))
        })
    }

    fn colours(&self, sample: &[u8], out: &mut Vec<f32>) {
        for pixel in sample.chunks_exact(VALUES) {
            out.extend((0..3).map(|c| self.table[3 * usize::from(pixel[c]) + c]));
        }
    }

    /// Mean and deviation of each colour over some samples, of values from 0 to 1.
    fn statistics(&self, index: &[usize]) -> Result<Normalization> {
        let mut fitted = Normalization { mean: Vec::new(), std: Vec::new() };
        for c in 0..3 {
            let mut counts = [0u64; 256];
            for &i in index {
                let pixels = self.frames.sample(i).chunks_exact(VALUES);
                pixels.for_each(|pixel| counts[usize::from(pixel[c])] += 1);
            }
            let n: u64 = counts.iter().sum();
            if n == 0 {
                return Err(DataError::request("normalisation needs at least one training sample"));
            }
            let sum = |value: &dyn Fn(f64) -> f64| -> f64 {
                counts.iter().enumerate().map(|(v, &n)| n as f64 * value(v as f64)).sum()
            };
            let mean = sum(&|v| v) / n as f64;
            let deviation = (sum(&|v| (v - mean).powi(2)) / n as f64).sqrt();
            fitted.mean.push((mean / 255.0) as f32);
            fitted.std.push(if deviation > 0.0 { (deviation / 255.0) as f32 } else { 1.0 });
        }
        Ok(fitted)
    }
}

fn classes(sample: &[u8]) -> impl Iterator<Item = u32> {
    sample.chunks_exact(VALUES).map(|pixel| match pixel[VALUES - 1] {
        NO_CLASS => NO_LABEL,
        class => u32::from(class),
    })
}

fn table(normalization: Option<&Normalization>) -> Vec<f32> {
    let mut table: Vec<f32> =
        (0..=255u8).flat_map(|byte| std::iter::repeat_n(f32::from(byte) / 255.0, 3)).collect();
    if let Some(normalization) = normalization {
        normalization.apply(&mut table);
    }
    table
}

/// The label of the nearest pixel for each of a square that holds the whole image; `outside` beyond it.
pub fn nearest(labels: &Labels, size: usize, outside: u16) -> Vec<u16> {
    let scale = View::whole(labels.height, labels.width, [size; 2]).scale;
    let place = |i: usize, n: usize| {
        let at = (i as f32 + 0.5) / scale;
        (at <= n as f32).then(|| (at as usize).min(n - 1))
    };
    let rows = (0..size).map(|y| place(y, labels.height));
    rows.flat_map(|y| {
        (0..size).map(move |x| match (y, place(x, labels.width)) {
            (Some(y), Some(x)) => labels.values[y * labels.width + x],
            _ => outside,
        })
    })
    .collect()
}

impl DataConfig {
    /// Whether the data set holds images with masks, for [`Self::load_masked`].
    pub fn has_masks(&self) -> bool {
        match registry::by_name(&self.dataset) {
            Some(set) => set.holds == Holds::Masks,
            None => {
                let root = Path::new(&self.dataset);
                let masks = ["masks", "annotations"].iter().any(|name| root.join(name).is_dir());
                self.is_path() && root.join("images").is_dir() && masks
            }
        }
    }

    /// What the values of the masks mean.
    pub fn mask_values(&self) -> MaskValues {
        match registry::by_name(&self.dataset) {
            Some(_) => mask_folders::meaning(&self.dataset).0,
            None => self.masks.values,
        }
    }

    /// Loads, divides and normalises images with masks. `folder` is what the user gave as `--data`.
    pub fn load_masked(&self, folder: Option<&Path>, shown: usize) -> Result<DividedMasked> {
        self.masks.augment.check()?;
        let root = match registry::by_name(&self.dataset) {
            Some(_) => find(&self.dataset, folder)?,
            None => PathBuf::from(&self.dataset),
        };
        let size = if self.frames.size == 0 { SIZE } else { self.frames.size };
        if !size.is_multiple_of(16) || size > 4096 {
            return Err(DataError::request(format!(
                "data.frames.size = {size}: multiples of 16 up to 4096 are possible"
            )));
        }
        let names = self.mask_classes()?;
        let listed = mask_folders::list(&root)?;
        let files: Vec<&Path> =
            listed.images.iter().flat_map(|pair| [&*pair.image, &*pair.mask]).collect();
        let values = self.mask_values();
        let how = format!("size {size} {values:?} {names:?}");
        let frames = cached("masked", &how, &root, files, |path| {
            let mut writer = FramesWriter::create(path, [size, size, VALUES], 1, 1.0)?;
            for image in &listed.images {
                writer.push(&stored(image, size, values, names.len())?, 0, 0)?;
            }
            writer.finish(names.clone(), listed.official)
        })?;
        frames.validate()?;
        let (split, split_name) = self.split.divide_frames(&frames)?;
        split.validate(frames.n)?;
        let (files, normalization) = (listed.images, None);
        let mut masked = Masked { size, shown, files, frames, normalization, table: table(None) };
        if self.normalize {
            let given = &self.frames;
            let normalization = match given.mean.is_empty() && given.std.is_empty() {
                true => masked.statistics(&split.train)?,
                false => Normalization { mean: given.mean.clone(), std: given.std.clone() },
            };
            masked.normalize(Some(normalization))?;
        }
        Ok(DividedMasked { masked, split, split_name })
    }

    fn mask_classes(&self) -> Result<Vec<String>> {
        let own = &self.masks.classes;
        let names = match self.dataset.as_str() {
            "dsb2018-nuclei" => vec!["background".to_owned(), "nucleus".to_owned()],
            "ade20k" => (1..=150).map(|class| format!("class {class}")).collect(),
            _ => own.clone(),
        };
        match names.len() {
            1..=MAX_CLASSES => Ok(names),
            n => Err(DataError::request(format!(
                "data.masks.classes names {n} classes; name 1 to {MAX_CLASSES}, in the order of their values"
            ))),
        }
    }
}

/// An image as it is stored.
fn stored(image: &MaskedImage, size: usize, values: MaskValues, names: usize) -> Result<Vec<u8>> {
    let (picture, mut labels) = image.load()?;
    let classes = image.classes(&labels, values, names)?;
    labels.values = classes.into_iter().map(u16::from).collect();
    let rgb = View::whole(picture.height, picture.width, [size; 2]).of(&picture);
    let classes = nearest(&labels, size, u16::from(NO_CLASS));
    let pixels = rgb.chunks_exact(3).zip(classes);
    Ok(pixels.flat_map(|(rgb, class)| [rgb[0], rgb[1], rgb[2], class as u8]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SplitConfig;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn set(root: &Path) -> DataConfig {
        for name in ["images", "masks"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        for i in 0..10u8 {
            // Twice as wide as high: the lower half of the square stays empty.
            let image =
                RgbImage::from_fn(32, 16, |x, _| Rgb([i, 100, if x < 16 { 0 } else { 255 }]));
            image.save(root.join(format!("images/{i}.png"))).unwrap();
            let mask = GrayImage::from_fn(32, 16, |x, _| Luma([u8::from(x >= 16)]));
            mask.save(root.join(format!("masks/{i}.png"))).unwrap();
        }
        let split = SplitConfig::Random { validation: 0.2, test: 0.2, seed: 0 };
        let mut config = DataConfig::new(root.to_str().unwrap(), split);
        config.frames.size = 16;
        config.masks.classes = vec!["left".into(), "right".into()];
        config
    }

    #[test]
    fn images_and_classes_lie_over_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = set(dir.path());
        assert!(config.has_masks() && !config.has_frames());
        let divided = config.load_masked(None, 2).unwrap();
        let masked = &divided.masked;
        assert_eq!((masked.len(), divided.split.test.len()), (10, 2));
        let (mut x, labels) = (Vec::new(), masked.labels_of(&[3]));
        masked.batch(&[3], &mut x);
        assert_eq!(x[..3], [3.0 / 255.0, 100.0 / 255.0, 0.0]);
        for (at, (pixel, label)) in x.chunks(3).zip(&labels).enumerate() {
            match at / 16 {
                0..8 => assert_eq!(pixel[2], *label as f32),
                _ => assert_eq!(*label, NO_LABEL),
            }
        }
        assert_eq!(masked.class_counts(&[0, 1]), [128, 128]);
        let same = MaskAugmentConfig::default();
        assert_eq!(masked.train_batch(&[3], &same, 0, 0), (x, labels));
        config.normalize = true;
        let normalised = config.load_masked(None, 1).unwrap().masked;
        assert_eq!(normalised.normalization().unwrap().mean.len(), 3);
        config.masks.classes.pop();
        let e = config.load_masked(None, 1).unwrap_err().to_string();
        assert!(e.contains("value 1 at column 16, row 0: there are 1 classes"), "{e}");
        config.masks.classes.clear();
        assert!(config.load_masked(None, 1).unwrap_err().to_string().contains("name 1 to 255"));
        config.frames.size = 20;
        assert!(config.load_masked(None, 1).unwrap_err().to_string().contains("multiples of 16"));
    }
}
