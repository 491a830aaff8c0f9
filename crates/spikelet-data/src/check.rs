//! Verifies a local copy of a data set: the files against their hashes, then everything is parsed and counted.

use std::fs;
use std::io::{self, BufReader};
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cifar::Cifar;
use crate::error::{DataError, Result};
use crate::lines::{self, Lines};
use crate::mask_folders::{self, NO_CLASS};
use crate::scenes::{Object, Scene, Scenes};
use crate::source::{DataConfig, SplitConfig};
use crate::wisdm::WisdmConfig;
use crate::{
    braille, class_folders, events, gestures, idx, image_file, nlu, registry, shd, wisdm,
    wisdm_pack,
};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the data set.
    pub name: String,
    /// Folder that was checked.
    pub folder: PathBuf,
    /// Files whose hash is the stated one.
    pub hashed: usize,
    /// Counts, as name and value.
    pub counts: Vec<(String, u64)>,
    /// What is wrong; empty: the copy is good.
    pub problems: Vec<String>,
}

/// Checks the copy of data set `name` in `dir`.
///
/// Hashes come from `MANIFEST.sha256` in the folder or in the one above, if there is one. Broken files are
/// problems in the report; an error is a folder that cannot be looked at, or an unknown name.
pub fn check(name: &str, dir: &Path) -> Result<Report> {
    if registry::by_name(name).is_none() {
        return Err(DataError::request(format!("`{name}`: {}", registry::how_to_get(name))));
    }
    fs::read_dir(dir).map_err(|e| DataError::io(dir, e))?;
    let mut report = Report {
        name: name.to_owned(),
        folder: dir.to_path_buf(),
        hashed: 0,
        counts: Vec::new(),
        problems: Vec::new(),
    };
    report.hashes(dir);
    let parsed = match name {
        "wisdm-watch" => report.wisdm(dir),
        "braille" => report.braille(dir),
        "cifar-10" => report.cifar(Cifar::Ten, dir),
        "cifar-100" => report.cifar(Cifar::Hundred, dir),
        "imagenet" => report.image_folder(dir),
        "n-mnist" | "synthetic-saccades" | "cifar10-dvs" => report.recordings(dir),
        "dvs128-gesture" | "synthetic-gestures" => report.gestures(dir),
        "shd" | "ssc" => report.spoken(dir),
        "bccd" | "voc2012" | "coco" => report.scenes(name, dir),
        "dsb2018-nuclei" | "ade20k" => report.masks(name, dir),
        "tinyshakespeare" | "kjv" | "penn-treebank" | "wikitext2" => report.text(name, dir),
        sentences if sentences.starts_with("nlu/") => report.sentences(name, dir),
        _ => report.images(dir),
    };
    if let Err(e) = parsed {
        report.problems.push(e.to_string());
    }
    Ok(report)
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }

    fn count(&mut self, name: impl Into<String>, value: usize) {
        self.counts.push((name.into(), value as u64));
    }

    fn hashes(&mut self, dir: &Path) {
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        let above =
            dir.parent().zip(dir.file_name()).map(|(parent, folder)| (parent, Path::new(folder)));
        for (base, inside) in [(&*dir, Path::new(""))].into_iter().chain(above) {
            let list = base.join("MANIFEST.sha256");
            if !list.is_file() {
                continue;
            }
            let entries = match hash_list(&list) {
                Ok(entries) => entries,
                Err(e) => return self.problems.push(e.to_string()),
            };
            for (hash, file) in entries.iter().filter(|(_, file)| file.starts_with(inside)) {
                match file_hash(&base.join(file)) {
                    Ok(found) if found == *hash => self.hashed += 1,
                    Ok(_) => self.problems.push(format!(
                        "{}: not the file that {} names",
                        file.display(),
                        list.display()
                    )),
                    Err(e) => self.problems.push(e.to_string()),
                }
            }
            return;
        }
    }

    fn wisdm(&mut self, dir: &Path) -> Result<()> {
        let all = WisdmConfig { classes: wisdm::class_set("all")?, ..WisdmConfig::default() };
        let data = wisdm::load(dir, &all)?;
        data.validate()?;
        self.count("subjects", data.groups().len());
        self.count("windows", data.n);
        for (name, n) in data.classes.iter().zip(data.class_counts()).filter(|(_, n)| *n > 0) {
            self.count(format!("windows of {name}"), n);
        }
        let texts = dir.join("TEXT.sha256");
        if wisdm::is_full(dir) || !texts.is_file() {
            return Ok(());
        }
        let stated = hash_list(&texts)?;
        let mut same = 0;
        for (subject, path) in wisdm_pack::subjects(dir)? {
            for (sensor, text) in ["accel", "gyro"].iter().zip(wisdm_pack::open(&path)?.text()) {
                let name = format!("data_{subject}_{sensor}_watch.txt");
                match stated.iter().find(|(_, file)| *file == Path::new(&name)) {
                    Some((hash, _)) if *hash == hex(&Sha256::digest(&text)) => same += 1,
                    Some(_) => self
                        .problems
                        .push(format!("{}: {name} unpacks to other text", path.display())),
                    None => self.problems.push(format!("{}: no hash of {name}", texts.display())),
                }
            }
        }
        self.count("texts as before packing", same);
        Ok(())
    }

    fn braille(&mut self, dir: &Path) -> Result<()> {
        let data = braille::load(dir)?;
        data.sequences.validate()?;
        self.count("samples", data.sequences.n);
        self.count("official splits", data.val_index.len());
        for k in 0..data.val_index.len() {
            data.split(k)?.validate(data.sequences.n)?;
        }
        for (name, n) in data.sequences.classes.iter().zip(data.sequences.class_counts()) {
            self.count(format!("samples of {name}"), n);
        }
        Ok(())
    }

    fn cifar(&mut self, kind: Cifar, dir: &Path) -> Result<()> {
        let frames = kind.load(dir)?;
        frames.validate()?;
        self.parts(frames.official);
        for (name, n) in frames.classes.iter().zip(frames.class_counts()) {
            self.count(format!("images of {name}"), n);
        }
        Ok(())
    }

    fn image_folder(&mut self, dir: &Path) -> Result<()> {
        let listed = class_folders::list(dir, &image_file::ENDINGS)?;
        self.count("classes", listed.classes.len());
        self.parts(listed.official);
        for (path, _) in &listed.files {
            if let Err(e) = image_file::load(path, 1, 1) {
                self.problems.push(e.to_string());
            }
        }
        Ok(())
    }

    fn recordings(&mut self, dir: &Path) -> Result<()> {
        let listed = class_folders::list(dir, &events::ENDINGS)?;
        self.count("classes", listed.classes.len());
        self.count("recordings", listed.files.len());
        self.parts(listed.official);
        let events = listed.files.iter().map(|(path, _)| self.events(path)).sum();
        self.count("events", events);
        Ok(())
    }

    fn gestures(&mut self, dir: &Path) -> Result<()> {
        let trials = gestures::list(dir)?;
        self.count("classes", trials.classes.len());
        self.count("recordings for training", trials.train);
        self.count("recordings for testing", trials.files.len() - trials.train);
        let (mut events, mut labels) = (0, 0);
        for trial in &trials.files {
            events += self.events(&trial.recording);
            let name = trial.labels.display().to_string();
            let read = lines::open(&trial.labels)
                .and_then(|input| gestures::labels(input, &name, trials.classes.len()));
            match read {
                Ok(read) => labels += read.len(),
                Err(e) => self.problems.push(e.to_string()),
            }
        }
        self.count("labels", labels);
        self.count("events", events);
        Ok(())
    }

    fn spoken(&mut self, dir: &Path) -> Result<()> {
        for (name, file) in ["training", "validation", "test"].iter().zip(shd::files(dir)?) {
            let Some(file) = file else { continue };
            let mut spoken = shd::Spoken::open(&file)?;
            self.count(format!("{name} recordings"), spoken.len());
            let mut spikes = 0;
            for i in 0..spoken.len() {
                spikes += spoken.recording(i)?.len();
            }
            self.count(format!("{name} spikes"), spikes);
        }
        Ok(())
    }

    fn scenes(&mut self, name: &str, dir: &Path) -> Result<()> {
        let scenes = Scenes::load(name, dir)?;
        self.count("images", scenes.images.len());
        self.parts(scenes.official);
        for (category, index) in scenes.categories.iter().zip(0..) {
            let of = |scene: &Scene| {
                scene.objects.iter().filter(|o: &&Object| o.category == index).count()
            };
            self.count(format!("objects: {category}"), scenes.images.iter().map(of).sum());
        }
        self.count("boxes left out", scenes.dropped.len());
        for scene in &scenes.images {
            if let Err(e) = scene.picture() {
                self.problems.push(e.to_string());
            }
        }
        Ok(())
    }

    fn masks(&mut self, name: &str, dir: &Path) -> Result<()> {
        let listed = mask_folders::list(dir)?;
        let (values, classes) = mask_folders::meaning(name);
        self.count("images", listed.images.len());
        self.parts(listed.official);
        let mut counts = [0usize; 256];
        for image in &listed.images {
            let classes =
                image.load().and_then(|(_, labels)| image.classes(&labels, values, classes));
            match classes {
                Ok(classes) => classes.iter().for_each(|&class| counts[usize::from(class)] += 1),
                Err(e) => self.problems.push(e.to_string()),
            }
        }
        for (class, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            match class as u8 {
                NO_CLASS => self.count("pixels of no class", *n),
                class => self.count(format!("pixels of class {class}"), *n),
            }
        }
        Ok(())
    }

    /// Reads a recording to its end and counts its events.
    fn events(&mut self, path: &Path) -> usize {
        let mut n = 0;
        let mut read = || {
            let mut reader = events::open(path)?;
            let mut block = Vec::new();
            while reader.read(&mut block)? {
                n += block.len();
                block.clear();
            }
            Ok::<_, DataError>(())
        };
        if let Err(e) = read() {
            self.problems.push(e.to_string());
        }
        n
    }

    /// Sizes of the official parts that there are.
    fn parts(&mut self, official: Option<[usize; 3]>) {
        for (part, n) in ["training", "validation", "test"].iter().zip(official.unwrap_or_default())
        {
            if n > 0 {
                self.count(format!("{part} samples"), n);
            }
        }
    }

    fn text(&mut self, name: &str, dir: &Path) -> Result<()> {
        let config =
            DataConfig::new(name, SplitConfig::Contiguous { validation: 0.05, test: 0.05 });
        let divided = config.load_text(Some(dir), None)?;
        self.count("windows", divided.text.len());
        self.count("characters in the vocabulary", divided.text.names.len());
        Ok(())
    }

    fn sentences(&mut self, name: &str, dir: &Path) -> Result<()> {
        let found = nlu::load(name, dir)?;
        for (class, label) in found.classes.iter().zip(0..) {
            let count = found.sentences.iter().filter(|(_, y)| *y == label).count();
            self.count(format!("{class} sentences"), count);
        }
        Ok(())
    }

    fn images(&mut self, dir: &Path) -> Result<()> {
        for (name, part) in
            [("training images", idx::Part::Train), ("test images", idx::Part::Test)]
        {
            let set = idx::load(dir, part)?;
            self.count(name, set.labels.len());
            if (set.height, set.width) != (28, 28) {
                self.problems
                    .push(format!("{name} are {} x {}; expected 28 x 28", set.height, set.width));
            }
        }
        Ok(())
    }
}

/// Hash and relative path of each line of a `sha256sum` list.
fn hash_list(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut lines = Lines::new(lines::open(path)?, path.display().to_string(), 4096);
    let mut out = Vec::new();
    while let Some(line) = lines.next_line()? {
        let entry = line.split_once("  ").and_then(|(hash, name)| {
            let hex = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            let name = Path::new(name.strip_prefix("./").unwrap_or(name));
            // A list must not send the check to files outside its folder.
            let inside = name.components().all(|c| matches!(c, Component::Normal(_)));
            (hex && inside).then(|| (hash.to_lowercase(), name.to_path_buf()))
        });
        match entry {
            Some(entry) => out.push(entry),
            None => {
                return Err(
                    lines.error("expected a SHA-256, two blanks and a path inside this folder")
                );
            }
        }
    }
    Ok(out)
}

/// SHA-256 of a file, in hexadecimal.
pub fn file_hash(path: &Path) -> Result<String> {
    let file = fs::File::open(path).map_err(|e| DataError::io(path, e))?;
    let mut hash = Sha256::new();
    let mut copy = HashWriter(&mut hash);
    io::copy(&mut BufReader::with_capacity(1 << 16, file), &mut copy)
        .map_err(|e| DataError::io(path, e))?;
    Ok(hex(&hash.finalize()))
}

/// `sha2` implements `Write` only with its feature `std`.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn folder(manifest: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("a", b"abc");
        write("MANIFEST.sha256", manifest.as_bytes());
        for part in ["train", "t10k"] {
            let mut images = vec![0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28];
            images.extend([7; 28 * 28]);
            write(&format!("{part}-images-idx3-ubyte"), &images);
            write(&format!("{part}-labels-idx1-ubyte"), &[0, 0, 8, 1, 0, 0, 0, 1, 3]);
        }
        dir
    }

    #[test]
    fn a_good_copy() {
        let dir = folder(&format!("{ABC}  ./a\n"));
        let report = check("mnist", dir.path()).unwrap();
        assert!(report.is_good(), "{report:?}");
        assert_eq!((report.hashed, report.counts.len()), (1, 2));
    }

    #[test]
    fn changed_missing_and_broken_files_are_problems() {
        let dir = folder(&format!("{ABC}  ./a\n{ABC}  b\n"));
        fs::write(dir.path().join("a"), "abd").unwrap();
        fs::write(dir.path().join("t10k-labels-idx1-ubyte"), "abd").unwrap();
        let problems = check("mnist", dir.path()).unwrap().problems;
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("a: not the file that"));
        assert!(problems[2].contains("t10k-labels-idx1-ubyte"));
        assert!(check("mnist", &dir.path().join("none")).is_err());
        assert!(
            check("mnst", dir.path()).unwrap_err().to_string().contains("did you mean `mnist`")
        );
    }

    #[test]
    fn a_list_cannot_point_outside() {
        for path in ["../a", "/etc/passwd", "b/../../a"] {
            let problems =
                check("mnist", folder(&format!("{ABC}  {path}\n")).path()).unwrap().problems;
            assert!(problems[0].contains("MANIFEST.sha256:1: expected a SHA-256"), "{problems:?}");
        }
    }

    #[test]
    fn the_list_above_counts_for_its_folder_only() {
        let dir = folder("");
        fs::remove_file(dir.path().join("MANIFEST.sha256")).unwrap();
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("mnist");
        fs::rename(dir.path(), &inner).unwrap();
        fs::write(
            outer.path().join("MANIFEST.sha256"),
            format!("{ABC}  ./mnist/a\n{ABC}  ./other/a\n"),
        )
        .unwrap();
        let report = check("mnist", &inner).unwrap();
        assert!(report.is_good() && report.hashed == 1, "{report:?}");
    }
}
