//! What happens at the limits of a chip: weights in the DRAM, several chips, shared cores, and
//! errors that say what does not fit.

use spikelet_chip::{
    Assignment, Chip, Clock, Mapping, Simulation, Store, Wishes, made_up_input, map, map_on_enough,
    simulate,
};
use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Param, Reset, Signal, Tensor, Values, Weight,
};

const ONE: Wishes = Wishes { chips: 1, cores: None, fixed: false };

fn chip() -> Chip {
    Chip::spinnaker2().unwrap()
}

fn lif() -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.5), input_decay: false },
        threshold: Param::Shared(0.5),
        fires_at_threshold: false,
        reset: Reset::Subtract,
        reset_delayed: false,
    }
}

/// Weights from -1 to 1 of which one in `density` is not zero.
fn weights(shape: &[usize], density: usize) -> Tensor {
    let len = shape.iter().product();
    let value = |at: usize| (at * 7919 % 257) as f32 / 128.0 - 1.0;
    let values = (0..len).map(|at| if at * 31 % density == 0 { value(at) } else { 0.0 });
    Tensor::f32(shape, values.collect()).unwrap()
}

/// `layers` populations of `size` neurons, each fed by the one before; the last also by itself.
fn chain(layers: usize, size: usize, density: usize) -> Graph {
    let mut graph = GraphBuilder::new("chain");
    graph.input("x", Signal::Binary, &[size]);
    let mut from = "x".to_owned();
    for at in 0..layers {
        let (matrix, spikes) = (format!("w{at}"), format!("n{at}"));
        graph.linear(&matrix, &from, &weights(&[size, size], density), None, Layout::ByInput);
        if at + 1 == layers {
            let recurrent = weights(&[size, size], density);
            graph.linear("r", (spikes.as_str(), 1), &recurrent, None, Layout::ByInput);
            graph.neuron(&spikes, &[&matrix, "r"], lif());
        } else {
            graph.neuron(&spikes, &[&matrix], lif());
        }
        from = spikes;
    }
    graph.output("y", &from);
    graph.finish().unwrap()
}

fn run(graph: &Graph, mapping: &Mapping) -> Simulation {
    let x = made_up_input(graph, 5, 1).unwrap();
    simulate(mapping, graph, &x, Clock::High, |_| {}).unwrap()
}

fn refusal(graph: &Graph, chip: &Chip, wishes: Wishes) -> String {
    map(graph, chip, wishes).map(|_| "it fits").expect_err("refused").to_string()
}

#[test]
fn weights_that_fit_no_core_come_from_the_dram_or_go_to_more_chips() {
    // 5 matrices of 1024 x 1024 x 4 bytes: 20 MiB, a chip has 14 MiB for data.
    let graph = chain(4, 1024, 1);
    let streamed = map(&graph, &chip(), ONE).unwrap();
    let in_dram = |mapping: &Mapping| {
        let layers = mapping.assignment().layers.into_iter();
        layers.filter(|layer| layer.weights == Store::Dram).count()
    };
    assert_eq!(in_dram(&streamed), 1);
    assert!(streamed.dram_bytes() >= 4 << 20);
    let spread = map(&graph, &chip(), Wishes { chips: 2, ..ONE }).unwrap();
    assert_eq!(in_dram(&spread), 0);
    let (streamed, spread) = (run(&graph, &streamed), run(&graph, &spread));
    assert_eq!(streamed.output, spread.output);
    assert!(streamed.energy.dram > 0.0 && spread.energy.dram == 0.0);
    assert!(spread.links.iter().any(|link| link.kind == "chip" && link.packets > 0));
    assert!(streamed.links.iter().all(|link| link.kind != "chip"));
}

#[test]
fn more_chips_are_taken_only_when_needed() {
    // A chip with the cores of one quad holds 4 x 93 184 bytes: not the potentials of 100 000 neurons.
    let small = chip().with("core.quads", 1.0).unwrap();
    let mut graph = GraphBuilder::new("many");
    graph.input("x", Signal::Binary, &[100_000]);
    graph.neuron("n", &["x"], lif());
    graph.output("y", "n");
    let graph = graph.finish().unwrap();
    assert!(refusal(&graph, &small, ONE).contains("layer `n`"));
    let enough = map_on_enough(&graph, &small, ONE).unwrap();
    assert_eq!(enough.chips, 2);
    assert_eq!(map_on_enough(&chain(2, 64, 1), &small, ONE).unwrap().chips, 1);
    // Who says how many cores gets no more, and a board is the end.
    let four = Wishes { cores: Some(4), ..ONE };
    assert!(map_on_enough(&graph, &small, four).is_err());
    let board = small.with("link.chips", 3.0).unwrap();
    let huge = chain(1, 1024, 1);
    let problem = map_on_enough(&huge, &board.with("dram.bytes", 0.0).unwrap(), ONE);
    assert!(problem.unwrap_err().to_string().contains("does not fit"));
}

#[test]
fn few_cores_are_shared() {
    let graph = chain(5, 40, 1);
    let alone = map(&graph, &chip(), ONE).unwrap();
    assert_eq!(alone.core_memory().len(), 5);
    let shared = map(&graph, &chip(), Wishes { cores: Some(2), ..ONE }).unwrap();
    assert_eq!(shared.core_memory().len(), 1);
    let spread = map(&graph, &chip(), Wishes { cores: Some(150), ..ONE }).unwrap();
    assert_eq!(spread.core_memory().len(), 150);
    let [alone, shared, spread] = [alone, shared, spread].map(|mapping| run(&graph, &mapping));
    assert_eq!(alone.output, shared.output);
    assert_eq!(alone.output, spread.output);
    assert_eq!(alone.synapses, shared.synapses);
}

#[test]
fn sparse_rows_take_less_room_and_less_time() {
    let (dense, sparse) = (chain(2, 512, 1), chain(2, 512, 20));
    let mappings = [&dense, &sparse].map(|graph| map(graph, &chip(), ONE).unwrap());
    let cores = mappings.each_ref().map(|mapping| mapping.core_memory().len());
    assert!(cores[1] * 5 < cores[0], "{cores:?}");
    let [dense, sparse] = [run(&dense, &mappings[0]), run(&sparse, &mappings[1])];
    assert!(sparse.synapses * 5.0 < dense.synapses);
}

#[test]
fn integer_weights_use_the_array_where_that_is_faster() {
    let graph = || {
        let mut graph = GraphBuilder::new("integers");
        graph.input("x", Signal::Binary, &[256]);
        let values: Vec<i8> = (0..256 * 64).map(|at| (at % 200 - 100) as i8).collect();
        let tensor = Tensor::new(&[64, 256], Values::I8(values.into())).unwrap();
        let tensor = graph.tensor("w", tensor);
        let scale = graph.tensor("s", Tensor::f32(&[64], vec![0.01; 64]).unwrap());
        let weight = Weight { tensor, scale: Some(scale), layout: Layout::ByOutput };
        graph.node("linear", spikelet_graph::Op::Linear { weight, bias: None });
        graph.edge("x", "linear", 0);
        graph.output("y", "linear");
        graph.finish().unwrap()
    };
    let events = graph();
    let fast = chip().with("array.start", 0.0).unwrap();
    let found = run(&events, &map(&events, &fast, ONE).unwrap());
    assert_eq!(found.synapses, 5.0 * 256.0 * 64.0, "all products, on the array");
    // Few events are faster one by one, if the array is slow to start.
    let slow = chip().with("array.start", 1e5).unwrap();
    let found = run(&events, &map(&events, &slow, ONE).unwrap());
    assert!(found.synapses < 5.0 * 256.0 * 64.0 / 4.0);
}

#[test]
fn fixed_point_rounds_and_is_faster() {
    let mut graph = GraphBuilder::new("fixed");
    graph.input("x", Signal::Dense, &[8]);
    let weight = Tensor::f32(&[8, 8], (0..64).map(|at| at as f32 / 64.1).collect()).unwrap();
    graph.linear("w", "x", &weight, None, Layout::ByInput);
    graph.output("y", "w");
    let graph = graph.finish().unwrap();
    let float = run(&graph, &map(&graph, &chip(), ONE).unwrap());
    let fixed = run(&graph, &map(&graph, &chip(), Wishes { fixed: true, ..ONE }).unwrap());
    assert!(fixed.latency < float.latency);
    let off = |(a, b): (&f32, &f32)| (a - b).abs();
    let most = float.output.iter().zip(&fixed.output).map(off).fold(0.0, f32::max);
    assert!(most > 0.0 && most < 8.0 / 65536.0, "{most}");
}

#[test]
fn what_does_not_fit_is_explained() {
    let graph = chain(3, 64, 1);
    let small = chip().with("core.sram", chip().program + 6000.0).unwrap();
    let text = refusal(&graph, &small, Wishes { cores: Some(1), ..ONE });
    assert!(text.contains("`n0`") && text.contains("a core has 880"), "{text}");
    let text = refusal(&graph, &chip(), Wishes { cores: Some(153), ..ONE });
    assert!(text.contains("153 cores: there are 152"), "{text}");
    let text = refusal(&graph, &chip(), Wishes { chips: 49, ..ONE });
    assert!(text.contains("a board has 48"), "{text}");
    assert!(refusal(&graph, &chip(), Wishes { chips: 0, ..ONE }).contains("at least one chip"));

    let large = chain(4, 1024, 1);
    let without = chip().with("dram.bytes", 1000.0).unwrap();
    let text = refusal(&large, &without, ONE);
    assert!(text.contains("of DRAM"), "{text}");
    let tight = chip().with("core.sram", chip().program + chip().stack + chip().fifo + 2000.0);
    let text = refusal(&graph, &tight.unwrap(), Wishes { cores: Some(1), ..ONE });
    assert!(text.contains("3 parts") && text.contains("1 cores do not hold"), "{text}");
    let few = chip().with("router.entries", 3.0).unwrap();
    let text = refusal(&graph, &few, Wishes { cores: Some(20), ..ONE });
    assert!(text.contains("routing entries of 3"), "{text}");
}

#[test]
fn a_mapping_from_a_file_is_checked() {
    let graph = chain(2, 64, 1);
    let mapping = map(&graph, &chip(), Wishes { cores: Some(4), ..ONE }).unwrap();
    let good = mapping.assignment();
    let read = |change: &dyn Fn(&mut Assignment)| {
        let mut changed = good.clone();
        change(&mut changed);
        let text = serde_json::to_string(&changed).unwrap();
        Mapping::read(&graph, &chip(), &text, false)
            .map(|mapping| mapping.assignment())
            .map_err(|error| error.to_string())
    };
    assert_eq!(read(&|_| {}).unwrap(), good);
    let fault = |change: &dyn Fn(&mut Assignment)| read(change).unwrap_err();
    assert!(fault(&|a| a.chip = "loihi".into()).contains("chip"));
    assert!(fault(&|a| a.chips = 0).contains("chips"));
    assert!(fault(&|a| a.layers.truncate(1)).contains("1 layers"));
    assert!(fault(&|a| a.layers[0].layer = "other".into()).contains("`n0`"));
    assert!(fault(&|a| a.layers[0].parts.truncate(1)).contains("of 64 values"));
    assert!(fault(&|a| a.layers[0].parts[0].core = 152).contains("core 152"));
    assert!(fault(&|a| a.layers[0].parts[0].channels = [0, 65]).contains("not within"));
    assert!(fault(&|a| a.layers[0].parts[0].channels = [9, 9]).contains("not within"));
    assert!(fault(&|a| a.layers[0].parts[0].rows = [1, 2]).contains("not within"));
    let twice = |a: &mut Assignment| {
        let part = a.layers[0].parts[0].clone();
        a.layers[0].parts.push(part);
    };
    assert!(fault(&twice).contains("overlap"));
    let many = |a: &mut Assignment| {
        let part = a.layers[0].parts[0].clone();
        a.layers[0].parts = vec![part; 153];
    };
    assert!(fault(&many).contains("more than 152 cores"));
    let text = serde_json::to_string(&good).unwrap().replacen("\"core\"", "\"heart\"", 1);
    assert!(
        Mapping::read(&graph, &chip(), &text, false).unwrap_err().to_string().contains("heart")
    );

    // Too much on one core.
    let graph = chain(1, 256, 1);
    let mapping = map(&graph, &chip(), ONE).unwrap();
    let mut all_on_one = mapping.assignment();
    all_on_one.layers[0].parts.iter_mut().for_each(|part| part.core = 7);
    let text = serde_json::to_string(&all_on_one).unwrap();
    let text = Mapping::read(&graph, &chip(), &text, false).unwrap_err().to_string();
    assert!(text.contains("core 7 needs"), "{text}");
}

#[test]
fn congestion_and_clocks_show_in_the_latency() {
    let graph = chain(2, 256, 1);
    let x = made_up_input(&graph, 5, 1).unwrap();
    let latency = |chip: &Chip, clock| {
        let mapping = map(&graph, chip, Wishes { cores: Some(40), ..ONE }).unwrap();
        simulate(&mapping, &graph, &x, clock, |_| {}).unwrap()
    };
    let [low, high, adaptive] =
        [Clock::Low, Clock::High, Clock::Adaptive].map(|clock| latency(&chip(), clock));
    assert!(high.latency < adaptive.latency && adaptive.latency <= low.latency * 1.01);
    assert!(low.energy.cores < high.energy.cores);
    let slow = chip().with("noc.clock", 1.0).unwrap();
    let jammed = latency(&slow, Clock::High);
    assert!(jammed.latency > 2.0 * high.latency);
    assert_eq!(jammed.output, high.output);
    assert!(jammed.links.iter().any(|link| link.waited > 0.0));
    // Two steps on the chip at once are faster than one after the other.
    let two = latency(&chip().with("core.steps_in_flight", 2.0).unwrap(), Clock::High);
    assert!(two.latency < high.latency);
    assert_eq!(two.output, high.output);
    let map = high.heat_map(&chip());
    assert!(map.starts_with("<svg") && map.matches("<title>core ").count() == 40);
}
