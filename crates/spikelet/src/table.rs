//! Tables: aligned text for the terminal, Markdown for the documents.

/// A table of text cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column titles.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Table { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Aligned text: columns that hold only numbers to the right, all others to the left.
    pub fn text(&self) -> String {
        let columns = self.columns();
        let mut text = String::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let mut line = String::new();
            for (index, column) in columns.iter().enumerate() {
                let cell = row.get(index).map_or("", String::as_str);
                let padding = " ".repeat(column.width - cell.chars().count());
                if index > 0 {
                    line.push_str("  ");
                }
                if column.numbers {
                    line.push_str(&padding);
                    line.push_str(cell);
                } else {
                    line.push_str(cell);
                    line.push_str(&padding);
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// A Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let escape = |cell: &String| cell.replace('|', "\\|");
        let mut text = line(&mut self.header.iter().map(escape));
        text += &line(
            &mut self.columns().iter().map(|c| if c.numbers { "---:" } else { "---" }.to_owned()),
        );
        for row in &self.rows {
            text += &line(&mut row.iter().map(escape));
        }
        text
    }

    fn columns(&self) -> Vec<Column> {
        (0..self.header.len())
            .map(|index| {
                let cells = || self.rows.iter().filter_map(|row| row.get(index));
                let width = std::iter::once(&self.header[index])
                    .chain(cells())
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0);
                let numbers = cells().all(|cell| is_number(cell)) && cells().next().is_some();
                Column { width, numbers }
            })
            .collect()
    }
}

struct Column {
    width: usize,
    numbers: bool,
}

/// A number with or without unit (`12`, `-1.5 %`, `12.0 us`), or nothing.
fn is_number(cell: &str) -> bool {
    let cell = cell.trim_start_matches(['-', '+']);
    cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit())
}

/// A count with its thousands set apart: `1 234 567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that reads best.
pub fn bytes(value: u64) -> String {
    match value {
        0..10_000 => format!("{value} B"),
        10_000..10_000_000 => format!("{:.1} KiB", value as f64 / 1024.0),
        10_000_000..10_000_000_000 => format!("{:.1} MiB", value as f64 / (1024.0 * 1024.0)),
        _ => format!("{:.1} GiB", value as f64 / (1024.0 * 1024.0 * 1024.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let mut table = Table::new(["layer", "spikes"]);
        table.row(["u", "1 234"]);
        table.row(["hidden", "5"]);
        assert_eq!(table.text(), "layer   spikes\nu        1 234\nhidden       5\n");
        assert_eq!(
            table.markdown(),
            "| layer | spikes |\n| --- | ---: |\n| u | 1 234 |\n| hidden | 5 |\n"
        );
    }

    #[test]
    fn counts_and_bytes_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(bytes(9_999), "9999 B");
        assert_eq!(bytes(2 * 1024 * 1024), "2048.0 KiB");
    }
}
