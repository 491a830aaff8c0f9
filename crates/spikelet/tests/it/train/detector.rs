//! Detectors on the real binary: from pictures and annotations to boxes and masks.

use crate::support::{Run, command, spikelet};
use serde_json::{Value, json};
use spikelet_data::picture::Picture;
use spikelet_graph::Graph;
use std::{fmt::Write, fs, path::Path};

/// Pictures with a bright square or a dark bar, as Pascal VOC's folders.
fn voc(folder: &Path, count: usize) {
    for name in ["JPEGImages", "Annotations"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for index in 0..count {
        let (rgb, objects) = picture(index);
        let picture = Picture { width: 64, height: 48, rgb };
        picture.save(&folder.join(format!("JPEGImages/{index:03}.png"))).unwrap();
        let mut xml = format!(
            "<annotation><filename>{index:03}.png</filename><size><width>64</width>\
             <height>48</height><depth>3</depth></size>"
        );
        for (name, [left, top, right, bottom]) in objects {
            write!(
                xml,
                "<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{}</xmin>\
                 <ymin>{}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>",
                left + 1,
                top + 1
            )
            .unwrap();
        }
        xml += "</annotation>";
        fs::write(folder.join(format!("Annotations/{index:03}.xml")), xml).unwrap();
    }
}

type Objects = Vec<(&'static str, [usize; 4])>;

fn picture(index: usize) -> (Vec<u8>, Objects) {
    let (x, y) = (index * 7 % 20, index * 5 % 12);
    let square = ("square", [x, y, x + 16, y + 16]);
    let bar = ("bar", [x + 20, y + 14, x + 44, y + 24]);
    let objects = match index % 3 {
        0 => vec![square],
        1 => vec![bar],
        _ => vec![square, bar],
    };
    let mut rgb = vec![120_u8; 64 * 48 * 3];
    for (at, value) in rgb.iter_mut().enumerate() {
        *value += (at * 31 % 11) as u8;
        let (column, row) = (at / 3 % 64, at / 3 / 64);
        for (name, [left, top, right, bottom]) in &objects {
            if (*left..*right).contains(&column) && (*top..*bottom).contains(&row) {
                *value = if *name == "square" { 250 } else { 5 };
            }
        }
    }
    (rgb, objects)
}

fn config(folder: &Path, head: &str, epochs: usize) -> String {
    let path = folder.join("detector.toml");
    let text = format!(
        "[data]\ndataset = \"shapes\"\nsize = [48, 64]\naugment = {{ flip = true }}\n\
         [model]\nkind = \"spike-detector\"\nchannels = 16\nlevels = [1, 2]\nnorm = true\n\
         scales = [2.0]\nhead = {head}\n\
         backbone = {{ widths = [8, 16, 16, 16], heads = 2, attention = \"conv\" }}\n\
         [train]\nepochs = {epochs}\nbatch_size = 4\nclip_norm = 10.0\n\
         optimizer = {{ kind = \"adam_w\", lr = 5e-3 }}\n\
         schedule = {{ kind = \"cosine\" }}\n"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn done(run: Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

const SINGLE: &str = "{ kind = \"single-stage\", convs = 1 }";

#[test]
fn a_detector_learns_shapes_and_paints_them() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    voc(&dir.path().join("shapes"), 40);
    let config = config(dir.path(), SINGLE, 40);
    let (data, run) = (at("shapes"), at("run"));
    let train = ["train", &config, "--data", &data, "--out", &run, "--json"];
    let result = done(spikelet(train));
    let map = result["boxes"]["map50"].as_f64().unwrap();
    assert!(map > 0.5, "mAP@0.5 {map}");
    assert_eq!(result["images"], 8);
    // The graph finds what the training form found.
    let eval = done(spikelet(["eval", &run, "--data", &data, "--json"]));
    assert!((eval["boxes"]["map50"].as_f64().unwrap() - map).abs() < 1e-3, "{eval} {map}");
    let small = at("small.safetensors");
    let compress = ["compress", &run, "--bits", "8", "--data", &data, "--out", &small, "--json"];
    let compressed = done(spikelet(compress));
    let figure = |size: &str| compressed[size]["map50"].as_f64().unwrap();
    assert!((figure("before") - map).abs() < 1e-3, "{compressed} {map}");
    // Eight bits cost little, but something is measured: the smaller file itself gives the same.
    assert!(figure("after") > 0.4, "{compressed}");
    let eval = done(spikelet(["eval", &small, "--data", &data, "--json"]));
    assert_eq!(eval["boxes"]["map50"].as_f64().unwrap(), figure("after"));
    let picture = at("shapes/JPEGImages/002.png");
    let painted = at("painted.png");
    let found = done(spikelet(["run", &run, "--input", &picture, "--draw", &painted, "--json"]));
    assert!(!found["objects"].as_array().unwrap().is_empty(), "{found}");
    let (before, after) = (Picture::load(picture.as_ref()), Picture::load(painted.as_ref()));
    assert_ne!(before.unwrap().rgb, after.unwrap().rgb);
}

#[test]
fn two_stages_and_a_run_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    voc(&dir.path().join("shapes"), 10);
    let head = "{ kind = \"two-stage\", masks = false, hidden = 32, finest = 16.0, \
                anchors_learned = 32, regions_learned = 16 }";
    let config = config(dir.path(), head, 2);
    let (data, run) = (at("shapes"), at("run"));
    let train = ["train", &config, "--data", &data, "--out", &run, "--json"];
    done(spikelet(train));
    let more = ["train", "--resume", &run, "--data", &data, "--set", "train.epochs=3", "--json"];
    let result = done(spikelet(more));
    assert_eq!(result["epochs"], 3);
    let lines = fs::read_to_string(dir.path().join("run/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let whole = at("whole");
    let train =
        ["train", &config, "--data", &data, "--out", &whole, "--set", "train.epochs=3", "--json"];
    // The schedule knows of the third epoch only in one of them, so results may differ; both run.
    done(spikelet(train));
    done(spikelet(["eval", &run, "--data", &data, "--json"]));
    operations_of_both_stages_are_counted(&run, &data);
}

fn operations_of_both_stages_are_counted(run: &str, data: &str) {
    let profile =
        |limit: &str| done(spikelet(["profile", run, "--data", data, "--limit", limit, "--json"]));
    let (one, two) = (profile("1"), profile("2"));
    assert_eq!((&one["sequences"], &two["sequences"]), (&1.into(), &2.into()));
    let dense = |report: &Value, part: &str| -> u64 {
        let layers = report["layers"].as_array().unwrap().iter();
        let of_part = layers.filter(|layer| layer["name"].as_str().unwrap().contains(part));
        of_part.map(|layer| layer["dense"].as_u64().unwrap()).sum()
    };
    // The first stage does the same for every image; a head does so for every region.
    let first = dense(&one, "downsample1_1");
    assert!(first > 0 && dense(&two, "downsample1_1") == 2 * first, "{first}");
    let graph = Graph::load(Path::new(run).join("model.safetensors")).unwrap();
    let inputs = graph.node("box_region").unwrap().len() as u64;
    let (a_region, heads) = (32 * inputs, dense(&one, "shared_fcs.0"));
    assert!(heads > a_region && heads.is_multiple_of(a_region), "{heads} of {a_region}");
    let fails = spikelet(["profile", run, "--data", data, "--measure"]);
    assert!(fails.code == 2 && fails.stderr.contains("--measure"), "{}", fails.stderr);
}

#[test]
fn a_sweep_trains_detectors() {
    let dir = tempfile::tempdir().unwrap();
    voc(&dir.path().join("shapes"), 10);
    config(dir.path(), SINGLE, 1);
    let sweep = "name = \"boxes\"\n[grid]\n\"train.seed\" = [1, 2]\n\
                 [[variant]]\nname = \"shapes\"\nfrom = \"detector.toml\"\n";
    let file = dir.path().join("boxes.toml");
    fs::write(&file, sweep).unwrap();
    let swept = |arguments: &[&str]| {
        let output = command(arguments).current_dir(dir.path()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = swept(&["sweep", "boxes.toml", "--data", "shapes"]);
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("mAP@0.5 "), "{error}");
    let text = fs::read_to_string(dir.path().join("docs/results/boxes.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, seed) in lines.iter().zip(1..) {
        assert_eq!((&line["train.seed"], &line["variant"]), (&seed.into(), &"shapes".into()));
        assert_eq!(line["map50"], line["boxes"]["map50"]);
        assert!(line["map"].is_f64() && line["parameters"].as_u64().unwrap() > 1000, "{line}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{line}");
    }
    fs::write(&file, format!("{sweep}[[compress]]\nname = \"int8\"\nbits = 8\n")).unwrap();
    let (code, error) = swept(&["sweep", "boxes.toml", "--data", "shapes", "--resume"]);
    assert!(code == 2 && error.contains("[[compress]]"), "{error}");
}

/// Pictures of 64 x 48 with a bright diamond each, whose outlines are polygons in COCO's JSON. Gives left, top and side
/// of each.
fn coco(folder: &Path, count: usize) -> Vec<[usize; 3]> {
    let place = |index: usize| [index * 7 % 32, index * 5 % 16, 24 + index % 3 * 4];
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    fs::create_dir_all(folder.join("images")).unwrap();
    for index in 0..count {
        let [x, y, side] = place(index);
        let rgb = (0..64 * 48 * 3).map(|at| match diamond([x, y, side], at / 3) {
            true => 250,
            false => 120 + (at * 31 % 11) as u8,
        });
        let picture = Picture { width: 64, height: 48, rgb: rgb.collect() };
        picture.save(&folder.join(format!("images/{index:03}.png"))).unwrap();
        let name = format!("{index:03}.png");
        images.push(json!({"id": index, "file_name": name, "width": 64, "height": 48}));
        let (middle_x, middle_y) = (x + side / 2, y + side / 2);
        let outline = [middle_x, y, x + side, middle_y, middle_x, y + side, x, middle_y];
        annotations.push(json!({
            "id": index, "image_id": index, "category_id": 7, "iscrowd": 0,
            "bbox": [x, y, side, side], "area": side * side / 2, "segmentation": [outline],
        }));
    }
    let categories = json!([{"id": 7, "name": "diamond"}]);
    let all = json!({"images": images, "annotations": annotations, "categories": categories});
    fs::write(folder.join("annotations.json"), all.to_string()).unwrap();
    (0..count).map(place).collect()
}

/// Whether a pixel of 64 x 48 is in the diamond of this box.
fn diamond([x, y, side]: [usize; 3], pixel: usize) -> bool {
    // In halves of pixels.
    let away = |at: usize, from: usize| (2 * at + 1).abs_diff(2 * from + side);
    away(pixel % 64, x) + away(pixel / 64, y) < side
}

/// A mask of the whole box would overlap a diamond by half: what is asked for are outlines.
#[test]
fn boxes_and_masks_are_learned_from_coco() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let places = coco(&dir.path().join("diamonds"), 40);
    let few = "per_level = 100, overlap = 0.7, most = 30, score = 0.0";
    let head = format!(
        "{{ kind = \"two-stage\", hidden = 64, mask_convs = 2, finest = 16.0, \
         anchors_learned = 32, regions_learned = 16, proposals = {{ {few} }}, \
         train_proposals = {{ {few} }} }}"
    );
    let config = config(dir.path(), &head, 40);
    let (data, run) = (at("diamonds"), at("run"));
    let train = ["train", &config, "--data", &data, "--out", &run, "--json"];
    let result = done(spikelet(train.into_iter().chain(["--set", "model.ratios=[1.0]"])));
    let map = |result: &Value, what: &str| result[what]["map50"].as_f64().unwrap();
    let [boxes, masks] = ["boxes", "masks"].map(|what| map(&result, what));
    assert!(boxes > 0.6 && masks > 0.6, "mAP@0.5 of boxes {boxes}, of masks {masks}");
    let eval = done(spikelet(["eval", &run, "--data", &data, "--json"]));
    assert!((map(&eval, "masks") - masks).abs() < 1e-3, "{eval} {masks}");

    let (picture, painted) = (at("diamonds/images/003.png"), at("painted.png"));
    let found = done(spikelet(["run", &run, "--input", &picture, "--draw", &painted, "--json"]));
    let [x, y, side] = places[3];
    let area = found["objects"][0]["area"].as_u64().unwrap() as f64;
    let true_area = (side * side) as f64 / 2.0;
    assert!((0.6..1.5).contains(&(area / true_area)), "{area} of {true_area}");
    let [before, after] = [&picture, &painted].map(|path| Picture::load(path.as_ref()).unwrap());
    let changed = |pixel: usize| before.rgb[3 * pixel..][..3] != after.rgb[3 * pixel..][..3];
    // The painted outline of the box stays clear of what is looked at: half of the diamond, and what is far outside.
    let inner = [x + side / 4, y + side / 4, side / 2];
    let inside: Vec<usize> = (0..64 * 48).filter(|&pixel| diamond(inner, pixel)).collect();
    let tinted = inside.iter().filter(|&&pixel| changed(pixel)).count();
    assert!(10 * tinted > 8 * inside.len(), "{tinted} of {}", inside.len());
    let near = |at: usize, from: usize| at + 8 >= from && at < from + side + 8;
    let far = (0..64 * 48).filter(|pixel| !(near(pixel % 64, x) && near(pixel / 64, y)));
    assert_eq!(far.filter(|&pixel| changed(pixel)).count(), 0, "{found}");
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    voc(&dir.path().join("shapes"), 5);
    let config = config(dir.path(), SINGLE, 1);
    let data = at("shapes");
    let fails = |arguments: &[&str]| {
        let run = spikelet(arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {}", run.stderr);
        run.stderr
    };
    let run = at("run");
    let train =
        |set: &str| fails(&["train", &config, "--data", &data, "--out", &run, "--set", set]);
    for (set, says) in [
        ("data.size=[50, 64]", "multiples of 16"),
        ("data.size=[4294967296, 64]", "multiples of 16"),
        ("model.levels=[3, 1]", "levels"),
        ("model.channels=1000000", "channels"),
        ("model.scales=[0.0]", "anchors.scales"),
        ("model.backbone.widths=[8, 16, 15, 16]", "widths"),
        ("train.batch_size=0", "batch_size"),
        ("model.headd=1", "headd"),
    ] {
        let error = train(set);
        assert!(error.contains(says), "{set}: {error}");
    }
    done(spikelet(["train", &config, "--data", &data, "--out", &run, "--json"]));
    let broken = at("broken.png");
    fs::write(&broken, b"no picture").unwrap();
    let error = fails(&["run", &run, "--input", &broken]);
    assert!(error.contains("broken.png"), "{error}");
    let annotation = dir.path().join("shapes/Annotations/000.xml");
    let text = fs::read_to_string(&annotation).unwrap();
    fs::write(&annotation, text.replace("square", "circle")).unwrap();
    let error = fails(&["eval", &run, "--data", &data]);
    assert!(error.contains("circle"), "{error}");
}
