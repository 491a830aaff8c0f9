//! "Did you mean": the known name nearest to one that is unknown.

/// The text to append to "no such name": `; did you mean ...?`, or the known names where none is near.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(wrong, known.iter().copied()) {
        Some(k) => format!("; did you mean `{k}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; known are {}", known.join(", ")),
    }
}

/// The known name nearest to `wrong`, if one is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = wrong.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, k)| distance <= 1 + k.chars().count() / 3)
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn near_names_are_suggested_and_far_ones_listed() {
        assert_eq!(suggest("clasping", ["clapping", "typing"]), "; did you mean `clapping`?");
        assert_eq!(suggest("juggling", ["a", "b"]), "; known are a, b");
        assert_eq!(suggest("x", []), "");
    }
}
