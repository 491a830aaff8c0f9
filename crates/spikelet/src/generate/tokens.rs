//! Between text and the token numbers of a model: the one place that knows which vocabularies
//! there are.

use crate::failure::{Failure, Result};
use spikelet_data::{tokenizer::Tokenizer, vocabulary::Vocabulary};
use spikelet_graph::Task;

/// The vocabulary of a model, from its task record.
#[derive(Clone, Debug)]
pub struct Tokens {
    vocabulary: Vocabulary,
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
            .help(
                "use a model that `spikelet train` wrote, or convert the checkpoint with --tokenizer",
            ));
        }
        let vocabulary = match &task.tokenizer {
            Some(json) => {
                Vocabulary::Tokens(Tokenizer::from_json(json, "the tokenizer of the model")?)
            }
            None => Vocabulary::from_names(&task.classes)?,
        };
        Ok(Tokens { vocabulary })
    }

    /// Text to tokens; `source` names the text in errors.
    pub fn encode(&self, text: &[u8], source: &str) -> Result<Vec<u32>> {
        Ok(self.vocabulary.encode(text, source)?)
    }

    /// What a token stands for, which need not be whole characters.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        self.vocabulary.bytes(token)
    }

    /// The end mark of the tokenizer, if it has one.
    pub fn end(&self) -> Option<u32> {
        self.vocabulary.tokenizer().and_then(|tokenizer| tokenizer.end())
    }

    /// The token of a line's end, if tokens are characters or bytes.
    pub fn newline(&self) -> Option<u32> {
        match &self.vocabulary {
            Vocabulary::Bytes => Some(u32::from(b'\n')),
            Vocabulary::Characters(characters) => {
                let place = characters.iter().position(|character| *character == '\n')?;
                u32::try_from(place).ok()
            }
            Vocabulary::Tokens(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::TextStream;

    #[test]
    fn pieces_of_characters_make_the_text() {
        let json = include_str!("../../../../data/tokenizers/wikitext2-4k.json");
        let tokenizer = Tokenizer::from_json(json, "t").unwrap();
        let (classes, count) = (tokenizer.names(), tokenizer.names().len());
        let task = Task { classes, tokenizer: Some(json.to_owned()), ..Task::default() };
        let tokens = Tokens::of(&task, count).unwrap();
        let text = "\u{65e5}\u{672c} \u{1f600}";
        let encoded = tokens.encode(text.as_bytes(), "t").unwrap();
        assert!(encoded.len() > text.chars().count());
        let mut stream = TextStream::new(&[]);
        let pieces: Vec<String> =
            encoded.iter().map(|token| stream.push(&tokens.bytes(*token))).collect();
        assert_eq!(pieces.concat() + &stream.finish(), text);
    }

    #[test]
    fn only_characters_and_bytes_have_a_token_of_the_lines_end() {
        let newline = |vocabulary: Vocabulary| Tokens { vocabulary }.newline();
        assert_eq!(newline(Vocabulary::Bytes), Some(10));
        assert_eq!(newline(Vocabulary::characters("b\na")), Some(0));
        assert_eq!(newline(Vocabulary::characters("ba")), None);
        let tokenizer = Tokenizer::train("a b c", 256).unwrap();
        assert_eq!(newline(Vocabulary::Tokens(tokenizer)), None);
    }
}
