//! Text as tokens: characters or bytes, in windows whose every token is to be predicted from those before it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::lines;
use crate::split::{Split, rng};

/// Most bytes of text that are read into memory.
const MAX_BYTES: u64 = 1 << 28;

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A character. The vocabulary is the sorted set of those in the text, as in SpikeGPT's official code.
    #[default]
    Characters,
    /// A byte; the vocabulary has all 256.
    Bytes,
}

impl Unit {
    /// One of them, in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Characters => "character",
            Self::Bytes => "byte",
        }
    }
}

/// The tokens a model knows, by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    unit: Unit,
    characters: Vec<char>,
}

impl Vocabulary {
    /// All bytes.
    pub fn bytes() -> Self {
        Self { unit: Unit::Bytes, characters: Vec::new() }
    }

    /// The characters of a text.
    pub fn characters(text: &str) -> Self {
        let characters: BTreeSet<char> = text.chars().collect();
        Self { unit: Unit::Characters, characters: characters.into_iter().collect() }
    }

    /// The vocabulary of a trained model, from the names of its tokens.
    ///
    /// # Errors
    /// Names that are neither single characters nor those of bytes.
    pub fn from_names(names: &[String]) -> Result<Self> {
        if names == Self::bytes().names() {
            return Ok(Self::bytes());
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
        let characters = names.iter().map(character).collect::<Result<_>>()?;
        Ok(Self { unit: Unit::Characters, characters })
    }

    /// The name of every token: the character itself, or `0x41` for a byte.
    pub fn names(&self) -> Vec<String> {
        match self.unit {
            Unit::Bytes => (0..=u8::MAX).map(|byte| format!("{byte:#04x}")).collect(),
            Unit::Characters => self.characters.iter().map(char::to_string).collect(),
        }
    }

    /// The tokens of the content of a file, which `file` names in errors.
    ///
    /// # Errors
    /// Bytes that are no UTF-8, characters that are not in the vocabulary.
    pub fn encode(&self, content: &[u8], file: &str) -> Result<Vec<u32>> {
        if self.unit == Unit::Bytes {
            return Ok(content.iter().map(|byte| u32::from(*byte)).collect());
        }
        let numbers: HashMap<char, u32> = self.characters.iter().copied().zip(0..).collect();
        let text = utf8(content, file)?;
        text.char_indices()
            .map(|(at, character)| match numbers.get(&character) {
                Some(number) => Ok(*number),
                None => {
                    let reason = format!("{character:?} is not in the vocabulary");
                    Err(DataError::offset(file, at as u64, reason))
                }
            })
            .collect()
    }
}

fn utf8<'a>(content: &'a [u8], file: &str) -> Result<&'a str> {
    std::str::from_utf8(content).map_err(|e| {
        let reason = "the text is not UTF-8; data.text.unit = \"bytes\" takes any bytes";
        DataError::offset(file, e.valid_up_to() as u64, reason)
    })
}

/// How a text is cut and divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Tokens in a window.
    pub window: usize,
    /// Fraction of the text in the validation part.
    pub validation: f64,
    /// Fraction in the test part.
    pub test: f64,
}

/// Tokens in windows that do not overlap. What follows a window's last token is its last target.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    tokens: Vec<u32>,
    /// Names of the tokens.
    pub names: Vec<String>,
    /// Tokens in a window.
    pub window: usize,
    /// Where every window starts.
    starts: Vec<usize>,
    /// Where training windows may start.
    train: Range<usize>,
    /// What a token is.
    pub unit: Unit,
    /// UTF-8 bytes per token, on average.
    pub bytes_per_token: f64,
}

impl Text {
    /// Reads a file, plain or gzip, with the vocabulary of a model, or one made of the text.
    ///
    /// # Errors
    /// A file that cannot be read or is too long, content that the vocabulary does not cover.
    pub fn load(
        path: &Path,
        unit: Unit,
        known: Option<&Vocabulary>,
        cut: Cut,
    ) -> Result<(Self, Split)> {
        let mut content = Vec::new();
        lines::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|e| DataError::io(path, e))?;
        if content.len() as u64 > MAX_BYTES {
            return Err(DataError::file(path, format!("over {MAX_BYTES} bytes of text")));
        }
        Self::new(&content, &path.display().to_string(), unit, known, cut)
    }

    /// The same of content in memory; `file` names it in errors.
    ///
    /// # Errors
    /// As [`Text::load`].
    pub fn new(
        content: &[u8],
        file: &str,
        unit: Unit,
        known: Option<&Vocabulary>,
        cut: Cut,
    ) -> Result<(Self, Split)> {
        let vocabulary = match (known, unit) {
            (Some(known), _) => known.clone(),
            (None, Unit::Bytes) => Vocabulary::bytes(),
            (None, Unit::Characters) => Vocabulary::characters(utf8(content, file)?),
        };
        let tokens = vocabulary.encode(content, file)?;
        let parts = cut.parts(tokens.len(), file)?;
        let mut starts = Vec::new();
        let mut windows = parts.clone().map(|part| {
            let first = starts.len();
            let count = part.len().saturating_sub(1) / cut.window;
            starts.extend((0..count).map(|k| part.start + k * cut.window));
            (first..starts.len()).collect()
        });
        let [train, val, test] = &mut windows;
        let split = Split {
            train: std::mem::take(train),
            val: std::mem::take(val),
            test: std::mem::take(test),
        };
        if split.train.is_empty() || split.val.is_empty() {
            return Err(DataError::request(format!(
                "{file}: {} tokens are too few for windows of {} in the training and the validation part",
                tokens.len(),
                cut.window
            )));
        }
        let [train, ..] = parts;
        let text = Self {
            bytes_per_token: content.len() as f64 / tokens.len().max(1) as f64,
            names: vocabulary.names(),
            unit: vocabulary.unit,
            window: cut.window,
            train: train.start..train.end - cut.window,
            starts,
            tokens,
        };
        Ok((text, split))
    }

    /// The text of tokens; bytes that are no UTF-8 become replacement characters.
    pub fn decode(&self, tokens: &[u32]) -> String {
        match self.unit {
            Unit::Characters => {
                let names = tokens.iter().filter_map(|token| self.names.get(*token as usize));
                names.map(String::as_str).collect()
            }
            Unit::Bytes => {
                let bytes: Vec<u8> = tokens.iter().map(|token| *token as u8).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// Number of windows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Where training window `i` of an epoch starts: anywhere in the training part.
    pub fn random_start(&self, seed: u64, epoch: u64, i: u64) -> usize {
        let drawn =
            rand_chacha::rand_core::Rng::next_u64(&mut rng(seed, WINDOWS | epoch << 32 | i));
        let places = self.train.len() as u128;
        self.train.start + ((u128::from(drawn) * places) >> 64) as usize
    }

    /// Where windows start.
    pub fn starts(&self, index: &[usize]) -> Vec<usize> {
        index.iter().map(|&i| self.starts[i]).collect()
    }

    /// Token numbers of windows, `[time, batch]`.
    pub fn inputs(&self, starts: &[usize]) -> Vec<f32> {
        self.gather(starts, 0).map(|token| token as f32).collect()
    }

    /// The tokens to be predicted, `[time, batch]`.
    pub fn targets(&self, starts: &[usize]) -> Vec<u32> {
        self.gather(starts, 1).collect()
    }

    fn gather<'a>(&'a self, starts: &'a [usize], ahead: usize) -> impl Iterator<Item = u32> + 'a {
        (0..self.window).flat_map(move |t| starts.iter().map(move |s| self.tokens[s + t + ahead]))
    }
}

/// The random streams of window positions.
const WINDOWS: u64 = 3 << 60;

impl Cut {
    /// Training, validation and test part of so many tokens, one after the other.
    fn parts(&self, tokens: usize, file: &str) -> Result<[Range<usize>; 3]> {
        if self.window == 0 {
            return Err(DataError::request("data.window = 0: a window needs at least one token"));
        }
        let within = |f: f64| (0.0..1.0).contains(&f);
        if !within(self.validation) || !within(self.test) || self.validation + self.test >= 1.0 {
            return Err(DataError::request(format!(
                "{file}: {} for validation and {} for testing leave nothing to learn from",
                self.validation, self.test
            )));
        }
        let share = |fraction: f64| (fraction * tokens as f64).round() as usize;
        let test = tokens - share(self.test);
        let val = test.saturating_sub(share(self.validation));
        Ok([0..val, val..test, test..tokens])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { window: 4, validation: 0.2, test: 0.2 };

    fn text(content: &str) -> (Text, Split) {
        Text::new(content.as_bytes(), "t", Unit::Characters, None, CUT).unwrap()
    }

    #[test]
    fn windows_lie_side_by_side_within_their_part() {
        let content: String = ('a'..='z').chain('A'..='X').collect();
        let (text, split) = text(&content);
        assert_eq!(text.names.len(), 50);
        assert_eq!((split.train.len(), split.val.len(), split.test.len()), (7, 2, 2));
        let starts = text.starts(&[0, 6, 7, 9]);
        assert_eq!(starts, [0, 24, 30, 40]);
        let name = |tokens: Vec<u32>| -> String {
            tokens.iter().map(|&t| text.names[t as usize].as_str()).collect()
        };
        let inputs = text.inputs(&starts[..2]).iter().map(|&x| x as u32).collect();
        assert_eq!(name(inputs), "aybzcAdB", "[time, batch]");
        assert_eq!(name(text.targets(&starts[..2])), "bzcAdBeC");
        assert_eq!(text.decode(&text.targets(&starts[..2])), "bzcAdBeC");
        let last = text.starts(&split.test)[1];
        assert_eq!(name(text.targets(&[last])), "TUVW");
    }

    #[test]
    fn random_windows_stay_in_the_training_part() {
        let (text, _) = text(&"abcdefghij".repeat(10));
        let draw = |epoch| (0..200).map(|i| text.random_start(5, epoch, i)).collect::<Vec<_>>();
        assert!(draw(0).iter().all(|start| start + text.window < 60));
        assert!(draw(0).contains(&0) && draw(0).contains(&55), "every place can be drawn");
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(0), draw(1));
    }

    #[test]
    fn bytes_take_anything_and_characters_only_text() {
        let content = [b"caf\xc3\xa9 ".repeat(20), vec![0xff]].concat();
        let (text, _) = Text::new(&content, "t", Unit::Bytes, None, CUT).unwrap();
        assert_eq!((text.names.len(), text.names[0x41].as_str()), (256, "0x41"));
        let error = Text::new(&content, "t", Unit::Characters, None, CUT).unwrap_err().to_string();
        assert!(error.contains("at byte 120") && error.contains("not UTF-8"), "{error}");
        let (text, _) = Text::new(&content[..120], "t", Unit::Characters, None, CUT).unwrap();
        assert_eq!(text.names.concat(), " acf\u{e9}");
        assert!((text.bytes_per_token - 1.2).abs() < 1e-9);
    }

    #[test]
    fn a_known_vocabulary_is_kept() {
        let known = Vocabulary::from_names(&["b".into(), "a".into()]).unwrap();
        let read =
            |content: &str| Text::new(content.as_bytes(), "t", Unit::Characters, Some(&known), CUT);
        let (text, _) = read(&"ab".repeat(20)).unwrap();
        assert_eq!(text.inputs(&[0]), [1.0, 0.0, 1.0, 0.0]);
        let error = read("abcab").unwrap_err().to_string();
        assert!(error.contains("at byte 2") && error.contains("'c'"), "{error}");
        assert_eq!(
            Vocabulary::from_names(&Vocabulary::bytes().names()).unwrap(),
            Vocabulary::bytes()
        );
        assert!(Vocabulary::from_names(&["ab".into()]).is_err());
    }

    #[test]
    fn too_little_text_and_wrong_fractions_are_refused() {
        let read = |content: &str, cut| {
            Text::new(content.as_bytes(), "t", Unit::Characters, None, cut).map(drop)
        };
        assert!(read("", CUT).is_err() && read("abcdefgh", CUT).is_err());
        assert!(read(&"ab".repeat(50), Cut { window: 0, ..CUT }).is_err());
        assert!(read(&"ab".repeat(50), Cut { window: usize::MAX, ..CUT }).is_err());
        assert!(read(&"ab".repeat(50), Cut { validation: 0.9, ..CUT }).is_err());
        assert!(read(&"ab".repeat(50), Cut { test: f64::NAN, ..CUT }).is_err());
    }
}
