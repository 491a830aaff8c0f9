//! The raw text of WISDM: one file a subject and sensor, lines `subject,activity,timestamp_ns,x,y,z;`.
//!
//! A line that is not of that form is an error naming file and line. Tolerated, because the public archive and
//! tools that touched it produce them: a missing final `;`, blanks around fields, CRLF line ends, blank
//! lines, and an exact repeat of the line before (dropped, as it is one sample written twice). Time stamps may
//! go backwards (recordings of one activity can be appended out of order).

use std::collections::BTreeMap;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::lines::{self, Lines};
use crate::wisdm::{self, Recording, Track};

const SENSORS: [&str; 2] = ["accel", "gyro"];
const MAX_LINE: usize = 512;

/// Accelerometer and gyroscope file of each subject found in `dir`; empty if there are none.
///
/// `dir` may be the folder that holds `raw/watch` (also inside `wisdm-dataset`, as in the archive), that holds
/// `accel` and `gyro`, or that holds the files themselves. A subject with a file of one sensor only is an error.
pub fn subjects(dir: &Path) -> Result<BTreeMap<u32, [PathBuf; 2]>> {
    let bases = ["wisdm-dataset/raw/watch", "raw/watch", "."].map(|base| dir.join(base));
    for base in bases.iter().filter(|base| base.is_dir()) {
        let mut found: BTreeMap<u32, [Option<PathBuf>; 2]> = BTreeMap::new();
        for (i, sensor) in SENSORS.iter().enumerate() {
            let inner = base.join(sensor);
            let folder = if inner.is_dir() { &inner } else { base };
            for entry in fs::read_dir(folder).map_err(|e| DataError::io(folder, e))? {
                let path = entry.map_err(|e| DataError::io(folder, e))?.path();
                if let Some(subject) =
                    path.file_name().and_then(|n| subject_of(n.to_str()?, sensor))
                {
                    found.entry(subject).or_default()[i] = Some(path);
                }
            }
        }
        if found.is_empty() {
            continue;
        }
        let complete = found.into_iter().map(|(subject, files)| match files {
            [Some(accel), Some(gyro)] => Ok((subject, [accel, gyro])),
            [accel, _] => {
                let missing = SENSORS[usize::from(accel.is_some())];
                let name = format!("data_{subject}_{missing}_watch.txt");
                Err(DataError::file(
                    base,
                    format!("{name} (or .gz) is missing; the other sensor's file is here"),
                ))
            }
        });
        return complete.collect();
    }
    Ok(BTreeMap::new())
}

/// The subject of a file name `data_<subject>_<sensor>_watch.txt[.gz]`.
fn subject_of(name: &str, sensor: &str) -> Option<u32> {
    let name = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".txt")?;
    let name = name.strip_prefix("data_")?.strip_suffix("_watch")?;
    name.strip_suffix(sensor)?.strip_suffix('_')?.parse().ok()
}

/// Reads the file of one subject and sensor, plain or gzip.
pub fn read_file(path: &Path, subject: u32) -> Result<Recording> {
    read(lines::open(path)?, &path.display().to_string(), Some(subject))
}

/// The decompressed bytes of a file, for packing it.
pub(crate) fn raw_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    lines::open(path)?.read_to_end(&mut bytes).map_err(|e| DataError::io(path, e))?;
    Ok(bytes)
}

/// Reads the lines of one subject and sensor. `file` names them in errors; without `subject` that of the first
/// line counts.
pub fn read(input: impl BufRead, file: &str, subject: Option<u32>) -> Result<Recording> {
    let mut lines = Lines::new(input, file, MAX_LINE);
    let mut subject = subject;
    let mut tracks: BTreeMap<char, Track> = BTreeMap::new();
    let mut before = String::new();
    while let Some(line) = lines.next_line()? {
        let line = line.trim();
        if line.is_empty() || line == before {
            continue;
        }
        before.clear();
        before.push_str(line);
        let sample = parse(&before).map_err(|reason| lines.error(reason))?;
        let expected = *subject.get_or_insert(sample.subject);
        if sample.subject != expected {
            return Err(lines
                .error(format!("subject {} in the file of subject {expected}", sample.subject)));
        }
        let track = tracks.entry(sample.activity).or_default();
        track.time_ns.push(sample.time_ns);
        track.xyz.push(sample.xyz);
    }
    match subject {
        Some(subject) if !tracks.is_empty() => Ok(Recording { subject, tracks }),
        _ => Err(DataError::File { file: file.to_owned(), reason: "no samples".into() }),
    }
}

/// One line of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Subject number.
    pub subject: u32,
    /// Activity letter.
    pub activity: char,
    /// Time stamp in nanoseconds.
    pub time_ns: i64,
    /// Values along the three axes.
    pub xyz: [f32; 3],
}

/// Parses `subject,activity,timestamp_ns,x,y,z` with or without a final `;`. The error is the reason.
pub fn parse(line: &str) -> Result<Sample, String> {
    let line = line.strip_suffix(';').unwrap_or(line);
    let mut fields = line.split(',').map(str::trim);
    let mut next = |what: &str| match fields.next() {
        Some("") => Err(format!("{what} is empty; expected subject,activity,timestamp_ns,x,y,z;")),
        Some(field) => Ok(field),
        None => Err(format!("{what} is missing; expected subject,activity,timestamp_ns,x,y,z;")),
    };
    let subject = number(next("the subject")?, "subject")?;
    let activity = next("the activity")?;
    let activity = match wisdm::ACTIVITIES.iter().find(|(l, _)| activity.chars().eq([*l])) {
        Some((letter, _)) => *letter,
        None => {
            return Err(format!("`{activity}` is no activity; expected a letter A to S, not N"));
        }
    };
    let time_ns = number(next("the time stamp")?, "time stamp in nanoseconds")?;
    let xyz = [value(next("x")?)?, value(next("y")?)?, value(next("z")?)?];
    match fields.next() {
        None => Ok(Sample { subject, activity, time_ns, xyz }),
        Some(extra) => Err(format!("`{extra}` after z; is a line end missing?")),
    }
}

fn number<T: std::str::FromStr>(field: &str, what: &str) -> Result<T, String> {
    field.parse().map_err(|_| format!("`{field}` is no {what}"))
}

fn value(field: &str) -> Result<f32, String> {
    match field.parse::<f32>() {
        Ok(v) if v.is_finite() => Ok(v),
        _ => Err(format!("`{field}` is no finite number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "1600,F,83506777357134,-0.39369655,-0.88944596,9.29893;";

    #[test]
    fn a_line() {
        let sample = parse(GOOD).unwrap();
        assert_eq!((sample.subject, sample.activity, sample.time_ns), (1600, 'F', 83506777357134));
        assert_eq!(sample.xyz, [-0.39369655, -0.88944596, 9.29893]);
        assert_eq!(parse("1600, F ,1,-2.992752E-4,0,1").unwrap().xyz[0], -2.992752E-4);
    }

    #[test]
    fn broken_lines_say_why() {
        for (line, reason) in [
            ("1600,F,1,0.5,0.5;", "z is missing"),
            ("1600,F,1,0.5,,0.5;", "y is empty"),
            ("1600,N,1,0.5,1,0.5;", "`N` is no activity"),
            ("16OO,F,1,0.5,1,0.5;", "`16OO` is no subject"),
            ("1600,F,1.5,0.5,1,0.5;", "`1.5` is no time stamp"),
            ("1600,F,1,NaN,1,0.5;", "`NaN` is no finite number"),
            ("1600,F,1,1e99,1,0.5;", "`1e99` is no finite number"),
            ("1600,F,1,0.5,1,0.5;1600", "`0.5;1600` is no finite number"),
            ("1600,F,1,0.5,1,0.5,7;", "`7` after z"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.starts_with(reason), "{line}: {said}");
        }
    }

    #[test]
    fn errors_name_file_and_line_and_the_tolerated_is_tolerated() {
        let text = "1600,F,1,1,2,3;\r\n\n1600,F,1,1,2,3;\n 1600,F,0,4,5,6 \n1600,G,9,1,2,3;";
        let recording = read(text.as_bytes(), "f", None).unwrap();
        assert_eq!(
            recording.tracks[&'F'],
            Track { time_ns: vec![1, 0], xyz: vec![[1., 2., 3.], [4., 5., 6.]] }
        );
        assert_eq!(recording.tracks[&'G'].time_ns, [9]);
        let e = read("1600,F,1,1,2,3;\n1601,F,1,1,2,3;".as_bytes(), "f.txt", None)
            .unwrap_err()
            .to_string();
        assert_eq!(e, "f.txt:2: subject 1601 in the file of subject 1600");
        assert_eq!(read(&b""[..], "f", None).unwrap_err().to_string(), "f: no samples");
    }

    #[test]
    fn truncated_or_flipped_input_never_panics() {
        let text = format!("{GOOD}\n{GOOD}\n1600,G,83506777357135,1.5,2.5,-9.25;\n");
        for cut in 0..text.len() {
            let _ = read(&text.as_bytes()[..cut], "f", None);
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[cut] ^= 1 << bit;
                let _ = read(&bytes[..], "f", None);
            }
        }
    }

    #[test]
    fn file_names() {
        assert_eq!(subject_of("data_1600_accel_watch.txt.gz", "accel"), Some(1600));
        assert_eq!(subject_of("data_1600_accel_watch.txt", "gyro"), None);
        assert_eq!(subject_of("data_x_gyro_watch.txt", "gyro"), None);
    }

    #[test]
    fn layouts_and_a_missing_sensor() {
        let dir = tempfile::tempdir().unwrap();
        assert!(subjects(dir.path()).unwrap().is_empty());
        let watch = dir.path().join("wisdm-dataset/raw/watch");
        for sensor in SENSORS {
            fs::create_dir_all(watch.join(sensor)).unwrap();
            fs::write(watch.join(sensor).join(format!("data_1600_{sensor}_watch.txt")), GOOD)
                .unwrap();
        }
        assert_eq!(subjects(dir.path()).unwrap().len(), 1);
        assert_eq!(subjects(&watch).unwrap().len(), 1);
        fs::remove_file(watch.join("gyro/data_1600_gyro_watch.txt")).unwrap();
        let e = subjects(dir.path()).unwrap_err().to_string();
        assert!(e.contains("data_1600_gyro_watch.txt (or .gz) is missing"), "{e}");
    }
}
