//! Kernels of convolutions that are large enough to be packed, against the plain event-driven form.

use spikelet_graph::{GraphBuilder, Layout, Signal, Tensor};
use spikelet_kernels::{
    conv::{Conv, add_graded},
    window::Window,
};
use spikelet_runtime::Executor;

/// A pseudo-random value in -1..1, in steps of a power of two so that sums are exact.
fn noise(i: usize) -> f32 {
    ((i * 7919 + 13) % 129) as f32 / 64.0 - 1.0
}

fn check(groups: usize, signal: Signal, keep: usize) {
    let (size, inputs, outputs) = ([7, 5], 48, 104);
    let per_group = inputs / groups;
    let weights: Vec<f32> = (0..9 * per_group * outputs).map(noise).collect();
    let window = Window {
        input: size,
        output: [4, 3],
        kernel: [3; 2],
        stride: [2; 2],
        padding: [1; 2],
        dilation: [1; 2],
    };
    let conv = Conv { window, inputs, outputs, groups };
    let x: Vec<f32> = (0..size[0] * size[1] * inputs)
        .map(|i| match (i * 31 % 10 < keep, signal) {
            (false, _) => 0.0,
            (true, Signal::Binary) => 1.0,
            (true, _) => noise(i + 5) + 2.0,
        })
        .collect();

    let mut graph = GraphBuilder::new("packed");
    graph.input("input", signal, &[size[0], size[1], inputs]);
    // PyTorch's order: output, input, tap.
    let turned: Vec<f32> = (0..outputs * per_group * 9)
        .map(|i| {
            let (output, channel, tap) = (i / (per_group * 9), i / 9 % per_group, i % 9);
            weights[(tap * per_group + channel) * outputs + output]
        })
        .collect();
    let kernel = Tensor::f32(&[outputs, per_group, 3, 3], turned).unwrap();
    let bias = Tensor::f32(&[outputs], (0..outputs).map(noise).collect()).unwrap();
    graph.conv2d("conv", "input", &kernel, Some(bias), Layout::ByInput, [2; 2], [1; 2], groups);
    graph.output("output", "conv");
    let graph = graph.finish().unwrap();
    let executor = Executor::new(&graph).unwrap();
    // Rows are filled up to whole registers: more than the 4 bytes of each weight.
    assert!(executor.memory_plan().weights > 4 * weights.len(), "not packed");

    let events: Vec<u32> = (0..x.len() as u32).filter(|i| x[*i as usize] != 0.0).collect();
    let mut want: Vec<f32> = (0..12 * outputs).map(|i| noise(i % outputs)).collect();
    add_graded(&conv, &mut want, &weights, &events, &x);
    let mut state = executor.state();
    assert_eq!(executor.step(&mut state, &x).unwrap(), want);
    // Silence leaves the bias.
    let bias: Vec<f32> = (0..12 * outputs).map(|i| noise(i % outputs)).collect();
    assert_eq!(executor.step(&mut state, &vec![0.0; x.len()]).unwrap(), bias);
    // Several steps as one batch.
    let (mut steps, mut found) = (x.clone(), Vec::new());
    steps.extend(vec![0.0; x.len()]);
    steps.extend(&x);
    let executor = executor.with_steps_together(3);
    executor.run(&mut [executor.state()], &steps, &mut found).unwrap();
    assert_eq!(found, [&want[..], &bias[..], &want[..]].concat());
}

#[test]
fn agrees_with_the_plain_form() {
    for groups in [1, 2] {
        for keep in [1, 5, 10] {
            check(groups, Signal::Binary, keep);
            check(groups, Signal::Dense, keep);
        }
    }
}
