//! Hyper-parameter search: random trials, and a stop for those that fall behind.

use super::check_name;
use crate::{
    config::{Layers, set_path},
    failure::{Failure, Result},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The `[tune]` section of a preset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// How many configurations are tried.
    pub trials: usize,
    /// The seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// Trials are not stopped before this epoch.
    pub stop_from_epoch: usize,
    /// Overrides for every trial, for example fewer epochs.
    #[serde(default)]
    pub set: Table,
    /// What is drawn, by path.
    pub ranges: BTreeMap<String, Range>,
}

/// The values a hyper-parameter may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Range {
    /// One of these.
    Choices {
        /// The values.
        choices: Vec<Value>,
    },
    /// Between `min` and `max`, both included; on a grid of `step` from `min` if there is one,
    /// uniform in the logarithm with `log`.
    Between {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
        /// Distance of the values.
        #[serde(default)]
        step: Option<f64>,
        /// Small values as likely as large ones.
        #[serde(default)]
        log: bool,
        /// Whole numbers.
        #[serde(default)]
        integer: bool,
    },
}

impl Search {
    /// The search section of a preset or configuration file, and the base of its trials.
    ///
    /// `set` overrides keys, as `KEY=VALUE`.
    pub fn read(from: &str, set: &[String]) -> Result<(Self, Table)> {
        let mut layers = Layers::from_argument(from)?;
        for assignment in set {
            layers.set(assignment)?;
        }
        let (rest, section) = layers.split("tune");
        if section.merged().is_empty() {
            return Err(Failure::usage(format!("{from} has no [tune] section"))
                .help("state the ranges to search: [tune.ranges] with min and max, or choices"));
        }
        let search = section.read::<Section>()?.tune;
        for (path, range) in &search.ranges {
            range.check(path)?;
        }
        let mut config = rest.merged();
        crate::config::merge(&mut config, &search.set);
        Ok((search, config))
    }

    /// What trial number `trial` sets: the same for every call.
    pub fn draw(&self, trial: usize) -> BTreeMap<String, Value> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(trial as u64);
        self.ranges.iter().map(|(path, range)| (path.clone(), range.draw(&mut rng))).collect()
    }

    /// The configuration of a trial.
    pub fn config(&self, base: &Table, drawn: &BTreeMap<String, Value>) -> Result<Table> {
        let mut config = base.clone();
        for (path, value) in drawn {
            set_path(&mut config, path, value.clone()).map_err(Failure::usage)?;
        }
        Ok(config)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    tune: Search,
}

impl Range {
    fn check(&self, path: &str) -> Result<()> {
        let wrong = |what: &str| Failure::usage(format!("tune.ranges.\"{path}\": {what}"));
        match self {
            Range::Choices { choices } if choices.is_empty() => Err(wrong("no choices")),
            Range::Choices { .. } => Ok(()),
            Range::Between { min, max, step, log, .. } => {
                if !(min.is_finite() && max.is_finite() && min <= max) {
                    Err(wrong("min must not be above max"))
                } else if step.is_some_and(|step| !(step.is_finite() && step > 0.0)) {
                    Err(wrong("step must be positive"))
                } else if *log && *min <= 0.0 {
                    Err(wrong("min must be positive with log = true"))
                } else {
                    Ok(())
                }
            }
        }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Value {
        match self {
            Range::Choices { choices } => choices[rng.random_range(0..choices.len())].clone(),
            Range::Between { min, max, step, log, integer } => {
                let share: f64 = rng.random();
                let value = match log {
                    true => (min.ln() + share * (max.ln() - min.ln())).exp(),
                    // One value more than steps, so that both ends are as likely as the rest.
                    false => min + share * (max - min + step.unwrap_or(0.0)),
                };
                let value = match step {
                    Some(step) if *log => min + ((value - min) / step).round() * step,
                    Some(step) => min + ((value - min) / step).floor() * step,
                    None => value,
                }
                .clamp(*min, *max);
                match integer {
                    true => Value::Integer(value.round() as i64),
                    // Steps such as 0.05 leave digits like 0.15000000000000002: cut off.
                    false => Value::Float(format!("{value:.12e}").parse().unwrap_or(value)),
                }
            }
        }
    }
}

/// Whether a trial has fallen behind: its best value so far is below the median of what earlier
/// trials had, on average, up to the same epoch (the median stopping rule of Google Vizier).
///
/// `values` holds the trial's value of every epoch so far; `earlier` those of earlier trials.
pub fn falls_behind(values: &[f64], earlier: &[Vec<f64>], from_epoch: usize) -> bool {
    let epoch = values.len();
    if epoch < from_epoch.max(1) {
        return false;
    }
    let mut averages: Vec<f64> = earlier
        .iter()
        .filter(|other| other.len() >= epoch)
        .map(|other| other[..epoch].iter().sum::<f64>() / epoch as f64)
        .collect();
    if averages.is_empty() {
        return false;
    }
    averages.sort_by(f64::total_cmp);
    let middle = averages.len() / 2;
    let median = match averages.len() % 2 {
        0 => f64::midpoint(averages[middle - 1], averages[middle]),
        _ => averages[middle],
    };
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max) < median
}

/// What trials are compared by: accuracy on the validation part, or one over the perplexity of text.
pub fn score(line: &serde_json::Value) -> f64 {
    let of_text = line["val_perplexity"].as_f64().map(|perplexity| 1.0 / perplexity);
    of_text.or(line["val_accuracy"].as_f64()).unwrap_or(0.0)
}

/// What the trial with the best validation part drew; of equals the earliest.
pub fn best_trial(lines: &[serde_json::Value]) -> Option<BTreeMap<String, Value>> {
    let best = lines.iter().reduce(|best, line| match score(line) > score(best) {
        true => line,
        false => best,
    })?;
    serde_json::from_value(best["drawn"].clone()).ok()
}

/// A folder name for a search from a preset or file.
pub fn name_of(from: &str) -> Result<String> {
    let name = from.strip_suffix(".toml").unwrap_or(from);
    let name = name.rsplit_once("presets/").map_or(name, |(_, name)| name);
    let name = format!("tune-{}", name.replace(['/', '.'], "-").trim_matches('-'));
    check_name(&name)?;
    Ok(name)
}
