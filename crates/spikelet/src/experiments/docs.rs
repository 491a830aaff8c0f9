//! Results tables in the documents, generated from `docs/results/`.
//!
//! `NAME.toml` (usually a sweep file) says in its `[table]` how lines of `NAME.jsonl` become a
//! table; the table replaces what stands in a document between `<!-- results: NAME -->` and
//! `<!-- end results -->`.

use super::{check_name, results::Results};
use crate::{
    failure::{Failure, Result},
    table::Table,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

const END: &str = "<!-- end results -->";
const START: &str = "<!-- results: ";

/// How lines become a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Lines that agree in these keys make one row. Without keys, every line is a row.
    #[serde(default)]
    group: Vec<String>,
    /// What is shown of each group: mean, standard deviation and range.
    metrics: Vec<Column>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    key: String,
    #[serde(default)]
    title: Option<String>,
    /// Numbers are multiplied by this: 100 for per cent.
    #[serde(default = "one")]
    scale: f64,
    #[serde(default = "two")]
    digits: usize,
}

fn one() -> f64 {
    1.0
}

fn two() -> usize {
    2
}

/// What of `NAME.toml` matters for the table.
#[derive(Deserialize)]
struct Description {
    #[serde(default)]
    about: String,
    table: Layout,
}

impl Layout {
    /// The table.
    pub fn render(&self, lines: &[Value]) -> Table {
        let titles = self.metrics.iter().map(|column| column.title.as_ref().unwrap_or(&column.key));
        if self.group.is_empty() {
            let mut table = Table::new(titles);
            for line in lines {
                table.row(self.metrics.iter().map(|column| column.one(line)));
            }
            return table;
        }
        let runs = "runs".to_owned();
        let mut table =
            Table::new(self.group.iter().chain(std::iter::once(&runs)).chain(titles).cloned());
        let mut groups: Vec<(Vec<String>, Vec<&Value>)> = Vec::new();
        let mut index = BTreeMap::new();
        for line in lines {
            let key: Vec<String> = self.group.iter().map(|key| plain(look_up(line, key))).collect();
            let at = *index.entry(key.clone()).or_insert_with(|| {
                groups.push((key, Vec::new()));
                groups.len() - 1
            });
            groups[at].1.push(line);
        }
        for (key, lines) in groups {
            let cells = self.metrics.iter().map(|column| column.many(&lines));
            table.row(key.into_iter().chain([lines.len().to_string()]).chain(cells));
        }
        table
    }
}

impl Column {
    fn one(&self, line: &Value) -> String {
        let value = look_up(line, &self.key);
        match value.and_then(Value::as_f64) {
            Some(number) => format!("{:.*}", self.digits, number * self.scale),
            None => plain(value),
        }
    }

    fn many(&self, lines: &[&Value]) -> String {
        let values: Vec<f64> = lines
            .iter()
            .filter_map(|line| look_up(line, &self.key)?.as_f64())
            .map(|value| value * self.scale)
            .collect();
        let count = values.len() as f64;
        let digits = self.digits;
        let mean = values.iter().sum::<f64>() / count;
        match values.len() {
            0 => "-".to_owned(),
            1 => format!("{mean:.digits$}"),
            _ => {
                let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
                let deviation = (squares / (count - 1.0)).sqrt();
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                format!("{mean:.digits$} ± {deviation:.digits$} ({low:.digits$}..{high:.digits$})")
            }
        }
    }
}

/// A value of a line: at the top, in its grid or in its result.
fn look_up<'a>(line: &'a Value, key: &str) -> Option<&'a Value> {
    line.get(key)
        .or_else(|| line.get("grid")?.get(key))
        .or_else(|| line.get("result")?.get(key))
        .filter(|value| !value.is_null())
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The generated text for `name`: what it is, then the table.
fn block(folder: &Path, name: &str) -> Result<String> {
    check_name(name)?;
    let description = crate::config::Layers::from_file(&folder.join(format!("{name}.toml")))?
        .read::<Description>()?;
    let lines = Results::new(&folder.join(format!("{name}.jsonl"))).load()?;
    let about = match description.about.trim() {
        "" => String::new(),
        about => format!("{about}\n\n"),
    };
    let table = match lines.is_empty() {
        true => "No results yet.\n".to_owned(),
        false => description.table.render(&lines).markdown(),
    };
    Ok(format!("\n{about}{table}\n"))
}

/// The document with its tables made anew.
fn regenerate(text: &str, results: &Path) -> Result<String> {
    let mut new = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(START) {
        let (name, old) = after.split_once(" -->\n").ok_or_else(|| {
            Failure::input(format!("`{START}` without ` -->` at the end of the line"))
        })?;
        let (_, after) = old
            .split_once(END)
            .ok_or_else(|| Failure::input(format!("`{START}{name} -->` without `{END}`")))?;
        new += &format!("{before}{START}{name} -->\n{}{END}", block(results, name)?);
        rest = after;
    }
    new.push_str(rest);
    Ok(new)
}

/// Makes the tables of all documents in `docs` anew and gives the names of those that changed;
/// with `write`, the new text is written.
pub fn update(docs: &Path, write: bool) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    let entries = fs::read_dir(docs)
        .map_err(|error| Failure::from(error).context(format!("cannot read {}", docs.display())))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let name = path.display().to_string();
        let text = fs::read_to_string(&path)?;
        let new = regenerate(&text, &docs.join("results"))
            .map_err(|failure| failure.context(format!("tables of {name}")))?;
        if new != text {
            if write {
                spikelet_data::atomic::write(&path, new.as_bytes())?;
            }
            changed.push(name);
        }
    }
    changed.sort();
    Ok(changed)
}
