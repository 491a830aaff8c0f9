//! Hugging Face tokenizers (`tokenizer.json`), and training of a byte-level BPE.
//!
//! A text gives the tokens it gives as a whole: merges may reach over the ends of lines, and some tokenizers write the
//! first word of a text in another way than all others. Only texts of over a megabyte are encoded in parts.

use serde_json::Value;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};
use tokenizers::{Encoding, Tokenizer as Inner, TokenizerBuilder};

use crate::error::{DataError, Result};
use crate::token_bytes;

/// The names of end marks, as tokenizers of language models have them.
const ENDS: [&str; 4] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];
/// Most tokens of a vocabulary.
const MAX_TOKENS: u32 = 1 << 22;
/// Bytes of text that are encoded at once, at least: what a tokenizer keeps of them is many times as large.
const PART: usize = 1 << 20;
/// Bytes on both sides of a cut that say whether it changes a token.
const AROUND: usize = 256;
/// Places that are tried for a cut.
const TRIES: usize = 64;

/// Text to tokens and back.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<Inner>,
    json: Arc<str>,
    size: usize,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for Tokenizer {}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.size)
    }
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`; `file` names it in errors.
    ///
    /// # Errors
    /// JSON that is no tokenizer, tokens without end.
    pub fn from_json(json: &str, file: &str) -> Result<Self> {
        let wrong = |reason: String| DataError::offset(file, 0, format!("no tokenizer: {reason}"));
        // What is no JSON at all, and some of what is no tokenizer, makes the crate panic.
        let value: Value = serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?;
        let inner = catch_unwind(|| serde_json::from_value::<Inner>(value));
        let inner = inner.map_err(|_| wrong("a part of it is broken".to_owned()))?;
        Self::of(inner.map_err(|e| wrong(e.to_string()))?, json).map_err(wrong)
    }

    fn of(inner: Inner, json: &str) -> std::result::Result<Self, String> {
        let largest = inner.get_vocab(true).into_values().max();
        let size = match largest {
            Some(largest) if largest < MAX_TOKENS => largest as usize + 1,
            Some(largest) => {
                return Err(format!("token {largest}; the largest may be {}", MAX_TOKENS - 1));
            }
            None => return Err("it has no tokens".to_owned()),
        };
        Ok(Self { inner: Arc::new(inner), json: json.into(), size })
    }

    /// A byte-level BPE of at most `size` tokens, made of `text`: it encodes any text.
    ///
    /// # Errors
    /// A size that does not hold the 256 bytes.
    pub fn train(text: &str, size: usize) -> Result<Self> {
        if !(256..=MAX_TOKENS as usize).contains(&size) {
            return Err(DataError::request(format!(
                "{size} tokens: a byte-level tokenizer has 256 or more, at most {MAX_TOKENS}"
            )));
        }
        let failed =
            |e: tokenizers::Error| DataError::request(format!("training a tokenizer: {e}"));
        let bytes = ByteLevel::new(false, false, true);
        let mut tokenizer = TokenizerBuilder::<
            BPE,
            NormalizerWrapper,
            PreTokenizerWrapper,
            PostProcessorWrapper,
            DecoderWrapper,
        >::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(bytes.into()))
        .with_post_processor(Some(bytes.into()))
        .with_decoder(Some(bytes.into()))
        .build()
        .map_err(failed)?;
        let mut trainer = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(size)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        tokenizer.train(&mut trainer, text.split_inclusive('\n')).map_err(failed)?;
        let json = tokenizer.to_string(false).map_err(failed)?;
        Self::from_json(&json, "the trained tokenizer")
    }

    /// The `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Whether it knows words only, with one token for all others.
    pub fn is_words(&self) -> bool {
        matches!(self.inner.get_model(), ModelWrapper::WordLevel(_))
    }

    /// Tokens, by number; a number the tokenizer leaves out has an empty name.
    pub fn names(&self) -> Vec<String> {
        (0..self.size as u32).map(|id| self.inner.id_to_token(id).unwrap_or_default()).collect()
    }

    /// The tokens of a text, without special tokens around it.
    ///
    /// # Errors
    /// What the tokenizer refuses; `file` names the text.
    pub fn encode(&self, text: &str, file: &str) -> Result<Vec<u32>> {
        self.encode_in_parts(text, PART, file)
    }

    /// The same in parts of so many bytes or some more.
    fn encode_in_parts(&self, text: &str, part: usize, file: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        let (mut done, mut run_up) = (0, RunUp { from: 0, tokens: 0 });
        loop {
            let cut = self.cut(text, done + part, file)?;
            let end = cut.as_ref().map_or(text.len(), |(at, _)| *at);
            let encoded = self.encode_at(text, run_up.from..end, file)?;
            tokens.extend_from_slice(encoded.get_ids().get(run_up.tokens..).unwrap_or_default());
            match cut {
                Some(cut) => (done, run_up) = cut,
                None => return Ok(tokens),
            }
        }
    }

    /// The first place from `least` on where a cut changes no token, and the text in front of it that the rest is to be
    /// encoded behind; none at the end of the text, or where every cut changes some.
    fn cut(&self, text: &str, least: usize, file: &str) -> Result<Option<(usize, RunUp)>> {
        let boundary = |at: usize| (at..text.len()).find(|at| text.is_char_boundary(*at));
        let Some(least) = boundary(least) else { return Ok(None) };
        // Tokens that reach over the end of a word are rare.
        let mut in_word = false;
        let ends = text[least..].char_indices().filter_map(|(at, character)| {
            let word = std::mem::replace(&mut in_word, !character.is_whitespace());
            (word && character.is_whitespace()).then_some(least + at)
        });
        for at in ends.take(TRIES) {
            let from = boundary(at.saturating_sub(AROUND)).unwrap_or(at);
            let until = boundary(at + AROUND).unwrap_or(text.len());
            let before = self.encode_at(text, from..at, file)?;
            let both = self.encode_at(text, from..until, file)?;
            if both.get_ids().starts_with(before.get_ids()) {
                return Ok(Some((at, RunUp { from, tokens: before.get_ids().len() })));
            }
        }
        Ok(None)
    }

    fn encode_at(&self, text: &str, range: Range<usize>, file: &str) -> Result<Encoding> {
        let at = range.start as u64;
        let wrong = |reason: String| DataError::offset(file, at, reason);
        // Some of what a `tokenizer.json` may ask for makes the crate panic on some texts.
        let encode = AssertUnwindSafe(|| self.inner.encode_fast(&text[range], false));
        catch_unwind(encode)
            .map_err(|_| wrong("the tokenizer of the model is broken".to_owned()))?
            .map_err(|e| wrong(e.to_string()))
    }

    /// The text of tokens; numbers that are no tokens are left out, and there is none if the tokenizer
    /// is broken.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let decode = AssertUnwindSafe(|| self.inner.decode(tokens, false));
        catch_unwind(decode).ok().and_then(std::result::Result::ok).unwrap_or_default()
    }

    /// What a token stands for behind another one, which need not be whole characters: tokenizers may leave out the space
    /// in front of the first. Nothing for a number that is no token.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        let Some(name) = self.inner.id_to_token(token) else { return Vec::new() };
        let known = self.inner.get_decoder().and_then(|decoder| token_bytes::of(&name, decoder));
        known.unwrap_or_else(|| {
            let (one, two) = (self.decode(&[token]), self.decode(&[token, token]));
            two.strip_prefix(one.as_str()).unwrap_or(&one).as_bytes().to_vec()
        })
    }

    /// The token that ends a text: a special one with one of the usual names.
    pub fn end(&self) -> Option<u32> {
        let tokens = self.inner.get_added_tokens_decoder();
        let special =
            |name: &str| tokens.values().any(|token| token.special && token.content == name);
        ENDS.into_iter().find(|name| special(name)).and_then(|name| self.inner.token_to_id(name))
    }
}

/// Text in front of a cut, so that what follows is not the beginning of a text.
struct RunUp {
    /// Where it begins.
    from: usize,
    /// How many tokens it has.
    tokens: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trained_tokenizer_gives_every_text_back() {
        let text = "the cat sat on the mat\nthe dog sat on the cat\n".repeat(20);
        let tokenizer = Tokenizer::train(&text, 300).unwrap();
        assert!((257..=300).contains(&tokenizer.names().len()));
        let tokens = tokenizer.encode(&text, "t").unwrap();
        assert!(tokens.len() < text.len() / 3, "{} tokens", tokens.len());
        for text in [&text, "caf\u{e9} \u{1f600} <|x|>\t\n\n  and more", ""] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, "t").unwrap()), text);
        }
        let again = Tokenizer::from_json(tokenizer.json(), "t").unwrap();
        assert_eq!(again.encode(&text, "t").unwrap(), tokens);
        assert!(Tokenizer::train(&text, 255).is_err());
    }

    /// A byte-level BPE with merges of line ends, and one that writes spaces as `\u{2581}`, also in front of a text.
    fn reaching_over_lines() -> [Tokenizer; 2] {
        let trained = Tokenizer::train("the cat sat on the mat", 280).unwrap();
        let mut lines: Value = serde_json::from_str(trained.json()).unwrap();
        for (id, name, parts) in [
            (300, "\u{10a}\u{10a}", ["\u{10a}", "\u{10a}"]),
            (301, "\u{10a}\u{120}", ["\u{10a}", "\u{120}"]),
            (302, "\u{10a}\u{120}\u{120}", ["\u{10a}\u{120}", "\u{120}"]),
        ] {
            lines["model"]["vocab"][name] = id.into();
            lines["model"]["merges"].as_array_mut().unwrap().push(serde_json::json!(parts));
        }
        let characters = ["\u{2581}", "\n", "t", "h", "e", "c", "a", "d", "o", "g", ":", "z"];
        let mut vocabulary: serde_json::Map<String, Value> = characters
            .into_iter()
            .zip(0..)
            .map(|(name, id)| (name.to_owned(), id.into()))
            .collect();
        vocabulary.insert("th".to_owned(), 12.into());
        let spaces = serde_json::json!({
            "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first", "split": true,
        });
        let words = serde_json::json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": spaces, "decoder": spaces,
            "model": { "type": "BPE", "vocab": vocabulary, "merges": [["t", "h"]] },
        });
        [lines, words].map(|json| Tokenizer::from_json(&json.to_string(), "t").unwrap())
    }

    #[test]
    fn tokens_are_those_of_the_whole_text() {
        let [lines, words] = reaching_over_lines();
        assert_eq!(lines.encode("z:\n   z\n\nz", "t").unwrap()[2..5], [302, 220, 89]);
        let line = |tokenizer: &Tokenizer| tokenizer.names().len();
        assert!(line(&lines) == 303 && line(&words) == 13);
        assert_eq!(
            words.decode(&words.encode("the cat\nthe dog", "t").unwrap()),
            "the cat\nthe dog"
        );
        let text: String = (0..400)
            .map(|i| ["the cat:\n", "    the dog\n\n", "\n  z the", " the\n\n\n"][i * i % 7 % 4])
            .collect();
        for tokenizer in [lines, words] {
            let whole = tokenizer.inner.encode_fast(text.as_str(), false).unwrap();
            for part in [1, 40, 333, text.len() - 1, text.len()] {
                let tokens = tokenizer.encode_in_parts(&text, part, "t").unwrap();
                assert_eq!(tokens, whole.get_ids(), "{tokenizer:?} in parts of {part}");
            }
            let apart: Vec<u32> = text
                .split_inclusive('\n')
                .flat_map(|line| tokenizer.encode(line, "t").unwrap())
                .collect();
            assert_ne!(apart, whole.get_ids(), "the lines alone have other tokens");
        }
    }

    #[test]
    fn a_text_without_a_place_to_cut_is_encoded_at_once() {
        let [lines, _] = reaching_over_lines();
        let text = "the\u{e9}".repeat(500);
        let whole = lines.inner.encode_fast(text.as_str(), false).unwrap();
        assert_eq!(lines.encode_in_parts(&text, 7, "t").unwrap(), whole.get_ids());
    }

    #[test]
    fn bytes_of_tokens_make_the_text() {
        let [lines, words] = reaching_over_lines();
        let bytes = |tokenizer: &Tokenizer, text: &str| -> Vec<u8> {
            let tokens = tokenizer.encode(text, "t").unwrap();
            tokens.into_iter().flat_map(|token| tokenizer.bytes(token)).collect()
        };
        let text = "the \u{65e5}\u{672c} \u{1f600}\n\n the";
        assert_eq!(bytes(&lines, text), text.as_bytes());
        assert_eq!(bytes(&words, "the cat"), b" the cat", "as behind other words");
        assert_eq!(lines.bytes(5000), b"");
        // Characters that no token has, as bytes: `<0xE6>`.
        let mut json: Value = serde_json::from_str(words.json()).unwrap();
        for byte in 0..=255 {
            json["model"]["vocab"][format!("<0x{byte:02X}>")] = (13 + byte).into();
        }
        json["model"]["byte_fallback"] = true.into();
        let decoders = [serde_json::json!({ "type": "ByteFallback" }), json["decoder"].take()];
        json["decoder"] = serde_json::json!({ "type": "Sequence", "decoders": decoders });
        let fallback = Tokenizer::from_json(&json.to_string(), "t").unwrap();
        assert_eq!(bytes(&fallback, "cat \u{65e5}"), " cat \u{65e5}".as_bytes());
    }

    #[test]
    fn an_end_mark_is_a_special_token() {
        let plain = Tokenizer::train("a b c a b", 256).unwrap();
        assert_eq!(plain.end(), None);
        let mut json: Value = serde_json::from_str(plain.json()).unwrap();
        for (special, end) in [(false, None), (true, Some(256))] {
            json["added_tokens"] = serde_json::json!([{
                "id": 256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special,
            }]);
            let marked = Tokenizer::from_json(&json.to_string(), "t").unwrap();
            assert_eq!(marked.end(), end);
            assert_eq!(marked.encode("a<|endoftext|>", "t").unwrap().last(), Some(&256));
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        let good = Tokenizer::train("a b c a b", 256).unwrap();
        let json = good.json();
        for at in (0..json.len()).step_by(97).filter(|at| json.is_char_boundary(*at)) {
            let error = Tokenizer::from_json(&json[..at], "tok.json").unwrap_err().to_string();
            assert!(error.contains("tok.json"), "{error}");
        }
        for broken in ["{}", "[]", "null", r#"{"version": "1.0", "model": {"type": "BPE"}}"#] {
            assert!(Tokenizer::from_json(broken, "t").is_err(), "{broken}");
        }
        let far = json.replacen("\"!\":0", "\"!\":4294967295", 1);
        assert_ne!(far, json);
        let error = Tokenizer::from_json(&far, "t").unwrap_err().to_string();
        assert!(error.contains("4294967295"), "{error}");
    }
}
