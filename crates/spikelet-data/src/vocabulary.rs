//! Tokens by their numbers: characters, bytes, or those of a tokenizer.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::tokenizer::Tokenizer;

/// Most bytes of a file that holds a vocabulary: ten times a large `tokenizer.json`.
const MAX_BYTES: u64 = 1 << 26;

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
    /// Reads a file that says what tokens are: a `tokenizer.json`, or the characters of a model of SpikeGPT's authors, JSON
    /// like `{"0": "\n", "1": " "}` in UTF-8 or UTF-16.
    ///
    /// # Errors
    /// A file that cannot be read, is too long or is neither.
    pub fn load(path: &Path) -> Result<Self> {
        let mut content = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut content))
            .map_err(|e| DataError::io(path, e))?;
        if content.len() as u64 > MAX_BYTES {
            let reason = format!("over {MAX_BYTES} bytes: no file of a vocabulary is as long");
            return Err(DataError::file(path, reason));
        }
        Self::from_file(&content, &path.display().to_string())
    }

    /// The same of the content of a file, which `file` names in errors.
    ///
    /// # Errors
    /// As [`Vocabulary::load`].
    pub fn from_file(content: &[u8], file: &str) -> Result<Self> {
        let json = unicode(content, file)?;
        match serde_json::from_str::<BTreeMap<u32, String>>(&json) {
            Ok(numbered) if !numbered.is_empty() => numbered_characters(&numbered, file),
            _ => Ok(Self::Tokens(Tokenizer::from_json(&json, file)?)),
        }
    }

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

    /// The bytes a token stands for behind another one, which need not be whole characters; nothing for a number that is
    /// no token.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        match self {
            Self::Bytes => u8::try_from(token).into_iter().collect(),
            Self::Characters(characters) => characters
                .get(token as usize)
                .map(|c| c.to_string().into_bytes())
                .unwrap_or_default(),
            Self::Tokens(tokenizer) => tokenizer.bytes(token),
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

/// Text in UTF-8, or in UTF-16 with the mark that says so.
fn unicode(content: &[u8], file: &str) -> Result<String> {
    let (units, order): (_, fn([u8; 2]) -> u16) = match content {
        [0xff, 0xfe, units @ ..] => (units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => (units, u16::from_be_bytes),
        plain => {
            let plain = plain.strip_prefix(b"\xef\xbb\xbf").unwrap_or(plain);
            let text = std::str::from_utf8(plain);
            let wrong = |e: std::str::Utf8Error| {
                DataError::offset(file, e.valid_up_to() as u64, "neither UTF-8 nor UTF-16")
            };
            return Ok(text.map_err(wrong)?.to_owned());
        }
    };
    let (pairs, []) = units.as_chunks::<2>() else {
        return Err(DataError::offset(file, content.len() as u64, "half a character of UTF-16"));
    };
    char::decode_utf16(pairs.iter().map(|pair| order(*pair)))
        .collect::<std::result::Result<String, _>>()
        .map_err(|e| DataError::offset(file, 0, format!("no UTF-16: {e}")))
}

/// Characters by their numbers, from 0 on.
fn numbered_characters(numbered: &BTreeMap<u32, String>, file: &str) -> Result<Vocabulary> {
    let wrong = |reason: String| DataError::offset(file, 0, reason);
    let character = |((number, text), expected): ((&u32, &String), u32)| {
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            _ if *number != expected => Err(wrong(format!("there is no character {expected}"))),
            (Some(character), None) => Ok(character),
            _ => Err(wrong(format!("character {number} is {text:?}"))),
        }
    };
    Ok(Vocabulary::Characters(numbered.iter().zip(0..).map(character).collect::<Result<_>>()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_characters_are_read_in_every_encoding() {
        let json = "{\"0\": \"\\n\", \"1\": \" \", \"3\": \"\u{1f600}\", \"2\": \"\u{65e5}\"}";
        let utf16 = |order: fn(u16) -> [u8; 2], text: &str| -> Vec<u8> {
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(order).collect()
        };
        let marked = [b"\xef\xbb\xbf".as_slice(), json.as_bytes()].concat();
        let (little, big) = (utf16(u16::to_le_bytes, json), utf16(u16::to_be_bytes, json));
        for content in [json.as_bytes(), &marked, &little, &big] {
            let found = Vocabulary::from_file(content, "v").unwrap();
            assert_eq!(found, Vocabulary::Characters(vec!['\n', ' ', '\u{65e5}', '\u{1f600}']));
        }
        let refused = |content: &[u8], what: &str| {
            let error = Vocabulary::from_file(content, "v.json").unwrap_err().to_string();
            assert!(error.contains("v.json") && error.contains(what), "{error}");
        };
        refused(&little[..little.len() - 1], "half a character");
        refused(&[0xff, 0xfe, 0x3d, 0xd8], "no UTF-16");
        refused(b"\x80", "neither UTF-8 nor UTF-16");
        refused(br#"{"0": "a", "2": "b"}"#, "no character 1");
        refused(br#"{"0": "ab"}"#, "character 0 is \"ab\"");
        refused(br#"{"0": ""}"#, "character 0");
        refused(b"{}", "no tokenizer");
        refused(b"[]", "no tokenizer");
    }

    #[test]
    fn a_tokenizer_is_known_by_its_content() {
        let tokenizer = Tokenizer::train("a b c a b", 256).unwrap();
        let found = Vocabulary::from_file(tokenizer.json().as_bytes(), "t").unwrap();
        assert_eq!(found, Vocabulary::Tokens(tokenizer));
    }

    #[test]
    fn bytes_of_tokens() {
        let characters = Vocabulary::characters("\u{65e5}a");
        assert_eq!((characters.bytes(0), characters.bytes(1)), (b"a".into(), "\u{65e5}".into()));
        assert_eq!(
            (Vocabulary::Bytes.bytes(0xe6), Vocabulary::Bytes.bytes(256)),
            (vec![0xe6], vec![])
        );
        assert!(characters.bytes(2).is_empty());
    }
}
