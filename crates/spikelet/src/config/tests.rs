use super::*;
use crate::failure::Kind;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    seed: u64,
    model: Model,
    train: Train,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Model {
    L2mu { hidden: usize, order: usize },
    Lstm { hidden: usize },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    epochs: usize,
    learning_rate: f32,
    rule: String,
}

const TEXT: &str = "\
seed = 1

[model]
kind = \"l2mu\"
hidden = 120
order = 7

[train]
epochs = 3
learning_rate = 0.001
rule = \"bptt\"
";

fn layers(text: &str, sets: &[&str]) -> Layers {
    let mut layers = Layers(vec![Layer::parse("my.toml", text).expect("valid TOML")]);
    for set in sets {
        layers.set(set).expect("a valid assignment");
    }
    layers
}

fn failure(text: &str, sets: &[&str]) -> (String, serde_json::Value) {
    let failure = layers(text, sets).read::<Config>().expect_err("does not fit");
    assert_eq!(failure.kind(), Kind::Usage);
    let json: serde_json::Value = serde_json::from_str(&failure.json()).expect("JSON");
    (failure.message().to_owned(), json["error"].clone())
}

#[test]
fn overrides_win_and_words_need_no_quotes() {
    let config: Config = layers(
        TEXT,
        &["train.epochs=10", "train.rule=sltt-k=2", "train.learning_rate = 1", "seed=7"],
    )
    .read()
    .expect("fits");
    assert_eq!(config.seed, 7);
    assert_eq!(config.model, Model::L2mu { hidden: 120, order: 7 });
    assert_eq!(config.train, Train { epochs: 10, learning_rate: 1.0, rule: "sltt-k=2".into() });
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_key() {
    let text = TEXT.replace("hidden", "hiden");
    let (message, error) = failure(&text, &[]);
    assert_eq!(message, "unknown key `hiden` in `model`");
    assert_eq!(error["place"]["file"], "my.toml");
    assert_eq!(error["place"]["line"], 5);
    assert_eq!(error["help"], "did you mean `hidden`? Valid here: hidden, order");
}

#[test]
fn an_unknown_key_in_an_override_names_the_override() {
    let (message, error) = failure(TEXT, &["seed=3", "train.epoch=3"]);
    assert_eq!(message, "unknown key `epoch` in `train`");
    assert_eq!(error["place"]["file"], "--set");
    assert!(error["help"].as_str().expect("help").contains("did you mean `epochs`?"));
}

#[test]
fn an_unknown_choice_names_the_nearest_one() {
    let (message, error) = failure(&TEXT.replace("l2mu", "l2m"), &[]);
    assert_eq!(message, "`l2m` is not a choice in `model.kind`");
    assert_eq!(error["place"]["line"], 4);
    assert!(error["help"].as_str().expect("help").contains("did you mean `l2mu`?"));
}

#[test]
fn a_value_of_the_wrong_type_names_its_place() {
    let (message, error) = failure(TEXT, &["train.epochs=many"]);
    assert!(message.starts_with("`train.epochs`: invalid type"), "{message}");
    assert_eq!(error["place"]["file"], "--set");
    let (message, error) = failure(&TEXT.replace("epochs = 3\n", ""), &[]);
    assert_eq!(message, "`train`: missing field `epochs`");
    assert_eq!(error["place"]["line"], 8);
}

#[test]
fn assignments_that_make_no_sense_are_usage_errors() {
    for text in ["train.epochs", "=3", "a..b=1", ".a=1", "a.=1", " =1"] {
        let failure = Layer::assignment(text).expect_err(text);
        assert_eq!(failure.kind(), Kind::Usage, "{text}");
    }
}

#[test]
fn values_are_toml_where_they_can_be() {
    let value = |text: &str| Layer::assignment(text).expect("valid").table["a"].clone();
    assert_eq!(value("a=[1, 2]"), toml::Value::try_from([1, 2]).expect("an array"));
    assert_eq!(value("a=true"), true.into());
    assert_eq!(value("a=1e-3"), 1e-3.into());
    assert_eq!(value("a=\"3\""), "3".into());
    assert_eq!(value("a=x = 3"), "x = 3".into());
    // A second line must not smuggle in another key.
    assert_eq!(value("a=1\nb=2"), "1\nb=2".into());
}

#[test]
fn another_kind_brings_its_own_keys() {
    let merged = |over: &str| {
        let mut base: Table = "[split]\nkind = \"subject\"\nfolds = 5\n".parse().expect("valid");
        merge(&mut base, &over.parse().expect("valid"));
        base["split"].as_table().expect("a table").clone()
    };
    assert_eq!(merged("[split]\nkind = \"random\"\nseed = 1\n").len(), 2);
    assert_eq!(merged("[split]\nkind = \"subject\"\nseed = 1\n").len(), 3);
    assert_eq!(merged("[split]\nseed = 1\n").len(), 3);
}

#[test]
fn broken_toml_names_the_line() {
    let failure = Layer::parse("my.toml", "a = 1\nb = = 2\n").expect_err("broken");
    let json: serde_json::Value = serde_json::from_str(&failure.json()).expect("JSON");
    assert_eq!(json["error"]["place"]["line"], 2);
}

#[test]
fn every_preset_file_is_built_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
    let mut files = Vec::new();
    let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let list = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    for system in list(&root).iter().filter(|path| path.is_dir()) {
        for task in list(system) {
            files.push(format!("{}/{}", stem(system), stem(&task)));
        }
    }
    files.sort();
    let built_in: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.name).collect();
    assert_eq!(built_in, files);
}
