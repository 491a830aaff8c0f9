use super::{docs::Layout, grid::Sweep, results::Results, search::*, *};
use serde_json::json;
use std::{fs, path::Path};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn sweep(folder: &Path, text: &str) -> Result<Sweep> {
    fs::write(folder.join("base.toml"), "seed = 0\n[data]\nfold = 0\n").expect("written");
    let text = text.replace("BASE", &folder.join("base.toml").display().to_string());
    fs::write(folder.join("sweep.toml"), text).expect("written");
    Sweep::read(&folder.join("sweep.toml"))
}

const SWEEP: &str = "\
name = \"splits\"
set = { data.fold = 9 }
[grid]
seed = [1, 2]
\"data.fold\" = [0, 1, 2]
[[variant]]
name = \"plain\"
from = \"BASE\"
[[variant]]
name = \"wide\"
from = \"BASE\"
set = { model.hidden = 20 }
";

#[test]
fn a_sweep_is_variants_times_grid() {
    let folder = folder();
    let runs = sweep(folder.path(), SWEEP).expect("valid").runs().expect("runs");
    assert_eq!(runs.len(), 12);
    let mut hashes: Vec<&String> = runs.iter().map(|run| &run.hash).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 12, "every run has its own identity");
    assert_eq!(runs[0].variant, "plain");
    assert_eq!(runs[0].config["data"]["fold"].as_integer(), Some(0));
    assert_eq!(runs[11].config["model"]["hidden"].as_integer(), Some(20));
    assert_eq!(runs[11].config["seed"].as_integer(), Some(2));
}

#[test]
fn hostile_sweeps_are_refused() {
    let folder = folder();
    let unknown = SWEEP.replace("[grid]", "[gird]");
    assert!(sweep(folder.path(), &unknown).is_err());
    assert!(sweep(folder.path(), &SWEEP.replace("\"splits\"", "\"../x\"")).is_err());
    let clash = sweep(folder.path(), &SWEEP.replace("seed =", "\"seed.a\" =")).expect("parses");
    assert!(clash.runs().is_err());
    let values = vec!["0"; 1000].join(",");
    let huge = SWEEP
        .replace("[1, 2]", &format!("[{values}]"))
        .replace("[0, 1, 2]", &format!("[{values}]"));
    assert!(sweep(folder.path(), &huge).expect("parses").runs().is_err());
}

#[test]
fn results_survive_a_kill_in_the_middle_of_a_line() {
    let folder = folder();
    let path = folder.path().join("deep/er.jsonl");
    let results = Results::new(&path);
    assert!(results.load().expect("nothing yet").is_empty());
    results.append(&json!({"run": 1})).expect("appended");
    let mut text = fs::read(&path).expect("read");
    text.extend(b"{\"run\": ");
    fs::write(&path, text).expect("written");
    assert_eq!(results.load().expect("loads").len(), 1);
    results.append(&json!({"run": 2})).expect("appended");
    assert_eq!(results.load().expect("loads"), [json!({"run": 1}), json!({"run": 2})]);
    fs::write(&path, "{\"run\": 1}\nnot json\n").expect("written");
    let failure = results.load().expect_err("damaged");
    assert!(failure.message().contains("line 2"), "{}", failure.message());
}

#[test]
fn draws_repeat_and_stay_in_their_ranges() {
    let folder = folder();
    let path = folder.path().join("a.toml");
    let text = "\
seed = 0
[tune]
trials = 50
stop_from_epoch = 3
[tune.ranges]
\"train.learning_rate\" = { min = 1e-4, max = 1e-2, step = 5e-5 }
\"train.decay\" = { min = 1e-6, max = 1e-1, log = true }
\"model.hidden\" = { min = 10, max = 300, step = 10, integer = true }
\"model.kind\" = { choices = [\"lif\", \"cuba\"] }
";
    fs::write(&path, text).expect("written");
    let (search, base) = Search::read(&path.display().to_string(), &[]).expect("valid");
    assert!(!base.contains_key("tune"));
    let mut kinds = std::collections::BTreeSet::new();
    for trial in 0..search.trials {
        let drawn = search.draw(trial);
        assert_eq!(drawn, search.draw(trial));
        let hidden = drawn["model.hidden"].as_integer().expect("whole");
        assert!((10..=300).contains(&hidden) && hidden % 10 == 0);
        let rate = drawn["train.learning_rate"].as_float().expect("a number");
        assert!((1e-4..=1e-2).contains(&rate));
        let decay = drawn["train.decay"].as_float().expect("a number");
        assert!((1e-6..=1e-1).contains(&decay));
        kinds.insert(drawn["model.kind"].as_str().expect("a word").to_owned());
        let config = search.config(&base, &drawn).expect("fits");
        assert_eq!(config["model"]["hidden"].as_integer(), Some(hidden));
    }
    assert_eq!(kinds.len(), 2);
    fs::write(&path, text.replace("min = 10,", "min = 1000,")).expect("written");
    assert!(Search::read(&path.display().to_string(), &[]).is_err());
    fs::write(&path, text.replace("trials", "trails")).expect("written");
    let failure = Search::read(&path.display().to_string(), &[]).expect_err("unknown key");
    assert_eq!(failure.message(), "unknown key `trails` in `tune`");
}

#[test]
fn a_trial_below_the_median_falls_behind() {
    let earlier = [vec![0.1, 0.5, 0.6], vec![0.2, 0.6, 0.7], vec![0.3, 0.7]];
    // Averages up to epoch 2: 0.3, 0.4, 0.5.
    assert!(falls_behind(&[0.1, 0.39], &earlier, 1));
    assert!(!falls_behind(&[0.1, 0.41], &earlier, 1));
    assert!(!falls_behind(&[0.41, 0.1], &earlier, 1), "the best value counts");
    assert!(!falls_behind(&[0.1, 0.2], &earlier, 3), "too early");
    assert!(!falls_behind(&[0.1; 4], &earlier, 1), "nobody to compare with");
    // Epoch 3: averages 0.4 and 0.5, median 0.45.
    assert!(falls_behind(&[0.1, 0.2, 0.44], &earlier, 1));
    assert!(!falls_behind(&[0.1, 0.2, 0.46], &earlier, 1));
}

#[test]
fn tables_group_lines_in_the_order_they_came() {
    let layout: Layout = toml::from_str(
        "group = [\"variant\", \"data.split\"]\n\
         metrics = [{ key = \"accuracy\", title = \"accuracy, %\", scale = 100, digits = 1 }]",
    )
    .expect("valid");
    let line = |variant: &str, accuracy: f64| json!({ "variant": variant, "grid": { "data.split": "subject" }, "result": { "accuracy": accuracy } });
    let lines = [line("b", 0.5), line("a", 0.9), line("b", 0.7)];
    assert_eq!(
        layout.render(&lines).markdown(),
        "| variant | data.split | runs | accuracy, % |\n| --- | --- | ---: | ---: |\n\
         | b | subject | 2 | 60.0 ± 14.1 (50.0..70.0) |\n| a | subject | 1 | 90.0 |\n"
    );
}

#[test]
fn documents_are_regenerated_between_their_marks() {
    let folder = folder();
    let results = folder.path().join("results");
    fs::create_dir(&results).expect("made");
    fs::write(results.join("x.toml"), "about = \"What.\"\n[table]\nmetrics = [{ key = \"v\" }]\n")
        .expect("written");
    fs::write(results.join("x.jsonl"), "{\"v\": 1}\n").expect("written");
    let page = folder.path().join("page.md");
    let old = "# Page\n\n<!-- results: x -->\nold\n<!-- end results -->\n\nmore\n";
    fs::write(&page, old).expect("written");
    assert_eq!(docs::update(folder.path(), false).expect("checked").len(), 1);
    assert_eq!(fs::read_to_string(&page).expect("read"), old, "a check writes nothing");
    assert_eq!(docs::update(folder.path(), true).expect("written").len(), 1);
    assert_eq!(
        fs::read_to_string(&page).expect("read"),
        "# Page\n\n<!-- results: x -->\n\nWhat.\n\n| v |\n| ---: |\n| 1.00 |\n\n\
         <!-- end results -->\n\nmore\n"
    );
    assert!(docs::update(folder.path(), false).expect("checked").is_empty());
    fs::write(&page, "<!-- results: x -->\nno end").expect("written");
    assert!(docs::update(folder.path(), false).is_err());
}

#[test]
fn the_documents_of_this_repository_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let stale = docs::update(&docs, false).expect("docs can be read");
    assert!(stale.is_empty(), "run `cargo run --release -- docs` for {stale:?}");
}
