//! The real data sets, where they are found: counts and figures that their READMEs state.

use spikelet_data::{
    braille, check, find,
    frames_source::DividedFrames,
    idx,
    normalize::Normalization,
    registry,
    source::{DataConfig, SplitConfig},
    split, wisdm,
};

#[test]
fn wisdm_windows_as_its_readme_counts_them() {
    let Some(dir) = find::for_test("wisdm-watch") else { return };
    if !wisdm::is_full(&dir) {
        println!("skipped: only the shipped subjects are here, not the full set");
        return;
    }
    let data = wisdm::load(&dir, &wisdm::WisdmConfig::default()).unwrap();
    data.validate().unwrap();
    assert_eq!((data.n, data.groups().len()), (23673, 37));
    // P O F Q R G S: the class order of the papers.
    assert_eq!(data.class_counts(), [3430, 3453, 3240, 3495, 3330, 3330, 3395]);
    assert_eq!(
        data.classes,
        ["dribbling", "catch", "typing", "writing", "clapping", "teeth", "folding"]
    );

    for fold in 0..5 {
        let split = split::by_group(&data.group, 5, fold, 0.15, 0).unwrap();
        split.validate(data.n).unwrap();
        assert!(split.test.len().abs_diff(data.n / 5) < 700, "fold {fold}: {}", split.test.len());
        assert!(split.val.len().abs_diff(2840) < 700, "fold {fold}: {}", split.val.len());
    }
    let norm = Normalization::fit(&data, &(0..data.n).collect::<Vec<_>>()).unwrap();
    assert!(norm.std.iter().all(|s| (0.1..20.0).contains(s)), "{norm:?}");
}

#[test]
fn wisdm_original_files_hold_all_18_activities() {
    let Some(dir) = find::for_test("wisdm-watch") else { return };
    let dir = dir.join("original");
    if !dir.is_dir() {
        println!("skipped: no original files here");
        return;
    }
    let all =
        wisdm::WisdmConfig { classes: wisdm::class_set("all").unwrap(), ..Default::default() };
    let data = wisdm::load(&dir, &all).unwrap();
    assert!(data.class_counts().iter().all(|&n| n >= 85), "{:?}", data.class_counts());
}

#[test]
fn braille_splits_as_its_readme_counts_them() {
    let Some(dir) = find::for_test("braille") else { return };
    let braille = braille::load(&dir).unwrap();
    let data = &braille.sequences;
    data.validate().unwrap();
    assert_eq!(data.class_counts(), [162, 172, 164, 170, 160, 167, 163]);
    let mean = data.x.iter().map(|&v| f64::from(v)).sum::<f64>() / data.x.len() as f64;
    // One event more or less would change it by 2.8e-7; the figure stated was summed in f32.
    assert!((mean - 0.226238951).abs() < 1e-8, "{mean}");
    assert_eq!(braille.val_index.len(), 10);
    for k in 0..10 {
        let split = braille.split(k).unwrap();
        split.validate(data.n).unwrap();
        assert_eq!((split.train.len(), split.val.len()), (878, 280));
    }
}

#[test]
fn image_slices_as_their_readmes_count_them() {
    for name in ["mnist", "fashion-mnist"] {
        let Some(dir) = find::for_test(name) else { continue };
        for (part, least) in [(idx::Part::Train, 12_000), (idx::Part::Test, 2_000)] {
            let set = idx::load(&dir, part).unwrap();
            assert!(set.labels.len() >= least, "{name} {part:?}: {}", set.labels.len());
            assert_eq!(set.pixels.len(), set.labels.len() * 28 * 28);
            let classes = (0..10).filter(|c| set.labels.contains(c)).count();
            assert_eq!((set.height, set.width, classes), (28, 28, 10));
        }
    }
}

/// What tests may rely on; the other data sets cannot be had everywhere.
const AT_HAND: [&str; 4] = ["wisdm-watch", "braille", "mnist", "fashion-mnist"];

#[test]
fn every_data_set_here_passes_its_check() {
    for set in registry::DATA_SETS {
        let dir = match AT_HAND.contains(&set.name) {
            true => find::for_test(set.name),
            false => find::find(set.name, None).inspect_err(|e| println!("skipped: {e}")).ok(),
        };
        let Some(dir) = dir else { continue };
        let report = check::check(set.name, &dir).unwrap();
        println!("{report:?}");
        assert!(report.is_good(), "{}: {:?}", set.name, report.problems);
        assert!(report.counts.iter().all(|(_, n)| *n > 0));
    }
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/wisdm-watch");
    let report = check::check("wisdm-watch", &shipped).unwrap();
    assert!(report.is_good() && report.hashed == 12, "{report:?}");
    assert!(report.counts.contains(&("texts as before packing".into(), 24)), "{report:?}");
}

#[test]
fn fashion_mnist_loads_divided_and_normalised() {
    if find::for_test("fashion-mnist").is_none() {
        return;
    }
    let mut config = DataConfig::new("fashion-mnist", SplitConfig::official(0));
    config.normalize = true;
    assert!(config.has_frames() && config.load(None).is_err());
    let DividedFrames { frames, split, .. } = config.load_frames(None).unwrap();
    let [train, _, test] = frames.official.unwrap();
    assert_eq!((split.train.len() + split.val.len(), split.test.len()), (train, test));
    assert!(split.val.len().abs_diff(train / 10) <= 5);
    let fitted = frames.normalization().unwrap();
    // What is usually given for this set: 0.2860 and 0.3530.
    assert!((fitted.mean[0] - 0.286).abs() < 2e-3 && (fitted.std[0] - 0.353).abs() < 2e-3);
    let mut out = Vec::new();
    frames.batch(&split.test[..100], &mut out);
    assert_eq!(out.len(), 100 * 28 * 28);
}

#[test]
fn cells_as_their_readme_counts_them() {
    let Some(dir) = find::for_test("bccd") else { return };
    let report = check::check("bccd", &dir).unwrap();
    assert!(report.is_good(), "{:?}", report.problems);
    let count = |name: &str| report.counts.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!((count("images"), count("boxes left out")), (304, 1));
    // One of the boxes counted there is no box.
    let all = ["RBC", "WBC", "Platelets"].map(|name| count(&format!("objects: {name}")));
    assert_eq!(all.iter().sum::<u64>(), 3457 + 310 + 302 - 1, "{all:?}");
}

#[test]
fn nuclei_have_a_mask_each() {
    let Some(dir) = find::for_test("dsb2018-nuclei") else { return };
    let report = check::check("dsb2018-nuclei", &dir).unwrap();
    assert!(report.is_good(), "{:?}", report.problems);
    let count = |name: &str| report.counts.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(count("images"), 279);
    let pixels = [count("pixels of class 0"), count("pixels of class 1")];
    assert_eq!(pixels.iter().sum::<u64>(), 279 * 256 * 256);
}
