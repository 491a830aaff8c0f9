//! Where text comes from and how it is divided: the `[data.text]` table of a configuration.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::columns::Windows;
use crate::error::{DataError, Result};
use crate::find::find;
use crate::registry;
use crate::source::{DataConfig, SplitConfig};
use crate::split::Split;
use crate::text::{self, Cut, Text, Words};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{Unit, Vocabulary};
use crate::words;

/// What of a text is learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// What a token is.
    #[serde(default)]
    pub unit: Unit,
    /// What the tokens are: of `unit = "tokens"` a `tokenizer.json`, or `wikitext2-4k`, which is built in; of
    /// `unit = "characters"` the characters of an official model, so that they keep their numbers (see
    /// [`Vocabulary::load`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// Split punctuation from words (`unit = "words"`), for text that is not tokenised yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub split_punctuation: bool,
    /// How windows follow each other in training; carried ones are carried in validation and test parts too.
    #[serde(default, skip_serializing_if = "is_random")]
    pub windows: Windows,
}

/// The tokenizer of the presets, which needs no file.
const BUILT_IN: &str = "wikitext2-4k";
const BUILT_IN_JSON: &str = include_str!("../../../data/tokenizers/wikitext2-4k.json");

fn is_random(windows: &Windows) -> bool {
    *windows == Windows::Random
}

impl TextConfig {
    /// The vocabulary that does not depend on a text: that of the tokenizer.
    pub(crate) fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        let Some(name) = &self.tokenizer else { return Ok(None) };
        let vocabulary = match name.as_str() {
            BUILT_IN => Vocabulary::Tokens(Tokenizer::from_json(BUILT_IN_JSON, BUILT_IN)?),
            path => Vocabulary::load(Path::new(path))?,
        };
        let of_characters = matches!(vocabulary, Vocabulary::Characters(_));
        match self.unit {
            Unit::Characters if of_characters => Ok(Some(vocabulary)),
            Unit::Tokens if !of_characters => Ok(Some(vocabulary)),
            _ => Err(DataError::request(format!(
                "data.text.tokenizer: {name} is for data.text.unit = {:?}: set it, or leave the tokenizer out",
                if of_characters { "characters" } else { "tokens" }
            ))),
        }
    }
}

/// Text and its parts.
#[derive(Clone, Debug)]
pub struct DividedText {
    /// All windows.
    pub text: Text,
    /// The parts.
    pub split: Split,
    /// The split in words, for reports.
    pub split_name: String,
}

impl DataConfig {
    /// Whether the data set holds text, for [`Self::load_text`].
    pub fn has_text(&self) -> bool {
        match registry::by_name(&self.dataset) {
            Some(set) => set.holds == registry::Holds::Text,
            None => {
                let endings = [".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".idx"];
                endings.iter().any(|ending| self.dataset.ends_with(ending))
            }
        }
    }

    /// Loads and divides text. `folder` is what the user gave as `--data`; `known` the vocabulary of a trained model.
    ///
    /// # Errors
    /// Data that is not there or broken, a division that the data set does not have.
    pub fn load_text(
        &self,
        folder: Option<&Path>,
        known: Option<&Vocabulary>,
    ) -> Result<DividedText> {
        if let SplitConfig::Official { validation, .. } = self.split {
            return self.official_text(folder, known, validation.unwrap_or(0.1));
        }
        let path = match self.dataset.as_str() {
            "tinyshakespeare" => find(&self.dataset, folder)?.join("input.txt"),
            "kjv" => {
                let plain = find(&self.dataset, folder)?.join("kjv.txt");
                if plain.is_file() { plain } else { plain.with_extension("txt.gz") }
            }
            "penn-treebank" => find(&self.dataset, folder)?.join("ptb.train.txt"),
            "wikitext2" => {
                let folder = find(&self.dataset, folder)?;
                let train = folder.join("train.txt");
                if train.is_file() { train } else { folder.join("valid.txt") }
            }
            path => Path::new(path).to_path_buf(),
        };
        self.text_file(&path, known)
    }

    /// The parts a data set comes in, by word. Without its training file, that for validation is learned from, up to
    /// its last lines, a fraction `validation`.
    fn official_text(
        &self,
        folder: Option<&Path>,
        known: Option<&Vocabulary>,
        validation: f64,
    ) -> Result<DividedText> {
        let prefix = match self.dataset.as_str() {
            "penn-treebank" => "ptb.",
            "wikitext2" => "",
            other => {
                return Err(DataError::request(format!(
                    "data.split: {other:?} does not come in parts: set data.split.kind to \"contiguous\""
                )));
            }
        };
        if self.text.unit != Unit::Words {
            return Err(DataError::request(
                "data.split.kind = \"official\" divides words: set data.text.unit = \"words\"",
            ));
        }
        let folder = find(&self.dataset, folder)?;
        let file = |part: &str| folder.join(format!("{prefix}{part}.txt"));
        let (valid, test) = (file("valid"), text::read(&file("test"))?);
        let whole = text::read(&valid)?;
        let given = file("train");
        let (train, val, named, split_name) = match given.is_file() {
            true => (text::read(&given)?, whole.as_str(), given, "official parts".to_owned()),
            false => {
                let cut = Cut { window: self.window, validation, test: 0.0 };
                cut.check(&valid.display().to_string())?;
                let [train, val, _] = words::by_line(&whole, validation, 0.0);
                let name = format!(
                    "no training file: learned from the validation file but for its last lines ({validation} of \
                     them, for validation), tested on the official test file"
                );
                (train.to_owned(), val, valid.clone(), name)
            }
        };
        let files = [named, valid, file("test")].map(|path| path.display().to_string());
        let of = Words { known, marks: self.text.split_punctuation };
        let [a, b, c] = &files;
        let (text, split) = Text::of_words([&train, val, &test], [a, b, c], of, self.window)?;
        Ok(DividedText { text: self.windowed(text), split, split_name })
    }

    /// Reads and divides a text of the user's own.
    ///
    /// # Errors
    /// A file that cannot be read or is too short.
    pub fn text_file(&self, path: &Path, known: Option<&Vocabulary>) -> Result<DividedText> {
        let (validation, test) = match self.split {
            SplitConfig::Contiguous { validation, test } => (validation, test),
            // A file of the user's own has no official parts.
            SplitConfig::Official { .. } => (0.05, 0.05),
            _ => {
                return Err(DataError::request(
                    "text is divided as it runs: set data.split.kind to \"contiguous\"",
                ));
            }
        };
        let cut = Cut { window: self.window, validation, test };
        let own = match known {
            Some(known) => Some(known.clone()),
            None => self.text.vocabulary()?,
        };
        let (text, split, of) = match self.text.unit {
            Unit::Words => {
                let (text, split) = self.words_of(path, own.as_ref(), cut)?;
                (text, split, "runs of lines")
            }
            unit => {
                let (text, split) = Text::load(path, unit, own.as_ref(), cut)?;
                (text, split, "runs of text")
            }
        };
        let split_name = format!("{of}, {validation} for validation, {test} for testing");
        Ok(DividedText { text: self.windowed(text), split, split_name })
    }

    fn words_of(&self, path: &Path, known: Option<&Vocabulary>, cut: Cut) -> Result<(Text, Split)> {
        let file = path.display().to_string();
        cut.check(&file)?;
        let content = text::read(path)?;
        let content = match self.dataset.as_str() {
            "kjv" => words::without_references(&content),
            _ => content,
        };
        let parts = words::by_line(&content, cut.validation, cut.test);
        let of = Words { known, marks: self.text.split_punctuation };
        Text::of_words(parts, [&file; 3], of, cut.window)
    }

    fn windowed(&self, mut text: Text) -> Text {
        text.windows = self.text.windows;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dataset: &str, unit: Unit, split: SplitConfig) -> DataConfig {
        let text = TextConfig { unit, windows: Windows::Carried, ..TextConfig::default() };
        DataConfig { window: 4, text, ..DataConfig::new(dataset, split) }
    }

    #[test]
    fn vocabularies_are_of_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.json");
        std::fs::write(&path, r#"{"0": "b", "1": "a"}"#).unwrap();
        let path = path.display().to_string();
        let path = path.as_str();
        let of = |unit, tokenizer: &str| {
            let tokenizer = Some(tokenizer.to_owned());
            TextConfig { unit, tokenizer, ..TextConfig::default() }.vocabulary()
        };
        assert_eq!(of(Unit::Tokens, BUILT_IN).unwrap().unwrap().names().len(), 4096);
        assert_eq!(of(Unit::Characters, path).unwrap().unwrap().names(), ["b", "a"]);
        for (unit, tokenizer) in
            [(Unit::Bytes, BUILT_IN), (Unit::Characters, BUILT_IN), (Unit::Tokens, path)]
        {
            let error = of(unit, tokenizer).unwrap_err().to_string();
            assert!(error.contains("data.text.unit = "), "{error}");
        }
        assert!(of(Unit::Tokens, "nowhere.json").unwrap_err().to_string().contains("nowhere.json"));
    }

    #[test]
    fn official_parts_of_words() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("valid.txt", &"the cat sat\non the mat\n".repeat(10));
        write("test.txt", &"the dog sat\n".repeat(5));
        let wikitext = config("wikitext2", Unit::Words, SplitConfig::official(0));
        let divided = wikitext.load_text(Some(folder.path()), None).unwrap();
        assert!(divided.split_name.contains("tested on the official test file"));
        let names = ["the", "cat", "sat", "<eos>", "on", "mat", "<unk>"];
        assert_eq!(divided.text.names, names);
        assert_eq!(divided.text.windows, Windows::Carried);
        // 18 lines of 4 tokens, 2 lines, 5 lines; the last token of a part is only predicted.
        let split = &divided.split;
        assert_eq!((split.train.len(), split.val.len(), split.test.len()), (17, 1, 4));
        let test = divided.text.inputs(&divided.text.starts(&split.test[..1]));
        assert_eq!(test, [0.0, 6.0, 2.0, 3.0], "the unknown word");
        // A trained model's vocabulary is kept.
        write("train.txt", &"a dog sat\n".repeat(9));
        let known = divided.text.vocabulary.clone();
        let again = wikitext.load_text(Some(folder.path()), Some(&known)).unwrap();
        assert_eq!((again.split_name.as_str(), again.text.names.len()), ("official parts", 7));
        assert_eq!(again.text.vocabulary.unit(), Unit::Words);

        for (dataset, unit) in [("wikitext2", Unit::Bytes), ("kjv", Unit::Words)] {
            let refused = config(dataset, unit, SplitConfig::official(0));
            let error = refused.load_text(Some(folder.path()), None).unwrap_err().to_string();
            assert!(error.contains("data."), "{error}");
        }
    }

    #[test]
    fn verses_lose_their_references_and_keep_their_marks() {
        let folder = tempfile::tempdir().unwrap();
        let verses = (1..40).map(|v| format!("Ge1:{v} In the beginning, God: light.\n"));
        std::fs::write(folder.path().join("kjv.txt"), verses.collect::<String>()).unwrap();
        let split = SplitConfig::Contiguous { validation: 0.1, test: 0.1 };
        let mut kjv = config("kjv", Unit::Words, split);
        kjv.text.split_punctuation = true;
        let divided = kjv.load_text(Some(folder.path()), None).unwrap();
        let names = ["In", "the", "beginning", ",", "God", ":", "light", ".", "<eos>", "<unk>"];
        assert_eq!(divided.text.names, names);
        assert!(divided.split_name.starts_with("runs of lines"));
    }
}
