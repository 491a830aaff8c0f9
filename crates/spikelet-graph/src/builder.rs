//! Building a graph in code: nodes and edges by name, shapes worked out at the end.

use crate::{
    error::GraphError,
    graph::{Edge, Graph, Node, Phase},
    neuron::Neuron,
    op::{Function, Layout, Op, Readout, Signal, Weight},
    shape,
    task::Task,
    tensor::Tensor,
};
use alloc::{format, string::String, vec, vec::Vec};

/// Builds a graph. Nodes may be named before they exist, so feedback needs no special order;
/// [`GraphBuilder::finish`] works out all shapes and validates.
///
/// ```
/// use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Param, Readout, Reset, Signal, Tensor};
///
/// let mut graph = GraphBuilder::new("two neurons");
/// graph.input("x", Signal::Binary, &[3]);
/// let weight = Tensor::f32(&[2, 3], vec![0.5; 6])?;
/// graph.linear("w", "x", &weight, None, Layout::ByInput);
/// let recurrent = Tensor::f32(&[2, 2], vec![-0.1; 4])?;
/// graph.linear("r", ("spikes", 1), &recurrent, None, Layout::ByInput);
/// let lif = Neuron {
///     membrane: Membrane::Lif { beta: Param::Shared(0.9), input_decay: false },
///     threshold: Param::Shared(1.0),
///     fires_at_threshold: false,
///     reset: Reset::Subtract,
///     reset_delayed: true,
/// };
/// graph.neuron("spikes", &["w", "r"], lif);
/// graph.readout("count", "spikes", Readout::Sum);
/// graph.output("y", "count");
/// let graph = graph.finish()?;
/// assert_eq!(graph.node("spikes")?.shape, [2]);
/// # Ok::<(), spikelet_graph::GraphError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: Graph,
    phase: Phase,
}

/// Where an edge comes from: a node's name, or `(name, delay in steps)`.
#[derive(Clone, Copy, Debug)]
pub struct Feed<'a> {
    node: &'a str,
    delay: usize,
}

impl<'a> From<&'a str> for Feed<'a> {
    fn from(node: &'a str) -> Self {
        Feed { node, delay: 0 }
    }
}

impl<'a> From<&'a String> for Feed<'a> {
    fn from(node: &'a String) -> Self {
        Feed { node, delay: 0 }
    }
}

impl<'a> From<(&'a str, usize)> for Feed<'a> {
    fn from((node, delay): (&'a str, usize)) -> Self {
        Feed { node, delay }
    }
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        let graph = Graph { name: name.into(), ..Graph::default() };
        GraphBuilder { graph, phase: Phase::Step }
    }

    /// Nodes from here on run in this phase; without it, in phase `step`.
    pub fn phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// A node whose shape is worked out at the end. Its tensors are added with
    /// [`GraphBuilder::tensor`], its edges with [`GraphBuilder::edge`].
    pub fn node(&mut self, name: &str, op: Op) {
        let node = Node { name: name.into(), op, shape: Vec::new(), phase: self.phase };
        self.graph.nodes.push(node);
    }

    /// An edge into a port.
    pub fn edge<'a>(&mut self, from: impl Into<Feed<'a>>, to: &str, port: usize) {
        let Feed { node, delay } = from.into();
        self.graph.edges.push(Edge { from: node.into(), to: to.into(), port, delay });
    }

    /// A tensor; returns its name. One of the same name is replaced.
    pub fn tensor(&mut self, name: &str, tensor: Tensor) -> String {
        self.graph.tensors.insert(name.into(), tensor);
        name.into()
    }

    /// Where data enters.
    pub fn input(&mut self, name: &str, signal: Signal, shape: &[usize]) {
        let op = Op::Input { signal };
        let node = Node { name: name.into(), op, shape: shape.to_vec(), phase: Phase::Step };
        self.graph.nodes.push(node);
    }

    /// `y = W x + b`. `weight` is `[out, in]`, `bias` `[out]`; stored in `layout` as
    /// `{name}.weight` and `{name}.bias`.
    pub fn linear<'a>(
        &mut self,
        name: &str,
        from: impl Into<Feed<'a>>,
        weight: &Tensor,
        bias: Option<Tensor>,
        layout: Layout,
    ) {
        let weight = self.matrix(&format!("{name}.weight"), weight, layout);
        let bias = bias.map(|bias| self.tensor(&format!("{name}.bias"), bias));
        self.node(name, Op::Linear { weight, bias });
        self.edge(from, name, 0);
    }

    /// A two-dimensional convolution without dilation. `weight` is `[out, in / groups, kh, kw]`,
    /// `bias` `[out]`; stored in `layout` as `{name}.weight` and `{name}.bias`.
    #[allow(clippy::too_many_arguments, reason = "the parameters of a convolution")]
    pub fn conv2d<'a>(
        &mut self,
        name: &str,
        from: impl Into<Feed<'a>>,
        weight: &Tensor,
        bias: Option<Tensor>,
        layout: Layout,
        stride: [usize; 2],
        padding: [usize; 2],
        groups: usize,
    ) {
        let axes = match layout {
            Layout::ByInput => [2, 3, 1, 0],
            Layout::ByOutput => [0, 2, 3, 1],
        };
        let stored = weight.permuted(&axes).unwrap_or_else(|| weight.clone());
        let tensor = self.tensor(&format!("{name}.weight"), stored);
        let weight = Weight { tensor, scale: None, layout };
        let bias = bias.map(|bias| self.tensor(&format!("{name}.bias"), bias));
        let op = Op::Conv2d { weight, bias, stride, padding, dilation: [1, 1], groups };
        self.node(name, op);
        self.edge(from, name, 0);
    }

    /// A population of neurons that adds up its inputs.
    pub fn neuron(&mut self, name: &str, from: &[&str], neuron: Neuron) {
        self.node(name, Op::Neuron(neuron));
        for source in from {
            self.edge(*source, name, 0);
        }
    }

    /// One step of Legendre memories: `u` of shape `[memories]` goes in, `m` is the state of the
    /// step before (usually with delay 1). `a` is `[order, order]`, `b` `[order]`; stored as
    /// `{name}.a` and `{name}.b`.
    pub fn legendre<'a>(
        &mut self,
        name: &str,
        u: impl Into<Feed<'a>>,
        m: impl Into<Feed<'a>>,
        memories: usize,
        a: Tensor,
        b: Tensor,
    ) {
        let order = b.len();
        let weight = |tensor| Weight { tensor, scale: None, layout: Layout::ByOutput };
        let a = weight(self.tensor(&format!("{name}.a"), a));
        let b = weight(self.tensor(&format!("{name}.b"), b));
        self.node(name, Op::Legendre { memories, order, a, b });
        self.edge(u, name, 0);
        self.edge(m, name, 1);
    }

    /// An LSTM cell. `weight_input` is `[4 hidden, in]`, `weight_hidden` `[4 hidden, hidden]`,
    /// `bias` `[4 hidden]` (the sum of both biases); stored under the node's name.
    pub fn lstm<'a>(
        &mut self,
        name: &str,
        from: impl Into<Feed<'a>>,
        weight_input: &Tensor,
        weight_hidden: &Tensor,
        bias: Tensor,
        layout: Layout,
    ) {
        let weight_input = self.matrix(&format!("{name}.weight_input"), weight_input, layout);
        let weight_hidden = self.matrix(&format!("{name}.weight_hidden"), weight_hidden, layout);
        let bias = self.tensor(&format!("{name}.bias"), bias);
        self.node(name, Op::Lstm { weight_input, weight_hidden, bias });
        self.edge(from, name, 0);
    }

    /// A GRU cell. `weights` are `[3 hidden, in]` and `[3 hidden, hidden]`, `biases` those of
    /// the input and of the hidden state, `[3 hidden]` each; stored under the node's name.
    pub fn gru<'a>(
        &mut self,
        name: &str,
        from: impl Into<Feed<'a>>,
        weights: [&Tensor; 2],
        biases: [Tensor; 2],
        layout: Layout,
    ) {
        let weight_input = self.matrix(&format!("{name}.weight_input"), weights[0], layout);
        let weight_hidden = self.matrix(&format!("{name}.weight_hidden"), weights[1], layout);
        let [bias_input, bias_hidden] = biases;
        let bias_input = self.tensor(&format!("{name}.bias_input"), bias_input);
        let bias_hidden = self.tensor(&format!("{name}.bias_hidden"), bias_hidden);
        self.node(name, Op::Gru { weight_input, weight_hidden, bias_input, bias_hidden });
        self.edge(from, name, 0);
    }

    /// The rows of `table` `[tokens, channels]` that the input `from` names; stored as
    /// `{name}.weight`.
    pub fn embedding(&mut self, name: &str, from: &str, table: Tensor) {
        let tensor = self.tensor(&format!("{name}.weight"), table);
        let weight = Weight { tensor, scale: None, layout: Layout::ByInput };
        self.node(name, Op::Embedding { weight });
        self.edge(from, name, 0);
    }

    /// A layer normalisation; `weight` and `bias` are `[channels]`, stored under the node's name.
    pub fn layer_norm(&mut self, name: &str, from: &str, weight: Tensor, bias: Tensor) {
        let weight = self.tensor(&format!("{name}.weight"), weight);
        let bias = self.tensor(&format!("{name}.bias"), bias);
        self.node(name, Op::LayerNorm { weight, bias });
        self.edge(from, name, 0);
    }

    /// `from` mixed with its own value one step before; `mix`, `[channels]`, is stored as
    /// `{name}.mix`.
    pub fn token_shift(&mut self, name: &str, from: &str, mix: Tensor) {
        let mix = self.tensor(&format!("{name}.mix"), mix);
        self.node(name, Op::TokenShift { mix });
        self.edge(from, name, 0);
        self.edge((from, 1), name, 1);
    }

    /// The WKV recurrence over keys and values; `decay` and `first` are `[channels]`, stored under
    /// the node's name.
    pub fn wkv(&mut self, name: &str, [k, v]: [&str; 2], decay: Tensor, first: Tensor) {
        let decay = self.tensor(&format!("{name}.decay"), decay);
        let first = self.tensor(&format!("{name}.first"), first);
        self.node(name, Op::Wkv { decay, first });
        self.edge(k, name, 0);
        self.edge(v, name, 1);
    }

    /// The product of two nodes, value by value.
    pub fn multiply(&mut self, name: &str, from: [&str; 2]) {
        self.node(name, Op::Multiply);
        for (port, source) in from.into_iter().enumerate() {
            self.edge(source, name, port);
        }
    }

    /// One position more on every side, with the values `[channels]`; stored as `{name}.value`.
    pub fn border(&mut self, name: &str, from: &str, value: Tensor) {
        let value = self.tensor(&format!("{name}.value"), value);
        self.node(name, Op::Border { value });
        self.edge(from, name, 0);
    }

    /// Attention between the spikes of queries, keys and values.
    pub fn attention(&mut self, name: &str, qkv: [&str; 3], heads: usize, scale: f32) {
        self.node(name, Op::Attention { heads, scale });
        for (port, source) in qkv.into_iter().enumerate() {
            self.edge(source, name, port);
        }
    }

    /// An element-wise function.
    pub fn activation(&mut self, name: &str, from: &str, function: Function) {
        self.node(name, Op::Activation { function });
        self.edge(from, name, 0);
    }

    /// A reduction over time.
    pub fn readout(&mut self, name: &str, from: &str, readout: Readout) {
        self.node(name, Op::Readout { readout });
        self.edge(from, name, 0);
    }

    /// What the graph returns.
    pub fn output(&mut self, name: &str, from: &str) {
        self.node(name, Op::Output);
        self.edge(from, name, 0);
    }

    /// The task record.
    pub fn task(&mut self, task: Task) {
        self.graph.task = task;
    }

    /// The finished graph, validated.
    ///
    /// # Errors
    /// The first problem found by shape inference or [`Graph::validate`].
    pub fn finish(mut self) -> Result<Graph, GraphError> {
        let topology = self.graph.topology()?;
        loop {
            let mut changed = false;
            for &index in &topology.order {
                let node = &self.graph.nodes[index];
                if !node.shape.is_empty() {
                    continue;
                }
                let sources = &topology.sources[index];
                // Several edges add up: the first known shape is that of the sum.
                let mut inputs = vec![None; shape::ports(&node.op, distinct_ports(sources))];
                for link in sources {
                    let from = &self.graph.nodes[link.node].shape;
                    if !from.is_empty()
                        && let Some(input @ None) = inputs.get_mut(link.port)
                    {
                        *input = Some(from.as_slice());
                    }
                }
                if let Some(shape) = shape::infer(&self.graph, node, &inputs)? {
                    self.graph.nodes[index].shape = shape;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        if let Some(node) = self.graph.nodes.iter().find(|node| node.shape.is_empty()) {
            return Err(GraphError::UnknownShape { node: node.name.clone() });
        }
        self.graph.validate()?;
        Ok(self.graph)
    }

    /// Stores a matrix given as `[out, in]`; one of another rank is left for validation to name.
    fn matrix(&mut self, name: &str, weight: &Tensor, layout: Layout) -> Weight {
        let stored = match layout {
            Layout::ByOutput => None,
            Layout::ByInput => weight.permuted(&[1, 0]),
        };
        let tensor = self.tensor(name, stored.unwrap_or_else(|| weight.clone()));
        Weight { tensor, scale: None, layout }
    }
}

/// How many different ports edges go to; `sources` is sorted by port.
fn distinct_ports(sources: &[crate::topology::Link]) -> usize {
    let mut ports: Vec<usize> = sources.iter().map(|link| link.port).collect();
    ports.dedup();
    ports.len()
}
