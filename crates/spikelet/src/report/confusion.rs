//! The confusion matrix.

use super::svg::{Anchor, escape, figure, text};

/// Who was taken for whom.
#[derive(Clone, Debug)]
pub struct Confusion {
    /// The classes, in the order of rows and columns.
    pub classes: Vec<String>,
    /// `counts[truth][prediction]`.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    pub(super) fn figure(&self, of: &str) -> String {
        let classes = self.classes.len();
        let longest = self.classes.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let left = 20.0 + 7.0 * longest as f64;
        let cell = (640.0 / classes.max(1) as f64).clamp(16.0, 52.0);
        let top = 24.0;
        let size = cell * classes as f64;
        let mut drawing = text(left + size / 2.0, 14.0, Anchor::Middle, true, "predicted");
        for (truth, row) in self.counts.iter().enumerate() {
            let total: u64 = row.iter().sum();
            let y = top + cell * truth as f64;
            let name = self.classes.get(truth).map_or("", String::as_str);
            drawing += &text(left - 8.0, y + cell / 2.0 + 4.0, Anchor::End, false, name);
            for (prediction, count) in row.iter().enumerate() {
                let x = left + cell * prediction as f64;
                let share = if total == 0 { 0.0 } else { *count as f64 / total as f64 };
                let colour = if truth == prediction { "var(--c0)" } else { "var(--c1)" };
                // A style, not attributes: the page's rule for `.grid` would win over those.
                let taken_for = self.classes.get(prediction).map_or("", String::as_str);
                drawing += &format!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" \
                     style=\"fill: {colour}; fill-opacity: {share:.3}\" class=\"grid\"><title>{} taken for {}: \
                     {count} of {total}</title></rect>\n",
                    escape(name),
                    escape(taken_for)
                );
                if *count > 0 && cell >= 26.0 {
                    let label = count.to_string();
                    drawing +=
                        &text(x + cell / 2.0, y + cell / 2.0 + 4.0, Anchor::Middle, false, &label);
                }
            }
        }
        // Columns carry the number of the class: names would not fit side by side.
        for column in 0..classes {
            let x = left + cell * (column as f64 + 0.5);
            let name = self.classes[column].as_str();
            let label = if name.chars().count() as f64 * 7.0 < cell {
                name
            } else {
                &(column + 1).to_string()
            };
            drawing += &text(x, top + size + 16.0, Anchor::Middle, true, label);
        }
        let caption = format!(
            "Rows: the truth, in order; columns: what the model said, numbered in the same order. {of}"
        );
        figure(left + size + 20.0, top + size + 26.0, &drawing, "Confusion matrix", &caption)
    }
}
