//! Labelled sequences from any delimited text with named columns: time, channels, label, group.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::lines;
use crate::nearest;
use crate::sequences::Sequences;
use crate::table::Table;

/// Which columns mean what, and how rows become sequences.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvConfig {
    /// Column with the time of each row, if there is one: where time goes backwards, a new recording starts.
    pub time: Option<String>,
    /// Columns of the channels, in order. Empty: all columns that are not time, label or group.
    pub channels: Vec<String>,
    /// Column with the class of each row.
    pub label: String,
    /// Column with the subject or recording, if there is one: a number, or any text.
    pub group: Option<String>,
    /// Class names in order. Empty: those in the file, sorted (as numbers if all are numbers).
    pub classes: Vec<String>,
    /// Rows a sequence.
    pub window: usize,
    /// Rows from the start of a sequence to the start of the next.
    pub hop: usize,
    /// Length of a time step in milliseconds, for the record.
    pub step_ms: f32,
}

/// Loads a file, plain or gzip.
pub fn load(path: &Path, config: &CsvConfig) -> Result<Sequences> {
    read(lines::open(path)?, &path.display().to_string(), config)
}

/// Reads labelled sequences; `file` names the input in errors.
///
/// A sequence is `window` consecutive rows of one label, group and recording; rows after the last whole window of
/// such a stretch are left out. Groups that are not numbers are numbered in the order they appear.
pub fn read(input: impl BufRead, file: &str, config: &CsvConfig) -> Result<Sequences> {
    if config.window == 0 || config.hop == 0 {
        return Err(DataError::request("a window and its hop need at least one row"));
    }
    let mut table = Table::new(input, file)?;
    let optional = |name: &Option<String>| name.as_ref().map(|n| table.column(n)).transpose();
    let (label, time, group) =
        (table.column(&config.label)?, optional(&config.time)?, optional(&config.group)?);
    let channels: Vec<usize> = match config.channels.is_empty() {
        false => config.channels.iter().map(|name| table.column(name)).collect::<Result<_>>()?,
        true => (0..table.header().len())
            .filter(|&c| c != label && Some(c) != time && Some(c) != group)
            .collect(),
    };
    if channels.is_empty() {
        return Err(DataError::line(file, 1, "no column is left for the channels"));
    }
    let names = channels.iter().map(|&c| table.header()[c].clone()).collect();

    let mut out = Sequences::empty(config.window, names, Vec::new(), config.step_ms);
    let (mut stretch, mut current, mut before) = (Vec::new(), None, f64::NEG_INFINITY);
    let (mut classes, mut groups) = (Names::default(), Names::default());
    config.classes.iter().for_each(|name| _ = classes.number(name));
    while table.next_row()? {
        let text = table.text(label)?;
        let class = classes.number(text);
        if !config.classes.is_empty() && class as usize >= config.classes.len() {
            let hint = nearest::suggest(text, config.classes.iter().map(String::as_str));
            return Err(table.error(format!(
                "column `{}`: `{text}` is none of the classes{hint}",
                config.label
            )));
        }
        let member = match group {
            Some(column) => groups.number(table.text(column)?),
            None => 0,
        };
        let mut new = current != Some((class, member));
        if let Some(column) = time {
            table.number(column)?;
            // f32 would lose the difference of neighbouring nanosecond stamps.
            let now = table.text(column)?.parse().unwrap_or(before);
            new |= now < before;
            before = now;
        }
        if new {
            cut(&mut stretch, current, config, &mut out);
            current = Some((class, member));
        }
        for &column in &channels {
            stretch.push(table.number(column)?);
        }
    }
    cut(&mut stretch, current, config, &mut out);
    if out.n == 0 {
        let reason = format!("no {} consecutive rows of one label and group", config.window);
        return Err(DataError::File { file: file.to_owned(), reason });
    }
    out.classes = classes.in_order;
    if config.classes.is_empty() {
        sort_classes(&mut out);
    }
    let numbers: Option<Vec<u32>> = groups.in_order.iter().map(|g| g.parse().ok()).collect();
    if let Some(numbers) = numbers.filter(|n| !n.is_empty()) {
        out.group.iter_mut().for_each(|g| *g = numbers[*g as usize]);
    }
    Ok(out)
}

/// Names numbered in the order they appear.
#[derive(Default)]
struct Names {
    in_order: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.in_order.len() as u32;
        self.in_order.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// Appends the windows of a stretch of rows and empties it.
fn cut(
    stretch: &mut Vec<f32>,
    current: Option<(u32, u32)>,
    config: &CsvConfig,
    out: &mut Sequences,
) {
    if let Some((class, group)) = current {
        let rows = stretch.len() / out.channels;
        let mut start = 0;
        while rows - start >= config.window {
            out.push(
                &stretch[start * out.channels..(start + config.window) * out.channels],
                class,
                group,
            );
            start = start.saturating_add(config.hop).min(rows);
        }
    }
    stretch.clear();
}

/// Brings classes found in the file into an order that does not depend on the order of its rows.
fn sort_classes(out: &mut Sequences) {
    let number = |i: usize| out.classes[i].parse::<f64>();
    let all_numbers = (0..out.classes.len()).all(|i| number(i).is_ok());
    let mut order: Vec<usize> = (0..out.classes.len()).collect();
    order.sort_by(|&a, &b| match (all_numbers, number(a), number(b)) {
        (true, Ok(x), Ok(y)) => x.total_cmp(&y),
        _ => out.classes[a].cmp(&out.classes[b]),
    });
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, &old)| place[old] = new as u32);
    out.y.iter_mut().for_each(|y| *y = place[*y as usize]);
    out.classes = order.iter().map(|&old| out.classes[old].clone()).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "t,subject,ax,ay,label\n0,7,1,2,walk\n50,7,3,4,walk\n100,7,5,6,walk\n0,7,7,8,walk\n50,7,9,10,walk\n\
                        0,3,11,12,sit\n50,3,13,14,sit\n100,3,15,16,walk\n";

    fn config() -> CsvConfig {
        CsvConfig {
            time: Some("t".into()),
            channels: vec![],
            label: "label".into(),
            group: Some("subject".into()),
            classes: vec![],
            window: 2,
            hop: 2,
            step_ms: 50.0,
        }
    }

    fn said(text: &str, config: &CsvConfig) -> String {
        read(text.as_bytes(), "f.csv", config).unwrap_err().to_string()
    }

    #[test]
    fn windows_end_where_label_group_or_recording_do() {
        let data = read(TEXT.as_bytes(), "f.csv", &config()).unwrap();
        data.validate().unwrap();
        assert_eq!(data.x, [1., 2., 3., 4., 7., 8., 9., 10., 11., 12., 13., 14.]);
        assert_eq!((data.y, data.group), (vec![1, 1, 0], vec![7, 7, 3]));
        assert_eq!(
            (data.classes, data.channel_names),
            (vec!["sit".into(), "walk".into()], vec!["ax".into(), "ay".into()])
        );
        let overlapping = CsvConfig { hop: 1, ..config() };
        assert_eq!(read(TEXT.as_bytes(), "f.csv", &overlapping).unwrap().n, 4);
        let no_time = CsvConfig {
            time: None,
            channels: vec!["ay".into()],
            window: 5,
            hop: usize::MAX,
            ..config()
        };
        assert_eq!(read(TEXT.as_bytes(), "f.csv", &no_time).unwrap().x, [2., 4., 6., 8., 10.]);
    }

    #[test]
    fn numbers_sort_as_numbers_and_other_groups_are_numbered() {
        let text = "g,x,label\nanna,1,10\nanna,1,9\nbert,1,10\n";
        let config =
            CsvConfig { time: None, group: Some("g".into()), window: 1, hop: 1, ..config() };
        let data = read(text.as_bytes(), "f", &config).unwrap();
        assert_eq!(
            (data.classes, data.y, data.group),
            (vec!["9".into(), "10".into()], vec![1, 0, 1], vec![0, 0, 1])
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        assert_eq!(
            said(TEXT, &CsvConfig { label: "lable".into(), ..config() }),
            "f.csv:1: no column `lable`; did you mean `label`?"
        );
        assert!(
            said(&TEXT.replace("13,", "NaN,"), &config())
                .starts_with("f.csv:8: column `ax`: `NaN` is no finite")
        );
        assert!(
            said(&TEXT.replace(",13,", ",,"), &config())
                .starts_with("f.csv:8: column `ax` is empty")
        );
        let classes = CsvConfig { classes: vec!["walk".into(), "sitting".into()], ..config() };
        assert_eq!(
            said(TEXT, &classes),
            "f.csv:7: column `label`: `sit` is none of the classes; known are walk, sitting"
        );
        assert!(said(TEXT, &CsvConfig { window: 9, ..config() }).contains("no 9 consecutive rows"));
        assert!(said("t,subject,label\n", &config()).contains("no column is left"));
        assert!(said("1,2,3\n", &config()).contains("expected a header with column `label`"));
        assert!(said(TEXT, &CsvConfig { window: 0, ..config() }).contains("at least one row"));
    }

    #[test]
    fn truncated_input_never_panics() {
        for cut in 0..TEXT.len() {
            let _ = read(&TEXT.as_bytes()[..cut], "f", &config());
        }
    }
}
