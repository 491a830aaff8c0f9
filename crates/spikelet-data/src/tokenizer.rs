//! Hugging Face tokenizers (`tokenizer.json`), and training of a byte-level BPE.

use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};
use tokenizers::{Tokenizer as Inner, TokenizerBuilder};

use crate::error::{DataError, Result};

/// Most bytes of a `tokenizer.json`: ten times a large one.
const MAX_BYTES: u64 = 1 << 26;
/// The names of end marks, as tokenizers of language models have them.
const ENDS: [&str; 4] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"];
/// Most tokens of a vocabulary.
const MAX_TOKENS: u32 = 1 << 22;

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
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// A file that cannot be read, is too long or is no tokenizer.
    pub fn load(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?.len();
        if size > MAX_BYTES {
            return Err(DataError::file(
                path,
                format!("{size} bytes; a tokenizer has at most {MAX_BYTES}"),
            ));
        }
        let json = std::fs::read_to_string(path).map_err(|e| DataError::io(path, e))?;
        Self::from_json(&json, &path.display().to_string())
    }

    /// The same of JSON; `file` names it in errors.
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

    /// The tokens of a text, line by line, without special tokens around it.
    ///
    /// # Errors
    /// What the tokenizer refuses; `file` names the text.
    pub fn encode(&self, text: &str, file: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::with_capacity(text.len() / 3);
        for (line, number) in text.split_inclusive('\n').zip(1..) {
            let wrong = |reason: String| DataError::line(file, number, reason);
            // Some of what a `tokenizer.json` may ask for makes the crate panic on some texts.
            let encode = AssertUnwindSafe(|| self.inner.encode_fast(line, false));
            let encoded = catch_unwind(encode)
                .map_err(|_| wrong("the tokenizer of the model is broken".to_owned()))?
                .map_err(|e| wrong(e.to_string()))?;
            tokens.extend_from_slice(encoded.get_ids());
        }
        Ok(tokens)
    }

    /// The text of tokens; numbers that are no tokens are left out, and there is none if the tokenizer
    /// is broken.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let decode = AssertUnwindSafe(|| self.inner.decode(tokens, false));
        catch_unwind(decode).ok().and_then(std::result::Result::ok).unwrap_or_default()
    }

    /// The token that ends a text: a special one with one of the usual names.
    pub fn end(&self) -> Option<u32> {
        let tokens = self.inner.get_added_tokens_decoder();
        let special =
            |name: &str| tokens.values().any(|token| token.special && token.content == name);
        ENDS.into_iter().find(|name| special(name)).and_then(|name| self.inner.token_to_id(name))
    }
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
