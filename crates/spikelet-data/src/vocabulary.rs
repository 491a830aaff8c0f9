//! Tokens by their numbers: characters, bytes, or those of a tokenizer.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

use crate::error::{DataError, Result};
use crate::tokenizer::Tokenizer;

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A character. The vocabulary is the sorted set of those in the text, as in SpikeGPT's official code.
    #[default]
    Characters,
    /// A byte; the vocabulary has all 256.
    Bytes,
    /// A token of the tokenizer that `data.text.tokenizer` names.
    Tokens,
    /// What stands between white space, or the end of a line (see [`crate::words`]). The vocabulary is that of the
    /// training part.
    Words,
}

impl Unit {
    /// One of them, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Characters => "character",
            Self::Bytes => "byte",
            Self::Tokens => "token",
            Self::Words => "word",
        }
    }
}

/// The tokens a model knows, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// All bytes.
    Bytes,
    /// Characters, in the order of their numbers.
    Characters(Vec<char>),
    /// Those of a tokenizer.
    Tokens(Tokenizer),
}

impl Vocabulary {
    /// The characters of a text.
    pub fn characters(text: &str) -> Self {
        let characters: BTreeSet<char> = text.chars().collect();
        Self::Characters(characters.into_iter().collect())
    }

    /// The vocabulary of a trained model without a tokenizer, from the names of its tokens.
    ///
    /// # Errors
    /// Names that are neither single characters nor those of bytes.
    pub fn from_names(names: &[String]) -> Result<Self> {
        if names == Self::Bytes.names() {
            return Ok(Self::Bytes);
        }
        let character = |name: &String| {
            let mut characters = name.chars();
            match (characters.next(), characters.next()) {
                (Some(character), None) => Ok(character),
                _ => Err(DataError::request(format!(
                    "the model's token {name:?} is no character: its vocabulary is not one of text"
                ))),
            }
        };
        Ok(Self::Characters(names.iter().map(character).collect::<Result<_>>()?))
    }

    /// What a token is.
    pub fn unit(&self) -> Unit {
        match self {
            Self::Bytes => Unit::Bytes,
            Self::Characters(_) => Unit::Characters,
            Self::Tokens(tokenizer) if tokenizer.is_words() => Unit::Words,
            Self::Tokens(_) => Unit::Tokens,
        }
    }

    /// The name of every token: the character itself, `0x41` for a byte, what the tokenizer writes.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Bytes => (0..=u8::MAX).map(|byte| format!("{byte:#04x}")).collect(),
            Self::Characters(characters) => characters.iter().map(char::to_string).collect(),
            Self::Tokens(tokenizer) => tokenizer.names(),
        }
    }

    /// The tokens of the content of a file, which `file` names in errors.
    ///
    /// # Errors
    /// Bytes that are no UTF-8, characters that are not in the vocabulary.
    pub fn encode(&self, content: &[u8], file: &str) -> Result<Vec<u32>> {
        match self {
            Self::Bytes => Ok(content.iter().map(|byte| u32::from(*byte)).collect()),
            Self::Characters(characters) => encode_characters(characters, content, file),
            Self::Tokens(tokenizer) => tokenizer.encode(utf8(content, file)?, file),
        }
    }

    /// The text of tokens; bytes that are no UTF-8 become replacement characters, numbers that are no tokens nothing.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match self {
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|t| u8::try_from(*t).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Self::Characters(characters) => {
                tokens.iter().filter_map(|token| characters.get(*token as usize)).collect()
            }
            Self::Tokens(tokenizer) => tokenizer.decode(tokens),
        }
    }

    /// The tokenizer, if it has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Tokens(tokenizer) => Some(tokenizer),
            _ => None,
        }
    }
}

fn encode_characters(characters: &[char], content: &[u8], file: &str) -> Result<Vec<u32>> {
    let numbers: HashMap<char, u32> = characters.iter().copied().zip(0..).collect();
    let known = |(at, character)| match numbers.get(&character) {
        Some(number) => Ok(*number),
        None => {
            let reason = format!("{character:?} is not in the vocabulary");
            Err(DataError::offset(file, at as u64, reason))
        }
    };
    utf8(content, file)?.char_indices().map(known).collect()
}

/// Bytes as text.
pub(crate) fn utf8<'a>(content: &'a [u8], file: &str) -> Result<&'a str> {
    std::str::from_utf8(content).map_err(|e| {
        let reason = "the text is not UTF-8; data.text.unit = \"bytes\" takes any bytes";
        DataError::offset(file, e.valid_up_to() as u64, reason)
    })
}
