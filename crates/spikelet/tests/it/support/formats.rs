//! Small data sets in the layouts and formats that the real ones are published in, written here
//! byte by byte from their descriptions.

use flate2::{Compression, Crc, write::ZlibEncoder};
use std::{fs, io::Write, path::Path};

/// An event: microseconds, column, row, whether it became brighter.
type Event = (u32, u32, u32, bool);

/// Writes a file and the folders above it.
pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// Events of a recording of a class, for a sensor of 16 x 16 or more: a line that moves, to
/// another place in every class.
fn events(class: u32, number: u32) -> Vec<Event> {
    let at =
        |i: u32| (1000 * i + number, (i / 4 + number) % 16, 4 * class + i % 4, i.is_multiple_of(2));
    (0..200).map(at).collect()
}

/// CIFAR-10 or, with two label bytes, CIFAR-100: planes of red, green and blue.
pub fn cifar(folder: &Path, classes: usize) {
    let records = |n: usize| -> Vec<u8> {
        let record = |i: usize| {
            let class = (i % classes) as u8;
            let labels = if classes == 10 { vec![class] } else { vec![class / 5, class] };
            let plane = |plane: usize| (0..1024).map(move |p| (i * 7 + plane * 50 + p / 8) as u8);
            labels.into_iter().chain((0..3).flat_map(plane)).collect::<Vec<u8>>()
        };
        (0..n).flat_map(record).collect()
    };
    let names: String = (0..classes).map(|class| format!("class {class}\n")).collect();
    if classes == 10 {
        for i in 1..=5 {
            put(&folder.join(format!("data_batch_{i}.bin")), &records(10));
        }
        put(&folder.join("test_batch.bin"), &records(10));
        put(&folder.join("batches.meta.txt"), names.as_bytes());
    } else {
        put(&folder.join("train.bin"), &records(300));
        put(&folder.join("test.bin"), &records(100));
        put(&folder.join("fine_label_names.txt"), names.as_bytes());
    }
}

/// Image folders: `{train,val}/<class>/<image>.png`, of other sizes than those asked for.
pub fn image_folders(folder: &Path) {
    for (part, n) in [("train", 6), ("val", 2)] {
        for (class, red) in [("n01440764", 220), ("n01443537", 30)] {
            for i in 0..n {
                let path = folder.join(part).join(class).join(format!("{i}.png"));
                put(&path, &png(24 + i, 20, |x, y| [red, (x * 9) as u8, (y * 9) as u8]));
            }
        }
    }
}

/// A PNG of 8-bit RGB.
fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
    for y in 0..height {
        // Every row starts with its filter: none.
        rows.write_all(&[0]).expect("in memory");
        (0..width).for_each(|x| rows.write_all(&pixel(x, y)).expect("in memory"));
    }
    let rows = rows.finish().expect("in memory");
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", &rows), (b"IEND", &[])] {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(content);
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend([&kind[..], content, &crc.sum().to_be_bytes()].concat());
    }
    bytes
}

/// N-MNIST: 40 bits an event, the time in the lower 23.
pub fn nmnist(folder: &Path) {
    for (part, n) in [("Train", 8), ("Test", 3)] {
        for class in 0..3 {
            for i in 0..n {
                let bytes = events(class, i).into_iter().flat_map(|(t, x, y, on)| {
                    let [_, a, b, c] = (t | u32::from(on) << 23).to_be_bytes();
                    [x as u8, y as u8, a, b, c]
                });
                let path = folder.join(format!("{part}/{class}/{i:05}.bin"));
                put(&path, &bytes.collect::<Vec<u8>>());
            }
        }
    }
}

/// CIFAR10-DVS: AEDAT 2 of a DVS128, big-endian, bit 0 of the address set for OFF.
pub fn cifar10_dvs(folder: &Path) {
    for (class, name) in (0..).zip(["airplane", "automobile"]) {
        for i in 0..8 {
            let mut bytes = b"#!AER-DAT2.0\r\n# made by a test\r\n".to_vec();
            for (t, x, y, on) in events(class, i) {
                bytes.extend((y << 8 | x << 1 | u32::from(!on)).to_be_bytes());
                bytes.extend(t.to_be_bytes());
            }
            put(&folder.join(format!("{name}/cifar10_{name}_{i}.aedat")), &bytes);
        }
    }
}

/// DVS128 Gesture: AEDAT 3.1, one packet a recording, and a list of what is seen when.
pub fn dvs_gesture(folder: &Path) {
    let mut parts = [String::new(), String::new()];
    for person in 0..6 {
        let name = format!("user{:02}_lab", person + 1);
        let mut labels = "class,startTime_usec,endTime_usec\n".to_owned();
        let mut all = Vec::new();
        for class in 0..3 {
            let start = class * 300_000;
            labels += &format!("{},{start},{}\n", class + 1, start + 250_000);
            all.extend(
                events(class, person).into_iter().map(|(t, x, y, on)| (start + t, x, y, on)),
            );
        }
        let mut bytes = b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n".to_vec();
        let n = all.len() as i32;
        bytes.extend([1_i16, 1].map(i16::to_le_bytes).concat());
        bytes.extend([8, 4, 0, n, n, n].map(i32::to_le_bytes).concat());
        for (t, x, y, on) in all {
            bytes.extend((x << 17 | y << 2 | u32::from(on) << 1 | 1).to_le_bytes());
            bytes.extend(t.to_le_bytes());
        }
        put(&folder.join(format!("{name}.aedat")), &bytes);
        put(&folder.join(format!("{name}_labels.csv")), labels.as_bytes());
        parts[usize::from(person == 5)] += &format!("{name}.aedat\n");
    }
    put(&folder.join("trials_to_train.txt"), parts[0].as_bytes());
    put(&folder.join("trials_to_test.txt"), parts[1].as_bytes());
}

/// Class folders of EVT2 recordings: a word of time, then a word an event.
pub fn evt2_folders(folder: &Path) {
    for class in 0..2 {
        for i in 0..6 {
            let mut bytes = b"% evt 2.0\n% geometry 32x24\n% end\n".to_vec();
            for (t, x, y, on) in events(class, i) {
                bytes.extend((8 << 28 | t >> 6).to_le_bytes());
                bytes.extend((u32::from(on) << 28 | (t & 63) << 22 | x << 11 | y).to_le_bytes());
            }
            put(&folder.join(format!("class{class}/{i}.raw")), &bytes);
        }
    }
}

/// Class folders of Event Stream recordings: microseconds since the event before in 7 bits,
/// 127 more for every 0xff.
pub fn event_stream_folders(folder: &Path) {
    for class in 0..2 {
        for i in 0..6 {
            let mut bytes = b"Event Stream\x02\x00\x00\x01\x20\x00\x18\x00".to_vec();
            let mut last = 0;
            for (t, x, y, on) in events(class, i) {
                bytes.extend(vec![0xff; ((t - last) / 127) as usize]);
                bytes.push(2 * ((t - last) % 127) as u8 + u8::from(on));
                bytes.extend([x as u8, 0, y as u8, 0]);
                last = t;
            }
            put(&folder.join(format!("class{class}/{i}.es")), &bytes);
        }
    }
}
