//! Where text comes from and how it is divided: the `[data.text]` table of a configuration.

use serde::{Deserialize, Serialize};
use std::path::Path;

use crate::error::{DataError, Result};
use crate::find::find;
use crate::registry;
use crate::source::{DataConfig, SplitConfig};
use crate::split::Split;
use crate::text::{Cut, Text, Unit, Vocabulary};

/// What of a text is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// What a token is.
    #[serde(default)]
    pub unit: Unit,
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
            None => self.dataset.ends_with(".txt") || self.dataset.ends_with(".txt.gz"),
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
        let (text, split) = Text::load(path, self.text.unit, known, cut)?;
        let split_name = format!("runs of text, {validation} for validation, {test} for testing");
        Ok(DividedText { text, split, split_name })
    }
}
