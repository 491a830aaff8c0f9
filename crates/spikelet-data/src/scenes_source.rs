//! Scenes from a data configuration: found, divided, in the size that a detector looks at.

use std::path::Path;
use std::sync::OnceLock;

use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};
use crate::find::Places;
use crate::picture::Picture;
use crate::scenes::{Object, Scene, Scenes};
use crate::split::{Split, rng, shuffle};
use crate::view::View;

/// Most bytes of pictures that are kept in memory.
const KEPT: usize = 1 << 30;
/// The least visible part of an object that still is one.
const VISIBLE: f32 = 0.4;

/// What a detector learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenesConfig {
    /// A data set by name, or a name for the folder given with `--data`.
    pub dataset: String,
    /// Height and width that pictures are brought to, each a multiple of 16; they keep their shape.
    pub size: [usize; 2],
    /// Share of the images in the test part, where the data set has no official one.
    #[serde(default = "test")]
    pub test: f64,
    /// Which images those are.
    #[serde(default)]
    pub seed: u64,
    /// Changes of the images that are learned from.
    #[serde(default)]
    pub augment: SceneAugment,
}

/// Changes of the images that are learned from, drawn anew every time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneAugment {
    /// Left and right change places.
    pub flip: bool,
    /// Top and bottom do: for pictures without an up.
    pub flip_vertical: bool,
    /// Sizes from `1 - scale` to `1 + scale`, with a shift so that nothing or little is lost.
    pub scale: f32,
    /// Brightness and contrast of every colour change by up to this share.
    pub colour: f32,
}

fn test() -> f64 {
    0.2
}

/// Scenes and their parts.
#[derive(Debug)]
pub struct DividedScenes {
    /// All scenes.
    pub scenes: Scenes,
    /// Parts; where there is no validation part it is empty.
    pub split: Split,
    /// The split in words.
    pub split_name: String,
    size: [usize; 2],
    pictures: Vec<OnceLock<Picture>>,
}

/// A scene as a detector sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
    /// From the picture in its own size.
    pub view: View,
    /// That size: height and width.
    pub size: [u32; 2],
    /// Left, top, right, bottom in the frame, and the object: those of which enough is visible.
    pub objects: Vec<([f32; 4], Object)>,
}

impl ScenesConfig {
    /// A data set in frames of this height and width, with the usual parts.
    pub fn new(dataset: &str, size: [usize; 2]) -> Self {
        let (dataset, augment) = (dataset.to_owned(), SceneAugment::default());
        Self { dataset, size, test: test(), seed: 0, augment }
    }

    /// Finds and divides the scenes; `folder` is what the user named.
    ///
    /// # Errors
    /// Sizes out of range, data that is not there or not right, parts without images.
    pub fn load(&self, folder: Option<&Path>) -> Result<DividedScenes> {
        for (name, size) in [("height", self.size[0]), ("width", self.size[1])] {
            if size == 0 || !size.is_multiple_of(16) || size > 4096 {
                return Err(DataError::request(format!(
                    "data.size: {name} {size}; multiples of 16 up to 4096 are possible"
                )));
            }
        }
        let SceneAugment { scale, colour, .. } = self.augment;
        if !(0.0..=0.9).contains(&scale) || !(0.0..=1.0).contains(&colour) {
            return Err(DataError::request(
                "data.augment: `scale` is 0 to 0.9, `colour` 0 to 1".to_owned(),
            ));
        }
        if !(0.0..1.0).contains(&self.test) {
            return Err(DataError::request(format!("data.test = {}: 0 to below 1", self.test)));
        }
        let root = Places::here(folder).find(&self.dataset)?;
        let scenes = Scenes::load(&self.dataset, &root)?;
        let n = scenes.images.len();
        let (split, split_name) = match scenes.official {
            Some([train, val, test]) => {
                // Without a test part of its own, what is reported is the validation part.
                let (val, test) = if test == 0 { (0, val) } else { (val, test) };
                let split = Split {
                    train: (0..train).collect(),
                    val: (train..train + val).collect(),
                    test: (train + val..train + val + test).collect(),
                };
                (split, "official parts".to_owned())
            }
            None => {
                let mut order: Vec<usize> = (0..n).collect();
                shuffle(&mut order, &mut rng(self.seed, 0));
                let count = (self.test * n as f64).round() as usize;
                let mut train = order.split_off(count.min(n));
                order.sort_unstable();
                train.sort_unstable();
                let name = format!(
                    "{} images to learn from, {count} to test, seed {}",
                    train.len(),
                    self.seed
                );
                (Split { train, val: Vec::new(), test: order }, name)
            }
        };
        if split.train.is_empty() && split.test.is_empty() {
            return Err(DataError::request(format!(
                "{}: no images in {}",
                self.dataset,
                root.display()
            )));
        }
        let pictures = (0..n).map(|_| OnceLock::new()).collect();
        Ok(DividedScenes { scenes, split, split_name, size: self.size, pictures })
    }
}

impl DividedScenes {
    /// A scene in the frame, whole.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn whole(&self, index: usize) -> Result<Seen> {
        self.seen(index, None)
    }

    /// The same with the changes that `seed` draws.
    ///
    /// # Errors
    /// An image that cannot be read.
    pub fn changed(&self, index: usize, augment: &SceneAugment, seed: u64) -> Result<Seen> {
        self.seen(index, Some((augment, seed)))
    }

    fn seen(&self, index: usize, change: Option<(&SceneAugment, u64)>) -> Result<Seen> {
        let scene = &self.scenes.images[index];
        let size = [scene.height, scene.width];
        let (height, width) = (scene.height as usize, scene.width as usize);
        let whole = View::whole(height, width, self.size);
        let picture = self.picture(index, &whole)?;
        // From the picture as it is kept; and from there to the scene in its own size.
        let kept = View::whole(picture.height, picture.width, self.size);
        let Some((augment, seed)) = change else {
            return Ok(Seen {
                pixels: kept.of(&picture),
                view: whole,
                size,
                objects: objects(scene, whole),
            });
        };
        let mut random = rng(seed, index as u64);
        let mut uniform = || f64::from(random.next_u32()) as f32 / u32::MAX as f32;
        let factor = 1.0 + augment.scale * (2.0 * uniform() - 1.0);
        let (u, v) = (uniform(), uniform());
        let slack =
            |frame: usize, size: f32, u: f32| u * (frame as f32 - size * whole.scale * factor);
        let changed = View {
            scale: whole.scale * factor,
            shift: [slack(self.size[1], width as f32, u), slack(self.size[0], height as f32, v)],
            mirror: [augment.flip && uniform() < 0.5, augment.flip_vertical && uniform() < 0.5],
            frame: self.size,
        };
        let from_kept = View { scale: changed.scale / whole.scale * kept.scale, ..changed };
        let mut pixels = from_kept.of(&picture);
        if augment.colour > 0.0 {
            let mut around = |middle: f32| middle + augment.colour * (2.0 * uniform() - 1.0);
            let lines = [0; 3].map(|_| (around(1.0), 128.0 * around(0.0)));
            for pixel in pixels.chunks_exact_mut(3) {
                for (value, (factor, shift)) in pixel.iter_mut().zip(lines) {
                    *value = ((f32::from(*value) - 128.0) * factor + 128.0 + shift)
                        .clamp(0.0, 255.0) as u8;
                }
            }
        }
        Ok(Seen { pixels, view: changed, size, objects: objects(scene, changed) })
    }

    /// A picture brought to about the size of the frame; kept where all of them fit into memory.
    fn picture(&self, index: usize, whole: &View) -> Result<std::borrow::Cow<'_, Picture>> {
        use std::borrow::Cow;
        if let Some(kept) = self.pictures[index].get() {
            return Ok(Cow::Borrowed(kept));
        }
        let scene = &self.scenes.images[index];
        let side = |size: u32| ((size as f32 * whole.scale).round() as usize).max(1);
        let (height, width) = (side(scene.height), side(scene.width));
        let frame = [height.min(self.size[0]), width.min(self.size[1])];
        let picture = scene.picture()?;
        let rgb = View { frame, ..*whole }.of(&picture);
        let small = Picture { height: frame[0], width: frame[1], rgb };
        match self.pictures.len() * self.size[0] * self.size[1] * 3 <= KEPT {
            true => Ok(Cow::Borrowed(self.pictures[index].get_or_init(|| small))),
            false => Ok(Cow::Owned(small)),
        }
    }
}

/// The objects of a scene of which enough is visible.
fn objects(scene: &Scene, view: View) -> Vec<([f32; 4], Object)> {
    let [height, width] = view.frame.map(|size| size as f32);
    let area = |r: [f32; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let visible = |object: &Object| {
        let [x, y, w, h] = object.bbox.map(|v| v as f32);
        let whole = view.place([x, y, x + w, y + h]);
        let [left, top, right, bottom] = whole;
        let seen = [
            left.clamp(0.0, width),
            top.clamp(0.0, height),
            right.clamp(0.0, width),
            bottom.clamp(0.0, height),
        ];
        let sides = seen[2] - seen[0] >= 1.0 && seen[3] - seen[1] >= 1.0;
        (sides && area(seen) >= VISIBLE * area(whole)).then(|| (seen, object.clone()))
    };
    scene.objects.iter().filter_map(visible).collect()
}
