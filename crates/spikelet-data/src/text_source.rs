//! Where text comes from and how it is divided: the `[data.text]` table of a configuration.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::error::{DataError, Result};
use crate::find::find;
use crate::registry;
use crate::source::{DataConfig, SplitConfig};
use crate::split::Split;
use crate::text::{Cut, Text};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{Unit, Vocabulary};

/// What of a text is learned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// What a token is.
    #[serde(default)]
    pub unit: Unit,
    /// The `tokenizer.json` of `unit = "tokens"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
}

impl TextConfig {
    /// The vocabulary that does not depend on a text: that of the tokenizer.
    pub(crate) fn vocabulary(&self) -> Result<Option<Vocabulary>> {
        match (&self.tokenizer, self.unit) {
            (Some(path), Unit::Tokens) => {
                Ok(Some(Vocabulary::Tokens(Tokenizer::load(Path::new(path))?)))
            }
            (Some(_), _) => Err(DataError::request(
                "data.text.tokenizer is for data.text.unit = \"tokens\": set it, or leave the tokenizer out",
            )),
            (None, _) => Ok(None),
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
    pub fn load_text(
        &self,
        folder: Option<&Path>,
        known: Option<&Vocabulary>,
    ) -> Result<DividedText> {
        let path = match self.dataset.as_str() {
            "tinyshakespeare" => find(&self.dataset, folder)?.join("input.txt"),
            "kjv" => {
                let plain = find(&self.dataset, folder)?.join("kjv.txt");
                if plain.is_file() { plain } else { plain.with_extension("txt.gz") }
            }
            "wikitext2" => {
                let folder = find(&self.dataset, folder)?;
                let train = folder.join("train.txt");
                if train.is_file() { train } else { folder.join("valid.txt") }
            }
            path => Path::new(path).to_path_buf(),
        };
        self.text_file(&path, known)
    }

    /// Reads and divides a text of the user's own.
    pub fn text_file(&self, path: &Path, known: Option<&Vocabulary>) -> Result<DividedText> {
        let SplitConfig::Contiguous { validation, test } = self.split else {
            return Err(DataError::request(
                "text is divided as it runs: set data.split.kind to \"contiguous\"",
            ));
        };
        let cut = Cut { window: self.window, validation, test };
        let own = match known {
            Some(known) => Some(known.clone()),
            None => self.text.vocabulary()?,
        };
        let (text, split) = Text::load(path, self.text.unit, own.as_ref(), cut)?;
        let split_name = format!("runs of text, {validation} for validation, {test} for testing");
        Ok(DividedText { text, split, split_name })
    }
}
