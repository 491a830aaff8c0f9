//! The time steps of an input file: rows of values, or frames of an event camera's recording.

use crate::failure::{Failure, Result};
use spikelet_data::{
    event_frames::{EventFramesConfig, Framer},
    events::{self, ENDINGS},
    stream::TimeSteps,
};
use spikelet_graph::{Task, task::EVENTS};
use std::path::Path;

/// Time steps one after the other.
pub enum Steps {
    /// Of a file of values.
    Values(Box<TimeSteps<'static>>),
    /// Of a recording.
    Frames(Recorded),
}

/// The frames of a recording, as the model was trained on them.
pub struct Recorded {
    frames: Vec<u8>,
    /// Values of a frame.
    len: usize,
    scale: f32,
    steps: u64,
}

impl Steps {
    /// Opens a file, or standard input for `-`. Recordings are recognised by their endings.
    ///
    /// # Errors
    /// What cannot be read; a recording for a model that does not say how it becomes frames.
    pub fn open(path: &Path, task: &Task) -> Result<Steps> {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase();
        match task.notes.get(EVENTS) {
            Some(config) if ENDINGS.contains(&ending.as_str()) => {
                Ok(Steps::Frames(Recorded::open(path, config)?))
            }
            None if matches!(ending.as_str(), "aedat" | "es") => Err(Failure::input(format!(
                "{} is a recording of events, and the model does not say how they become frames",
                path.display()
            ))
            .help(
                "models trained on recordings by this version do; others take frames, a row each",
            )),
            _ => Ok(Steps::Values(Box::new(TimeSteps::open(path, &task.channels)?))),
        }
    }

    /// Values of a step, as far as they are known.
    pub fn channels(&self) -> usize {
        match self {
            Steps::Values(steps) => steps.channels(),
            Steps::Frames(recorded) => recorded.len,
        }
    }

    /// Reads the next step into `x`; `false` at the end.
    ///
    /// # Errors
    /// What is no step.
    pub fn next_step(&mut self, x: &mut Vec<f32>) -> Result<bool> {
        match self {
            Steps::Values(steps) => Ok(steps.next_step(x)?),
            Steps::Frames(recorded) => Ok(recorded.next_step(x)),
        }
    }

    /// Steps read so far.
    pub fn steps(&self) -> u64 {
        match self {
            Steps::Values(steps) => steps.steps(),
            Steps::Frames(recorded) => recorded.steps,
        }
    }
}

impl Recorded {
    fn open(path: &Path, config: &str) -> Result<Recorded> {
        let config: EventFramesConfig = serde_json::from_str(config).map_err(|error| {
            Failure::input(format!("the model's note `{EVENTS}` is no way to make frames: {error}"))
        })?;
        let mut reader = events::open(path)?;
        let mut framer = Framer::new(&config, reader.size())?;
        let mut events = events::read_all(&mut *reader)?;
        let mut frames = Vec::new();
        framer.frames(&mut events, |sample| {
            frames.extend_from_slice(sample);
            Ok(())
        })?;
        let len = framer.shape().iter().product();
        Ok(Recorded { frames, len, scale: framer.scale(), steps: 0 })
    }

    fn next_step(&mut self, x: &mut Vec<f32>) -> bool {
        let start = self.steps as usize * self.len;
        let Some(frame) = self.frames.get(start..start + self.len) else { return false };
        x.clear();
        x.extend(frame.iter().map(|count| f32::from(*count) * self.scale));
        self.steps += 1;
        true
    }
}
