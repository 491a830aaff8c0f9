//! Small graphs of every kind that devices are given, with numbers that integers represent exactly.

use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset, Signal,
    Tensor, Weight,
    compress::{Bits, integer_only, quantize_channels},
};
use std::collections::BTreeMap;

pub fn matrix(shape: &[usize], seed: usize) -> Tensor {
    let len: usize = shape.iter().product();
    // The largest magnitude of every output is 127/64, so that every scale is 2^-6.
    let value = |k: usize| match k % 7 {
        0 => 127.0,
        _ => ((k * 37 + seed * 11) % 61) as f32 - 30.0,
    };
    let mut values: Vec<f32> = (0..len).map(|k| value(k) / 64.0).collect();
    for row in values.chunks_mut(len / shape[0]) {
        row[0] = 127.0 / 64.0;
    }
    Tensor::f32(shape, values).expect("the shape of its values")
}

fn neuron(membrane: Membrane, reset_delayed: bool, reset: Reset) -> Neuron {
    let threshold = Param::Shared(1.0);
    Neuron { membrane, threshold, fires_at_threshold: false, reset, reset_delayed }
}

fn lif(beta: f32, reset_delayed: bool, reset: Reset) -> Neuron {
    neuron(Membrane::Lif { beta: Param::Shared(beta), input_decay: false }, reset_delayed, reset)
}

/// Feedback, a Legendre memory, several products into one sum, a dense input.
pub fn recurrent() -> Graph {
    let mut g = GraphBuilder::new("recurrent");
    g.input("x", Signal::Dense, &[3]);
    g.linear("w", "x", &matrix(&[8, 3], 1), Some(matrix(&[8], 2)), Layout::ByInput);
    g.linear("r", ("s", 1), &matrix(&[8, 8], 3), None, Layout::ByInput);
    g.neuron("s", &["w", "r"], lif(0.5, true, Reset::Subtract));
    let a = Tensor::f32(&[2, 2], vec![0.5, -0.25, 0.75, 1.5]).expect("four values");
    g.legendre("l", "s", ("m", 1), 8, a, Tensor::f32(&[2], vec![0.5, -1.25]).expect("two"));
    g.neuron("m", &["l"], lif(0.5, true, Reset::Subtract));
    g.linear("o", "m", &matrix(&[4, 16], 4), Some(matrix(&[4], 2)), Layout::ByOutput);
    let cuba = Membrane::CubaLif { alpha: Param::Shared(0.5), beta: Param::Shared(0.5) };
    g.neuron("out", &["o"], neuron(cuba, false, Reset::Zero));
    g.readout("sum", "out", Readout::Sum);
    g.output("y", "sum");
    g.finish().expect("a valid graph")
}

/// Convolutions of an image and of spikes, a residual, pooling, a leaky integrator.
pub fn convolutional() -> Graph {
    let mut g = GraphBuilder::new("convolutional");
    g.input("x", Signal::Dense, &[6, 6, 2]);
    let by = Layout::ByInput;
    g.conv2d("c1", "x", &matrix(&[4, 2, 3, 3], 1), None, by, [1, 1], [1, 1], 1);
    g.neuron("s1", &["c1"], lif(0.5, false, Reset::Subtract));
    g.conv2d("c2", "s1", &matrix(&[4, 4, 3, 3], 2), None, by, [1, 1], [1, 1], 1);
    g.conv2d("c3", "s1", &matrix(&[4, 2, 1, 1], 5), None, by, [1, 1], [0, 0], 2);
    g.neuron("s2", &["c2", "c3"], lif(0.5, false, Reset::Zero));
    let pool = Pooling::Average;
    let (kernel, stride, padding) = ([2, 2], [2, 2], [0, 0]);
    g.node("p", Op::Pool2d { pooling: pool, kernel, stride, padding });
    g.edge("s2", "p", 0);
    g.node("f", Op::Flatten);
    g.edge("p", "f", 0);
    g.linear("o", "f", &matrix(&[3, 36], 3), None, Layout::ByOutput);
    g.neuron("li", &["o"], neuron(Membrane::Li { beta: Param::Shared(0.5) }, false, Reset::None));
    g.readout("mean", "li", Readout::Mean);
    g.output("y", "mean");
    g.finish().expect("a valid graph")
}

/// A convolution of spikes, pooled or not.
pub struct Spiking {
    /// Of the map of spikes: height, width, channels.
    pub map: [usize; 3],
    /// Size and steps of the windows that are pooled.
    pub pool: Option<(Pooling, [usize; 2], [usize; 2])>,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub outputs: usize,
}

impl Spiking {
    /// Two readings at every place, spikes that they cause, and neurons behind the convolution.
    pub fn graph(&self) -> Graph {
        let mut g = GraphBuilder::new("spiking");
        let [height, width, channels] = self.map;
        g.input("x", Signal::Dense, &[height, width, 2]);
        let by = Layout::ByInput;
        g.conv2d("in", "x", &matrix(&[channels, 2, 1, 1], 1), None, by, [1, 1], [0, 0], 1);
        let mut early = lif(0.5, false, Reset::Subtract);
        early.fires_at_threshold = true;
        g.neuron("s", &["in"], early);
        let mut last = "s";
        if let Some((pooling, kernel, stride)) = self.pool {
            g.node("p", Op::Pool2d { pooling, kernel, stride, padding: [0, 0] });
            g.edge("s", "p", 0);
            last = "p";
        }
        let [kh, kw] = self.kernel;
        let weight = matrix(&[self.outputs, channels, kh, kw], 2);
        g.conv2d("c", last, &weight, None, by, self.stride, self.padding, 1);
        g.neuron("out", &["c"], lif(0.5, true, Reset::Subtract));
        g.readout("sum", "out", Readout::Sum);
        g.output("y", "sum");
        g.finish().expect("a valid graph")
    }
}

/// Two event-based GRUs, the second one behind the trace of the first, with zoneout and a restart.
pub fn event_based() -> Graph {
    let mut g = GraphBuilder::new("event-based");
    g.input("x", Signal::Dense, &[3]);
    let mut last = "x".to_owned();
    for (index, (inputs, zoneout, restart)) in
        [(3, 0.0, None), (20, 0.25, Some(7))].into_iter().enumerate()
    {
        let name = format!("e{index}");
        let weight = |tensor: String, layout| Weight { tensor, scale: None, layout };
        let vector = |values: [f32; 20]| Tensor::f32(&[20], values.to_vec()).expect("a unit each");
        let biases = |seed: usize| {
            let values = (0..60).map(|k| ((k * 7 + seed) % 13) as f32 / 8.0 - 0.75).collect();
            Tensor::f32(&[60], values).expect("a gate each")
        };
        let op = Op::Egru {
            weight_input: weight(
                g.tensor(&format!("{name}.w"), matrix(&[60, inputs], 2)),
                Layout::ByOutput,
            ),
            weight_hidden: weight(
                g.tensor(&format!("{name}.r"), matrix(&[20, 60], 5)),
                Layout::ByInput,
            ),
            bias_input: g.tensor(&format!("{name}.b"), biases(1)),
            bias_hidden: g.tensor(&format!("{name}.c"), biases(4)),
            threshold: g.tensor(
                &format!("{name}.t"),
                vector(std::array::from_fn(|k| (k % 5) as f32 / 8.0)),
            ),
            zoneout,
            restart,
        };
        g.node(&name, op);
        g.edge(&last, &name, 0);
        g.edge((name.as_str(), 1), &name, 1);
        let (gain, trace) = (format!("{name}.gain"), format!("{name}.trace"));
        let factor = g.tensor(&gain, vector([0.125; 20]));
        g.node(&gain, Op::Scale { factor, shift: None });
        g.edge(&name, &gain, 0);
        let li = Membrane::Li { beta: Param::Shared(0.875) };
        g.neuron(&trace, &[&gain], neuron(li, false, Reset::None));
        last = trace;
    }
    g.linear("o", &last, &matrix(&[4, 20], 3), Some(matrix(&[4], 2)), Layout::ByOutput);
    g.readout("mean", "o", Readout::Mean);
    g.output("y", "mean");
    g.finish().expect("a valid graph")
}

pub fn integers(graph: &Graph) -> [Graph; 2] {
    let (floats, _) = quantize_channels(graph, Bits::Eight, &[]).expect("weights");
    let largest = BTreeMap::from([("x".to_owned(), 3.0)]);
    let integers = integer_only(&floats, &largest).expect("an integer form");
    [floats, integers]
}

/// Inputs that are multiples of 1/4.
pub fn input(len: usize, steps: usize) -> Vec<f32> {
    (0..len * steps).map(|k| ((k * 31 + k / 7) % 23) as f32 / 4.0 - 2.75).collect()
}

/// Read-outs of [`neurons`]: of spikes, and of values.
pub const SPIKES: [(&str, &str, Readout); 3] =
    [("sum", "n000", Readout::Sum), ("max", "n211", Readout::Max), ("last", "n321", Readout::Last)];
pub const VALUES: [(&str, &str, Readout); 4] = [
    ("largest", "li", Readout::Max),
    ("average", "li", Readout::Mean),
    ("total", "li", Readout::Sum),
    ("mean", "n110", Readout::Mean),
];

/// Every neuron with every reset, parameters of each neuron, delays, and read-outs.
pub fn neurons(readouts: &[(&str, &str, Readout)]) -> Graph {
    let mut g = GraphBuilder::new("neurons");
    g.input("x", Signal::Dense, &[3]);
    let half = || Param::Shared(0.5);
    let thresholds = Tensor::f32(&[4], vec![0.5, 1.0, 0.75, 0.25]).expect("four values");
    let per_neuron = g.tensor("thresholds", thresholds);
    let models = [
        Membrane::If,
        Membrane::Lif { beta: half(), input_decay: true },
        Membrane::CubaLif { alpha: half(), beta: half() },
        Membrane::AdaptiveLif { beta: half(), rho: half(), gain: half() },
    ];
    let resets = [Reset::None, Reset::Subtract, Reset::Zero];
    let mut names = Vec::new();
    for (m, membrane) in models.iter().enumerate() {
        for (r, reset) in resets.iter().enumerate() {
            for reset_delayed in [false, true] {
                let name = format!("n{m}{r}{}", u8::from(reset_delayed));
                let w = format!("w {name}");
                g.linear(&w, "x", &matrix(&[4, 3], m + r), None, Layout::ByInput);
                let neuron = Neuron {
                    membrane: membrane.clone(),
                    threshold: Param::Tensor(per_neuron.clone()),
                    fires_at_threshold: (m + r) % 2 == 0,
                    reset: *reset,
                    reset_delayed,
                };
                g.neuron(&name, &[&w], neuron);
                names.push(name);
            }
        }
    }
    // What arrives from three and from one step before adds up.
    g.node("all", Op::Add);
    for name in &names {
        g.edge(name, "all", 0);
        g.edge((name.as_str(), 3), "all", 0);
    }
    g.linear("o", "all", &matrix(&[5, 4], 9), None, Layout::ByInput);
    g.neuron("li", &["o"], neuron(Membrane::Li { beta: half() }, false, Reset::None));
    for &(name, from, readout) in readouts {
        g.readout(name, from, readout);
        g.output(&format!("y {name}"), name);
    }
    g.finish().expect("a valid graph")
}
