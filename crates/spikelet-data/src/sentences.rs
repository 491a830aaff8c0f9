//! Labelled sentences, each a list of tokens of its own length.

use crate::vocabulary::Vocabulary;

/// What stands behind the last token of a sentence in a batch of longer ones: no token.
pub const PADDING: f32 = -1.0;

/// Labelled sentences.
#[derive(Clone, Debug)]
pub struct Sentences {
    /// Tokens of every sentence, one at least.
    pub tokens: Vec<Vec<u32>>,
    /// Class of every sentence.
    pub y: Vec<u32>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What the tokens are.
    pub vocabulary: Vocabulary,
    /// How many tokens it has.
    pub vocabulary_size: usize,
}

impl Sentences {
    /// Number of sentences.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of the longest sentence.
    pub fn longest(&self) -> usize {
        self.tokens.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Token numbers `[time, batch]`, as many steps as the longest of these sentences has tokens; shorter ones end in
    /// [`PADDING`].
    pub fn batch(&self, index: &[usize]) -> Vec<f32> {
        let time = index.iter().map(|&i| self.tokens[i].len()).max().unwrap_or(0);
        let token = |t: usize, i: usize| self.tokens[i].get(t).map_or(PADDING, |t| *t as f32);
        (0..time).flat_map(|t| index.iter().map(move |&i| token(t, i))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_sentences_are_padded_to_the_longest_of_their_batch() {
        let sentences = Sentences {
            tokens: vec![vec![1, 2, 3, 4], vec![5], vec![6, 7]],
            y: vec![0, 1, 0],
            classes: vec!["a".into(), "b".into()],
            vocabulary: Vocabulary::Bytes,
            vocabulary_size: 256,
        };
        assert_eq!((sentences.len(), sentences.longest()), (3, 4));
        assert_eq!(sentences.batch(&[1, 2]), [5.0, 6.0, PADDING, 7.0]);
        assert_eq!(sentences.batch(&[1]), [5.0]);
    }
}
