//! Delimited text, row by row in constant memory: the shared base of labelled CSV and streamed CSV.
//!
//! Fields are separated by commas, semicolons or tabs (whichever the first line has most of) and may be in
//! double quotes, where `""` is a quote. A quoted field cannot contain a line end.

use std::io::BufRead;

use crate::error::{DataError, Result};
use crate::lines::{Lines, MAX_LINE};
use crate::nearest;

/// A table being read.
pub struct Table<R> {
    lines: Lines<R>,
    delimiter: char,
    header: Vec<String>,
    fields: Vec<String>,
    used: usize,
    /// Whether `fields` holds the first line, which turned out to be a row.
    pending: bool,
}

impl<R: BufRead> Table<R> {
    /// Reads the first line. It is the header unless every field is a number. `file` names the input in errors.
    pub fn new(input: R, file: &str) -> Result<Self> {
        let mut lines = Lines::new(input, file, MAX_LINE);
        let Some(first) = lines.next_line()? else {
            return Err(DataError::File {
                file: file.to_owned(),
                reason: "the file is empty; expected a header".into(),
            });
        };
        let first = first.strip_prefix('\u{feff}').unwrap_or(first).to_owned();
        let count = |d: char| first.matches(d).count();
        let delimiter = [',', ';', '\t'].into_iter().rev().max_by_key(|&d| count(d)).unwrap_or(',');
        let mut table = Self {
            lines,
            delimiter,
            header: Vec::new(),
            fields: Vec::new(),
            used: 0,
            pending: false,
        };
        table.used =
            split(&first, delimiter, &mut table.fields).map_err(|e| table.lines.error(e))?;
        if table.row().iter().all(|f| f.parse::<f64>().is_ok()) {
            table.pending = true;
            return Ok(table);
        }
        table.header = table.row().to_vec();
        for (i, name) in table.header.iter().enumerate() {
            if name.is_empty() {
                return Err(table.lines.error(format!("column {} has no name", i + 1)));
            }
            if table.header[..i].contains(name) {
                return Err(table.lines.error(format!("two columns are called `{name}`")));
            }
        }
        Ok(table)
    }

    /// Column names; empty if the file has no header.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The column called `name`, or an error naming the nearest one.
    pub fn column(&self, name: &str) -> Result<usize> {
        if self.header.is_empty() {
            let reason = format!(
                "the first line holds only numbers; expected a header with column `{name}`"
            );
            return Err(DataError::line(self.lines.file(), 1, reason));
        }
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            let hint = nearest::suggest(name, self.header.iter().map(String::as_str));
            DataError::line(self.lines.file(), 1, format!("no column `{name}`{hint}"))
        })
    }

    /// Reads the next row; `false` at the end of the file. Blank lines are passed over.
    pub fn next_row(&mut self) -> Result<bool> {
        if std::mem::take(&mut self.pending) {
            return Ok(true);
        }
        let expected = if self.header.is_empty() { self.used } else { self.header.len() };
        loop {
            let number = self.lines.number() + 1;
            let Some(line) = self.lines.next_line()? else { return Ok(false) };
            if line.trim().is_empty() {
                continue;
            }
            let wrong =
                split(line, self.delimiter, &mut self.fields).and_then(|n| match n == expected {
                    true => Ok(n),
                    false => Err(format!("{n} fields, but {expected} in line 1")),
                });
            match wrong {
                Ok(n) => self.used = n,
                Err(reason) => return Err(DataError::line(self.lines.file(), number, reason)),
            }
            return Ok(true);
        }
    }

    /// The fields of the current row.
    pub fn row(&self) -> &[String] {
        &self.fields[..self.used]
    }

    /// The finite number in `column` of the current row.
    pub fn number(&self, column: usize) -> Result<f32> {
        let field = self.text(column)?;
        match field.parse::<f32>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ => Err(self
                .lines
                .error(format!("{}: `{field}` is no finite number", self.name(column)))),
        }
    }

    /// The text in `column` of the current row, which must not be empty.
    pub fn text(&self, column: usize) -> Result<&str> {
        match self.row()[column].as_str() {
            "" => Err(self.lines.error(format!("{} is empty", self.name(column)))),
            text => Ok(text),
        }
    }

    /// An error in the current row.
    pub fn error(&self, reason: impl Into<String>) -> DataError {
        self.lines.error(reason)
    }

    fn name(&self, column: usize) -> String {
        match self.header.get(column) {
            Some(name) => format!("column `{name}`"),
            None => format!("column {}", column + 1),
        }
    }
}

/// Splits a line into trimmed fields, reusing their memory; how many there are, or what is wrong.
fn split(line: &str, delimiter: char, fields: &mut Vec<String>) -> Result<usize, String> {
    let mut used = 0;
    let mut rest = line;
    loop {
        if fields.len() == used {
            fields.push(String::new());
        }
        let field = &mut fields[used];
        field.clear();
        used += 1;
        let after = match rest.trim_start_matches(' ').strip_prefix('"') {
            Some(quoted) => unquote(quoted, field)
                .ok_or_else(|| format!("field {used}: the quote is not closed"))?,
            None => {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                field.push_str(rest[..end].trim());
                &rest[end..]
            }
        };
        let after = if after.starts_with(delimiter) { after } else { after.trim_start() };
        match after.strip_prefix(delimiter) {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(used),
            None => return Err(format!("field {used}: text after the closing quote")),
        }
    }
}

/// Appends a quoted field, without its opening quote, to `field`; what follows the closing quote.
fn unquote<'a>(mut text: &'a str, field: &mut String) -> Option<&'a str> {
    loop {
        let (part, after) = text.split_once('"')?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                text = more;
            }
            None => return Some(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Result<(Vec<String>, Vec<Vec<String>>)> {
        let mut table = Table::new(text.as_bytes(), "t.csv")?;
        let mut out = Vec::new();
        while table.next_row()? {
            out.push(table.row().to_vec());
        }
        Ok((table.header().to_vec(), out))
    }

    #[test]
    fn delimiters_quotes_and_blanks() {
        for text in [
            "\u{feff}a,b\n1, x y\n\n2,\"p,\"\"q\"\"\"\n",
            "a;b\r\n1;x y\r\n2;\"p,\"\"q\"\"\" \r\n",
            "a\tb\n1\tx y\n2\tp,\"q\"\n",
        ] {
            let (header, rows) = rows(text).unwrap();
            assert_eq!(header, ["a", "b"]);
            assert_eq!(rows, [["1", "x y"], ["2", "p,\"q\""]], "{text:?}");
        }
        assert_eq!(rows("a\tb\n\t\n1\t").unwrap().1, [["1", ""]]);
    }

    #[test]
    fn a_first_line_of_numbers_is_a_row() {
        let (header, rows) = rows("1,2\n3,4\n").unwrap();
        assert!(header.is_empty());
        assert_eq!(rows, [["1", "2"], ["3", "4"]]);
    }

    #[test]
    fn errors_name_line_and_column() {
        let said = |text: &str| rows(text).unwrap_err().to_string();
        assert_eq!(said("a,b\n1,2\n1,2,3\n"), "t.csv:3: 3 fields, but 2 in line 1");
        assert_eq!(said("a,b\n1,\"2\n"), "t.csv:2: field 2: the quote is not closed");
        assert_eq!(said("a,b\n\"1\"x,2\n"), "t.csv:2: field 1: text after the closing quote");
        assert_eq!(said("a,a\n"), "t.csv:1: two columns are called `a`");
        assert_eq!(said("a,,b\n"), "t.csv:1: column 2 has no name");
        assert!(said("").contains("the file is empty"));

        let mut table = Table::new(&b"ax,label\nNaN,\n"[..], "t.csv").unwrap();
        assert_eq!(
            table.column("labl").unwrap_err().to_string(),
            "t.csv:1: no column `labl`; did you mean `label`?"
        );
        assert!(table.next_row().unwrap());
        assert_eq!(
            table.number(0).unwrap_err().to_string(),
            "t.csv:2: column `ax`: `NaN` is no finite number"
        );
        assert_eq!(table.text(1).unwrap_err().to_string(), "t.csv:2: column `label` is empty");
    }

    #[test]
    fn flipped_bits_never_panic() {
        let text = b"a;\"b\"\n1;2\n\"3\"\"\";4\n";
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(mut table) = Table::new(&bytes[..], "t") {
                    while table.next_row().unwrap_or(false) {
                        let _ = (table.number(0), table.text(0));
                    }
                }
            }
        }
    }
}
