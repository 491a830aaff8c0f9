//! The smartwatch recordings shipped in the repository: whole, lossless, and loaded alike in both forms.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use spikelet_data::wisdm::{self, WisdmConfig};
use spikelet_data::{find, lines, wisdm_pack, wisdm_text};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/wisdm-watch")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// File name and hash of each line of a `sha256sum` list.
fn hashes(list: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(list).unwrap();
    let pairs = text.lines().map(|l| l.split_once("  ").unwrap());
    pairs.map(|(hash, name)| (name.trim_start_matches("./").to_owned(), hash.to_owned())).collect()
}

#[test]
fn counts_sizes_and_hashes() {
    let dir = shipped();
    assert!(!wisdm::is_full(&dir));
    let data = wisdm::load(&dir, &WisdmConfig::default()).unwrap();
    data.validate().unwrap();
    assert_eq!(data.groups().len(), 12);
    assert_eq!(data.class_counts().iter().sum::<usize>(), data.n);
    assert!(data.class_counts().iter().all(|&n| n >= 12 * 85), "{:?}", data.class_counts());

    let files = wisdm_pack::subjects(&dir).unwrap();
    let total: u64 = files.values().map(|f| f.metadata().unwrap().len()).sum();
    assert!(total < 8_000_000, "{total} bytes are shipped; 8 MB is the limit");
    for (name, hash) in hashes(&dir.join("MANIFEST.sha256")) {
        assert_eq!(hex(&std::fs::read(dir.join(&name)).unwrap()), hash, "{name}");
    }
    let stated = hashes(&dir.join("TEXT.sha256"));
    assert_eq!(stated.len(), 2 * files.len());
    for (subject, file) in files {
        for (sensor, text) in ["accel", "gyro"].iter().zip(wisdm_pack::open(&file).unwrap().text())
        {
            let name = format!("data_{subject}_{sensor}_watch.txt");
            assert_eq!(hex(&text), stated[&name], "{name}");
        }
    }
}

#[test]
fn every_line_equals_the_raw_text() {
    let Some(full) = find::for_test("wisdm-watch").filter(|dir| wisdm::is_full(dir)) else {
        println!("skipped: the raw text is not here");
        return;
    };
    let raw = wisdm_text::subjects(&full).unwrap();
    let (mut compared, mut subjects) = (0, Vec::new());
    for (subject, packed) in wisdm_pack::subjects(&shipped()).unwrap() {
        let texts = wisdm_pack::open(&packed).unwrap().text();
        for (path, unpacked) in raw[&subject].iter().zip(texts) {
            let mut text = String::new();
            lines::open(path).unwrap().read_to_string(&mut text).unwrap();
            let unpacked = String::from_utf8(unpacked).unwrap();
            for (number, (a, b)) in text.lines().zip(unpacked.lines()).enumerate() {
                assert_eq!(a, b, "{}:{}", path.display(), number + 1);
                compared += 1;
            }
            assert_eq!(text.len(), unpacked.len(), "{}", path.display());
        }
        subjects.push(subject);
    }
    assert!(compared > 600_000, "{compared} lines compared");

    let config = WisdmConfig { subjects: Some(subjects), ..WisdmConfig::default() };
    assert_eq!(wisdm::load(&full, &config).unwrap(), wisdm::load(&shipped(), &config).unwrap());
}
