//! Runs every fuzz target over its corpus and over damaged copies of it, without a fuzzer.

#[path = "../../../fuzz/src/parsers.rs"]
mod parsers;

use peak_alloc::PeakAlloc;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::path::{Path, PathBuf};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Damaged copies of each file.
const ROUNDS: usize = 200;
/// Bytes that reading a file of a few kilobytes may take, whatever it says of itself.
const MOST_MEMORY: usize = 4 << 20;

/// The only test of this program: the memory it counts is that of the parsers.
#[test]
fn every_parser_survives_its_corpus_in_bounded_memory() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let parsers: Vec<String> =
        parsers::PARSERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let targets = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let targets = targets.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let mut targets: Vec<&str> = targets.filter_map(|line| line.strip_suffix(".rs\"")).collect();
    targets.sort_unstable();
    assert_eq!(parsers, targets, "parsers and the targets of fuzz/Cargo.toml");
    assert_eq!(parsers, stems(&fuzz.join("fuzz_targets")), "parsers and fuzz_targets");
    assert_eq!(parsers, stems(&fuzz.join("corpus")), "parsers and corpus");

    for (name, parse) in parsers::PARSERS {
        let files = list(&fuzz.join("corpus").join(name));
        assert!(!files.is_empty(), "no corpus for {name}");
        let mut most = 0;
        for file in files {
            let seed = std::fs::read(&file).unwrap();
            println!("{name}: {}", file.display());
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for round in 0..=ROUNDS {
                let bytes = if round == 0 { seed.clone() } else { damaged(&seed, &mut rng) };
                let before = MEMORY.current_usage();
                MEMORY.reset_peak_usage();
                parse(&bytes);
                let taken = MEMORY.peak_usage().saturating_sub(before);
                assert!(taken < MOST_MEMORY, "{name}: {taken} bytes for {}", bytes.len());
                most = most.max(taken);
            }
        }
        println!("{name}: {most} bytes at most");
    }
}

/// Everything in a folder, in the order of names.
fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn stems(folder: &Path) -> Vec<String> {
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    list(folder).iter().map(stem).collect()
}

/// A copy with a few bytes changed, cut, or repeated.
fn damaged(seed: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + rng.next_u32() % 4 {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.next_u64() as usize % bytes.len();
        match rng.next_u32() % 8 {
            0 => bytes.truncate(at),
            1 => {
                let piece = bytes[at..].iter().take(16).copied().collect::<Vec<_>>();
                bytes.splice(at..at, piece);
            }
            2 => bytes[at] = 0xff,
            3 => bytes[at] = 0,
            _ => bytes[at] = rng.next_u32() as u8,
        }
    }
    bytes
}
