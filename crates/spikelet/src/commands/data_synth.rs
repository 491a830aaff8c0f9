//! `spikelet data synth`.

use crate::{
    failure::{Failure, Outcome, Result},
    ui::Ui,
};
use spikelet_data::{
    event_camera::CameraConfig,
    find::{cache_folder, find},
    synth_gestures::{self, GesturesConfig},
    synth_saccades::{self, SaccadesConfig},
};
use std::path::{Path, PathBuf};

/// Make synthetic recordings of an event camera; the data set's name says that they are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet data synth saccades             12,000 and 2,000 MNIST digits before a moving camera
  spikelet data synth gestures --persons 10 --out /tmp/gestures

Both are written to the user's cache folder unless --out names another, and are found there as the
data sets synthetic-saccades and synthetic-gestures. The same options give the same files.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// MNIST digits before a camera that makes three saccades, as N-MNIST was recorded.
    Saccades {
        /// Images of MNIST's training part that are used.
        #[arg(long, default_value_t = 12_000)]
        train: usize,
        /// Images of MNIST's test part that are used.
        #[arg(long, default_value_t = 2_000)]
        test: usize,
        /// Folder of MNIST, or the folder that holds it.
        #[arg(long, value_name = "FOLDER")]
        data: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// Shapes that move in eleven ways, in the layout of DVS128 Gesture.
    Gestures {
        /// Persons; every fifth is in the test part.
        #[arg(long, default_value_t = 30)]
        persons: usize,
        /// Recordings of each person, each in its own light.
        #[arg(long, default_value_t = 3)]
        lights: usize,
        /// Milliseconds of a gesture.
        #[arg(long, value_name = "MS", default_value_t = 1500)]
        duration: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, clap::Args)]
struct Common {
    /// Decides everything that is up to chance.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Events without cause, per pixel and second.
    #[arg(long, value_name = "HZ", default_value_t = CameraConfig::default().noise)]
    noise: f32,
    /// Folder to make.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Common {
    fn camera(&self) -> Result<CameraConfig> {
        match (0.0..=1000.0).contains(&self.noise) {
            true => Ok(CameraConfig { noise: self.noise, ..CameraConfig::default() }),
            false => Err(Failure::usage(format!("--noise {}: it must be 0 to 1000", self.noise))),
        }
    }

    fn out(&self, name: &str) -> Result<PathBuf> {
        match (&self.out, cache_folder()) {
            (Some(out), _) => Ok(out.clone()),
            (None, Some(cache)) => Ok(cache.join(name)),
            (None, None) => {
                Err(Failure::usage("there is no cache folder here: name one with --out"))
            }
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    match &args.what {
        What::Saccades { train, test, data, common } => {
            let mnist = find("mnist", data.as_deref())?;
            let (camera, seed) = (common.camera()?, common.seed);
            let out = common.out(synth_saccades::NAME)?;
            let config = SaccadesConfig { train: *train, test: *test, seed, camera };
            let progress = ui.progress((train + test) as u64, "recordings");
            let made = synth_saccades::write(&mnist, &config, &out, || progress.inc(1))?;
            progress.finish_and_clear();
            report(synth_saccades::NAME, made, &out, ui)
        }
        What::Gestures { persons, lights, duration, common } => {
            let (camera, seed) = (common.camera()?, common.seed);
            let out = common.out(synth_gestures::NAME)?;
            let duration = duration.saturating_mul(1000);
            let (persons, lights) = (*persons, *lights);
            let config = GesturesConfig { persons, lights, duration, seed, camera };
            let progress = ui.progress(persons.saturating_mul(lights) as u64, "recordings");
            let made = synth_gestures::write(&config, &out, || progress.inc(1))?;
            progress.finish_and_clear();
            report(synth_gestures::NAME, made, &out, ui)
        }
    }
}

fn report(name: &str, made: usize, out: &Path, ui: &Ui) -> Result {
    let text = || format!("{name}: {made} synthetic samples: {}", out.display());
    ui.print(text, &serde_json::json!({ "dataset": name, "samples": made, "out": out }))?;
    Ok(Outcome::Done)
}
