//! Runs every fuzz target over its corpus and over damaged copies of it, without a fuzzer.

#[path = "../../../fuzz/src/parsers.rs"]
mod parsers;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use std::path::Path;

/// Damaged copies of each file.
const ROUNDS: usize = 200;

#[test]
fn every_parser_survives_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, parse) in parsers::PARSERS {
        let folder = std::fs::read_dir(corpus.join(name)).unwrap();
        let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "no corpus for {name}");
        for file in files {
            let seed = std::fs::read(&file).unwrap();
            println!("{name}: {}", file.display());
            parse(&seed);
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..ROUNDS {
                parse(&damaged(&seed, &mut rng));
            }
        }
    }
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
