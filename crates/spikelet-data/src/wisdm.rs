//! WISDM smartwatch recordings: 3-axis accelerometer and gyroscope at 20 Hz, 18 activities.
//!
//! Source: Weiss et al. 2019, "WISDM Smartphone and Smartwatch Activity and Biometrics Dataset", UCI id 507.
//! Values stay in the raw units of the watch: m/s² and rad/s.
//!
//! A data folder holds either the raw text ([`crate::wisdm_text`]; the layout of the UCI archive, plain or
//! gzip) or the compact lossless form this project ships ([`crate::wisdm_pack`]).

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{DataError, Result};
use crate::nearest;
use crate::sequences::Sequences;
use crate::{wisdm_pack, wisdm_text};

/// Sampling interval of the watch in milliseconds.
pub const STEP_MS: f32 = 50.0;

/// Channels, in the order of [`Sequences::channel_names`]: accelerometer, then gyroscope.
pub const CHANNELS: [&str; 6] = ["ax", "ay", "az", "gx", "gy", "gz"];

/// Letter and name of each activity, as in the activity key of the data set (there is no N).
pub const ACTIVITIES: [(char, &str); 18] = [
    ('A', "walking"),
    ('B', "jogging"),
    ('C', "stairs"),
    ('D', "sitting"),
    ('E', "standing"),
    ('F', "typing"),
    ('G', "teeth"),
    ('H', "soup"),
    ('I', "chips"),
    ('J', "pasta"),
    ('K', "drinking"),
    ('L', "sandwich"),
    ('M', "kicking"),
    ('O', "catch"),
    ('P', "dribbling"),
    ('Q', "writing"),
    ('R', "clapping"),
    ('S', "folding"),
];

/// The seven hand-oriented activities in the class order of the L2MU papers: dribbling, catch, typing,
/// writing, clapping, teeth, folding.
pub const HAND: [char; 7] = ['P', 'O', 'F', 'Q', 'R', 'G', 'S'];

/// Name of an activity letter.
pub fn activity_name(letter: char) -> Option<&'static str> {
    ACTIVITIES.iter().find(|(l, _)| *l == letter).map(|(_, name)| *name)
}

/// The activity letters that a class set names, in class order.
///
/// `hand` (seven, in the papers' order), `all` (18, by letter), letters as in `PQR`, or a comma-separated list
/// of letters and names as in `typing,writing`.
pub fn class_set(text: &str) -> Result<Vec<char>> {
    let letters = match text {
        "hand" => HAND.to_vec(),
        "all" => ACTIVITIES.iter().map(|(l, _)| *l).collect(),
        _ if !text.contains(',')
            && !text.is_empty()
            && text.chars().all(|c| activity_name(c).is_some()) =>
        {
            text.chars().collect()
        }
        _ => text.split(',').map(|item| letter(item.trim())).collect::<Result<Vec<_>>>()?,
    };
    for (i, letter) in letters.iter().enumerate() {
        if letters[..i].contains(letter) {
            return Err(DataError::request(format!(
                "activity {letter} is named twice in `{text}`"
            )));
        }
    }
    Ok(letters)
}

fn letter(item: &str) -> Result<char> {
    let found = ACTIVITIES.iter().find(|(l, name)| *name == item || item.chars().eq([*l]));
    found.map(|(l, _)| *l).ok_or_else(|| {
        let known = ["hand", "all"].into_iter().chain(ACTIVITIES.iter().map(|(_, name)| *name));
        DataError::request(format!("no activity `{item}`{}", nearest::suggest(item, known)))
    })
}

/// What to make of the recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WisdmConfig {
    /// Activity letters in class order; see [`class_set`].
    pub classes: Vec<char>,
    /// Samples a window: 40 is 2 s.
    pub window: usize,
    /// Samples from the start of a window to the start of the next; equal to `window`: no overlap.
    pub hop: usize,
    /// Subjects to take, or all there are.
    pub subjects: Option<Vec<u32>>,
}

impl Default for WisdmConfig {
    fn default() -> Self {
        Self { classes: HAND.to_vec(), window: 40, hop: 40, subjects: None }
    }
}

/// Samples of one sensor during one activity, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    /// Time stamps in nanoseconds since an arbitrary start.
    pub time_ns: Vec<i64>,
    /// Values along x, y and z.
    pub xyz: Vec<[f32; 3]>,
}

/// Everything one sensor recorded for one subject, by activity letter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    /// Subject number: 1600 and up in the public data set.
    pub subject: u32,
    /// One track for each activity.
    pub tracks: BTreeMap<char, Track>,
}

/// Whether `dir` holds the raw text rather than the compact form of twelve subjects.
pub fn is_full(dir: &Path) -> bool {
    wisdm_text::subjects(dir).is_ok_and(|s| !s.is_empty())
}

/// The subjects in `dir`, ascending.
pub fn subjects(dir: &Path) -> Result<Vec<u32>> {
    let text = wisdm_text::subjects(dir)?;
    let subjects: Vec<u32> = match text.is_empty() {
        false => text.into_keys().collect(),
        true => wisdm_pack::subjects(dir)?.into_keys().collect(),
    };
    if subjects.is_empty() {
        let expected =
            "raw/watch/{accel,gyro}/data_<subject>_{accel,gyro}_watch.txt[.gz] or <subject>.wisdm";
        return Err(DataError::file(
            dir,
            format!("no smartwatch recordings here; expected {expected}"),
        ));
    }
    Ok(subjects)
}

/// Accelerometer and gyroscope of one subject, from whichever form `dir` holds.
pub fn recordings(dir: &Path, subject: u32) -> Result<[Recording; 2]> {
    if let Some([accel, gyro]) = wisdm_text::subjects(dir)?.get(&subject) {
        return Ok([wisdm_text::read_file(accel, subject)?, wisdm_text::read_file(gyro, subject)?]);
    }
    match wisdm_pack::subjects(dir)?.get(&subject) {
        Some(path) => wisdm_pack::read_file(path, subject),
        None => Err(DataError::file(dir, format!("no recordings of subject {subject}"))),
    }
}

/// Loads labelled windows `[n, window, 6]`, ordered by subject, class and time; `group` is the subject.
///
/// An activity that only one of the two sensors recorded gives no windows, and samples after the last whole
/// window of an activity are left out.
pub fn load(dir: &Path, config: &WisdmConfig) -> Result<Sequences> {
    let present = subjects(dir)?;
    let wanted = match &config.subjects {
        None => present,
        Some(list) => {
            if let Some(absent) = list.iter().find(|s| !present.contains(s)) {
                return Err(DataError::file(
                    dir,
                    format!("no recordings of subject {absent}; here are {present:?}"),
                ));
            }
            list.clone()
        }
    };
    let mut out = empty(config)?;
    for part in parallel(&wanted, |&subject| recordings(dir, subject)) {
        let [accel, gyro] = part?;
        windows(&accel, &gyro, config, &mut out);
    }
    match out.n {
        0 => Err(DataError::file(
            dir,
            format!("no window of {} samples of {:?}", config.window, config.classes),
        )),
        _ => Ok(out),
    }
}

/// Sequences without a window yet, in the form `config` asks for.
pub fn empty(config: &WisdmConfig) -> Result<Sequences> {
    if config.window == 0 || config.hop == 0 {
        return Err(DataError::request("a window and its hop need at least one sample"));
    }
    let classes = config.classes.iter().map(|&l| letter(l.encode_utf8(&mut [0; 4])));
    let names = classes
        .map(|l| Ok(activity_name(l?).unwrap_or_default().to_owned()))
        .collect::<Result<Vec<_>>>()?;
    Ok(Sequences::empty(config.window, CHANNELS.map(String::from).to_vec(), names, STEP_MS))
}

/// Cuts the recordings of one subject into windows and appends them to `out`.
///
/// Every accelerometer sample is paired with the gyroscope sample of the same activity that is nearest in time
/// (the earlier one on a tie): the two sensors start and stop a few samples apart, and neither misses enough to
/// interpolate. Windows count accelerometer samples, so a gap in time does not end a window.
pub fn windows(accel: &Recording, gyro: &Recording, config: &WisdmConfig, out: &mut Sequences) {
    for (class, letter) in config.classes.iter().enumerate() {
        let (Some(a), Some(g)) = (accel.tracks.get(letter), gyro.tracks.get(letter)) else {
            continue;
        };
        let rows = pair(a, g);
        let mut start = 0;
        while start + config.window <= rows.len() {
            out.push(
                rows[start..start + config.window].as_flattened(),
                class as u32,
                accel.subject,
            );
            start += config.hop;
        }
    }
}

fn pair(accel: &Track, gyro: &Track) -> Vec<[f32; 6]> {
    let mut by_time: Vec<usize> = (0..gyro.time_ns.len()).collect();
    by_time.sort_by_key(|&i| gyro.time_ns[i]);
    let time = |i: usize| gyro.time_ns[by_time[i]];
    let mut rows = Vec::with_capacity(accel.xyz.len());
    for (&t, &[ax, ay, az]) in accel.time_ns.iter().zip(&accel.xyz) {
        let after = by_time.partition_point(|&i| gyro.time_ns[i] < t);
        let nearest = match after {
            0 => 0,
            _ if after == by_time.len() => after - 1,
            _ if t.abs_diff(time(after - 1)) <= t.abs_diff(time(after)) => after - 1,
            _ => after,
        };
        let [gx, gy, gz] = gyro.xyz[by_time[nearest]];
        rows.push([ax, ay, az, gx, gy, gz]);
    }
    rows
}

/// `work` of every item, in the order of the items, on the threads the machine has.
pub(crate) fn parallel<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = items
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let parts = running.into_iter().map(|thread| match thread.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        parts.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(times: &[i64], first: f32) -> Track {
        Track {
            time_ns: times.to_vec(),
            xyz: (0..times.len()).map(|i| [first + i as f32; 3]).collect(),
        }
    }

    fn recording(letter: char, track: Track) -> Recording {
        Recording { subject: 1600, tracks: BTreeMap::from([(letter, track)]) }
    }

    #[test]
    fn class_sets() {
        assert_eq!(class_set("hand").unwrap(), HAND);
        assert_eq!(class_set("all").unwrap().len(), 18);
        assert_eq!(class_set("PQ").unwrap(), ['P', 'Q']);
        assert_eq!(class_set("typing, Q").unwrap(), ['F', 'Q']);
        let e = class_set("typing,wrighting").unwrap_err().to_string();
        assert_eq!(e, "no activity `wrighting`; did you mean `writing`?");
        assert!(class_set("PP").unwrap_err().to_string().contains("twice"));
        assert!(class_set("").is_err() && class_set("N").is_err());
    }

    #[test]
    fn pairs_with_the_nearest_time_and_the_earlier_on_a_tie() {
        let gyro = track(&[30, 0, 10], 100.0);
        let rows = pair(&track(&[-5, 5, 6, 21, 90], 0.0), &gyro);
        let paired: Vec<f32> = rows.iter().map(|r| r[3]).collect();
        assert_eq!(paired, [101.0, 101.0, 102.0, 100.0, 100.0]);
        assert_eq!(rows[3], [3.0, 3.0, 3.0, 100.0, 100.0, 100.0]);
    }

    #[test]
    fn windows_overlap_by_their_hop_and_drop_the_rest() {
        let times: Vec<i64> = (0..11).collect();
        let (a, g) = (recording('Q', track(&times, 0.0)), recording('Q', track(&times, 50.0)));
        let count = |window, hop| {
            let config = WisdmConfig { window, hop, ..WisdmConfig::default() };
            let mut out = empty(&config).unwrap();
            windows(&a, &g, &config, &mut out);
            out.validate().unwrap();
            (out.n, out.y.first().copied(), out.x.last().copied())
        };
        assert_eq!(count(4, 4), (2, Some(3), Some(57.0)));
        assert_eq!(count(4, 2), (4, Some(3), Some(59.0)));
        assert_eq!(count(12, 1), (0, None, None));
        assert!(empty(&WisdmConfig { hop: 0, ..WisdmConfig::default() }).is_err());
    }

    #[test]
    fn an_activity_of_one_sensor_gives_no_window() {
        let config = WisdmConfig { window: 1, hop: 1, ..WisdmConfig::default() };
        let mut out = empty(&config).unwrap();
        windows(
            &recording('Q', track(&[0], 0.0)),
            &recording('P', track(&[0], 0.0)),
            &config,
            &mut out,
        );
        assert_eq!(out.n, 0);
    }
}
