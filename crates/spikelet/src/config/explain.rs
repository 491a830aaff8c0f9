//! From a deserialisation error to the place the user wrote, with the nearest valid name.

use super::layer::Layer;
use crate::failure::{Failure, Place};
use spikelet_data::nearest::nearest;

/// Explains why the merged layers do not fit.
pub fn explain(error: &toml::de::Error, layers: &[Layer]) -> Failure {
    let text = error.to_string();
    // `toml` appends the path of the innermost table or value it knows: "in `a.b`".
    let path = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'))
        .unwrap_or_default();
    let message = error.message();
    if let Some(unknown) = Unknown::read(message) {
        let within = if path.is_empty() { String::new() } else { format!(" in `{path}`") };
        return match unknown.what {
            What::Field => {
                let full = join(path, unknown.name);
                let failure = Failure::usage(format!("unknown key `{}`{within}", unknown.name))
                    .help(unknown.advice());
                with_place(failure, find(layers, &full, Layer::key_place, "not a key here"))
            }
            What::Variant => {
                let failure = Failure::usage(format!("`{}` is not a choice{within}", unknown.name))
                    .help(unknown.advice());
                with_place(failure, find(layers, path, Layer::value_place, "not a choice"))
            }
        };
    }
    let within = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
    let place = if message.starts_with("missing field") {
        find(layers, path, Layer::key_place, "is incomplete")
    } else {
        find(layers, path, Layer::value_place, "this value")
    };
    let place = place.or_else(|| match (path, layers.first()) {
        ("", Some(layer)) => Some(Place {
            file: layer.name.clone(),
            text: layer.text.clone(),
            span: 0..0,
            label: "in this file".to_owned(),
        }),
        _ => None,
    });
    with_place(Failure::usage(format!("{within}{message}")), place)
}

enum What {
    Field,
    Variant,
}

/// What serde says of an unknown name: "unknown field `x`, expected one of `a`, `b`".
struct Unknown<'a> {
    what: What,
    name: &'a str,
    valid: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    fn read(message: &'a str) -> Option<Self> {
        let (what, rest) = if let Some(rest) = message.strip_prefix("unknown field `") {
            (What::Field, rest)
        } else {
            (What::Variant, message.strip_prefix("unknown variant `")?)
        };
        let (name, rest) = rest.split_once('`')?;
        let valid = rest.split('`').skip(1).step_by(2).collect();
        Some(Unknown { what, name, valid })
    }

    fn advice(&self) -> String {
        let list = self.valid.join(", ");
        match nearest(self.name, self.valid.iter().copied()) {
            Some(nearest) if self.valid.len() == 1 => format!("did you mean `{nearest}`?"),
            Some(nearest) => format!("did you mean `{nearest}`? Valid here: {list}"),
            None if list.is_empty() => "nothing can be set here".to_owned(),
            None => format!("valid here: {list}"),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Looks for the place in the most important layer that has the path.
fn find(
    layers: &[Layer],
    path: &str,
    place: impl Fn(&Layer, &str, &str) -> Option<Place>,
    label: &str,
) -> Option<Place> {
    layers.iter().rev().find_map(|layer| place(layer, path, label))
}

fn with_place(failure: Failure, place: Option<Place>) -> Failure {
    match place {
        Some(place) => failure.at(place),
        None => failure,
    }
}
