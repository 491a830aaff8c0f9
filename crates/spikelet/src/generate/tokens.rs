//! Between text and the token numbers of a model: the one place that knows which vocabularies
//! there are.

use crate::failure::{Failure, Result};
use spikelet_data::{tokenizer::Tokenizer, vocabulary::Vocabulary};
use spikelet_graph::Task;

/// The vocabulary of a model, from its task record.
#[derive(Clone, Debug)]
pub struct Tokens {
    vocabulary: Vocabulary,
    /// What every token stands for.
    bytes: Vec<Vec<u8>>,
}

impl Tokens {
    /// The vocabulary of a model of so many tokens.
    pub fn of(task: &Task, count: usize) -> Result<Self> {
        if task.classes.len() != count {
            let found = task.classes.len();
            return Err(Failure::input(format!(
                "the model has {count} tokens, its task record names {found}: \
                 there is no way from text to tokens"
            ))
            .help("use a model that `spikelet train` wrote"));
        }
        let vocabulary = match &task.tokenizer {
            Some(json) => {
                Vocabulary::Tokens(Tokenizer::from_json(json, "the tokenizer of the model")?)
            }
            None => Vocabulary::from_names(&task.classes)?,
        };
        let bytes = match &vocabulary {
            Vocabulary::Bytes => (0..=u8::MAX).map(|byte| vec![byte]).collect(),
            Vocabulary::Characters(_) => {
                task.classes.iter().map(|name| name.clone().into_bytes()).collect()
            }
            Vocabulary::Tokens(tokenizer) => pieces(tokenizer, count),
        };
        Ok(Tokens { vocabulary, bytes })
    }

    /// Text to tokens; `source` names the text in errors.
    pub fn encode(&self, text: &[u8], source: &str) -> Result<Vec<u32>> {
        Ok(self.vocabulary.encode(text, source)?)
    }

    /// What a token stands for, which need not be whole characters.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The end mark of the tokenizer, if it has one.
    pub fn end(&self) -> Option<u32> {
        self.vocabulary.tokenizer().and_then(|tokenizer| tokenizer.end())
    }

    /// The token of a line's end, if tokens are characters.
    pub fn newline(&self) -> Option<u32> {
        let place = self.bytes.iter().position(|bytes| bytes == b"\n")?;
        u32::try_from(place).ok()
    }
}

/// The text of every token behind another one: tokenizers may leave out the space in front of the
/// first. Half characters become replacement characters.
fn pieces(tokenizer: &Tokenizer, count: usize) -> Vec<Vec<u8>> {
    let piece = |token: u32| {
        let (one, two) = (tokenizer.decode(&[token]), tokenizer.decode(&[token, token]));
        two.strip_prefix(one.as_str()).unwrap_or(&one).as_bytes().to_vec()
    };
    (0..count as u32).map(piece).collect()
}
