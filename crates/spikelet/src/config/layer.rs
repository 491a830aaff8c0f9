//! One source of a configuration, with the place of every key.

use crate::failure::{Failure, Place, Result};
use std::{collections::BTreeMap, ops::Range};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

/// One source of a configuration: a file, a preset, an override.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The file's name, or `--set`.
    pub name: String,
    /// As the user wrote it.
    pub text: String,
    /// What it says.
    pub table: Table,
    places: BTreeMap<String, Places>,
}

#[derive(Clone, Debug)]
struct Places {
    key: Range<usize>,
    value: Range<usize>,
}

impl Layer {
    /// Reads TOML.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let table = text.parse::<Table>().map_err(|error| syntax(name, text, &error))?;
        let spanned = DeTable::parse(text).map_err(|error| syntax(name, text, &error))?;
        let mut places = BTreeMap::new();
        collect_table(spanned.get_ref(), "", &mut places);
        Ok(Layer { name: name.to_owned(), text: text.to_owned(), table, places })
    }

    /// An override, `key.path=value`. The value is TOML; what is not TOML is a string, so that
    /// words need no quotes.
    pub fn assignment(text: &str) -> Result<Self> {
        let wrong = |message: &str| {
            Failure::usage(format!("--set {text}: {message}"))
                .help("write key.path=value, for example --set train.epochs=10")
        };
        let (path, value_text) = text.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let path = path.trim();
        if path.split('.').any(|part| part.trim() != part || part.is_empty()) {
            return Err(wrong("the key is empty or has an empty part"));
        }
        let value = parse_value(value_text.trim());
        let mut table = Table::new();
        set_path(&mut table, path, value).map_err(|message| wrong(&message))?;
        let places = Places { key: 0..path.len(), value: path.len() + 1..text.len() };
        let places = BTreeMap::from([(path.to_owned(), places)]);
        Ok(Layer { name: "--set".to_owned(), text: text.to_owned(), table, places })
    }

    /// A layer made by the program, for example from `--seed 3`; `name` says from what.
    pub fn option(name: &str, path: &str, value: impl Into<Value>) -> Result<Self> {
        let mut table = Table::new();
        set_path(&mut table, path, value.into()).map_err(Failure::usage)?;
        let places = Places { key: 0..name.len(), value: 0..name.len() };
        let places = BTreeMap::from([(path.to_owned(), places)]);
        Ok(Layer { name: name.to_owned(), text: name.to_owned(), table, places })
    }

    /// Where a key stands.
    pub fn key_place(&self, path: &str, label: &str) -> Option<Place> {
        self.places.get(path).map(|places| self.place(places.key.clone(), label))
    }

    /// Where the value of a key stands.
    pub fn value_place(&self, path: &str, label: &str) -> Option<Place> {
        self.places.get(path).map(|places| self.place(places.value.clone(), label))
    }

    fn place(&self, span: Range<usize>, label: &str) -> Place {
        let (file, text) = (self.name.clone(), self.text.clone());
        Place { file, text, span, label: label.to_owned() }
    }
}

/// A TOML value, or the text itself where it is none.
fn parse_value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    match parsed
        .ok()
        .and_then(|mut table| if table.len() == 1 { table.remove("value") } else { None })
    {
        Some(value) => value,
        None => Value::String(text.to_owned()),
    }
}

fn syntax(name: &str, text: &str, error: &toml::de::Error) -> Failure {
    let failure = Failure::input(format!("{name} is not valid TOML"));
    let label = error.message().to_owned();
    match error.span() {
        Some(span) => {
            failure.at(Place { file: name.to_owned(), text: text.to_owned(), span, label })
        }
        None => failure.help(label),
    }
}

fn collect_table(table: &DeTable<'_>, prefix: &str, places: &mut BTreeMap<String, Places>) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.get_ref().to_string(),
            _ => format!("{prefix}.{}", key.get_ref()),
        };
        places.insert(path.clone(), Places { key: key.span(), value: value.span() });
        collect_value(value.get_ref(), &path, places);
    }
}

/// Elements of an array share the path of the array, as in the messages of `toml`; the first
/// one with a key is taken as its place.
fn collect_value(value: &DeValue<'_>, path: &str, places: &mut BTreeMap<String, Places>) {
    match value {
        DeValue::Table(table) => collect_table(table, path, places),
        DeValue::Array(elements) => {
            for element in elements.iter().rev() {
                collect_value(element.get_ref(), path, places);
            }
        }
        _ => {}
    }
}

/// Sets `path` (`a.b.c`) to `value`, making the tables on the way.
pub fn set_path(table: &mut Table, path: &str, value: Value) -> std::result::Result<(), String> {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
            Ok(())
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => set_path(inner, rest, value),
                _ => Err(format!("`{first}` is a value, it holds no `{rest}`")),
            }
        }
    }
}

/// Merges `over` into `base`: tables key by key, everything else is replaced.
pub fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) if !other_kind(base, over) => {
                merge(base, over);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Whether `over` names another `kind`: the keys of one kind are no keys of another.
fn other_kind(base: &Table, over: &Table) -> bool {
    let kind = |table: &Table| table.get("kind").cloned();
    kind(over).is_some() && kind(over) != kind(base)
}
