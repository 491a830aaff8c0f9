//! The text of a stream, as far as it is certain: tokens may hold parts of characters, and a stop
//! text may be about to appear.

/// Collects the bytes of tokens; gives whole characters, and nothing that may belong to a stop text.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    stops: Vec<Vec<u8>>,
    /// Bytes that have not been given yet.
    pending: Vec<u8>,
    stopped: bool,
}

impl TextStream {
    /// A text that ends before the first of these.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().map(|stop| stop.clone().into_bytes()).collect();
        TextStream { stops, ..TextStream::default() }
    }

    /// Whether a stop text has appeared.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds bytes; gives what is certain now.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.pending.extend_from_slice(bytes);
        let first = self.stops.iter().filter_map(|stop| find(&self.pending, stop)).min();
        if let Some(end) = first {
            self.stopped = true;
            self.pending.truncate(end);
            return self.finish();
        }
        let held = self.stops.iter().map(|stop| overlap(&self.pending, stop)).max().unwrap_or(0);
        let certain = self.pending.len() - held.max(unfinished(&self.pending));
        let rest = self.pending.split_off(certain);
        let text = std::mem::replace(&mut self.pending, rest);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What is left at the end; bytes that are no text become U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

fn find(text: &[u8], stop: &[u8]) -> Option<usize> {
    text.windows(stop.len().max(1)).position(|part| part == stop)
}

/// Length of the longest end of a text that is the beginning of a stop text.
fn overlap(text: &[u8], stop: &[u8]) -> usize {
    let most = stop.len().saturating_sub(1).min(text.len());
    (1..=most).rev().find(|n| text.ends_with(&stop[..*n])).unwrap_or(0)
}

/// Bytes at the end that may be the beginning of a character.
fn unfinished(text: &[u8]) -> usize {
    match text.utf8_chunks().last() {
        // An incomplete sequence at the end is reported as invalid; three bytes are the most.
        Some(last) if !last.invalid().is_empty() => {
            let invalid = last.invalid();
            let length = match invalid[0] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            if invalid.len() < length { invalid.len() } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(ToString::to_string).collect();
        let mut text = TextStream::new(&stops);
        let mut given: Vec<String> = pieces.iter().map(|piece| text.push(piece)).collect();
        given.push(text.finish());
        (given, text.has_stopped())
    }

    #[test]
    fn characters_come_whole() {
        let (given, _) =
            all(&[], &[b"a\xc3", b"\xa9", b"\xf0\x9f", b"\x98\x80b", b"\xff", b"\xe2"]);
        assert_eq!(given, ["a", "\u{e9}", "", "\u{1f600}b", "\u{fffd}", "", "\u{fffd}"]);
    }

    #[test]
    fn text_ends_before_a_stop_text() {
        let (given, stopped) =
            all(&["END", "\n\n"], &[b"one E", b"N", b"x E", b"ND two", b"three"]);
        assert_eq!((given.concat().as_str(), stopped), ("one ENx ", true));
        assert_eq!(given[0], "one ");
        let (given, stopped) = all(&["END"], &[b"E", b"N"]);
        assert_eq!((given.concat().as_str(), stopped), ("EN", false));
    }
}
