//! A graph as text for people, and as Graphviz.

use crate::{
    error::GraphError,
    graph::{Graph, Node},
    op::{Op, Signal},
    topology::Link,
};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

impl Graph {
    /// A table of the nodes in running order, with what feeds them (`x-1` is `x` one step ago),
    /// shapes, signals, parameters, bytes and dense synaptic operations per step; then the task
    /// record.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn describe(&self) -> Result<String, GraphError> {
        let topology = self.validate()?;
        let counts = self.counts()?;
        let signals = self.signals(&topology);
        let header = ["node", "op", "from", "shape", "signal", "parameters", "bytes", "dense/step"];
        let mut rows = Vec::from([header.map(String::from)]);
        for &index in &topology.order {
            let (node, count) = (&self.nodes[index], &counts.nodes[index]);
            rows.push([
                node.name.clone(),
                kind(node),
                self.sources(&topology.sources[index]),
                shape(&node.shape),
                signal_name(signals[index]).to_string(),
                count.parameters.to_string(),
                count.bytes.to_string(),
                count.dense.to_string(),
            ]);
        }
        let mut text = format!("{}\n\n{}", self.name, table(&rows));
        text += &format!(
            "\n{} nodes, {} parameters, {} bytes, {} dense synaptic operations and {} state \
             updates per step, connection sparsity {:.4}\n",
            self.nodes.len(),
            counts.parameters,
            counts.bytes,
            counts.dense,
            counts.state_updates,
            counts.connection_sparsity(),
        );
        text += &self.describe_task();
        Ok(text)
    }

    /// The graph in Graphviz's language. Dashed edges carry a delay.
    ///
    /// # Errors
    /// Whatever [`Graph::validate`] finds.
    pub fn dot(&self) -> Result<String, GraphError> {
        let topology = self.validate()?;
        let signals = self.signals(&topology);
        let mut text = format!("digraph {} {{\n", quoted(&self.name));
        text += "  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n";
        for node in &self.nodes {
            let label = format!("{}\n{} {}", node.name, kind(node), shape(&node.shape));
            text += &format!("  {} [label={}];\n", quoted(&node.name), quoted(&label));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for link in &topology.targets[index] {
                let style = if link.delay > 0 {
                    format!(", style=dashed, xlabel=\"-{}\"", link.delay)
                } else {
                    String::new()
                };
                text += &format!(
                    "  {} -> {} [label={}{style}];\n",
                    quoted(&node.name),
                    quoted(&self.nodes[link.node].name),
                    quoted(signal_name(signals[index])),
                );
            }
        }
        text += "}\n";
        Ok(text)
    }

    fn sources(&self, sources: &[Link]) -> String {
        let mut text = String::new();
        let mut port = 0;
        for (position, link) in sources.iter().enumerate() {
            if position > 0 {
                text += if link.port == port { " + " } else { ", " };
            }
            port = link.port;
            text += &self.nodes[link.node].name;
            if link.delay > 0 {
                text += &format!("-{}", link.delay);
            }
        }
        text
    }

    fn describe_task(&self) -> String {
        let task = &self.task;
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            if !value.is_empty() {
                text += &format!("{key}: {value}\n");
            }
        };
        line("data set", task.dataset.clone().unwrap_or_default());
        line("classes", task.classes.join(", "));
        line("channels", task.channels.join(", "));
        let window = (task.window > 0).then(|| format!("{} steps", task.window));
        line("window", window.unwrap_or_default());
        line("time step", task.step_ms.map(|ms| format!("{ms} ms")).unwrap_or_default());
        let normalised = (!task.mean.is_empty()).then(|| "per channel".to_string());
        line("normalisation", normalised.unwrap_or_default());
        for (key, value) in &task.notes {
            line(key, value.clone());
        }
        text
    }
}

fn kind(node: &Node) -> String {
    match &node.op {
        Op::Neuron(neuron) => neuron.model().into(),
        op => op.name().into(),
    }
}

fn shape(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Binary => "binary",
        Signal::Graded => "graded",
        Signal::Dense => "dense",
    }
}

/// Columns padded to their widest entry; the last three hold numbers and are set flush right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column + 3 >= N {
                line += &format!("{cell:>width$}  ");
            } else {
                line += &format!("{cell:<width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// A Graphviz string.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
