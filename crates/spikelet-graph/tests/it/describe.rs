//! Graphs as text, and modelled energy.

use crate::common::small;
use spikelet_graph::{NodeCounters, energy};

#[test]
fn the_table_names_every_node_with_its_sources() {
    let mut graph = small(1);
    graph.task.classes = vec!["walk".into(), "run".into()];
    let text = graph.describe().unwrap();
    for node in &graph.nodes {
        assert!(text.lines().any(|line| line.starts_with(&node.name)), "{}", node.name);
    }
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("u ").contains("e_x + e_h + e_m"), "{text}");
    assert!(line("memory").contains("u, m-1"), "{text}");
    assert!(line("e_h").contains("h-1") && line("h ").contains("lif"), "{text}");
    assert!(text.contains("classes: walk, run"), "{text}");
    assert!(text.contains(&format!("{} parameters", graph.counts().unwrap().parameters)));
}

#[test]
fn graphviz_quotes_names_and_dashes_delays() {
    let mut graph = small(1);
    graph.name = "a \"name\" \\".into();
    let dot = graph.dot().unwrap();
    assert!(dot.starts_with("digraph \"a \\\"name\\\" \\\\\" {"), "{dot}");
    assert!(dot.contains("\"h\" -> \"e_h\" [label=\"binary\", style=dashed, xlabel=\"-1\"];"));
    assert!(dot.contains("\"x\" -> \"e_x\" [label=\"binary\"];"), "{dot}");
    assert_eq!(dot.matches(" -> ").count(), graph.edges.len());
    assert!(dot.ends_with("}\n"));
}

#[test]
fn energy_is_the_counts_times_the_constants() {
    let counters =
        NodeCounters { effective_macs: 10, effective_acs: 100, ..NodeCounters::default() };
    let energy = energy::F32_45NM.energy(&counters);
    assert!((energy.total_pj() - (10.0 * 4.6 + 100.0 * 0.9)).abs() < 1e-9);
    for set in energy::SETS {
        let says = |number: f64| set.assumptions.contains(&format!("{number} pJ"));
        assert!(says(set.mac_pj) && says(set.ac_pj) && set.source.contains("Horowitz"));
        assert!(set.assumptions.starts_with("modelled, not measured"));
    }
}
