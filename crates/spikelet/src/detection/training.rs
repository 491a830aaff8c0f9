//! `spikelet train` of a detector: a folder with everything about the run.

use super::evaluate::MapFigures;
use crate::{
    config::Layers,
    failure::{Failure, Kind, Result},
    files::AtomicFile,
    labelled::DATA_NOTE,
    model::MODEL_FILE,
    training::{CONFIG_FILE, RESULT_FILE, Watcher},
};
use serde::{Deserialize, Serialize};
use spikelet_train::{
    detection::{DetectionConfig, DetectionEpoch, DetectionObserver, train as train_detector},
    run::Checkpoint,
    trainer::{End, Observer, checkpoint_path},
};
use std::{io::Write, path::Path};

/// The kind of model that is trained here.
pub const KIND: &str = "spike-detector";

/// Whether a configuration is one of a detector.
pub fn is_detector(layers: &Layers) -> bool {
    let merged = layers.merged();
    let kind = merged.get("model").and_then(|model| model.get("kind"));
    kind.and_then(toml::Value::as_str) == Some(KIND)
}

/// What a finished run gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DetectionResult {
    model: String,
    dataset: String,
    split: String,
    /// Average precision of boxes on the test part.
    pub boxes: MapFigures,
    /// The same of masks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<MapFigures>,
    epochs: usize,
    end: End,
    parameters: usize,
    train_images: usize,
    images: usize,
    seconds: f64,
    /// Why there is no graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_lowered: Option<String>,
}

/// The typed configuration of layers; `[tune]` is no part of a run.
pub fn configuration(layers: Layers) -> Result<DetectionConfig> {
    layers.split("tune").0.read()
}

/// Trains a detector in the folder `run`, going on from a checkpoint found there.
pub fn train(
    config: &DetectionConfig,
    folder: Option<&Path>,
    run: &Path,
    watcher: &mut Watcher,
) -> Result<DetectionResult> {
    let data = config.data.load(folder)?;
    for line in &data.scenes.dropped {
        watcher.detail(line);
    }
    let initial = match &config.train.init {
        None => None,
        Some(path) => {
            let checkpoint = Checkpoint::load(&checkpoint_path(Path::new(path)))?;
            // Detectors have no best epoch.
            let has_best = !checkpoint.best.is_empty();
            Some(if has_best { checkpoint.best } else { checkpoint.weights })
        }
    };
    std::fs::create_dir_all(run).map_err(|e| {
        Failure::from(e).context(format!("cannot make the folder {}", run.display()))
    })?;
    write(&run.join(CONFIG_FILE), toml::to_string(config)?.as_bytes())?;
    let trained = train_detector(config, &data, initial.as_ref(), run, watcher)?;
    let not_lowered = match trained.graph {
        Ok(mut graph) => {
            let note = serde_json::to_string(&config.data)?;
            graph.task.notes.insert(DATA_NOTE.to_owned(), note);
            graph.save(run.join(MODEL_FILE))?;
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let Some((boxes, masks)) = trained.figures else {
        let help = format!("go on with: spikelet train --resume {}", run.display());
        return Err(Failure::new(Kind::Interrupted, "stopped; the state is saved").help(help));
    };
    let named = |figures| MapFigures::new(figures, &data.scenes.categories);
    let result = DetectionResult {
        model: KIND.to_owned(),
        dataset: config.data.dataset.clone(),
        split: data.split_name.clone(),
        boxes: named(&boxes),
        masks: masks.as_ref().map(named),
        epochs: trained.position.epoch,
        end: trained.end,
        parameters: trained.parameters,
        train_images: data.split.train.len(),
        images: data.split.test.len(),
        seconds: trained.position.seconds,
        not_lowered,
    };
    write(&run.join(RESULT_FILE), serde_json::to_string_pretty(&result)?.as_bytes())?;
    Ok(result)
}

impl DetectionResult {
    /// What is printed of the run in this folder.
    pub fn text(&self, run: &Path) -> String {
        let mut text = self.boxes.line("boxes");
        if let Some(masks) = &self.masks {
            text += &format!("\n{}", masks.line("masks"));
        }
        if let Some(reason) = &self.not_lowered {
            text += &format!("\nno {MODEL_FILE}: {reason}");
        }
        format!(
            "{text}\n{} on {} ({} images, {}), {} epochs, {} parameters, {:.1} s\n\n{}\n{}",
            self.model,
            self.dataset,
            self.images,
            self.split,
            self.epochs,
            self.parameters,
            self.seconds,
            self.boxes.table().text(),
            run.display()
        )
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

impl DetectionObserver for Watcher {
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, loss: f32) -> bool {
        Observer::batch(self, epoch, done, batches, loss)
    }

    fn epoch(&mut self, r: &DetectionEpoch) {
        let parts: Vec<String> =
            r.losses.iter().map(|(name, loss)| format!("{name} {loss:.3}")).collect();
        self.line(format!(
            "epoch {:3}/{}: loss {:.4} ({})  {:.1} s",
            r.epoch,
            self.epochs(),
            r.loss,
            parts.join(", "),
            r.seconds
        ));
    }
}
