//! Where labelled frames come from: the part of a `[data]` table that concerns images and event recordings.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cifar::Cifar;
use crate::error::{DataError, Result};
use crate::event_frames::EventFramesConfig;
use crate::find::{cache_folder, find};
use crate::frame_augment::FrameAugmentConfig;
use crate::frames::Frames;
use crate::frames_file::{self, FramesWriter};
use crate::normalize::Normalization;
use crate::source::{DataConfig, SplitConfig, only_text};
use crate::split::{Split, by_group, carve_stratified, stratified, stratified_fold};
use crate::synth_folder::named_synthetic;
use crate::{class_folders, event_sets, events, gestures, idx, image_file, registry, shd};

/// How frames are made and changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FramesConfig {
    /// Height and width that images are brought to; 0: 224 for those of a folder, their own for others. For
    /// recordings there is `events.size`.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: usize,
    /// What the shorter side of images of a folder is scaled to before the middle of `size` is cut out; 0: `size`. The
    /// official evaluation of ImageNet takes 256 and 224.
    #[serde(skip_serializing_if = "is_zero")]
    pub resize: usize,
    /// Mean of each channel to normalise with where `data.normalize` is on, of values from 0 to 1; empty: fitted
    /// on the training part.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, as `mean`.
    pub std: Vec<f32>,
    /// How recordings become frames.
    pub events: EventFramesConfig,
    /// Random changes to training samples.
    pub augment: FrameAugmentConfig,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Frames, normalised if asked for, and their parts.
#[derive(Clone, Debug)]
pub struct DividedFrames {
    /// All samples.
    pub frames: Frames,
    /// The parts.
    pub split: Split,
    /// The split in words, for reports.
    pub split_name: String,
}

impl DataConfig {
    /// Whether the data set holds frames, for [`Self::load_frames`], and not sequences, for [`Self::load`].
    pub fn has_frames(&self) -> bool {
        match registry::by_name(&self.dataset) {
            Some(set) => set.holds == registry::Holds::Frames,
            None => self.is_path() && Path::new(&self.dataset).is_dir() && !self.has_masks(),
        }
    }

    /// Whether its frames are made of recordings, and a recording alone becomes the same frames: those of CIFAR10-DVS
    /// are turned besides.
    pub fn has_recordings(&self) -> bool {
        match self.dataset.as_str() {
            "n-mnist" | "synthetic-saccades" | "dvs128-gesture" | "synthetic-gestures" => true,
            name if registry::by_name(name).is_none() && self.is_path() => {
                class_folders::list(Path::new(name), &events::ENDINGS).is_ok()
            }
            _ => false,
        }
    }

    /// Whether `dataset` is the path of something of the user's own.
    pub(crate) fn is_path(&self) -> bool {
        self.dataset.contains(['.', '/', '\\'])
    }

    /// Loads, divides and normalises frames. `folder` is what the user gave as `--data`.
    pub fn load_frames(&self, folder: Option<&Path>) -> Result<DividedFrames> {
        let mut frames = self.frames(folder)?;
        let (split, split_name) = self.split.divide_frames(&frames)?;
        split.validate(frames.n)?;
        if self.normalize {
            let given = &self.frames;
            let normalization = match given.mean.is_empty() && given.std.is_empty() {
                true => frames.statistics(&split.train)?,
                false => Normalization { mean: given.mean.clone(), std: given.std.clone() },
            };
            frames.normalize(Some(normalization))?;
        }
        Ok(DividedFrames { frames, split, split_name })
    }

    /// Frames to measure a model of this data with, which is normalised by what the model knows. A folder that the user
    /// names is all test part if it has no parts, where the official ones are asked for.
    pub fn load_frames_to_measure(&self, folder: Option<&Path>) -> Result<DividedFrames> {
        let frames = self.frames(folder)?;
        let official = matches!(self.split, SplitConfig::Official { .. });
        if folder.is_some() && frames.official.is_none() && official {
            let split = Split { train: vec![], val: vec![], test: (0..frames.n).collect() };
            return Ok(DividedFrames { frames, split, split_name: "without parts".to_owned() });
        }
        let (split, split_name) = self.split.divide_frames(&frames)?;
        split.validate(frames.n)?;
        Ok(DividedFrames { frames, split, split_name })
    }

    /// All frames, as they are.
    fn frames(&self, folder: Option<&Path>) -> Result<Frames> {
        let name = self.dataset.as_str();
        let root = match registry::by_name(name) {
            Some(_) => find(name, folder)?,
            None if self.is_path() => PathBuf::from(name),
            None => {
                return Err(DataError::request(format!(
                    "data.dataset = {name:?}; {}",
                    registry::how_to_get(name)
                )));
            }
        };
        named_synthetic(name, &root)?;
        let frames = match name {
            "mnist" | "fashion-mnist" => self.resized(&root, idx::frames)?,
            "cifar-10" => self.resized(&root, |root| Cifar::Ten.load(root))?,
            "cifar-100" => self.resized(&root, |root| Cifar::Hundred.load(root))?,
            "n-mnist" | "synthetic-saccades" | "cifar10-dvs" => self.recordings(&root)?,
            "dvs128-gesture" | "synthetic-gestures" => self.gestures(&root)?,
            "shd" | "ssc" => self.spoken(&root)?,
            "imagenet" => self.folder(&root)?,
            _ if self.is_path() => self.folder(&root)?,
            _ => {
                return Err(DataError::request(format!("data.dataset = {name:?} holds no frames")));
            }
        };
        frames.validate()?;
        Ok(frames)
    }

    /// A folder of images, or of recordings if it has any.
    fn folder(&self, root: &Path) -> Result<Frames> {
        if class_folders::list(root, &events::ENDINGS).is_ok() {
            return self.recordings(root);
        }
        let side = if self.frames.size == 0 { 224 } else { self.frames.size };
        let scaled = if self.frames.resize == 0 { side } else { self.frames.resize };
        if scaled < side {
            return Err(DataError::request(format!(
                "data.frames.resize = {scaled}: below the size of {side}, which is cut out of it"
            )));
        }
        let listed = class_folders::list(root, &image_file::ENDINGS)?;
        let files = listed.files.iter().map(|(path, _)| path.as_path());
        cached("images", &format!("side {side} of {scaled}"), root, files, |path| {
            let mut writer = FramesWriter::create(path, [side, side, 3], 1, 1.0 / 255.0)?;
            for (image, class) in &listed.files {
                writer.push(&image_file::load(image, scaled, side)?, *class, 0)?;
            }
            writer.finish(listed.classes.clone(), listed.official)
        })
    }

    /// Images of one size in another, if one is asked for.
    fn resized(&self, root: &Path, load: impl FnOnce(&Path) -> Result<Frames>) -> Result<Frames> {
        let side = self.frames.size;
        if side == 0 {
            return load(root);
        }
        if side > 4096 {
            return Err(DataError::request(format!("data.frames.size = {side}: up to 4096")));
        }
        let files = class_folders::entries(root)?;
        let files: Vec<&Path> =
            files.iter().map(PathBuf::as_path).filter(|p| p.is_file()).collect();
        cached("resized", &format!("{} side {side}", self.dataset), root, files, |path| {
            load(root)?.write_resized(side, path)
        })
    }

    /// Class folders of recordings.
    fn recordings(&self, root: &Path) -> Result<Frames> {
        let listed = class_folders::list(root, &events::ENDINGS)?;
        // The camera of CIFAR10-DVS lay on its side.
        let transposed = self.dataset == "cifar10-dvs";
        let files = listed.files.iter().map(|(path, _)| path.as_path());
        cached("recordings", &self.how(), root, files, |path| {
            event_sets::frames(&listed, &self.frames.events, transposed, path)
        })
    }

    /// Recordings and labels as the DVS128 Gesture set has them.
    fn gestures(&self, root: &Path) -> Result<Frames> {
        let trials = gestures::list(root)?;
        let files = trials.files.iter().flat_map(|trial| [&*trial.recording, &*trial.labels]);
        cached("gestures", &self.how(), root, files, |path| {
            gestures::frames(&trials, &self.frames.events, path)
        })
    }

    /// The Heidelberg sets of spoken words.
    fn spoken(&self, root: &Path) -> Result<Frames> {
        let files = shd::files(root)?;
        cached("spoken", &self.how(), root, files.iter().flatten().map(PathBuf::as_path), |path| {
            shd::frames(&files, &self.frames.events, path)
        })
    }

    /// How events become frames, for the name of what is kept.
    fn how(&self) -> String {
        format!("{} {:?}", self.dataset, self.frames.events)
    }
}

/// The frames that `make` writes to the path it is given, or what it wrote there before.
///
/// The name of the kept file tells `how` the frames are made and from which `files`, by path, size and time of
/// change: if any of it differs, they are made again.
pub(crate) fn cached<'a>(
    name: &str,
    how: &str,
    root: &Path,
    files: impl IntoIterator<Item = &'a Path>,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<Frames> {
    let mut hash = Sha256::new();
    hash.update(how);
    hash.update(root.to_string_lossy().as_bytes());
    for file in files {
        let about = std::fs::metadata(file).map_err(|e| DataError::io(file, e))?;
        let changed =
            about.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(file.to_string_lossy().as_bytes());
        hash.update(about.len().to_le_bytes());
        hash.update(changed.map_or(0, |t| t.as_nanos()).to_le_bytes());
    }
    let key: String = hash.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect();
    let folder = frames_folder();
    let path = folder.join(format!("{name}-{key}.frames"));
    // What cannot be opened is made again: it may be of an older version.
    if let Ok(frames) = frames_file::open(&path) {
        return Ok(frames);
    }
    std::fs::create_dir_all(&folder).map_err(|e| DataError::io(&folder, e))?;
    make(&path)?;
    frames_file::open(&path)
}

/// Where decoded frames are kept: beside the data in the user's cache folder, or among temporary files.
fn frames_folder() -> PathBuf {
    cache_folder()
        .and_then(|data| Some(data.parent()?.join("frames")))
        .unwrap_or_else(|| std::env::temp_dir().join("spikelet-frames"))
}

impl SplitConfig {
    pub(crate) fn divide_frames(&self, data: &Frames) -> Result<(Split, String)> {
        match *self {
            Self::Subject { fold, folds, validation, seed } => Ok((
                by_group(&data.group, folds, fold, validation, seed)?,
                format!("by person or recording, fold {fold} of {folds}, seed {seed}"),
            )),
            Self::Random { validation, test, seed } => Ok((
                stratified(&data.y, validation, test, seed)?,
                format!("random samples, {test} for testing, seed {seed}"),
            )),
            Self::Folds { fold, folds, validation, seed } => Ok((
                stratified_fold(&data.y, folds, fold, validation, seed)?,
                format!("random samples, fold {fold} of {folds}, seed {seed}"),
            )),
            Self::Contiguous { .. } => Err(only_text()),
            Self::Official { index: 1.., .. } => {
                Err(DataError::request("data.split.index: frames have one official split, 0"))
            }
            Self::Official { validation, seed, .. } => official(data, validation, seed),
        }
    }
}

/// The official parts. A validation part is carved out of the training part if there is none.
fn official(data: &Frames, validation: Option<f64>, seed: u64) -> Result<(Split, String)> {
    let Some([train, val, _]) = data.official else {
        return Err(DataError::request(
            "this data set has no official split: set data.split.kind to \"random\" or \"subject\"",
        ));
    };
    let test = (train + val..data.n).collect();
    let all: Vec<usize> = (0..train).collect();
    match (val, validation) {
        (0, _) => {
            let fraction = validation.unwrap_or(0.1);
            let (train, val) = carve_stratified(&data.y, &all, fraction, seed)?;
            let name = format!(
                "official test part, {fraction} of the training part for validation, seed {seed}"
            );
            Ok((Split { train, val, test }, name))
        }
        (_, None) => {
            let val = (train..train + val).collect();
            Ok((Split { train: all, val, test }, "official".to_owned()))
        }
        (_, Some(_)) => Err(DataError::request(
            "data.split.validation: this data set has an official validation part",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(official: Option<[usize; 3]>) -> Frames {
        let mut frames = Frames::empty([1, 1, 1], 1, vec!["a".into(), "b".into()], 1.0);
        (0..100).for_each(|i| frames.push(&[i], u32::from(i % 2), u32::from(i / 10)));
        frames.official = official;
        frames
    }

    fn divided(official: Option<[usize; 3]>, split: &str) -> Result<Split> {
        let split: SplitConfig = serde_json::from_str(split).unwrap();
        let (split, _) = split.divide_frames(&frames(official))?;
        split.validate(100).unwrap();
        Ok(split)
    }

    #[test]
    fn official_parts() {
        let split = divided(Some([80, 0, 20]), r#"{"kind": "official"}"#).unwrap();
        assert_eq!((split.train.len(), split.val.len(), split.test.len()), (72, 8, 20));
        assert_eq!(split.val.iter().filter(|&&i| i % 2 == 0).count(), 4, "stratified");
        assert!(split.test.iter().all(|&i| i >= 80));
        let quarter = r#"{"kind": "official", "validation": 0.25, "seed": 3}"#;
        assert_eq!(divided(Some([80, 0, 20]), quarter).unwrap().val.len(), 20);
        let three = divided(Some([70, 10, 20]), r#"{"kind": "official"}"#).unwrap();
        assert_eq!(three.val, (70..80).collect::<Vec<_>>());
        assert!(divided(Some([70, 10, 20]), quarter).is_err());
        assert!(divided(None, r#"{"kind": "official"}"#).is_err());
        assert!(divided(Some([80, 0, 20]), r#"{"kind": "official", "index": 1}"#).is_err());
    }

    #[test]
    fn random_and_by_group() {
        let split = divided(None, r#"{"kind": "random"}"#).unwrap();
        assert_eq!((split.val.len(), split.test.len()), (20, 20));
        let split = divided(None, r#"{"kind": "subject", "folds": 5}"#).unwrap();
        assert!(split.test.iter().all(|i| !split.train.iter().any(|j| i / 10 == j / 10)));
    }

    #[test]
    fn frames_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::write(&source, "a").unwrap();
        let name = format!("test-{}", std::process::id());
        let load = |value: u8, how: &str| {
            let frames = cached(&name, how, dir.path(), [source.as_path()], |path| {
                let mut writer = FramesWriter::create(path, [1, 1, 1], 1, 1.0)?;
                writer.push(&[value], 0, 0)?;
                writer.finish(vec!["a".into()], None)
            });
            frames.unwrap().sample(0)[0]
        };
        assert_eq!((load(1, "so"), load(2, "so"), load(3, "thus")), (1, 1, 3));
        std::fs::write(&source, "changed").unwrap();
        assert_eq!(load(4, "so"), 4);
        for path in class_folders::entries(&frames_folder()).unwrap() {
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&name)) {
                std::fs::remove_file(path).unwrap();
            }
        }
    }
}
