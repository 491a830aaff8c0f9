//! Documents as lines of JSON: `{"text": "..."}`.

use serde::Deserialize;

use crate::error::{DataError, Result};

/// The texts of all lines, one after the other, each ended by a line break. Other fields are ignored, as are empty
/// lines.
///
/// # Errors
/// A line that is no JSON object or has no text; the error names it.
pub fn documents(content: &[u8], file: &str) -> Result<Vec<u8>> {
    #[derive(Deserialize)]
    struct Document {
        text: String,
    }
    let mut all = Vec::with_capacity(content.len());
    for (line, number) in content.split(|byte| *byte == b'\n').zip(1..) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Document { text } = serde_json::from_slice(line).map_err(|e| {
            let reason = format!("no JSON object with the field \"text\": {e}");
            DataError::line(file, number, reason)
        })?;
        all.extend_from_slice(text.as_bytes());
        all.push(b'\n');
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::documents;

    #[test]
    fn texts_follow_each_other() {
        let content = b"{\"text\": \"one \\u00e9\", \"id\": 3}\r\n\n{\"text\": \"two\"}";
        assert_eq!(documents(content, "d").unwrap(), "one \u{e9}\ntwo\n".as_bytes());
        for broken in ["{\"text\": \"a\"}\n{\"txt\": \"b\"}", "{\"text\": \"a\"}\nx", "{}\n\n[1]"] {
            let error = documents(broken.as_bytes(), "d.jsonl").unwrap_err().to_string();
            assert!(error.contains("d.jsonl") && error.contains("\"text\""), "{error}");
        }
    }
}
