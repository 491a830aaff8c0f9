//! NIR: graphs there and back, and what is refused.

use spikelet_graph::{
    Graph, GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Readout, Reset, Signal,
    Tensor, Values, Weight,
    nir::{self, Fidelity, Field, FieldValues, NirGraph, NirNode},
};

fn tensor(shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    Tensor::f32(shape, (0..len).map(|i| (i % 7) as f32 - 2.5).collect()).unwrap()
}

fn lif(reset: Reset, reset_delayed: bool) -> Neuron {
    Neuron {
        membrane: Membrane::Lif { beta: Param::Shared(0.75), input_decay: false },
        threshold: Param::Shared(1.5),
        fires_at_threshold: false,
        reset,
        reset_delayed,
    }
}

/// The NIR graph of a graph, and the graph of what its file holds.
fn there_and_back(graph: &Graph) -> (NirGraph, Graph) {
    let export = NirGraph::of_graph(graph, nir::STEP).unwrap();
    let written = export.nir.unwrap_or_else(|| panic!("{}", export.report.text()));
    let read = nir::read(written.to_bytes().unwrap()).unwrap();
    assert_eq!(read, written);
    let back = read.to_graph(&graph.name, None).unwrap();
    (written, back.graph)
}

fn floats(values: &[f64]) -> Field {
    Field { shape: vec![values.len()], values: FieldValues::F64(values.to_vec()) }
}

fn node(kind: &str, fields: &[(&str, Field)]) -> NirNode {
    let fields = fields.iter().map(|(name, field)| ((*name).to_owned(), field.clone())).collect();
    NirNode { kind: kind.into(), fields, ..NirNode::default() }
}

/// Input, the nodes in a row, output.
fn chain(shape: &[usize], nodes: &[NirNode], output: &[usize]) -> NirGraph {
    let mut all = vec![node("Input", &[("shape", Field::sizes(shape))])];
    all.extend_from_slice(nodes);
    all.push(node("Output", &[("shape", Field::sizes(output))]));
    let name = |i: usize| format!("n{i}");
    NirGraph {
        edges: (1..all.len()).map(|i| [name(i - 1), name(i)]).collect(),
        nodes: all.into_iter().enumerate().map(|(i, node)| (name(i), node)).collect(),
        ..NirGraph::default()
    }
}

fn neuron(graph: &Graph, name: &str) -> Neuron {
    match &graph.node(name).unwrap().op {
        Op::Neuron(neuron) => neuron.clone(),
        op => panic!("{op:?}"),
    }
}

fn shared(param: &Param) -> f32 {
    match param {
        Param::Shared(value) => *value,
        Param::Tensor(name) => panic!("{name}"),
    }
}

#[test]
fn a_recurrent_network_comes_back() {
    let mut graph = GraphBuilder::new("recurrent");
    graph.input("x", Signal::Graded, &[3]);
    graph.linear("w", "x", &tensor(&[4, 3]), Some(tensor(&[4])), Layout::ByInput);
    graph.linear("r", ("s", 1), &tensor(&[4, 4]), None, Layout::ByInput);
    graph.neuron("s", &["w", "r"], lif(Reset::Zero, false));
    graph.readout("y.count", "s", Readout::Sum);
    graph.output("y", "y.count");
    let graph = graph.finish().unwrap();
    let (written, back) = there_and_back(&graph);
    let kinds: Vec<&str> = written.nodes.values().map(|node| node.kind.as_str()).collect();
    assert_eq!(kinds, ["Linear", "LIF", "Affine", "Input", "Output"]);
    let waits: Vec<_> = back.edges.iter().filter(|edge| edge.delay > 0).collect();
    assert_eq!((waits.len(), waits[0].from.as_str(), waits[0].to.as_str()), (1, "s", "r"));
    assert_eq!(back.tensors, graph.tensors);
    let (neuron, wanted) = (neuron(&back, "s"), neuron(&graph, "s"));
    assert!((shared(&neuron.threshold) - shared(&wanted.threshold)).abs() < 1e-6);
    assert_eq!((neuron.reset, neuron.membrane), (wanted.reset, wanted.membrane));
    assert_eq!(back.node("y.count").unwrap().op, graph.node("y.count").unwrap().op);
}

#[test]
fn a_convolutional_network_comes_back() {
    let mut graph = GraphBuilder::new("convolutional");
    graph.input("x", Signal::Graded, &[6, 4, 2]);
    let kernel = tensor(&[4, 1, 3, 3]);
    let layout = Layout::ByInput;
    graph.conv2d("c", "x", &kernel, Some(tensor(&[4])), layout, [1, 1], [1, 1], 2);
    let per_channel = graph.tensor("s.threshold", Tensor::f32(&[4], vec![1., 2., 3., 4.]).unwrap());
    let threshold = Param::Tensor(per_channel);
    graph.neuron("s", &["c"], Neuron { threshold, ..lif(Reset::Zero, false) });
    let (kernel, stride, padding) = ([2, 2], [2, 2], [0, 0]);
    graph.node("p", Op::Pool2d { pooling: Pooling::Average, kernel, stride, padding });
    graph.edge("s", "p", 0);
    graph.node("f", Op::Flatten);
    graph.edge("p", "f", 0);
    graph.linear("w", "f", &tensor(&[5, 24]), None, Layout::ByInput);
    graph.output("y", "w");
    let graph = graph.finish().unwrap();
    let (written, back) = there_and_back(&graph);
    assert_eq!(written.nodes["x"].fields["shape"], Field::sizes(&[2, 6, 4]));
    assert_eq!(written.nodes["s"].fields["v_threshold"].shape, [4, 6, 4]);
    for (name, tensor) in &graph.tensors {
        let (found, wanted) = (back.tensors[name].to_f32(), tensor.to_f32());
        assert_eq!(back.tensors[name].shape, tensor.shape, "{name}");
        assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
    }
    assert_eq!(back.node("p").unwrap(), graph.node("p").unwrap());
}

#[test]
fn every_neuron_has_its_equation() {
    let dt = nir::STEP;
    let fields = |names: &[&str], values: [f64; 6]| {
        let all = ["tau", "tau_syn", "tau_mem", "r", "v_threshold", "w_in"];
        let known = all.into_iter().zip(values);
        let mut fields: Vec<(&str, Field)> = known
            .filter(|(name, _)| names.contains(name))
            .map(|(name, value)| (name, floats(&[value])))
            .collect();
        if names.contains(&"v_leak") {
            fields.push(("v_leak", floats(&[0.0])));
        }
        fields
    };
    let of = |kind: &str, fields: &[(&str, Field)]| {
        chain(&[1], &[node(kind, fields)], &[1]).to_graph("n", None).unwrap().graph
    };
    let values = [4.0 * dt, 2.0 * dt, 4.0 * dt, 2.0, 3.0, 4.0];
    let found = neuron(&of("IF", &fields(&["r", "v_threshold"], values)), "n1");
    assert_eq!((found.membrane, shared(&found.threshold)), (Membrane::If, 1.5));
    let found = neuron(&of("LIF", &fields(&["tau", "r", "v_leak", "v_threshold"], values)), "n1");
    // v = 3/4 v + 1/4 2 I
    assert_eq!(shared(&found.threshold), 6.0);
    let beta = Param::Shared(0.75);
    assert_eq!(found.membrane, Membrane::Lif { beta: beta.clone(), input_decay: false });
    let all = ["tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "w_in"];
    let found = neuron(&of("CubaLIF", &fields(&all, values)), "n1");
    // i = 1/2 i + 1/2 4 I;  v = 3/4 v + 1/4 2 i
    assert_eq!(shared(&found.threshold), 3.0);
    let alpha = Param::Shared(0.5);
    assert_eq!(found.membrane, Membrane::CubaLif { alpha, beta });
    let found = neuron(&of("Threshold", &[("threshold", floats(&[3.0]))]), "n1");
    assert_eq!((found.reset, shared(&found.threshold)), (Reset::None, 3.0));
    for (kind, names) in [("I", &["r"][..]), ("LI", &["tau", "r", "v_leak"]), ("CubaLI", &all[..4])]
    {
        let graph = of(kind, &fields(names, values));
        assert!(matches!(neuron(&graph, "n1").membrane, Membrane::Li { .. }), "{kind}");
        let Op::Scale { factor, .. } = &graph.node("n1.potential").unwrap().op else { panic!() };
        let gain = graph.tensors[factor].to_f32()[0];
        assert_eq!(
            gain,
            if kind == "I" {
                2.0
            } else if kind == "LI" {
                0.5
            } else {
                0.25
            }
        );
    }
}

#[test]
fn another_rest_is_a_constant_current_and_another_reset_a_shift() {
    let field = |value: f64| floats(&[value, value]);
    let lif = |leak: f64, reset: f64| {
        let fields = [
            ("tau", field(4.0 * nir::STEP)),
            ("r", field(1.0)),
            ("v_leak", field(leak)),
            ("v_threshold", field(5.0)),
            ("v_reset", field(reset)),
        ];
        chain(&[2], &[node("LIF", &fields)], &[2]).to_graph("n", None).unwrap()
    };
    let import = lif(1.0, 1.0);
    assert_eq!(shared(&neuron(&import.graph, "n1").threshold), 4.0);
    assert!(import.graph.node("n1.rest").is_err());
    assert!(import.notes.iter().any(|note| note.contains("v_reset")), "{:?}", import.notes);
    let graph = lif(1.0, 2.0).graph;
    assert_eq!(shared(&neuron(&graph, "n1").threshold), 3.0);
    assert_eq!(graph.tensors["n1.rest.shift"].to_f32(), [-1.0, -1.0]);
}

#[test]
fn delays_stay_and_loops_wait_where_the_writer_meant() {
    // Both loops pass through both populations: only the writer knows which edge waits.
    for waits in ["a", "b"] {
        let mut graph = GraphBuilder::new("two");
        graph.input("x", Signal::Graded, &[2]);
        for (name, from) in [("a", "b"), ("b", "a")] {
            let (own, other) = (format!("{name}.x"), format!("{name}.{from}"));
            let delay = usize::from(from == waits);
            graph.linear(&own, ("x", 3), &tensor(&[2, 2]), None, Layout::ByInput);
            graph.linear(&other, (from, delay), &tensor(&[2, 2]), None, Layout::ByInput);
            graph.neuron(name, &[&own, &other], lif(Reset::Zero, false));
        }
        graph.output("y", "b");
        let graph = graph.finish().unwrap();
        let (written, back) = there_and_back(&graph);
        assert_eq!(written.nodes["x.delay3"].kind, "Delay");
        let mut delays: Vec<_> = back
            .edges
            .iter()
            .filter(|edge| edge.delay > 0)
            .map(|edge| (edge.from.as_str(), edge.delay))
            .collect();
        delays.sort_unstable();
        assert_eq!(delays, [(waits, 1), ("x", 3)], "{waits}");
    }
}

#[test]
fn a_legendre_memory_becomes_two_matrices() {
    let mut graph = GraphBuilder::new("memory");
    graph.input("u", Signal::Binary, &[2]);
    let (a, b) = (tensor(&[3, 3]), tensor(&[3]));
    graph.legendre("l", "u", ("m", 1), 2, a.clone(), b.clone());
    graph.neuron("m", &["l"], lif(Reset::Zero, false));
    graph.output("y", "m");
    let (written, back) = there_and_back(&graph.finish().unwrap());
    assert_eq!(written.nodes["l.a"].fields["weight"].shape, [6, 6]);
    assert_eq!(written.nodes["l.b"].fields["weight"].shape, [6, 2]);
    // Stored [in, out]: the second memory.
    let (of_m, a) = (back.tensors["l.a.weight"].to_f32(), a.to_f32());
    let (of_u, b) = (back.tensors["l.b.weight"].to_f32(), b.to_f32());
    for i in 0..3 {
        assert_eq!([of_u[i], of_u[6 + 3 + i]], [b[i], b[i]]);
        assert_eq!([of_u[3 + i], of_u[6 + i]], [0.0, 0.0]);
        for j in 0..3 {
            assert_eq!(of_m[(3 + j) * 6 + 3 + i], a[i * 3 + j]);
            assert_eq!(of_m[(3 + j) * 6 + i], 0.0);
        }
    }
    let delays: Vec<_> = back.edges.iter().filter(|edge| edge.delay == 1).collect();
    assert_eq!((delays.len(), delays[0].from.as_str(), delays[0].to.as_str()), (1, "m", "l.a"));
}

#[test]
fn the_report_names_every_loss() {
    let mut graph = GraphBuilder::new("lossy");
    graph.input("x", Signal::Binary, &[3]);
    let weight = Tensor::new(&[3, 4], Values::I8(vec![1; 12].into())).unwrap();
    let tensor_name = graph.tensor("w.weight", weight);
    let scale = Some(graph.tensor("w.scale", Tensor::f32(&[4], vec![0.5; 4]).unwrap()));
    let weight = Weight { tensor: tensor_name, scale, layout: Layout::ByInput };
    graph.node("w", Op::Linear { weight, bias: None });
    graph.edge("x", "w", 0);
    let soft = Neuron { fires_at_threshold: true, ..lif(Reset::Subtract, true) };
    graph.neuron("s", &["w"], soft);
    graph.readout("count", "s", Readout::Sum);
    graph.output("y", "count");
    let export = NirGraph::of_graph(&graph.finish().unwrap(), nir::STEP).unwrap();
    let report = &export.report;
    assert_eq!(report.fidelity, Fidelity::Lossy);
    let of = |name: &str| report.nodes.iter().find(|node| node.node == name).unwrap();
    assert!(of("w").notes[0].contains("i8"), "{:?}", of("w"));
    let notes = of("s").notes.join("; ");
    for word in ["subtracts", "step late", "at the threshold"] {
        assert!(notes.contains(word), "{word}: {notes}");
    }
    assert!(of("count").nir.is_empty() && of("count").notes[0].contains("spike counts"));
    assert!(report.text().contains("surrogate"));
    let written = export.nir.unwrap();
    assert_eq!(written.nodes["w"].fields["weight"].values, FieldValues::F32(vec![0.5; 12]));
    assert_eq!(written.nodes["s"].metadata["reset"], Field::text("subtract"));
}

#[test]
fn what_nir_cannot_express_is_named() {
    let mut graph = GraphBuilder::new("gated");
    graph.input("x", Signal::Dense, &[2]);
    graph.gru(
        "g",
        "x",
        [&tensor(&[6, 2]), &tensor(&[6, 2])],
        [tensor(&[6]), tensor(&[6])],
        Layout::ByInput,
    );
    graph.output("y", "g");
    let export = NirGraph::of_graph(&graph.finish().unwrap(), nir::STEP).unwrap();
    assert!(export.nir.is_none());
    assert_eq!(export.report.fidelity, Fidelity::Inexpressible);
    assert!(export.report.text().contains("NIR has no GRU cell"), "{}", export.report.text());
}

#[test]
fn what_does_not_fit_is_named() {
    let lif = |tau: f64, threshold: &[f64]| {
        let fields = [
            ("tau", floats(&[tau, tau])),
            ("r", floats(&[1.0, 1.0])),
            ("v_leak", floats(&[0.0, 0.0])),
            ("v_threshold", floats(threshold)),
        ];
        node("LIF", &fields)
    };
    let good = lif(1.0, &[1.0, 1.0]);
    let with = |field: &str, value: Field| {
        let mut node = good.clone();
        node.fields.insert(field.into(), value);
        node
    };
    let mut lacking = good.clone();
    lacking.fields.remove("r");
    for (node, wanted) in [
        (lif(1e-5, &[1.0, 1.0]), "`tau`: 0.00001 s is shorter"),
        (lif(-1.0, &[1.0, 1.0]), "`tau`: holds -1"),
        (lif(f64::NAN, &[1.0, 1.0]), "`tau`: holds NaN"),
        (lif(1.0, &[1.0; 3]), "`v_threshold`: has shape [3]"),
        (with("refractory", floats(&[1.0, 1.0])), "`refractory`, which NIR does not define"),
        (with("tau", Field::text("long")), "`tau`: is text"),
        (lacking, "no field `r`"),
        (NirNode { kind: "Softmax".into(), ..good.clone() }, "`Softmax`, which is none"),
    ] {
        let error = chain(&[2], &[node], &[2]).to_graph("n", None).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains("`n1`"), "{error}");
    }
    let good = chain(&[2], &[good], &[2]);
    assert!(good.to_graph("n", Some(0.0)).unwrap_err().to_string().contains("0 s"));
    let wrong = NirGraph { edges: vec![["n0".into(), "n9".into()]], ..good.clone() };
    assert!(wrong.to_graph("n", None).unwrap_err().to_string().contains("no node is named `n9`"));
    let wrong = NirGraph { edges: good.edges[1..].to_vec(), ..good };
    assert!(wrong.to_graph("n", None).unwrap_err().to_string().contains("no Input leads to it"));
}

#[test]
fn a_signal_is_an_image_of_height_one() {
    let conv = |padding: Field| {
        let fields = [
            ("input_shape", Field::integer(5)),
            ("weight", Field { shape: vec![3, 2, 3], values: FieldValues::F32(vec![1.0; 18]) }),
            ("bias", floats(&[1.0; 3])),
            ("stride", Field::integer(1)),
            ("padding", padding),
            ("dilation", Field::integer(1)),
            ("groups", Field::integer(1)),
        ];
        node("Conv1d", &fields)
    };
    for (padding, length) in
        [(Field::integer(1), 5), (Field::text("same"), 5), (Field::text("valid"), 3)]
    {
        let nir = chain(&[2, 5], &[conv(padding)], &[3, length]);
        let graph = nir.to_graph("n", None).unwrap().graph;
        assert_eq!(graph.node("n0").unwrap().shape, [1, 5, 2]);
        assert_eq!(graph.node("n1").unwrap().shape, [1, length, 3]);
    }
    let error = chain(&[2, 5], &[conv(Field::text("full"))], &[3, 5]).to_graph("n", None);
    assert!(error.unwrap_err().to_string().contains("field `padding`: \"full\""));
}
