//! As much of XML as annotation files need: elements with text in them.
//!
//! Attributes, comments, declarations and processing instructions are passed over; entities other than XML's own five
//! and numbers are an error, so that no document grows while it is read.

use crate::error::{DataError, Result};

/// Deepest nesting of elements.
const MAX_DEPTH: usize = 32;

/// An element: its name, the text directly in it without space around it, and the elements in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Name.
    pub name: String,
    /// Text.
    pub text: String,
    /// Line its start is on, from 1.
    pub line: u64,
    /// Elements in it, in order.
    pub children: Vec<Element>,
}

impl Element {
    /// The first element called `name` in this one.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

/// The root element of a document; `file` names it in errors.
pub fn parse(text: &str, file: &str) -> Result<Element> {
    let mut parser = Parser { text, at: 0, line: 1, counted: 0, file };
    let mut open: Vec<Element> = Vec::new();
    loop {
        let Some(start) = parser.rest().find('<') else {
            return Err(parser.wrong("the document ends before its root element does"));
        };
        let between = &parser.rest()[..start];
        match open.last_mut() {
            Some(element) => {
                let between = parser.unescaped(between)?;
                element.text.push_str(&between);
            }
            None if between.trim_start_matches('\u{feff}').trim().is_empty() => {}
            None => return Err(parser.wrong("text outside of the root element")),
        }
        parser.at += start;
        match parser.tag()? {
            Tag::Other => {}
            Tag::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(text);
                }
            }
            Tag::Open { name, closed } => {
                if open.len() >= MAX_DEPTH {
                    return Err(parser.wrong(format!("more than {MAX_DEPTH} nested elements")));
                }
                let line = parser.line();
                open.push(Element { name: name.to_owned(), line, ..Element::default() });
                if closed && let Some(root) = parser.close(&mut open, name)? {
                    return Ok(root);
                }
            }
            Tag::Close(name) => {
                if let Some(root) = parser.close(&mut open, name)? {
                    return Ok(root);
                }
            }
        }
    }
}

enum Tag<'a> {
    Open { name: &'a str, closed: bool },
    Close(&'a str),
    Text(&'a str),
    Other,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    line: u64,
    /// Up to where lines were counted.
    counted: usize,
    file: &'a str,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn line(&mut self) -> u64 {
        let new = &self.text.as_bytes()[self.counted..self.at];
        self.line += new.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.counted = self.at;
        self.line
    }

    fn wrong(&mut self, reason: impl Into<String>) -> DataError {
        let line = self.line();
        DataError::line(self.file, line, reason)
    }

    /// What begins at the `<` that comes next.
    fn tag(&mut self) -> Result<Tag<'a>> {
        for (start, end) in [("<!--", "-->"), ("<?", "?>"), ("<![CDATA[", "]]>"), ("<!", ">")] {
            let Some(rest) = self.rest().strip_prefix(start) else { continue };
            let Some(length) = rest.find(end) else {
                return Err(self.wrong(format!("{start} without {end}")));
            };
            if start == "<!" && rest[..length].contains('[') {
                return Err(self.wrong("a document with definitions of its own is not read"));
            }
            self.at += start.len() + length + end.len();
            return Ok(match start {
                "<![CDATA[" => Tag::Text(&rest[..length]),
                _ => Tag::Other,
            });
        }
        let rest = &self.rest()[1..];
        let Some(length) = end_of_tag(rest) else {
            return Err(self.wrong("< without >"));
        };
        let inside = &rest[..length];
        let tag = match inside.strip_prefix('/') {
            Some(name) => Tag::Close(name.trim_end()),
            None => {
                let closed = inside.ends_with('/');
                let name = inside.split(|c: char| c.is_whitespace() || c == '/').next();
                Tag::Open { name: name.unwrap_or_default(), closed }
            }
        };
        if let Tag::Open { name: "", .. } | Tag::Close("") = tag {
            return Err(self.wrong("an element without a name"));
        }
        self.at += length + 2;
        Ok(tag)
    }

    /// Closes the innermost element; gives the root if it was that.
    fn close(&mut self, open: &mut Vec<Element>, name: &str) -> Result<Option<Element>> {
        match open.pop() {
            Some(mut element) if element.name == name => {
                let trimmed = element.text.trim();
                if trimmed.len() < element.text.len() {
                    element.text = trimmed.to_owned();
                }
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Ok(Some(element)),
                }
                Ok(None)
            }
            Some(element) => {
                Err(self.wrong(format!("</{name}> where </{}> was expected", element.name)))
            }
            None => Err(self.wrong(format!("</{name}> was never opened"))),
        }
    }

    fn unescaped(&mut self, text: &'a str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut parts = text.split('&');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let Some((entity, after)) = part.split_once(';') else {
                return Err(self.wrong("& without ;"));
            };
            match character(entity) {
                Some(character) => out.push(character),
                None => {
                    let short: String = entity.chars().take(20).collect();
                    return Err(self.wrong(format!("unknown entity &{short};")));
                }
            }
            out.push_str(after);
        }
        Ok(out)
    }
}

/// Where a tag ends: the `>` that is not in the quotes of an attribute.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_text_and_what_is_passed_over() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<!-- <a> -->\n<!DOCTYPE a>\n<a x=\"1 > 0\">\n <b>1 &lt;&#x41;&amp; </b>\
                    <c/><b><![CDATA[<2>]]></b>\n</a>";
        let root = parse(text, "f").unwrap();
        assert_eq!((root.name.as_str(), root.line, root.children.len()), ("a", 4, 3));
        assert_eq!(root.child("b").unwrap().text, "1 <A&");
        assert_eq!((root.children[2].text.as_str(), root.children[2].line), ("<2>", 5));
    }

    #[test]
    fn broken_documents() {
        for (text, said) in [
            ("", "f:1: the document ends"),
            ("<a>\n<b></a>", "f:2: </a> where </b>"),
            ("<a>\n\n<b>", "f:3: the document ends"),
            ("</a>", "was never opened"),
            ("x<a/>", "text outside"),
            ("<a>&huge;</a>", "unknown entity &huge;"),
            ("<a>& b</a>", "& without ;"),
            ("<!DOCTYPE a [<!ENTITY b \"bbbb\">]><a/>", "definitions of its own"),
            ("<a b=\">", "< without >"),
            ("< >", "without a name"),
            ("<!-- <a/>", "<!-- without -->"),
        ] {
            let e = parse(text, "f").unwrap_err().to_string();
            assert!(e.contains(said), "{text}: {e}");
        }
        let deep = "<a>".repeat(100_000);
        assert!(parse(&deep, "f").unwrap_err().to_string().contains("nested"));
    }
}
