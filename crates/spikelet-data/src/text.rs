//! Text as tokens, in windows whose every token is to be predicted from those before it.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use crate::columns::Windows;
use crate::error::{DataError, Result};
use crate::lines;
use crate::megatron::Megatron;
use crate::split::{Split, rng};
use crate::vocabulary::{Vocabulary, utf8};
use crate::{jsonl, vocabulary::Unit, words};

/// Most bytes of text that are read into memory.
const MAX_BYTES: u64 = 1 << 28;

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
#[derive(Clone, Debug)]
pub struct Text {
    tokens: Tokens,
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// Names of the tokens.
    pub names: Vec<String>,
    /// Tokens in a window.
    pub window: usize,
    /// How windows follow each other in training and evaluation.
    pub windows: Windows,
    /// Where every window starts.
    starts: Vec<usize>,
    /// Tokens of the training part.
    pub(crate) train: Range<usize>,
    /// Of words, the parts and the bytes of their words on average: a word that is not in the vocabulary has other bytes
    /// than its token.
    bytes_per_word: Vec<(Range<usize>, f64)>,
}

/// The text of a file, plain or gzip; of a `.jsonl` file, of all its documents.
///
/// # Errors
/// A file that cannot be read, is too long or no UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let content = content(path)?;
    Ok(utf8(&content, &path.display().to_string())?.to_owned())
}

/// The documents of a `.jsonl` file, the lines of another one, plain or gzip.
///
/// # Errors
/// As [`read`].
pub fn documents(path: &Path) -> Result<Vec<String>> {
    let (raw, file) = (raw(path)?, path.display().to_string());
    match is_jsonl(&file) {
        true => jsonl::documents(&raw, &file),
        false => Ok(utf8(&raw, &file)?.lines().map(str::to_owned).collect()),
    }
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let (raw, file) = (raw(path)?, path.display().to_string());
    match is_jsonl(&file) {
        true => {
            let documents = jsonl::documents(&raw, &file)?;
            Ok(documents.into_iter().flat_map(|text| (text + "\n").into_bytes()).collect())
        }
        false => Ok(raw),
    }
}

fn is_jsonl(file: &str) -> bool {
    file.trim_end_matches(".gz").ends_with(".jsonl")
}

fn raw(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    lines::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(|e| DataError::io(path, e))?;
    if content.len() as u64 > MAX_BYTES {
        let reason = format!("over {MAX_BYTES} bytes of text: larger ones come as .bin and .idx");
        return Err(DataError::file(path, reason));
    }
    Ok(content)
}

/// Where tokens lie.
#[derive(Clone, Debug)]
enum Tokens {
    Memory(Vec<u32>),
    /// In a file, larger than memory.
    Mapped(Megatron),
}

impl Tokens {
    fn len(&self) -> usize {
        match self {
            Self::Memory(tokens) => tokens.len(),
            Self::Mapped(file) => file.len(),
        }
    }

    fn get(&self, at: usize) -> u32 {
        match self {
            Self::Memory(tokens) => tokens[at],
            Self::Mapped(file) => file.token(at),
        }
    }
}

impl Text {
    /// Reads a file, plain or gzip, with a given vocabulary (a model's, or that of a tokenizer) or the one that `unit`
    /// makes of the text. A `.jsonl` file holds documents, an `.idx` file names tokens in a `.bin` file.
    ///
    /// # Errors
    /// A file that cannot be read or is too long, content that the vocabulary does not cover.
    pub fn load(
        path: &Path,
        unit: Unit,
        known: Option<&Vocabulary>,
        cut: Cut,
    ) -> Result<(Self, Split)> {
        let file = path.display().to_string();
        if path.extension().is_some_and(|extension| extension == "idx") {
            return Self::mapped(path, unit, known, cut);
        }
        Self::new(&content(path)?, &file, unit, known, cut)
    }

    /// The same of content in memory; `file` names it in errors. Words are divided at the ends of lines.
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
        if unit == Unit::Words {
            cut.check(file)?;
            let parts = words::by_line(utf8(content, file)?, cut.validation, cut.test);
            let of = Words { known, marks: false };
            return Self::of_words(parts, [file; 3], of, cut.window);
        }
        let vocabulary = match (known, unit) {
            (Some(known), _) => known.clone(),
            (None, Unit::Bytes) => Vocabulary::Bytes,
            (None, Unit::Characters) => Vocabulary::characters(utf8(content, file)?),
            (None, _) => return Err(no_tokenizer()),
        };
        let tokens = vocabulary.encode(content, file)?;
        let parts = cut.parts(tokens.len(), file)?;
        Self::divided(Tokens::Memory(tokens), parts, vocabulary, (file, cut.window))
    }

    /// The words of a training, a validation and a test part, which may be empty; `files` name them in errors.
    ///
    /// # Errors
    /// Parts that are too short for windows of so many words.
    pub fn of_words(
        parts: [&str; 3],
        files: [&str; 3],
        of: Words<'_>,
        window: usize,
    ) -> Result<(Self, Split)> {
        let vocabulary = match of.known {
            Some(known) => known.clone(),
            None => Vocabulary::Tokens(words::vocabulary(parts[0], of.marks, files[0])?),
        };
        let (mut tokens, mut ranges, mut bytes_per_word) =
            (Vec::new(), [0..0, 0..0, 0..0], Vec::new());
        for ((part, file), range) in parts.into_iter().zip(files).zip(&mut ranges) {
            let (part, start) = (words::ended(part), tokens.len());
            tokens.extend(vocabulary.encode(part.as_bytes(), file)?);
            *range = start..tokens.len();
            bytes_per_word.push((range.clone(), part.len() as f64 / range.len().max(1) as f64));
        }
        let tokens = Tokens::Memory(tokens);
        let (text, split) = Self::divided(tokens, ranges, vocabulary, (files[0], window))?;
        Ok((Self { bytes_per_word, ..text }, split))
    }

    /// Tokens of a Megatron `.idx` file and the `.bin` file beside it, which stay where they are. The `.bin` file is
    /// read once, to see that every token is in the vocabulary.
    fn mapped(
        path: &Path,
        unit: Unit,
        known: Option<&Vocabulary>,
        cut: Cut,
    ) -> Result<(Self, Split)> {
        let vocabulary = match (known, unit) {
            (Some(known), _) => known.clone(),
            (None, Unit::Bytes) => Vocabulary::Bytes,
            (None, _) => return Err(no_tokenizer()),
        };
        let tokens = Megatron::open(path, vocabulary.names().len())?;
        let file = path.display().to_string();
        let parts = cut.parts(tokens.len(), &file)?;
        let named = (file.as_str(), cut.window);
        Self::divided(Tokens::Mapped(tokens), parts, vocabulary, named)
    }

    fn divided(
        tokens: Tokens,
        parts: [Range<usize>; 3],
        vocabulary: Vocabulary,
        (file, window): (&str, usize),
    ) -> Result<(Self, Split)> {
        let mut starts = Vec::new();
        let mut windows = parts.clone().map(|part| {
            let first = starts.len();
            let count = part.len().saturating_sub(1).checked_div(window).unwrap_or(0);
            starts.extend((0..count).map(|k| part.start + k * window));
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
                window
            )));
        }
        let [train, ..] = parts;
        let text = Self {
            bytes_per_word: Vec::new(),
            names: vocabulary.names(),
            vocabulary,
            window,
            windows: Windows::default(),
            train,
            starts,
            tokens,
        };
        Ok((text, split))
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
        let places = (self.train.len() - self.window) as u128;
        self.train.start + ((u128::from(drawn) * places) >> 64) as usize
    }

    /// Where windows start.
    pub fn starts(&self, index: &[usize]) -> Vec<usize> {
        index.iter().map(|&i| self.starts[i]).collect()
    }

    /// UTF-8 bytes of the tokens that are to be predicted in windows, per token.
    pub fn bytes_per_token(&self, index: &[usize]) -> f64 {
        let starts = self.starts(index);
        let windows = starts.len().max(1) as f64;
        if !self.bytes_per_word.is_empty() {
            let parts = &self.bytes_per_word;
            let of = |start| parts.iter().find(|(part, _)| part.contains(start)).map(|(_, b)| *b);
            return starts.iter().filter_map(of).sum::<f64>() / windows;
        }
        let mut counts = vec![0_usize; self.names.len()];
        for token in self.gather(&starts, 1, self.window) {
            // Another program may have changed a mapped file.
            if let Some(count) = counts.get_mut(token as usize) {
                *count += 1;
            }
        }
        let counted = (0..).zip(counts).filter(|(_, count)| *count > 0);
        let bytes: usize =
            counted.map(|(token, count)| count * self.vocabulary.bytes(token).len()).sum();
        bytes as f64 / (windows * self.window as f64)
    }

    /// Token numbers of windows, `[time, batch]`.
    pub fn inputs(&self, starts: &[usize]) -> Vec<f32> {
        self.gather(starts, 0, self.window).map(|token| token as f32).collect()
    }

    /// The tokens to be predicted, `[time, batch]`.
    pub fn targets(&self, starts: &[usize]) -> Vec<u32> {
        self.gather(starts, 1, self.window).collect()
    }

    /// Tokens of runs of so many, `[length, runs]`, `ahead` of where they start.
    pub(crate) fn gather<'a>(
        &'a self,
        starts: &'a [usize],
        ahead: usize,
        length: usize,
    ) -> impl Iterator<Item = u32> + 'a {
        (0..length).flat_map(move |t| starts.iter().map(move |s| self.tokens.get(s + t + ahead)))
    }
}

/// Which words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// The vocabulary of a trained model; else that of the training part.
    pub known: Option<&'a Vocabulary>,
    /// Punctuation is split from words.
    pub marks: bool,
}

fn no_tokenizer() -> DataError {
    DataError::request(
        "data.text.tokenizer is missing: name the tokenizer.json of these tokens (`spikelet data tokenizer` makes one)",
    )
}

/// The random streams of window positions.
const WINDOWS: u64 = 3 << 60;

impl Cut {
    /// That it leaves something of every part.
    pub(crate) fn check(&self, file: &str) -> Result<()> {
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
        Ok(())
    }

    /// Training, validation and test part of so many tokens, one after the other.
    fn parts(&self, tokens: usize, file: &str) -> Result<[Range<usize>; 3]> {
        self.check(file)?;
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
        assert_eq!(text.vocabulary.decode(&text.targets(&starts[..2])), "bzcAdBeC");
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
        assert_eq!(text.bytes_per_token(&[0, 3]), 1.0);
        let (text, split) = Text::new(&content[..120], "t", Unit::Characters, None, CUT).unwrap();
        assert_eq!(text.names.concat(), " acf\u{e9}");
        // Predicted are "af\u{e9} ", "caf\u{e9}", " caf" and so on: five windows have four of each.
        assert!((text.bytes_per_token(&split.train[..5]) - 1.2).abs() < 1e-9);
        assert_eq!([0, 2].map(|window| text.bytes_per_token(&[window])), [1.25, 1.0]);
    }

    #[test]
    fn bytes_are_those_of_the_part() {
        let parts = ["a bb\na bb\n", "a bb\na bb\n", "a cccccc\na bb\n"];
        let (text, split) = Text::of_words(parts, ["t"; 3], Words::default(), 4).unwrap();
        assert_eq!(text.bytes_per_token(&split.val), 10.0 / 6.0);
        assert_eq!(text.bytes_per_token(&split.test), 14.0 / 6.0, "the word that is not known");
        // The tokens of a tokenizer: "\u{65e5}" is three tokens of a byte each.
        let tokenizer = crate::tokenizer::Tokenizer::train("abab", 257).unwrap();
        let known = Vocabulary::Tokens(tokenizer);
        let content = "ab".repeat(30) + &"\u{65e5}".repeat(10);
        let cut = Cut { window: 10, validation: 0.25, test: 0.25 };
        let (text, split) =
            Text::new(content.as_bytes(), "t", Unit::Tokens, Some(&known), cut).unwrap();
        let of = |part: &[usize]| text.bytes_per_token(part);
        assert_eq!((of(&split.train[..2]), of(&split.test)), (2.0, 1.0));
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
        assert_eq!(Vocabulary::from_names(&Vocabulary::Bytes.names()).unwrap(), Vocabulary::Bytes);
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
