//! Detectors from graphs made by hand, and graphs that only say they are detectors.

use spikelet_graph::{
    Detection, Graph, GraphBuilder, Layout, Readout, Signal, Task, Tensor,
    detection::{Anchors, Coder, Keep, Regions},
};
use spikelet_runtime::Detector;

const KEEP: Keep = Keep { score: 0.3, per_level: 50, overlap: 0.5, most: 20 };

fn settings(regions: bool) -> Detection {
    let regions = regions.then(|| Regions {
        strides: vec![1],
        finest: 56.0,
        side: 2,
        mask_side: Some(2),
        coder: Coder::REGIONS,
        keep: Keep { score: 0.3, ..KEEP },
    });
    let anchors = Anchors { strides: vec![1], scales: vec![2.0], ratios: vec![1.0] };
    Detection { anchors, coder: Coder::PLAIN, keep: KEEP, regions }
}

/// A map from the channels of `from` by a 1 x 1 convolution: `weight` for every output and input.
fn map(graph: &mut GraphBuilder, name: &str, from: &str, weight: &[[f32; 3]], bias: f32) {
    let outputs = weight.len();
    let weight = Tensor::f32(&[outputs, 3, 1, 1], weight.concat()).unwrap();
    let bias = Some(Tensor::f32(&[outputs], vec![bias; outputs]).unwrap());
    graph.conv2d(name, from, &weight, bias, Layout::ByOutput, [1; 2], [0; 2], 1);
}

fn output(graph: &mut GraphBuilder, name: &str, from: &str) {
    let mean = format!("{name}.mean");
    graph.readout(&mean, from, Readout::Mean);
    graph.output(name, &mean);
}

/// Objects are where the first channel is 1, of class 1 where the second one is.
fn detector(regions: bool, change: impl FnOnce(&mut Task)) -> Graph {
    let mut graph = GraphBuilder::new("by hand");
    graph.input("image", Signal::Dense, &[4, 6, 3]);
    let scores: &[[f32; 3]] = match regions {
        true => &[[20.0, 0.0, 0.0]],
        false => &[[20.0, -20.0, 0.0], [0.0, 20.0, 0.0]],
    };
    map(&mut graph, "s", "image", scores, -10.0);
    map(&mut graph, "d", "image", &[[0.0; 3]; 4], 0.0);
    output(&mut graph, "scores.0", "s");
    output(&mut graph, "deltas.0", "d");
    if regions {
        map(&mut graph, "f", "image", &[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], 0.0);
        graph.output("features.0", "f");
        graph.input("box_region", Signal::Dense, &[2, 2, 3]);
        graph.node("flat", spikelet_graph::Op::Flatten);
        graph.edge("box_region", "flat", 0);
        let linear = |graph: &mut GraphBuilder, name: &str, rows: &[[f32; 12]], bias: Vec<f32>| {
            let weight = Tensor::f32(&[rows.len(), 12], rows.concat()).unwrap();
            let bias = Some(Tensor::f32(&[rows.len()], bias).unwrap());
            graph.linear(name, "flat", &weight, bias, Layout::ByOutput);
        };
        let channel = |c: usize, w: f32| std::array::from_fn(|i| if i % 3 == c { w } else { 0.0 });
        linear(
            &mut graph,
            "c",
            &[channel(1, -9.0), channel(1, 9.0), [0.0; 12]],
            vec![4.0, 0.0, 0.0],
        );
        linear(&mut graph, "b", &[[0.0; 12]; 8], vec![0.0; 8]);
        output(&mut graph, "classes", "c");
        output(&mut graph, "boxes", "b");
        graph.input("mask_region", Signal::Dense, &[2, 2, 3]);
        map(&mut graph, "m", "mask_region", &[[0.0; 3]; 8], 1.0);
        output(&mut graph, "masks", "m");
    }
    let classes = ["zero", "one"].map(str::to_owned).to_vec();
    let detection = Some(settings(regions));
    let mut task = Task { classes, window: 2, detection, ..Task::default() };
    change(&mut task);
    graph.task(task);
    graph.finish().unwrap()
}

fn image() -> Vec<f32> {
    let mut image = vec![0.0; 4 * 6 * 3];
    // Row 1, column 1: class zero. Row 2, column 5: class one.
    image[(6 + 1) * 3] = 1.0;
    image[(2 * 6 + 5) * 3..][..2].fill(1.0);
    image
}

#[test]
fn a_single_stage() {
    let detector = Detector::new(&detector(false, |_| {})).unwrap();
    let found = detector.detect(&image()).unwrap();
    assert_eq!(found.len(), 2, "{found:?}");
    for object in found {
        let rects = [[0.0, 0.0, 2.0, 2.0], [4.0, 1.0, 6.0, 3.0]];
        assert_eq!(object.found.rect, rects[object.found.class]);
        assert_eq!(object.mask, None);
    }
}

#[test]
fn two_stages() {
    let detector = Detector::new(&detector(true, |_| {})).unwrap();
    let found = detector.detect(&image()).unwrap();
    assert!(!found.is_empty());
    for object in &found {
        let mask = object.mask.as_ref().unwrap();
        assert_eq!(mask, &vec![1.0; 16]);
    }
    assert!(detector.detect(&[0.0; 5]).is_err());
    assert!(detector.detect(&vec![0.0; 72]).unwrap().is_empty());
}

#[test]
fn graphs_that_are_none() {
    for (regions, says, change) in [
        (false, "detection", (|task| task.detection = None) as fn(&mut Task)),
        (false, "classes", |task| task.classes.clear()),
        (false, "kinds", |task| task.classes.push("two".to_owned())),
        (false, "anchors", |task| {
            task.detection.as_mut().unwrap().anchors.ratios.push(2.0);
        }),
        (false, "scores.1", |task| {
            task.detection.as_mut().unwrap().anchors.strides.push(8);
        }),
        (true, "features.1", |task| {
            let detection = task.detection.as_mut().unwrap();
            detection.regions.as_mut().unwrap().strides.push(8);
        }),
        (true, "box_region", |task| {
            let detection = task.detection.as_mut().unwrap();
            detection.regions.as_mut().unwrap().side = 7;
        }),
        (true, "mask", |task| {
            let detection = task.detection.as_mut().unwrap();
            detection.regions.as_mut().unwrap().mask_side = None;
        }),
        (true, "classes", |task| task.classes.push("two".to_owned())),
    ] {
        let error = Detector::new(&detector(regions, change)).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// Settings out of range are refused with the graph that holds them.
#[test]
fn hostile_settings() {
    let graph = detector(true, |_| {});
    let broken: [fn(&mut Detection); 8] = [
        |d| d.anchors.scales[0] = f32::NAN,
        |d| d.anchors.strides[0] = 0,
        |d| d.anchors.strides.clear(),
        |d| d.coder.std[2] = 0.0,
        |d| d.keep.most = usize::MAX,
        |d| d.keep.overlap = 2.0,
        |d| d.regions.as_mut().unwrap().side = 1 << 20,
        |d| d.regions.as_mut().unwrap().finest = -1.0,
    ];
    for (at, change) in broken.into_iter().enumerate() {
        let mut graph = graph.clone();
        change(graph.task.detection.as_mut().unwrap());
        assert!(graph.validate().is_err(), "change {at}");
        assert!(Detector::new(&graph).is_err(), "change {at}");
    }
}
