//! Masks, detections and segmentations against pycocotools and torchmetrics (`benches/peers/vision_metrics.py`).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::Value;
use spikelet_data::coco;
use spikelet_data::coco_eval::{CocoFigures, Detection, ImageResult, Overlap, Truth, evaluate};
use spikelet_data::metrics::{Confusion, in_top};
use spikelet_data::rle::Rle;

fn golden() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden-extra/vision_metrics.json");
    serde_json::from_reader(BufReader::new(File::open(path).unwrap())).unwrap()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let found = value[name].as_array().unwrap_or_else(|| panic!("no list {name}"));
    assert!(!found.is_empty(), "{name} is empty");
    found
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn number(value: &Value, name: &str) -> u32 {
    value[name].as_u64().unwrap().try_into().unwrap()
}

#[test]
fn polygons_become_the_same_pixels() {
    for case in list(&golden(), "masks") {
        let (height, width) = (number(case, "height"), number(case, "width"));
        let polygons: Vec<Vec<f64>> = list(case, "polygons").iter().map(numbers).collect();
        let mask = Rle::polygons(height, width, &polygons).unwrap();
        let text = case["runs"].as_str().unwrap();
        assert_eq!(mask.text(), text, "{polygons:?}");
        assert_eq!(Rle::parse(height, width, text).unwrap(), mask);
        assert_eq!(mask.area(), u64::from(number(case, "area")));
        assert_eq!(mask.bounding_box().to_vec(), numbers(&case["box"]));
    }
}

#[test]
fn precision_and_recall_of_detections() {
    for case in list(&golden(), "coco") {
        let text = case["truth"].to_string();
        let scenes = coco::read(text.as_bytes(), "golden", Path::new("")).unwrap();
        assert!(scenes.dropped.is_empty());
        let images: Vec<ImageResult> = scenes
            .images
            .iter()
            .map(|scene| ImageResult {
                truths: scene
                    .objects
                    .iter()
                    .map(|object| Truth {
                        category: object.category,
                        bbox: object.bbox,
                        area: object.area,
                        crowd: object.crowd,
                        ignored: false,
                        mask: object.mask(scene.height, scene.width).map(Result::unwrap),
                    })
                    .collect(),
                detections: list(case, "found")
                    .iter()
                    .filter(|found| u64::from(number(found, "image_id")) == scene.id)
                    .map(|found| Detection {
                        category: number(found, "category_id") - 1,
                        score: found["score"].as_f64().unwrap(),
                        bbox: numbers(&found["bbox"]).try_into().unwrap(),
                        mask: Some({
                            let text = found["segmentation"]["counts"].as_str().unwrap();
                            Rle::parse(scene.height, scene.width, text).unwrap()
                        }),
                    })
                    .collect(),
            })
            .collect();
        for (overlap, name) in [(Overlap::Box, "bbox"), (Overlap::Mask, "segm")] {
            let expected = numbers(&case["figures"][name]);
            let got = twelve(&evaluate(&images, scenes.categories.len(), overlap).unwrap());
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                assert!((got - expected).abs() < 1e-12, "{name} {i}: {got} and {expected}");
            }
            // The cases must be able to tell right from wrong.
            assert!(expected[0] > 0.05 && expected[0] < 0.9, "{expected:?}");
        }
    }
}

/// In the order of `COCOeval.stats`, which holds -1 where nothing was asked for.
fn twelve(f: &CocoFigures) -> [f64; 12] {
    let precision = [f.ap, f.ap50, f.ap75, f.ap_small, f.ap_medium, f.ap_large];
    let recall = [f.ar1, f.ar10, f.ar100, f.ar_small, f.ar_medium, f.ar_large];
    let all: Vec<f64> =
        precision.into_iter().chain(recall).map(|value| value.unwrap_or(-1.0)).collect();
    all.try_into().unwrap()
}

#[test]
fn overlap_and_accuracy_of_pixels() {
    for case in list(&golden(), "segmentation") {
        let classes = number(case, "classes") as usize;
        let mut confusion = Confusion::new(classes);
        for (truth, predicted) in numbers(&case["truth"]).iter().zip(numbers(&case["predicted"])) {
            if *truth != 255.0 {
                confusion.add(*truth as u32, predicted as u32);
            }
        }
        let counts: Vec<f64> = confusion.counts.iter().map(|&n| n as f64).collect();
        assert_eq!(counts, numbers(&case["confusion"]));
        // torchmetrics computes in f32.
        let near = |got: f64, expected: &Value| {
            let expected = expected.as_f64().unwrap();
            assert!((got - expected).abs() < 1e-6, "{got} and {expected}");
        };
        for (got, expected) in confusion.overlaps().iter().zip(list(case, "overlaps")) {
            near(got.unwrap_or(0.0), expected);
        }
        near(confusion.mean_overlap(), &case["mean_overlap"]);
        near(confusion.accuracy(), &case["accuracy"]);
    }
}

#[test]
fn the_highest_five() {
    let golden = golden();
    let case = &golden["ranking"];
    let truth = numbers(&case["truth"]);
    for (k, name) in [(1, "top1"), (5, "top5")] {
        let rows = list(case, "scores")
            .iter()
            .map(|row| numbers(row).into_iter().map(|v| v as f32).collect::<Vec<_>>());
        let right = rows.zip(&truth).filter(|(row, truth)| in_top(row, **truth as u32, k)).count();
        let expected = case[name].as_f64().unwrap();
        assert!((right as f64 / truth.len() as f64 - expected).abs() < 1e-6, "{name}");
    }
}
