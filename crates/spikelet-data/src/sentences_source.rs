//! Where labelled sentences come from and how they are divided.

use std::path::Path;

use crate::error::{DataError, Result};
use crate::find::find;
use crate::nlu;
use crate::registry;
use crate::sentences::Sentences;
use crate::source::{DataConfig, SplitConfig, only_text};
use crate::split::{Split, carve_stratified, stratified, stratified_fold};
use crate::vocabulary::{Unit, Vocabulary};

/// Sentences and their parts.
#[derive(Clone, Debug)]
pub struct DividedSentences {
    /// All sentences.
    pub sentences: Sentences,
    /// The parts.
    pub split: Split,
    /// The split in words, for reports.
    pub split_name: String,
}

impl DataConfig {
    /// Whether the data set holds sentences, for [`Self::load_sentences`].
    pub fn has_sentences(&self) -> bool {
        registry::by_name(&self.dataset).is_some_and(|set| set.holds == registry::Holds::Sentences)
    }

    /// Loads and divides sentences, cut to `data.window` tokens. `folder` is what the user gave as `--data`; `known`
    /// the vocabulary of a trained model.
    ///
    /// # Errors
    /// Files that are missing or broken, a vocabulary that needs a tokenizer and has none.
    pub fn load_sentences(
        &self,
        folder: Option<&Path>,
        known: Option<&Vocabulary>,
    ) -> Result<DividedSentences> {
        let vocabulary = match (known, self.text.vocabulary()?, self.text.unit) {
            (Some(known), ..) => known.clone(),
            (None, Some(own), _) => own,
            (None, None, Unit::Bytes) => Vocabulary::Bytes,
            (None, None, _) => {
                return Err(DataError::request(
                    "sentences are read as data.text.unit = \"tokens\" with data.text.tokenizer, or as \"bytes\"",
                ));
            }
        };
        if self.window == 0 {
            return Err(DataError::request("data.window = 0: a sentence has at least one token"));
        }
        let found = nlu::load(&self.dataset, &find(&self.dataset, folder)?)?;
        let mut tokens = Vec::with_capacity(found.sentences.len());
        for (sentence, _) in &found.sentences {
            let mut sentence = vocabulary.encode(sentence.as_bytes(), &self.dataset)?;
            sentence.truncate(self.window);
            if sentence.is_empty() {
                return Err(DataError::request(format!(
                    "{}: the tokenizer makes nothing of a sentence",
                    self.dataset
                )));
            }
            tokens.push(sentence);
        }
        let sentences = Sentences {
            tokens,
            y: found.sentences.iter().map(|(_, class)| *class).collect(),
            classes: found.classes,
            vocabulary_size: vocabulary.names().len(),
            vocabulary,
        };
        let (split, split_name) = self.split.divide_sentences(&sentences.y, found.official)?;
        split.validate(sentences.len())?;
        Ok(DividedSentences { sentences, split, split_name })
    }
}

impl SplitConfig {
    fn divide_sentences(&self, y: &[u32], official: Option<[usize; 2]>) -> Result<(Split, String)> {
        match (self, official) {
            (&Self::Folds { fold, folds, validation, seed }, _) => Ok((
                stratified_fold(y, folds, fold, validation, seed)?,
                format!("fold {fold} of {folds}, seed {seed}"),
            )),
            (&Self::Random { validation, test, seed }, _) => Ok((
                stratified(y, validation, test, seed)?,
                format!("random sentences, {test} for testing, seed {seed}"),
            )),
            (Self::Official { validation, seed, .. }, Some([train, val])) => {
                let test = (train + val..y.len()).collect();
                let all: Vec<usize> = (0..train).collect();
                let (train, val) = match val {
                    0 => carve_stratified(y, &all, validation.unwrap_or(0.1), *seed)?,
                    val => (all, (train..train + val).collect()),
                };
                Ok((Split { train, val, test }, "official parts".to_owned()))
            }
            (Self::Contiguous { .. }, _) => Err(only_text()),
            _ => Err(DataError::request(
                "these sentences have no such parts: set data.split.kind to \"folds\" or \"random\"",
            )),
        }
    }
}
