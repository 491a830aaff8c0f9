//! Documents as lines of JSON: `{"text": "..."}`.

use serde::Deserialize;

use crate::error::{DataError, Result};

/// The texts of all lines. Other fields are ignored, as are empty lines.
///
/// # Errors
/// A line that is no JSON object or has no text; the error names it.
pub fn documents(content: &[u8], file: &str) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Document {
        text: String,
    }
    let lines = content.split(|byte| *byte == b'\n').zip(1..);
    let filled = lines.filter(|(line, _)| !line.trim_ascii().is_empty());
    let read = |(line, number)| match serde_json::from_slice::<Document>(line) {
        Ok(document) => Ok(document.text),
        Err(e) => {
            let reason = format!("no JSON object with the field \"text\": {e}");
            Err(DataError::line(file, number, reason))
        }
    };
    filled.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn every_line_has_a_text() {
        let content = b"{\"text\": \"one \\u00e9\", \"id\": 3}\r\n\n{\"text\": \"two\"}";
        assert_eq!(documents(content, "d").unwrap(), ["one \u{e9}", "two"]);
        for broken in ["{\"text\": \"a\"}\n{\"txt\": \"b\"}", "{\"text\": \"a\"}\nx", "{}\n\n[1]"] {
            let error = documents(broken.as_bytes(), "d.jsonl").unwrap_err().to_string();
            assert!(error.contains("d.jsonl") && error.contains("\"text\""), "{error}");
        }
    }
}
