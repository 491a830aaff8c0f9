//! Building exported folders with the compilers of this machine, and running them.

use spikelet_graph::{
    Graph,
    export::{Target, export},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every warning of these is an error, every undefined operation stops the program.
const STRICT: [&str; 7] = [
    "-std=c99",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=undefined,address",
    "-fno-sanitize-recover=all",
];

/// A program that reads readings and prints scores.
pub struct Built {
    pub program: PathBuf,
    /// What a score of 1 stands for.
    pub unit: f32,
}

/// Writes an exported folder for a test.
pub fn folder(name: &str, graph: &Graph, target: Target) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{target:?}"));
    let _ = fs::remove_dir_all(&folder);
    for file in export(graph, target).unwrap_or_else(|error| panic!("{name}: {error}")) {
        let path = folder.join(file.name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, file.content).expect("written");
    }
    folder
}

/// The example of an exported folder; `None` where there is no C compiler.
pub fn built(name: &str, graph: &Graph, target: Target) -> Option<Built> {
    let folder = folder(name, graph, target);
    let program = match target {
        Target::C99 => compile(&folder, "example.c")?,
        Target::RustNoStd => crate_example(&folder, "run"),
        Target::Wasm => panic!("a module of a browser does not run here"),
    };
    let header = match target {
        Target::C99 => fs::read_to_string(folder.join("network.h")),
        Target::RustNoStd | Target::Wasm => fs::read_to_string(folder.join("src/lib.rs")),
    };
    let header = header.expect("written");
    let line = header.lines().find(|line| line.contains("FRACTION") && !line.contains('/'));
    let digits = line.expect("a fraction").rsplit([' ', '=']).next().expect("a number");
    let fraction: i32 = digits.trim_end_matches(';').parse().expect("a number");
    Some(Built { program, unit: (0.5_f32).powi(fraction) })
}

/// The folder's network with another source file of C; `None` where there is no compiler.
pub fn compile(folder: &Path, main: &str) -> Option<PathBuf> {
    let program = folder.join("program");
    let gcc = Command::new("gcc")
        .args(STRICT)
        .args(["network.c", main, "-o", "program"])
        .current_dir(folder)
        .output();
    let Ok(gcc) = gcc else {
        assert!(std::env::var_os("CI").is_none(), "CI needs gcc");
        println!("skipped: no gcc on this machine");
        return None;
    };
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
    Some(program)
}

/// An example of an exported crate, built without a network.
pub fn crate_example(folder: &Path, example: &str) -> PathBuf {
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--example", example])
        .env("RUSTFLAGS", "-Dwarnings -Coverflow-checks=on")
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        // As quick to build as can be: what it computes does not depend on it.
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2")
        .current_dir(folder)
        .output()
        .expect("cargo runs");
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    folder.join("target/release/examples").join(example)
}

/// The scores of every step.
pub fn run(program: &Path, x: &[f32], unit: f32) -> Vec<Vec<f32>> {
    let text: Vec<String> = x.iter().map(|x| format!("{x:?}")).collect();
    let lines = output(program, &text.join("\n"));
    let scores = |line: &str| {
        let numbers = line.split_whitespace().skip(2);
        numbers.map(|n| n.parse::<f32>().expect("a number") * unit).collect()
    };
    lines.lines().map(scores).collect()
}

/// What a program prints.
pub fn output(program: &Path, input: &str) -> String {
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let found = child.wait_with_output().expect("the program ends");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    writer.join().expect("no panic").expect("all was read");
    String::from_utf8(found.stdout).expect("text")
}

/// Programs that check what a device does without power and with bad readings; they print `ok`.
pub fn check_power_loss(name: &str, graph: &Graph, target: Target) {
    let folder = folder(name, graph, target);
    let program = match target {
        Target::C99 => {
            fs::write(folder.join("check.c"), include_str!("power_loss.c")).expect("written");
            let Some(program) = compile(&folder, "check.c") else { return };
            program
        }
        Target::RustNoStd => {
            let path = folder.join("examples/check.rs");
            fs::write(path, include_str!("power_loss.rs.txt")).expect("written");
            crate_example(&folder, "check")
        }
        Target::Wasm => panic!("a module of a browser does not run here"),
    };
    assert_eq!(output(&program, ""), "ok\n", "{name}, {target:?}");
}
