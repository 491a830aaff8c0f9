//! Vocabularies of words, as those of the Penn Treebank and WikiText-2 are used: a token is what stands between white
//! space, the end of a line is the token `<eos>`, and a word that is not in the vocabulary is `<unk>`.

use serde_json::{Map, Value, json};

use crate::error::Result;
use crate::tokenizer::Tokenizer;

/// The end of a line.
pub const END_OF_LINE: &str = "<eos>";
/// A word that is not in the vocabulary.
pub const UNKNOWN: &str = "<unk>";

/// Marks that stand alone in text that is not tokenised yet.
const MARKS: &str = "[.,;:!?()]";
/// Those of them that a text has no space in front of.
const CLOSING: [&str; 7] = [".", ",", ";", ":", "!", "?", ")"];

/// The vocabulary of a text in the order in which words first come, then what is missing of `<eos>` and `<unk>`. With
/// `marks`, punctuation is split from words.
///
/// # Errors
/// More words than a vocabulary may have.
pub fn vocabulary(text: &str, marks: bool, file: &str) -> Result<Tokenizer> {
    let mut vocabulary = Map::new();
    let mut add = |word: &str| {
        let next = vocabulary.len();
        vocabulary.entry(word).or_insert_with(|| json!(next));
    };
    let is_mark = |c: char| MARKS[1..MARKS.len() - 1].contains(c);
    for line in text.lines() {
        for word in line.split_whitespace() {
            match marks {
                true => word.split_inclusive(is_mark).for_each(|part| {
                    let word = part.trim_end_matches(is_mark);
                    [word, &part[word.len()..]]
                        .into_iter()
                        .filter(|w| !w.is_empty())
                        .for_each(&mut add);
                }),
                false => add(word),
            }
        }
        add(END_OF_LINE);
    }
    [END_OF_LINE, UNKNOWN].into_iter().for_each(add);
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let white = json!({ "type": "WhitespaceSplit" });
    let split = json!({
        "type": "Split", "pattern": { "Regex": MARKS }, "behavior": "Isolated", "invert": false
    });
    // No word begins with it, so that every one gets a space in front.
    let spaces = json!({ "type": "WordPiece", "prefix": "\u{0}", "cleanup": false });
    let closing = CLOSING.iter().filter(|_| marks).map(|mark| replace(&format!(" {mark}"), mark));
    let written: Vec<Value> =
        [spaces].into_iter().chain(closing).chain([replace(" <eos>", "\n")]).collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": replace("\n", " <eos> "),
        "pre_tokenizer": if marks { json!({ "type": "Sequence", "pretokenizers": [white, split] }) } else { white },
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": written },
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN },
    });
    Tokenizer::from_json(&tokenizer.to_string(), file)
}

/// A text whose every line ends, so that every line has its `<eos>`.
pub(crate) fn ended(text: &str) -> String {
    match text.is_empty() || text.ends_with('\n') {
        true => text.to_owned(),
        false => format!("{text}\n"),
    }
}

/// The verses of the King James Bible without the reference that every line begins with.
pub(crate) fn without_references(text: &str) -> String {
    let verse = |line: &str| match line.split_once(' ') {
        Some((reference, verse)) if reference.contains(':') => verse.to_owned(),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(verse).collect()
}

/// The lines of a text in three runs: the last ones are fractions of all lines.
pub(crate) fn by_line(text: &str, validation: f64, test: f64) -> [&str; 3] {
    let ends: Vec<usize> = text
        .split_inclusive('\n')
        .scan(0, |at, line| {
            *at += line.len();
            Some(*at)
        })
        .collect();
    let lines = ends.len();
    let share = |fraction: f64| (fraction * lines as f64).round() as usize;
    let test = lines.saturating_sub(share(test));
    let val = test.saturating_sub(share(validation));
    let end = |lines: usize| if lines == 0 { 0 } else { ends[lines - 1] };
    [&text[..end(val)], &text[end(val)..end(test)], &text[end(test)..]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_numbered_as_they_come() {
        let text = "the cat sat\non the <unk> mat .\n";
        let words = vocabulary(text, false, "t").unwrap();
        assert_eq!(words.names(), ["the", "cat", "sat", "<eos>", "on", "<unk>", "mat", "."]);
        assert_eq!(words.encode("the dog\n sat .\n", "t").unwrap(), [0, 5, 3, 2, 7, 3]);
        assert_eq!(words.decode(&[0, 1, 3, 4, 0]), "the cat\n on the");
        let again = Tokenizer::from_json(words.json(), "t").unwrap();
        assert_eq!(again.encode(text, "t").unwrap(), [0, 1, 2, 3, 4, 0, 5, 6, 7, 3]);
        assert!(again.is_words());
    }

    #[test]
    fn marks_stand_alone() {
        let text = "And God said, Let there be light: (and) it was so!\n";
        let words = vocabulary(text, true, "t").unwrap();
        let tokens = words.encode(text, "t").unwrap();
        let names = words.names();
        let found: Vec<&str> = tokens.iter().map(|&t| names[t as usize].as_str()).collect();
        assert_eq!(
            found,
            [
                "And", "God", "said", ",", "Let", "there", "be", "light", ":", "(", "and", ")",
                "it", "was", "so", "!", "<eos>"
            ]
        );
        assert!(!names.iter().any(|name| name.len() > 1 && name.ends_with(',')));
        assert_eq!(words.decode(&tokens), "And God said, Let there be light: ( and) it was so!\n");
    }

    #[test]
    fn verses_and_lines() {
        assert_eq!(
            without_references("Ge1:1 In the\nGe1:2 And it\nno reference\n"),
            "In the\nAnd it\nno reference\n"
        );
        let text = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj";
        assert_eq!(by_line(text, 0.1, 0.2), ["a\nb\nc\nd\ne\nf\ng\n", "h\n", "i\nj"]);
        assert_eq!(by_line("", 0.1, 0.1), ["", "", ""]);
        assert_eq!(
            (ended("a"), ended("a\n"), ended("")),
            ("a\n".into(), "a\n".into(), String::new())
        );
    }
}
