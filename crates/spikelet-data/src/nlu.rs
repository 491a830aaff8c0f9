//! Data sets of sentences: MR, Subj, SST-2, SST-5.

use std::io::Read;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::lines;

/// Most bytes of a file: a hundred times the largest.
const MAX_BYTES: u64 = 1 << 28;

/// Sentences and classes as they stand in the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// Every sentence and its class.
    pub sentences: Vec<(String, u32)>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How many of the sentences are for training and for validation; the rest are for testing. Nothing where the
    /// data set has no parts.
    pub official: Option<[usize; 2]>,
}

/// Reads data set `name` (`nlu/mr`, `nlu/subj`, `nlu/sst-2`, `nlu/sst-5`) in `folder`.
///
/// # Errors
/// Files that are missing or not of their form; the error names file and line.
pub fn load(name: &str, folder: &Path) -> Result<Labelled> {
    let file = |name: &str| {
        let path = folder.join(name);
        let mut bytes = Vec::new();
        let read = lines::open(&path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|e| DataError::io(&path, e))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(DataError::file(&path, format!("over {MAX_BYTES} bytes")));
        }
        Ok((bytes, path.display().to_string()))
    };
    match name {
        "nlu/mr" => by_file([
            ("negative", file("rt-polarity.neg")?),
            ("positive", file("rt-polarity.pos")?),
        ]),
        "nlu/subj" => by_file([
            ("objective", file("plot.tok.gt9.5000")?),
            ("subjective", file("quote.tok.gt9.5000")?),
        ]),
        "nlu/sst-2" => {
            let parts = [file("train.tsv")?, file("dev.tsv")?];
            let [train, dev] = parts.map(|(bytes, file)| table(&bytes, &file));
            Ok(official(vec![train?, vec![], dev?], &["negative", "positive"]))
        }
        "nlu/sst-5" => {
            let parts = [file("train.txt")?, file("dev.txt")?, file("test.txt")?];
            let [train, dev, test] = parts.map(|(bytes, file)| trees(&bytes, &file));
            let classes = ["very negative", "negative", "neutral", "positive", "very positive"];
            Ok(official(vec![train?, dev?, test?], &classes))
        }
        other => Err(DataError::request(format!("{other} is no data set of sentences"))),
    }
}

/// One file a class, one sentence a line.
fn by_file(files: [(&str, (Vec<u8>, String)); 2]) -> Result<Labelled> {
    let mut found = Labelled::default();
    for ((class, (bytes, file)), label) in files.into_iter().zip(0..) {
        found.classes.push(class.to_owned());
        for line in text(&bytes, &file)?.lines().filter(|line| !line.trim().is_empty()) {
            found.sentences.push((line.trim().to_owned(), label));
        }
    }
    Ok(found)
}

fn official(parts: Vec<Vec<(String, u32)>>, classes: &[&str]) -> Labelled {
    let official = Some([parts[0].len(), parts[1].len()]);
    let classes = classes.iter().map(|class| (*class).to_owned()).collect();
    Labelled { sentences: parts.concat(), classes, official }
}

fn text<'a>(bytes: &'a [u8], file: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes)
        .map_err(|e| DataError::offset(file, e.valid_up_to() as u64, "the text is not UTF-8"))
}

/// Two columns, `sentence` and `label` (0 or 1), below a line of their names, as GLUE has SST-2.
pub fn table(bytes: &[u8], file: &str) -> Result<Vec<(String, u32)>> {
    let mut lines = text(bytes, file)?.lines();
    if lines.next().map(str::trim_end) != Some("sentence\tlabel") {
        return Err(DataError::line(
            file,
            1,
            "the first line names the columns sentence and label",
        ));
    }
    let row = |(line, number): (&str, u64)| {
        let parsed = line.trim_end().rsplit_once('\t').and_then(|(sentence, label)| {
            let label = label.parse().ok().filter(|label| *label < 2)?;
            (!sentence.trim().is_empty()).then(|| (sentence.trim().to_owned(), label))
        });
        parsed.ok_or_else(|| DataError::line(file, number, "no sentence, tab and 0 or 1"))
    };
    lines.zip(2..).filter(|(line, _)| !line.trim().is_empty()).map(row).collect()
}

/// One tree a line, `(3 (2 It) (4 works))`: the class of the root and the words, as the Stanford treebank has SST-5.
pub fn trees(bytes: &[u8], file: &str) -> Result<Vec<(String, u32)>> {
    let tree = |(line, number): (&str, u64)| {
        let wrong = |reason| DataError::line(file, number, reason);
        let root = line.trim().strip_prefix('(').ok_or_else(|| wrong("a tree begins with ("))?;
        let class = root.bytes().next().filter(|c| (b'0'..=b'4').contains(c));
        let class = class.ok_or_else(|| wrong("a class is a digit from 0 to 4"))?;
        let (open, close) = (line.matches('(').count(), line.matches(')').count());
        if open != close {
            return Err(wrong("parentheses do not match"));
        }
        // Words are what a closing parenthesis follows; brackets of the text are written -LRB- and -RRB-.
        let words: Vec<&str> = (line.split(['(', ')']).filter_map(|part| part.split_once(' ')))
            .map(|(_, word)| word.trim())
            .filter(|word| !word.is_empty())
            .collect();
        match words.is_empty() {
            true => Err(wrong("a tree without words")),
            false => Ok((words.join(" "), u32::from(class - b'0'))),
        }
    };
    text(bytes, file)?
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
        .map(tree)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_lines() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rt-polarity.neg"), "bad film \n\nworse .\n").unwrap();
        assert!(load("nlu/mr", folder.path()).unwrap_err().to_string().contains("rt-polarity.pos"));
        std::fs::write(folder.path().join("rt-polarity.pos"), "good\n").unwrap();
        let found = load("nlu/mr", folder.path()).unwrap();
        let rows: Vec<(&str, u32)> =
            found.sentences.iter().map(|(s, y)| (s.as_str(), *y)).collect();
        assert_eq!(rows, [("bad film", 0), ("worse .", 0), ("good", 1)]);
        assert_eq!((found.classes[1].as_str(), found.official), ("positive", None));
        std::fs::write(folder.path().join("rt-polarity.pos"), [b'a', 0xff]).unwrap();
        let error = load("nlu/mr", folder.path()).unwrap_err().to_string();
        assert!(error.contains("at byte 1") && error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn tables_of_sst_2() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("train.tsv", "sentence\tlabel\nhide new secretions \t0\nit 's good\t1\n");
        write("dev.tsv", "sentence\tlabel\nfine\t1\n");
        let found = load("nlu/sst-2", folder.path()).unwrap();
        assert_eq!(found.official, Some([2, 0]));
        assert_eq!(found.sentences[2], ("fine".to_owned(), 1));
        for (broken, line) in
            [("a\t1\n", 1), ("sentence\tlabel\na\t2", 2), ("sentence\tlabel\nx\t1\na 1", 3)]
        {
            let error = table(broken.as_bytes(), "f.tsv").unwrap_err().to_string();
            assert!(error.starts_with(&format!("f.tsv:{line}: ")), "{error}");
        }
    }

    #[test]
    fn trees_of_sst_5() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train.txt", "dev.txt", "test.txt"] {
            std::fs::write(
                folder.path().join(name),
                "(3 (2 It) (4 (2 's) (4 (2 very) (3 good))))\n",
            )
            .unwrap();
        }
        let found = load("nlu/sst-5", folder.path()).unwrap();
        assert_eq!(
            (found.official, found.sentences.len(), found.classes.len()),
            (Some([1, 1]), 3, 5)
        );
        assert_eq!(found.sentences[0], ("It 's very good".to_owned(), 3));
        for broken in ["3 (2 It)", "(5 a)", "(3 (2 a)", "(3 )"] {
            assert!(trees(broken.as_bytes(), "t").is_err(), "{broken}");
        }
    }
}
