//! The published networks on the simulated chip: the figures of `docs/spinnaker2.md`.
//!
//! No trained network is published, so weights are random, and thresholds are set so that every
//! EGRU layer is as active as asked for. What a random network says is nonsense; what it costs
//! depends on how many events there are, not on which.
//!
//! Run with `cargo run --release -p spikelet-chip --example published`; `gestures` behind it runs the
//! second network only.

use spikelet_chip::{Chip, ChipError, Clock, Simulation, Wishes, map, simulate};
use spikelet_graph::{
    Function, Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset,
    Signal, Tensor, Weight,
};
use spikelet_runtime::{Executor, Output};

/// K. K. Nazeer et al., arXiv 2312.09084: seconds, watts, joules of an inference.
const PUBLISHED: [f64; 3] = [0.17025, 0.39, 0.0653];
/// Tokens of a window.
const WINDOW: usize = 70;
/// The cores that are published as in use.
const CORES: usize = 150;
/// The share of weights that is left of the published network.
const DENSITY: f64 = 0.05;
/// The share of EGRU units that send an event in a step: the thesis of the EGRU papers, about 90 %
/// activity sparsity on text.
const ACTIVITY: f64 = 0.1;
/// Steps on which thresholds are set.
const CALIBRATION: usize = 20;

fn main() -> Result<(), ChipError> {
    let chip = Chip::spinnaker2()?;
    let only = std::env::args().nth(1);
    if only.as_deref() == Some("gestures") {
        return gestures(&chip);
    }
    println!("## Language model\n");
    let input = dense_input(WINDOW, 750);
    let mut network = language_model(DENSITY)?;
    set_activity(&mut network, ACTIVITY, &input[..CALIBRATION * 750])?;
    compare(&chip, &network, &input)?;
    println!("### Sensitivity: one constant halved and doubled, {WINDOW} tokens at 0.5 V\n");
    let run = |chip: &Chip| Ok(figures(&run(chip, &network, &input, Clock::Low)?));
    sensitivity(&chip, &CONSTANTS, run)?;
    in_flight(&chip, &network, &input)?;
    activity(&chip, network, &input)?;
    sparsity(&chip, &input)?;
    gestures(&chip)
}

/// Random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From -1 to 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// A matrix `[inputs, outputs]` of which the share `density` is not zero.
    fn matrix(&mut self, inputs: usize, outputs: usize, density: f64) -> Vec<f32> {
        let scale = (3.0 / (inputs as f64 * density)).sqrt() as f32;
        let limit = (density * u64::MAX as f64) as u64;
        (0..inputs * outputs)
            .map(|_| if self.next() < limit { scale * self.value() } else { 0.0 })
            .collect()
    }
}

fn dense_input(steps: usize, width: usize) -> Vec<f32> {
    let mut random = Random(1);
    (0..steps * width).map(|_| random.value()).collect()
}

/// An EGRU layer of `hidden` units behind `from`.
fn egru(
    graph: &mut GraphBuilder,
    random: &mut Random,
    name: &str,
    from: &str,
    [inputs, hidden]: [usize; 2],
    density: f64,
) -> Result<(), ChipError> {
    let mut weight = |part: &str, inputs: usize| -> Result<Weight, ChipError> {
        let values = random.matrix(inputs, 3 * hidden, density);
        let tensor = Tensor::f32(&[inputs, 3 * hidden], values)?;
        let tensor = graph.tensor(&format!("{name}.{part}"), tensor);
        Ok(Weight { tensor, scale: None, layout: Layout::ByInput })
    };
    let (weight_input, weight_hidden) = (weight("input", inputs)?, weight("hidden", hidden)?);
    let bias_input = graph.tensor(&format!("{name}.bias"), Tensor::zeros(&[3 * hidden])?);
    let bias_hidden = graph.tensor(&format!("{name}.bias_hidden"), Tensor::zeros(&[3 * hidden])?);
    let threshold = Tensor::f32(&[hidden], vec![0.5; hidden])?;
    let threshold = graph.tensor(&format!("{name}.threshold"), threshold);
    let op = Op::Egru {
        weight_input,
        weight_hidden,
        bias_input,
        bias_hidden,
        threshold,
        zoneout: 0.0,
        restart: None,
    };
    graph.node(name, op);
    graph.edge(from, name, 0);
    graph.edge((name, 1), name, 1);
    Ok(())
}

/// Sets the thresholds of all EGRU layers, one a layer, so that each is as active as wanted.
fn set_activity(graph: &mut Graph, wanted: f64, input: &[f32]) -> Result<(), ChipError> {
    let egru = graph.nodes.iter().filter(|node| matches!(node.op, Op::Egru { .. }));
    let layers: Vec<(String, usize)> = egru.map(|node| (node.name.clone(), node.len())).collect();
    for (at, (name, units)) in layers.iter().enumerate() {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..8 {
            let threshold = (low + high) / 2.0;
            set_threshold(graph, name, *units, threshold)?;
            let found = measured_activity(graph, input)?[at];
            if found > wanted { low = threshold } else { high = threshold }
        }
    }
    Ok(())
}

fn set_threshold(
    graph: &mut Graph,
    layer: &str,
    units: usize,
    threshold: f32,
) -> Result<(), ChipError> {
    let tensor = Tensor::f32(&[units], vec![threshold; units])?;
    graph.tensors.insert(format!("{layer}.threshold"), tensor);
    Ok(())
}

/// The share of events of every EGRU layer.
fn measured_activity(graph: &Graph, input: &[f32]) -> Result<Vec<f64>, ChipError> {
    let executor = Executor::new(graph)?;
    let layers: Vec<usize> = (0..graph.nodes.len())
        .filter(|&node| matches!(graph.nodes[node].op, Op::Egru { .. }))
        .collect();
    let mut found = vec![[0, 0]; layers.len()];
    executor.run_observed(&mut [executor.state()], input, &mut Vec::new(), |seen| {
        if let (Some(at), Output::Dense(values)) =
            (layers.iter().position(|&node| node == seen.node), seen.output)
        {
            found[at][0] += values.iter().filter(|value| **value != 0.0).count();
            found[at][1] += values.len();
        }
    })?;
    Ok(found.into_iter().map(|[events, all]| events as f64 / all as f64).collect())
}

/// Three EGRU layers, 750 to 1350 to 1350 to 750, 95 % of the weights pruned. Embedding and decoder
/// are the host's: a table of 33278 words is far larger than the chip's SRAM.
fn language_model(density: f64) -> Result<Graph, ChipError> {
    let mut random = Random(7);
    let mut graph = GraphBuilder::new("EGRU language model");
    graph.input("embedding", Signal::Dense, &[750]);
    let mut from = "embedding".to_owned();
    for (at, sizes) in [[750, 1350], [1350, 1350], [1350, 750]].into_iter().enumerate() {
        let name = format!("egru{at}");
        egru(&mut graph, &mut random, &name, &from, sizes, density)?;
        from = name;
    }
    graph.output("events", &from);
    Ok(graph.finish()?)
}

fn run(chip: &Chip, graph: &Graph, x: &[f32], clock: Clock) -> Result<Simulation, ChipError> {
    let wishes = Wishes { cores: Some(CORES), ..Wishes::default() };
    let mapping = map(graph, chip, wishes)?;
    simulate(&mapping, graph, x, clock, |_| {})
}

fn figures(found: &Simulation) -> [f64; 3] {
    [found.latency, found.power, found.energy_total]
}

fn row(name: &str, figures: [f64; 3]) {
    let [latency, power, energy] = figures;
    let times = |at: usize| figures[at] / PUBLISHED[at];
    println!(
        "| {name} | {:.3} ms | {:.2} | {power:.3} W | {:.2} | {:.5} J | {:.2} |",
        1e3 * latency,
        times(0),
        times(1),
        energy,
        times(2)
    );
}

fn header() {
    println!("| | latency | / published | power | / published | energy | / published |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
}

fn compare(chip: &Chip, graph: &Graph, input: &[f32]) -> Result<(), ChipError> {
    let wishes = Wishes { cores: Some(CORES), ..Wishes::default() };
    let mapping = map(graph, chip, wishes)?;
    let fewest = map(graph, chip, Wishes::default())?;
    let memory = mapping.core_memory();
    let bytes: Vec<String> = measured_activity(graph, input)?
        .iter()
        .map(|activity| format!("{:.1} %", 100.0 * activity))
        .collect();
    println!(
        "{} cores hold at most {} bytes of data each (the fewest that hold the network: {}); \
         activity of the layers {}\n",
        memory.len(),
        memory.values().max().unwrap_or(&0),
        fewest.core_memory().len(),
        bytes.join(", ")
    );
    header();
    row("published", PUBLISHED);
    for (name, clock) in
        [("0.5 V", Clock::Low), ("0.8 V", Clock::High), ("adaptive", Clock::Adaptive)]
    {
        let token = simulate(&mapping, graph, &input[..750], clock, |_| {})?;
        let window = simulate(&mapping, graph, input, clock, |_| {})?;
        row(&format!("one token, {name}"), figures(&token));
        row(&format!("{WINDOW} tokens, {name}"), figures(&window));
        if clock == Clock::Low {
            let Simulation { energy, cores, links, .. } = &window;
            let share = |part: f64| 100.0 * part / window.energy_total;
            println!(
                "\nof the energy of {WINDOW} tokens at {name}: cores {:.1} %, SRAM {:.1} %, NoC \
                 {:.2} %, DRAM {:.1} %, idle {:.1} %; busiest core {:.1} % of the time, busiest \
                 link {:.2} %, {} events, {} deliveries\n",
                share(energy.cores),
                share(energy.sram),
                share(energy.noc),
                share(energy.dram),
                share(energy.idle),
                100.0 * cores.iter().map(|core| core.load).fold(0.0, f64::max),
                100.0
                    * links.iter().filter(|l| l.kind == "mesh").map(|l| l.load).fold(0.0, f64::max),
                window.events,
                window.deliveries,
            );
            header();
        }
    }
    println!();
    Ok(())
}

/// What a network whose weights fit the SRAM depends on: the clock, what an event, a packet, a unit
/// and a step take, and where energy goes.
const CONSTANTS: [&str; 21] = [
    "low.clock",
    "cycles.sparse_entry",
    "cycles.row",
    "cycles.scan",
    "cycles.packet_in",
    "cycles.packet_out",
    "cycles.step",
    "cycles.unit",
    "cycles.operation",
    "cycles.exponential",
    "cycles.function",
    "low.cycle",
    "sram.byte",
    "idle.chip",
    "idle.core",
    "noc.bit",
    "noc.clock",
    "noc.hop",
    "router.clock",
    "router.lookup",
    "router.latency",
];
/// What one whose weights come from the DRAM depends on besides.
const DRAM: [&str; 5] =
    ["dram.rate", "dram.latency", "dram.byte", "cycles.dense_entry", "idle.core"];

/// A table of constants: the figures that `run` finds when each is halved and when it is doubled.
fn sensitivity(
    chip: &Chip,
    names: &[&str],
    run: impl Fn(&Chip) -> Result<[f64; 3], ChipError>,
) -> Result<(), ChipError> {
    println!("| constant | mark | latency | | power | | energy | |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let base = run(chip)?;
    for name in names {
        let Some(constant) = chip.constants.iter().find(|constant| constant.name == *name) else {
            continue;
        };
        let at = |factor: f64| run(&chip.with(name, constant.value * factor)?);
        let (half, double) = (at(0.5)?, at(2.0)?);
        let change =
            |found: [f64; 3], at: usize| format!("{:+.1} %", 100.0 * (found[at] / base[at] - 1.0));
        let cells: Vec<String> =
            (0..3).flat_map(|at| [change(half, at), change(double, at)]).collect();
        let mark = format!("{:?}", constant.mark).to_lowercase();
        println!("| `{name}` | {mark} | {} |", cells.join(" | "));
    }
    println!();
    Ok(())
}

fn in_flight(chip: &Chip, graph: &Graph, input: &[f32]) -> Result<(), ChipError> {
    println!("### Sensitivity: how the network runs, {WINDOW} tokens\n");
    header();
    for flight in [1.0, 2.0, 3.0] {
        let chip = chip.with("core.steps_in_flight", flight)?;
        let found = run(&chip, graph, input, Clock::Low)?;
        row(&format!("{flight} tokens on the chip at once, 0.5 V"), figures(&found));
    }
    let mapping =
        map(graph, chip, Wishes { cores: Some(CORES), fixed: true, ..Wishes::default() })?;
    let found = simulate(&mapping, graph, input, Clock::Low, |_| {})?;
    row("s16.15 instead of floats, 0.5 V", figures(&found));
    println!();
    Ok(())
}

/// Pruned less and more than the published network; without pruning, most weights lie in the DRAM.
fn sparsity(chip: &Chip, input: &[f32]) -> Result<(), ChipError> {
    println!("### Sensitivity: pruned weights, {WINDOW} tokens at 0.5 V\n");
    println!("| pruned | cores | weights in the DRAM | latency | power | energy |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for pruned in [0.0, 0.5, 0.8, 0.9, 0.95, 0.98] {
        let mut graph = language_model(1.0 - pruned)?;
        set_activity(&mut graph, ACTIVITY, &input[..CALIBRATION * 750])?;
        let cores = Some(chip.cores());
        let mapping = map(&graph, chip, Wishes { cores, ..Wishes::default() })?;
        let found = simulate(&mapping, &graph, input, Clock::Low, |_| {})?;
        println!(
            "| {:.0} % | {} | {:.1} MiB | {:.2} ms | {:.3} W | {:.4} J |",
            100.0 * pruned,
            found.cores_used,
            mapping.dram_bytes() as f64 / (1 << 20) as f64,
            1e3 * found.latency,
            found.power,
            found.energy_total
        );
        if pruned == 0.0 {
            let run = |chip: &Chip| {
                let mapping = map(&graph, chip, Wishes { cores, ..Wishes::default() })?;
                Ok(figures(&simulate(&mapping, &graph, input, Clock::Low, |_| {})?))
            };
            println!("\nnot pruned, one constant halved and doubled:\n");
            sensitivity(chip, &DRAM, run)?;
            println!("| pruned | cores | weights in the DRAM | latency | power | energy |");
            println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        }
    }
    println!();
    Ok(())
}

fn activity(chip: &Chip, mut graph: Graph, input: &[f32]) -> Result<(), ChipError> {
    println!("### Sensitivity: events, {WINDOW} tokens\n");
    header();
    for share in [0.05, 0.2, 0.5] {
        set_activity(&mut graph, share, &input[..CALIBRATION * 750])?;
        let found = run(chip, &graph, input, Clock::Low)?;
        row(&format!("{:.0} % of the units active, 0.5 V", 100.0 * share), figures(&found));
    }
    // As if the chip did not use that most units are silent.
    for (layer, units) in [("egru0", 1350), ("egru1", 1350), ("egru2", 750)] {
        set_threshold(&mut graph, layer, units, -1.0)?;
    }
    for (name, clock) in [("0.5 V", Clock::Low), ("0.8 V", Clock::High)] {
        let found = run(chip, &graph, input, clock)?;
        row(&format!("all units active, {name}"), figures(&found));
    }
    println!();
    Ok(())
}

/// The network of the official preset: frames of 128 x 128 every 25 ms for 1.7 s, a convolutional
/// front end, 795 EGRU units, a linear layer on their traces.
fn gestures(chip: &Chip) -> Result<(), ChipError> {
    const STEPS: usize = 68;
    let mut random = Random(3);
    let input: Vec<f32> =
        (0..STEPS * 128 * 128 * 2).map(|_| f32::from(random.next() < u64::MAX / 20)).collect();
    let mut graph = gesture_network()?;
    set_activity(&mut graph, 0.2, &input[..CALIBRATION * 128 * 128 * 2])?;
    graph.task.window = STEPS;
    println!("## DVS gestures\n");
    println!("| cores | weights in the DRAM | latency | power | energy | busiest core |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for chips in [1, 2] {
        let cores = Some(chips * chip.cores());
        let mapping = map(&graph, chip, Wishes { chips, cores, fixed: false })?;
        for clock in [Clock::Low, Clock::High] {
            let found = simulate(&mapping, &graph, &input, clock, |_| {})?;
            println!(
                "| {} on {chips} x {}, {clock:?} | {:.1} MiB | {:.2} ms | {:.3} W | {:.4} J | {:.1} % |",
                found.cores_used,
                found.chip,
                mapping.dram_bytes() as f64 / (1 << 20) as f64,
                1e3 * found.latency,
                found.power,
                found.energy_total,
                100.0 * found.cores.iter().map(|core| core.load).fold(0.0, f64::max)
            );
        }
    }
    Ok(())
}

/// Counts of two polarities at 128 x 128 positions, AlexNet-like convolutions, 795 EGRU units, a
/// linear layer on their traces.
fn gesture_network() -> Result<Graph, ChipError> {
    let mut random = Random(5);
    let mut graph = GraphBuilder::new("EGRU gestures");
    graph.input("frames", Signal::Graded, &[128, 128, 2]);
    // The mean of both polarities, as the factor of a convolution that has the same kernel for both.
    let factor = graph.tensor("factor", Tensor::f32(&[2], vec![0.5 / 18.5; 2])?);
    graph.node("counts", Op::Scale { factor, shift: None });
    graph.edge("frames", "counts", 0);
    let mut from = "counts".to_owned();
    let layers = [
        [2, 64, 11, 4, 2],
        [64, 192, 5, 1, 2],
        [192, 384, 3, 1, 1],
        [384, 256, 3, 1, 1],
        [256, 256, 3, 1, 1],
    ];
    for (at, [inputs, outputs, kernel, stride, padding]) in layers.into_iter().enumerate() {
        let values = random.matrix(inputs * kernel * kernel, outputs, 1.0);
        let weight = Tensor::f32(&[outputs, inputs, kernel, kernel], values)?;
        let (conv, relu) = (format!("conv{at}"), format!("relu{at}"));
        let (stride, padding) = ([stride; 2], [padding; 2]);
        graph.conv2d(&conv, &from, &weight, None, Layout::ByInput, stride, padding, 1);
        graph.activation(&relu, &conv, Function::Relu);
        from = relu;
        if at < 4 {
            let pool = format!("pool{at}");
            let (kernel, stride, padding) = ([3, 3], [2, 2], [0, 0]);
            let pooling = Pooling::Max;
            graph.node(&pool, Op::Pool2d { pooling, kernel, stride, padding });
            graph.edge(&from, &pool, 0);
            from = pool;
        }
    }
    graph.node("flat", Op::Flatten);
    graph.edge(&from, "flat", 0);
    let weight = Tensor::f32(&[512, 256], random.matrix(256, 512, 1.0))?;
    graph.linear("features", "flat", &weight, None, Layout::ByInput);
    egru(&mut graph, &mut random, "egru", "features", [512, 795], 1.0)?;
    let tenth = graph.tensor("tenth", Tensor::f32(&[795], vec![0.1; 795])?);
    graph.node("share", Op::Scale { factor: tenth, shift: None });
    graph.edge("egru", "share", 0);
    let trace = Neuron {
        membrane: Membrane::Li { beta: Param::Shared(0.9) },
        threshold: Param::Shared(1.0),
        fires_at_threshold: false,
        reset: Reset::None,
        reset_delayed: false,
    };
    graph.neuron("trace", &["share"], trace);
    let weight = Tensor::f32(&[11, 795], random.matrix(795, 11, 1.0))?;
    graph.linear("classes", "trace", &weight, None, Layout::ByInput);
    graph.readout("decision", "classes", Readout::Mean);
    graph.output("y", "decision");
    Ok(graph.finish()?)
}
