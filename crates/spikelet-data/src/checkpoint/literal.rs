//! Numbers and text as pickles spell them.

use super::{error::Fault, pickle::Node};

/// Little-endian two's complement.
pub(crate) fn signed(bytes: &[u8]) -> Node {
    if bytes.len() > 16 {
        return Node::LargeInt(bytes.len());
    }
    let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i128::from_le_bytes(wide))
}

/// A Python 2 `str` is text or raw bytes; only its content tells.
pub(crate) fn python2_string(bytes: Vec<u8>) -> Node {
    match String::from_utf8(bytes) {
        Ok(text) => Node::Str(text.into()),
        Err(error) => Node::Bytes(error.into_bytes().into()),
    }
}

/// Removes the quotes and escapes of a Python string literal.
pub(crate) fn unquote(line: Vec<u8>, at: u64) -> Result<Vec<u8>, Fault> {
    let fault = || Fault::damaged(at, "a string literal is malformed");
    let quoted = match line.as_slice() {
        [first @ (b'\'' | b'"'), inner @ .., last] if first == last => inner,
        _ => return Err(fault()),
    };
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escaped = match rest.next().ok_or_else(fault)? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits = rest.as_slice().get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let digits = digits.ok_or_else(fault)?;
                let value = u8::from_str_radix(digits, 16).map_err(|_| fault())?;
                rest.nth(1);
                value
            }
            &other => other,
        };
        bytes.push(escaped);
    }
    Ok(bytes)
}

/// Python's `raw-unicode-escape`: Latin-1 with `\uXXXX` and `\UXXXXXXXX`.
pub(crate) fn unescape_unicode(line: &[u8], at: u64) -> Result<String, Fault> {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let value = after
            .get(1..=digits)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u32::from_str_radix(hex, 16).ok())
            .and_then(char::from_u32)
            .ok_or_else(|| Fault::damaged(at, "an escape in a string is malformed"))?;
        text.push(value);
        rest = &after[digits + 1..];
    }
    Ok(text)
}
