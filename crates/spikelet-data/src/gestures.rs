//! The layout of the DVS128 Gesture set (Amir et al. 2017): long recordings, and beside each a list of what is seen
//! when.
//!
//! `trials_to_train.txt` and `trials_to_test.txt` name recordings, `user01_led.aedat`, in AEDAT 3.1. Beside each is
//! `user01_led_labels.csv` with the columns `class` (from 1), `startTime_usec` and `endTime_usec`. The number in the
//! name is the person, the group of its samples. `gesture_mapping.csv`, if it is there, names the classes.

use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::event_frames::{EventFramesConfig, Framer};
use crate::events::{self, Event, EventReader, MAX_EVENTS};
use crate::frames_file::FramesWriter;
use crate::lines::{self, Lines};

/// Names of the classes in the DVS128 Gesture set, in the order of their labels.
pub const CLASSES: [&str; 11] = [
    "hand clapping",
    "right hand wave",
    "left hand wave",
    "right arm clockwise",
    "right arm counter clockwise",
    "left arm clockwise",
    "left arm counter clockwise",
    "arm roll",
    "air drums",
    "air guitar",
    "other gestures",
];

/// Most recordings, and most labels of one.
const MAX_LINES: usize = 10_000;

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// AEDAT 3.1.
    pub recording: PathBuf,
    /// What is seen when.
    pub labels: PathBuf,
    /// Number of the person.
    pub person: u32,
}

/// All recordings of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trials {
    /// Those of the training part, then those of the test part.
    pub files: Vec<Trial>,
    /// How many are in the training part.
    pub train: usize,
    /// Class names.
    pub classes: Vec<String>,
}

/// A stretch of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Class, from 0.
    pub class: u32,
    /// First microsecond.
    pub start: u64,
    /// The microsecond after the last.
    pub end: u64,
}

/// Lists the recordings below `root`.
pub fn list(root: &Path) -> Result<Trials> {
    let mut files = trials(root, "trials_to_train.txt")?;
    let train = files.len();
    files.extend(trials(root, "trials_to_test.txt")?);
    let mapping = root.join("gesture_mapping.csv");
    let classes = match mapping.is_file() {
        true => names(&mapping)?,
        false => CLASSES.map(str::to_owned).to_vec(),
    };
    Ok(Trials { files, train, classes })
}

fn trials(root: &Path, list: &str) -> Result<Vec<Trial>> {
    let path = root.join(list);
    let mut lines = Lines::new(lines::open(&path)?, path.display().to_string(), 200);
    let mut trials = Vec::new();
    while let Some(line) = lines.next_line()? {
        let name = line.trim().to_owned();
        if name.is_empty() {
            continue;
        }
        let stem = name.strip_suffix(".aedat").filter(|stem| !stem.contains(['/', '\\']));
        let Some(stem) = stem else {
            return Err(lines.error(format!("{name:?} is not the name of an .aedat file")));
        };
        let from = stem.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits: String = from.chars().take_while(char::is_ascii_digit).take(9).collect();
        if trials.len() == MAX_LINES {
            return Err(lines.error(format!("more than {MAX_LINES} recordings")));
        }
        trials.push(Trial {
            recording: root.join(&name),
            labels: root.join(format!("{stem}_labels.csv")),
            person: digits.parse().unwrap_or(0),
        });
    }
    Ok(trials)
}

/// Class names in the order of their numbers, from lines of a name and a number.
fn names(path: &Path) -> Result<Vec<String>> {
    let mut lines = Lines::new(lines::open(path)?, path.display().to_string(), 200);
    let mut names = Vec::new();
    lines.next_line()?;
    while let Some(line) = lines.next_line()? {
        let expected = (names.len() + 1).to_string();
        match line.split_once(',') {
            Some((name, number)) if number.trim() == expected && names.len() < MAX_LINES => {
                names.push(name.trim().to_owned());
            }
            _ if line.trim().is_empty() => {}
            _ => return Err(lines.error(format!("expected a name, a comma and {expected}"))),
        }
    }
    Ok(names)
}

/// The labels of a recording, one after the other; `file` names it in errors.
pub fn labels(input: impl std::io::BufRead, file: &str, classes: usize) -> Result<Vec<Label>> {
    let mut lines = Lines::new(input, file, 200);
    let mut labels: Vec<Label> = Vec::new();
    lines.next_line()?;
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let mut fields = line.split(',').map(|field| field.trim().parse::<u64>().ok());
        let fields = [fields.next(), fields.next(), fields.next(), fields.next()];
        let [Some(Some(class)), Some(Some(start)), Some(Some(end)), None] = fields else {
            return Err(lines.error("expected class, start and end in microseconds"));
        };
        if !(1..=classes as u64).contains(&class) {
            return Err(lines.error(format!("class {class}; 1 to {classes}")));
        }
        let after = labels.last().map_or(0, |label| label.end);
        if start < after || end <= start {
            return Err(lines.error(format!(
                "from {start} to {end} us; a label starts where the one before ends ({after}) or later"
            )));
        }
        if labels.len() == MAX_LINES {
            return Err(lines.error(format!("more than {MAX_LINES} labels")));
        }
        labels.push(Label { class: class as u32 - 1, start, end });
    }
    Ok(labels)
}

/// Writes the frames of all trials to `out`.
pub fn frames(trials: &Trials, config: &EventFramesConfig, out: &Path) -> Result<()> {
    let mut framer = Framer::new(config, [128, 128])?;
    let mut writer = FramesWriter::create(out, framer.shape(), config.steps, framer.scale())?;
    let mut train = 0;
    for (i, trial) in trials.files.iter().enumerate() {
        let name = trial.labels.display().to_string();
        let labels = labels(lines::open(&trial.labels)?, &name, trials.classes.len())?;
        let mut reader = events::open(&trial.recording)?;
        if reader.size() != [128, 128] {
            let reason = format!("a sensor of {:?}; expected 128 x 128", reader.size());
            return Err(DataError::file(&trial.recording, reason));
        }
        stretches(&mut *reader, &labels, |class, events| {
            framer.frames(events, |sample| writer.push(sample, class, trial.person))
        })?;
        if i < trials.train {
            train = writer.samples();
        }
    }
    let test = writer.samples() - train;
    writer.finish(trials.classes.clone(), Some([train, 0, test]))
}

/// Gives the events of each label to `sample`, and holds only those.
fn stretches(
    reader: &mut dyn EventReader,
    labels: &[Label],
    mut sample: impl FnMut(u32, &mut Vec<Event>) -> Result<()>,
) -> Result<()> {
    let (mut block, mut held, mut rest) = (Vec::new(), Vec::new(), labels.iter().peekable());
    loop {
        block.clear();
        let more = reader.read(&mut block)?;
        for event in &block {
            while let Some(label) = rest.next_if(|label| label.end <= event.t) {
                sample(label.class, &mut held)?;
                held.clear();
            }
            if rest.peek().is_some_and(|label| label.start <= event.t) {
                held.push(*event);
            }
        }
        if held.len() > MAX_EVENTS {
            return Err(DataError::request(format!("a sample of more than {MAX_EVENTS} events")));
        }
        if !more {
            break;
        }
    }
    // The last label may end after the last event; labels that nothing was recorded for are no samples.
    match rest.next() {
        Some(label) if !held.is_empty() => sample(label.class, &mut held),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{aedat3, frames_file};
    use std::fs;

    fn event(t: u64, x: u16) -> Event {
        Event { t, x, y: 0, on: true }
    }

    #[test]
    fn labelled_stretches_become_samples() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        for (person, first) in [(3, 10), (24, 20)] {
            let events =
                [event(1, 0), event(100, first), event(199, first), event(205, 1), event(300, 2)];
            put(&format!("user{person:02}_led2.aedat"), &aedat3::encode(&events).unwrap());
            let labels = "class,startTime_usec,endTime_usec\n2,100,200\n1,250,900\n";
            put(&format!("user{person:02}_led2_labels.csv"), labels.as_bytes());
        }
        put("trials_to_train.txt", b"user03_led2.aedat\n");
        put("trials_to_test.txt", b"user24_led2.aedat\r\n\r\n");
        let listed = list(dir.path()).unwrap();
        assert_eq!((listed.train, listed.classes.len()), (1, 11));
        let out = dir.path().join("out");
        frames(&listed, &EventFramesConfig { steps: 1, ..Default::default() }, &out).unwrap();
        let made = frames_file::open(&out).unwrap();
        assert_eq!((made.n, made.official), (4, Some([2, 0, 2])));
        assert_eq!((&made.y[..], &made.group[..]), (&[1, 0, 1, 0][..], &[3, 3, 24, 24][..]));
        assert_eq!((made.sample(0)[21], made.sample(1)[5], made.sample(2)[41]), (2, 1, 2));
        assert_eq!(made.sample(0).iter().map(|&n| u32::from(n)).sum::<u32>(), 2);

        put("gesture_mapping.csv", b"action,label\nwave,1\n");
        let e =
            frames(&list(dir.path()).unwrap(), &EventFramesConfig::default(), &out).unwrap_err();
        assert!(e.to_string().contains("labels.csv:2: class 2; 1 to 1"), "{e}");
    }

    #[test]
    fn hostile_lists() {
        let said = |text: &str| {
            let text = format!("class,startTime_usec,endTime_usec\n{text}");
            labels(text.as_bytes(), "l", 11).unwrap_err().to_string()
        };
        assert!(said("12,0,5").starts_with("l:2: class 12"));
        assert!(said("1,5,5").contains("from 5 to 5"));
        assert!(said("1,0,50\n2,49,60").starts_with("l:3: from 49"));
        assert!(
            said("1,0").contains("expected class") && said("1,0,5,6").contains("expected class")
        );
        assert!(said("1,-3,5").contains("expected class"));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("trials_to_train.txt"), "../../etc/passwd.aedat\n").unwrap();
        assert!(list(dir.path()).unwrap_err().to_string().contains("not the name of"));
    }
}
