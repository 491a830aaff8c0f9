//! Segmenting networks and teachers on the real binary: from images and masks to figures and painted pictures.

use crate::support::{Run, spikelet};
use serde_json::Value;
use spikelet_data::{npy, picture::Picture};
use spikelet_train::{run::Checkpoint, trainer::checkpoint_path};
use std::{fs, path::Path};

fn json(run: Run) -> Value {
    assert_eq!(run.code, 0, "{}", run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}", run.stdout))
}

/// Images of 32 x 32 with one or two bright discs, whose masks number them.
fn discs(folder: &Path, count: usize) {
    for name in ["images", "masks"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for index in 0..count {
        let (mut rgb, mut mask) = (vec![0; 32 * 32 * 3], vec![0; 32 * 32]);
        let discs = [[8, 6 + index % 18], [23, 8 + (index * 7) % 16]];
        for at in 0..32 * 32 {
            let (y, x): (usize, usize) = (at / 32, at % 32);
            let of = |[cy, cx]: [usize; 2]| y.abs_diff(cy).pow(2) + x.abs_diff(cx).pow(2) <= 25;
            let number = discs.iter().take(1 + index % 2).position(|&disc| of(disc));
            // Light falls from one side, so that one threshold for all is not enough.
            let value = if number.is_some() { 110 } else { 20 } + 3 * x + (at * 37) % 9;
            rgb[3 * at..3 * at + 3].fill(value as u8);
            mask[at] = number.map_or(0, |number| number as u8 + 1);
        }
        Picture { width: 32, height: 32, rgb }
            .save(&folder.join(format!("images/{index}.png")))
            .unwrap();
        fs::write(folder.join(format!("masks/{index}.png")), grey(&mask)).unwrap();
    }
}

/// A grey PNG of 32 x 32, its data stored without compression.
fn grey(values: &[u8]) -> Vec<u8> {
    use flate2::{Compression, Crc, write::ZlibEncoder};
    use std::io::Write;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in values.chunks(32) {
        packed.write_all(&[0]).and_then(|()| packed.write_all(row)).unwrap();
    }
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [0, 0, 0, 32, 0, 0, 0, 32, 8, 0, 0, 0, 0];
    for (kind, data) in
        [(b"IHDR", header.to_vec()), (b"IDAT", packed.finish().unwrap()), (b"IEND", vec![])]
    {
        png.extend((data.len() as u32).to_be_bytes());
        let mut crc = Crc::new();
        for part in [&kind[..], &data] {
            crc.update(part);
            png.extend(part);
        }
        png.extend(crc.sum().to_be_bytes());
    }
    png
}

#[test]
fn from_masks_to_a_painted_picture() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    discs(&dir.path().join("discs"), 40);
    let config = format!(
        "[data]\ndataset = \"{}\"\nnormalize = true\nframes = {{ size = 32 }}\n\
         split = {{ kind = \"random\", validation = 0.2, test = 0.2 }}\n\
         [data.masks]\nclasses = [\"background\", \"disc\"]\nvalues = \"instances\"\n\
         augment = {{ flip = true, flip_vertical = true, scale = [0.8, 1.3] }}\n\
         [model]\nkind = \"spike-segmenter\"\nwidth = 32\nhead = 32\n\
         backbone = {{ widths = [8, 16, 16, 16], heads = 2, steps = 2, attention = \"conv\" }}\n\
         [train]\nepochs = 20\nbatch_size = 2\noptimizer = {{ kind = \"adam_w\", lr = 2e-2 }}\n\
         schedule = {{ kind = \"cosine\" }}\nclip_norm = 1.0\n",
        at("discs")
    );
    fs::write(at("discs.toml"), config).unwrap();
    let trained = json(spikelet(["train", &at("discs.toml"), "--out", &at("run"), "--json"]));
    let trained = trained.get("result").unwrap_or(&trained);
    let overlap = trained["segmentation"]["mean_overlap"].as_f64().unwrap();
    // All background would give less than a half; 32 seeds gave 0.91 or more.
    assert!(overlap > 0.7, "{trained}");

    let found = json(spikelet(["eval", &at("run"), "--json"]));
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-3, "{a} and {b}");
    // The runtime sees what training saw.
    near(found["mean_overlap"].as_f64().unwrap(), overlap);
    assert_eq!(
        (found["images"].as_u64(), found["classes"][1]["name"].as_str()),
        (Some(8), Some("disc"))
    );
    let share = |value: &Value| (0.0..=1.0).contains(&value.as_f64().unwrap());
    assert!(share(&found["otsu_overlap"]) && share(&found["instances"]["ap50"]), "{found}");
    let text = spikelet(["eval", &at("run")]).stdout;
    assert!(text.contains("by Otsu's threshold") && text.contains("mask AP"), "{text}");

    let image = at("discs/images/3.png");
    let seen =
        json(spikelet(["run", &at("run"), "--input", &image, "--draw", &at("p.png"), "--json"]));
    let shares: f64 =
        seen["classes"].as_array().unwrap().iter().map(|c| c["share"].as_f64().unwrap()).sum();
    near(shares, 1.0);
    let painted = Picture::load(Path::new(&at("p.png"))).unwrap();
    assert_eq!([painted.width, painted.height], [32, 32]);
    assert_ne!(painted, Picture::load(Path::new(&image)).unwrap());
}

#[test]
fn what_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    discs(&dir.path().join("discs"), 10);
    let train = |model: &str, rest: &str| {
        let config = format!(
            "[data]\ndataset = \"{}\"\nframes = {{ size = 32 }}\nsplit = {{ kind = \"random\" }}\n\
             masks = {{ classes = [\"background\", \"disc\"], values = \"instances\" }}\n\
             [model]\n{model}\n[train]\nepochs = 1\n{rest}\n",
            at("discs")
        );
        fs::write(at("c.toml"), config).unwrap();
        let run = spikelet(["train", &at("c.toml"), "--out", &at("run")]);
        assert_ne!(run.code, 0);
        run.stderr
    };
    let segmenter =
        "kind = \"spike-segmenter\"\nbackbone = { widths = [8, 16, 16, 16], heads = 2 }";
    let said = train("kind = \"convnet\"\nnetwork = \"8C3-FC\"", "");
    assert!(said.contains("spike-segmenter"), "{said}");
    let said = train(segmenter, "rule = \"sltt\"");
    assert!(said.contains("bptt"), "{said}");
    fs::write(at("discs/masks/4.png"), b"no image").unwrap();
    let said = train(segmenter, "");
    assert!(said.contains("4.png"), "{said}");
}

/// A network learns from another one, once asked, once recorded; both give the same.
#[test]
fn a_teacher_asked_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for (class, bright) in [("dark", 60), ("bright", 180)] {
        fs::create_dir_all(dir.path().join("images").join(class)).unwrap();
        for index in 0..20 {
            let rgb = (0..16 * 16 * 3).map(|at| (bright + (at * 31 + index * 17) % 50) as u8);
            let picture = Picture { width: 16, height: 16, rgb: rgb.collect() };
            picture.save(&dir.path().join(format!("images/{class}/{index}.png"))).unwrap();
        }
    }
    let write = |name: &str, model: &str, rest: &str| {
        let config = format!(
            "[data]\ndataset = \"{}\"\nnormalize = true\nframes = {{ size = 16 }}\n\
             split = {{ kind = \"random\" }}\n[model]\n{model}\n\
             [train]\nepochs = 2\nbatch_size = 8\n{rest}\n",
            at("images")
        );
        fs::write(at(name), config).unwrap();
    };
    write("teacher.toml", "kind = \"convnet\"\nnetwork = \"4C3-P4-FC\"\nsteps = 2", "");
    json(spikelet(["train", &at("teacher.toml"), "--out", &at("teacher"), "--json"]));
    let arguments =
        ["eval", &at("teacher"), "--split", "all", "--logits", &at("logits.npy"), "--json"];
    json(spikelet(arguments));
    assert_eq!(npy::load(Path::new(&at("logits.npy"))).unwrap().shape, [40, 2]);

    let student = "kind = \"metaspikeformer\"\nwidths = [8, 8, 8, 8]\nheads = 2\ndistilled = true";
    let weights = |name: &str, teacher: &str, kind: &str| {
        let distill =
            format!("distill = {{ teacher = \"{teacher}\", kind = {kind}, share = 0.5 }}");
        write(&format!("{name}.toml"), student, &distill);
        json(spikelet(["train", &at(&format!("{name}.toml")), "--out", &at(name), "--json"]));
        fs::read(dir.path().join(name).join("model.safetensors")).unwrap().len()
    };
    let soft = "{ soft = { temperature = 3.0 } }";
    weights("asked", &at("teacher"), soft);
    weights("recorded", &at("logits.npy"), soft);
    let loss = |name: &str| {
        let text = fs::read_to_string(dir.path().join(name).join("metrics.jsonl")).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        first["loss"].as_f64().unwrap()
    };
    assert!((loss("asked") - loss("recorded")).abs() < 1e-5);
    weights("hard", &at("teacher"), "\"hard\"");
    assert!((loss("asked") - loss("hard")).abs() > 1e-4);

    // A student may start from a run without the second head, which then is a fresh one.
    let plain = student.replace("\ndistilled = true", "");
    write("plain.toml", &plain, "");
    json(spikelet(["train", &at("plain.toml"), "--out", &at("plain"), "--json"]));
    let still = "train.optimizer={ kind = \"sgd\", lr = 0.0 }";
    let (config, from, out) = (at("asked.toml"), at("plain"), at("student"));
    let student_of = ["train", &config, "--init", &from, "--out", &out, "--set", still];
    json(spikelet(student_of.into_iter().chain(["--set", "train.epochs=1", "--json"])));
    let best = |run: &str| Checkpoint::load(&checkpoint_path(&dir.path().join(run))).unwrap().best;
    let (given, grown) = (best("plain"), best("student"));
    assert!(!given.contains_key("head_kd.weight"));
    for name in ["head.weight", "block4.1.mlp.fc2_conv.weight", "downsample1_1.encode_conv.bias"] {
        assert_eq!(given[name], grown[name], "{name}");
    }
    let (shape, fresh) = &grown["head_kd.weight"];
    assert_eq!(*shape, given["head.weight"].0);
    assert!(fresh.iter().any(|v| *v != 0.0) && *fresh != given["head.weight"].1);

    write("alone.toml", student, "");
    let alone = spikelet(["train", &at("alone.toml"), "--out", &at("alone")]);
    assert!(alone.code != 0 && alone.stderr.contains("go together"), "{}", alone.stderr);
    npy::save_f32(Path::new(&at("short.npy")), &[3, 2], &[0.0; 6]).unwrap();
    let distill = format!("distill = {{ teacher = \"{}\" }}", at("short.npy"));
    write("short.toml", student, &distill);
    let short = spikelet(["train", &at("short.toml"), "--out", &at("short")]);
    assert!(short.code != 0 && short.stderr.contains("[40, 2]"), "{}", short.stderr);
}
