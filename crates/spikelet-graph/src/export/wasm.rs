//! A WebAssembly module around the Rust crate, a JavaScript wrapper and a page.

use super::{File, code::Code, rust, text};
use crate::graph::Graph;
use alloc::{format, string::String, string::ToString, vec::Vec};

const LIBRARY: &str = include_str!("wasm.rs.txt");
const WRAPPER: &str = include_str!("wasm.mjs");
const PAGE: &str = include_str!("wasm.html");
const README: &str = include_str!("readme_wasm.md");

const MANIFEST: &str = "\
[package]
name = \"module\"
version = \"0.1.0\"
edition = \"2021\"

[lib]
crate-type = [\"cdylib\"]

[dependencies]
network = { path = \"network\" }

[profile.release]
panic = \"abort\"
opt-level = 3
lto = true

[workspace]
exclude = [\"network\"]
";

pub(super) fn files(graph: &Graph, code: &Code) -> Vec<File> {
    let names = |names: &[String]| serde_json::json!(names).to_string();
    let wrapper = WRAPPER
        .replace("FRACTION", &text::score_fraction(code).to_string())
        .replace("INTEGER", &code.program.integer.to_string())
        .replace("POPULATIONS", &serde_json::json!(text::populations(code)).to_string())
        .replace("CLASSES", &names(&graph.task.classes))
        .replace("CHANNELS", &names(&graph.task.channels));
    let mut files = Vec::from([
        File { name: "Cargo.toml", content: MANIFEST.to_string() },
        File { name: "src/lib.rs", content: LIBRARY.to_string() },
        File { name: "network.mjs", content: wrapper },
        File { name: "index.html", content: PAGE.replace("NAME", &escaped(&graph.name)) },
        File { name: "README.md", content: super::readme(README, graph, code) },
    ]);
    for file in rust::files(graph, code) {
        let name = match file.name {
            "Cargo.toml" => "network/Cargo.toml",
            "src/lib.rs" => "network/src/lib.rs",
            _ => continue,
        };
        files.push(File { name, content: file.content });
    }
    files
}

/// Text for a page.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => out += &format!("&#{};", u32::from(c)),
            c => out.push(c),
        }
    }
    out
}
