//! Real recordings, where they are found: counts and figures that their README states.

use spikelet_data::events::{Event, open, read_all};
use spikelet_data::find;
use std::path::Path;

fn read(dir: &Path, name: &str) -> ([usize; 2], Vec<Event>) {
    let mut reader = open(&dir.join(name)).unwrap();
    let events = read_all(&mut *reader).unwrap();
    let [height, width] = reader.size();
    for event in &events {
        assert!(usize::from(event.x) < width && usize::from(event.y) < height);
    }
    assert!(events.is_sorted_by_key(|event| event.t));
    ([height, width], events)
}

#[test]
fn recordings_as_their_readme_counts_them() {
    let Some(dir) = find::for_test("events") else { return };
    let (size, events) = read(&dir, "sample_nmnist.bin");
    assert_eq!((size, events.len()), ([34, 34], 4325));
    assert_eq!((events[0].t, events[4324].t), (654, 311_175));
    let on = events.iter().filter(|event| event.on).count() as f64 / 4325.0;
    assert!((on - 0.496).abs() < 5e-4, "{on}");

    let (_, events) = read(&dir, "faery_evt2.raw");
    assert_eq!(events.len(), 521_252);
    assert!(events.iter().all(|event| event.x < 640 && event.y < 480));

    let (size, events) = read(&dir, "faery_dvs.es");
    assert_eq!(size, [240, 320]);
    println!("faery_dvs.es: {} events", events.len());
    let e = open(&dir.join("faery_generic.es")).map(|_| ()).unwrap_err().to_string();
    assert!(e.contains("a stream of generic events"), "{e}");

    // Real headers, but not a whole number of events behind them.
    for (name, size) in
        [("header_test_128.aedat", [128, 128]), ("header_test_240.aedat", [180, 240])]
    {
        let mut reader = open(&dir.join(name)).unwrap();
        assert_eq!(reader.size(), size, "{name}");
        let e = read_all(&mut *reader).unwrap_err().to_string();
        assert!(e.contains("the file ends within an event"), "{e}");
    }
}
