//! The little of SVG that the report needs.

/// Text made safe for HTML and SVG, also inside attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are not allowed in HTML at all.
            character if character.is_control() && character != '\n' => safe.push('\u{fffd}'),
            character => safe.push(character),
        }
    }
    safe
}

/// A drawing with a caption.
pub fn figure(width: f64, height: f64, drawing: &str, label: &str, caption: &str) -> String {
    format!(
        "<figure>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n{drawing}</svg>\n\
         <figcaption>{}</figcaption>\n</figure>\n",
        escape(label),
        escape(caption),
    )
}

/// How a text stands to its point.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    /// It starts there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

/// A text.
pub fn text(x: f64, y: f64, anchor: Anchor, soft: bool, text: &str) -> String {
    let anchor = match anchor {
        Anchor::Start => "start",
        Anchor::Middle => "middle",
        Anchor::End => "end",
    };
    let class = if soft { " class=\"soft\"" } else { "" };
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\"{class}>{}</text>\n",
        escape(text)
    )
}

/// Round numbers that divide a range into at most `most` parts.
pub fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let range = high - low;
    if !(range.is_finite() && range > 0.0) || most == 0 {
        return vec![low];
    }
    let rough = range / most as f64;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * magnitude);
    let first = (low / step).ceil();
    let count = ((high / step).floor() - first) as usize + 1;
    (0..count.min(most + 2)).map(|index| (first + index as f64) * step).collect()
}

/// A tick's label, without needless digits.
pub fn number(value: f64) -> String {
    if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        return format!("{value:.0e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
