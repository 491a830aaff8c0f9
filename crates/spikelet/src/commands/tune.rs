//! `spikelet tune`.

use crate::{
    config::Layers,
    experiments::{
        check_name,
        results::Results,
        search::{Search, falls_behind, name_of, score},
    },
    failure::{Failure, Outcome, Result},
    table::Table,
    training::{self, Watcher},
    training_report,
    ui::Ui,
};
use serde_json::{Value, json};
use spikelet_train::trainer::{EpochReport, Observer};
use std::path::PathBuf;

/// Search hyper-parameters: random trials, and a stop for those that fall behind
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet tune l2mu/wisdm --trials 20
  spikelet tune l2mu/wisdm --trials 20 --resume     go on after a kill
  spikelet tune l2mu/wisdm --set data.split.kind=random --name tune-l2mu-random

The ranges stand in the [tune] section of the preset or file. Trials are drawn from its seed, so a
search that goes on draws what it would have drawn. A trial is judged by its best accuracy on the
validation part, of text by the least perplexity; one that falls behind the median of earlier
trials is stopped. Epochs before pruning has reached its aim, or before a pull on activity begins,
do not count. Each trial is a line of docs/results/tune-NAME.jsonl.")]
pub struct Args {
    /// A preset or .toml file with a [tune] section.
    config: String,
    /// Override a key for all trials, for example data.split.kind=random (may be repeated).
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Name of the results file [default: tune- and the preset's name].
    #[arg(long)]
    name: Option<String>,
    /// Number of trials [default: that of the section].
    #[arg(long, value_name = "N")]
    trials: Option<usize>,
    /// Skip trials that are done, go on with the one cut off.
    #[arg(long)]
    resume: bool,
    /// Folder of the data set [default: where it is found].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the results.
    #[arg(long, value_name = "PATH", default_value = "docs/results")]
    results: PathBuf,
    /// Folder of the runs.
    #[arg(long, value_name = "PATH", default_value = "runs")]
    runs: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let (search, base) = Search::read(&args.config, &args.set)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.config)?,
    };
    check_name(&name)?;
    let trials = args.trials.unwrap_or(search.trials);
    let results = Results::new(&args.results.join(format!("{name}.jsonl")));
    let mut lines = results.load()?;
    if !args.resume && !lines.is_empty() {
        return Err(Failure::usage(format!("{name} has {} trials already", lines.len()))
            .help("--resume does the rest; to do all again, move its results file away"));
    }
    let stop = ui.catch_ctrl_c()?;
    for trial in 0..trials {
        if lines.iter().any(|line| line["trial"] == json!(trial)) {
            continue;
        }
        let drawn = search.draw(trial);
        let config = training::configuration(Layers::of_table(search.config(&base, &drawn)?)?)?;
        let label = format!("trial {}/{trials}", trial + 1);
        let watcher = Watcher::new(ui, &label, config.train.epochs, stop.clone());
        let folder = args.runs.join(&name).join(format!("trial-{trial}"));
        let mut judge = Judge {
            watcher,
            earlier: lines.iter().map(curve).collect(),
            values: training_report::scores(&folder)?,
            from_epoch: search.stop_from_epoch,
            behind: false,
            text: config.data.has_text(),
        };
        let trained = training::train(&config, args.data.as_deref(), &folder, &mut judge);
        let accuracy = match trained {
            Ok(finished) => Some(finished.result.accuracy),
            // A trial that was stopped for falling behind has no result, only its curve.
            Err(_) if judge.behind => None,
            Err(failure) => {
                let again = format!("spikelet tune {} --resume", args.config);
                return Err(failure.resumed_by(again));
            }
        };
        let values = training_report::scores(&folder)?;
        let best = training_report::best_score(&folder)?;
        let mut line = json!({
            "trial": trial, "accuracy": accuracy, "stopped": judge.behind, "curve": values,
            "drawn": drawn,
        });
        let said = match (best, judge.text) {
            (None, _) => "stopped before an epoch that counts".to_owned(),
            (Some(best), true) => {
                line["val_perplexity"] = (1.0 / best).into();
                format!("perplexity {:.3} on the validation part", 1.0 / best)
            }
            (Some(best), false) => {
                line["val_accuracy"] = best.into();
                format!("{:.2} % on the validation part", 100.0 * best)
            }
        };
        results.append(&line)?;
        ui.note(format!("{label}: {said}"));
        lines.push(line);
    }
    lines.sort_by(|a, b| score(b).total_cmp(&score(a)));
    ui.print(|| text(&lines), &lines)?;
    Ok(Outcome::Done)
}

fn curve(line: &Value) -> Vec<f64> {
    line["curve"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn text(lines: &[Value]) -> String {
    let mut table = Table::new(["trial", "validation", "test", "settings"]);
    let percent =
        |value: &Value| value.as_f64().map_or(String::new(), |v| format!("{:.2} %", 100.0 * v));
    for line in lines.iter().take(10) {
        let validation = match line["val_perplexity"].as_f64() {
            Some(perplexity) => format!("perplexity {perplexity:.3}"),
            None => percent(&line["val_accuracy"]),
        };
        table.row([
            line["trial"].to_string(),
            validation,
            percent(&line["accuracy"]),
            line["drawn"].to_string(),
        ]);
    }
    table.text()
}

/// Watches a trial and stops it when it falls behind.
struct Judge {
    watcher: Watcher,
    earlier: Vec<Vec<f64>>,
    values: Vec<f64>,
    from_epoch: usize,
    behind: bool,
    /// Whether scores are those of text.
    text: bool,
}

impl Observer for Judge {
    fn batch(&mut self, epoch: usize, done: usize, batches: usize, loss: f32) -> bool {
        self.watcher.batch(epoch, done, batches, loss) && !self.behind
    }

    fn epoch(&mut self, report: &EpochReport) {
        self.watcher.epoch(report);
        self.values.push(report.score());
        self.behind = falls_behind(&self.values, &self.earlier, self.from_epoch);
    }
}
