//! Whether a graph can run: everything a consumer may rely on is checked here, once.

use crate::{
    error::GraphError,
    graph::{Edge, Graph, Node, Phase},
    neuron::{Membrane, Neuron, Param},
    op::{GROUP, Op, Signal, Weight},
    shape,
    tensor::{Tensor, Values, elements},
    topology::{Link, Topology},
};
use alloc::{
    collections::BTreeSet,
    format,
    string::{String, ToString},
    vec::Vec,
};

/// The longest delay of an edge in steps.
pub const MAX_DELAY: usize = 4096;
/// The most elements that all node outputs of a stream and the values waiting in its delayed
/// edges may have together: one gibibyte of 32-bit floats. A file of a few bytes must not be able
/// to ask for more.
pub const MAX_ELEMENTS: usize = 1 << 28;
/// The most axes of a shape.
pub const MAX_AXES: usize = 8;
/// The most steps of a decision window.
pub const MAX_WINDOW: usize = 1 << 24;

const UNIT: &str = "0..=1";
const FINITE: &str = "the finite numbers";

impl Graph {
    /// Checks the whole graph and returns its resolved edges.
    ///
    /// A graph that passes has: unique names; resolvable edges without undelayed cycles; every
    /// port connected; node shapes that equal what the operations give; tensors of the right
    /// shape and data type with finite values, all used; neuron parameters in range; sizes that
    /// do not overflow and stay under [`MAX_ELEMENTS`].
    ///
    /// # Errors
    /// The first problem found.
    pub fn validate(&self) -> Result<Topology, GraphError> {
        self.check_names()?;
        self.check_tensors()?;
        self.check_sizes()?;
        let topology = self.topology()?;
        self.check_edges()?;
        self.check_state_size(&topology)?;
        for (node, sources) in self.nodes.iter().zip(&topology.sources) {
            self.check_node(node, sources)?;
        }
        self.check_used()?;
        self.check_task()?;
        self.check_integer()?;
        Ok(topology)
    }

    fn check_names(&self) -> Result<(), GraphError> {
        let nodes = self.nodes.iter().map(|node| ("node", node.name.as_str()));
        let tensors = self.tensors.keys().map(|name| ("tensor", name.as_str()));
        for (what, name) in nodes.chain(tensors) {
            // `__metadata__` is the one name a safetensors file keeps for itself.
            let reserved = what == "tensor" && name == "__metadata__";
            if name.is_empty() || reserved || name.chars().any(char::is_control) {
                return Err(GraphError::Name { what, name: name.into() });
            }
        }
        let has = |wanted: fn(&Op) -> bool| self.nodes.iter().any(|node| wanted(&node.op));
        if !has(|op| matches!(op, Op::Input { .. })) {
            return Err(GraphError::Missing { what: "input" });
        }
        if !has(|op| matches!(op, Op::Output)) {
            return Err(GraphError::Missing { what: "output" });
        }
        Ok(())
    }

    fn check_tensors(&self) -> Result<(), GraphError> {
        for (name, tensor) in &self.tensors {
            tensor.check(name)?;
            check_shape(&tensor.shape, || format!("tensor `{name}`"), 0)?;
            if let Some((index, value)) = tensor.first_not_finite() {
                return Err(GraphError::NotFinite { tensor: name.clone(), index, value });
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), GraphError> {
        self.nodes
            .iter()
            .try_for_each(|node| check_shape(&node.shape, || format!("node `{}`", node.name), 1))
    }

    fn check_edges(&self) -> Result<(), GraphError> {
        let mut seen = BTreeSet::new();
        for Edge { from, to, port, delay } in &self.edges {
            if *delay > MAX_DELAY {
                let (from, to) = (from.clone(), to.clone());
                return Err(GraphError::Delay { from, to, delay: *delay, limit: MAX_DELAY });
            }
            if !seen.insert((from, to, *port, *delay)) {
                let (from, to) = (from.clone(), to.clone());
                return Err(GraphError::DuplicateEdge { from, to, port: *port, delay: *delay });
            }
        }
        Ok(())
    }

    fn check_state_size(&self, topology: &Topology) -> Result<(), GraphError> {
        let mut total = 0_usize;
        for (node, targets) in self.nodes.iter().zip(&topology.targets) {
            let delayed = targets.iter().map(|link| link.delay);
            let copies = delayed.fold(1_usize, usize::saturating_add);
            total = total.saturating_add(node.len().saturating_mul(copies));
        }
        if total > MAX_ELEMENTS {
            let what = format!("the state of a stream ({total} elements)");
            return Err(GraphError::TooLarge { what, limit: MAX_ELEMENTS });
        }
        Ok(())
    }

    fn check_node(&self, node: &Node, sources: &[Link]) -> Result<(), GraphError> {
        let inputs = self.port_shapes(node, sources)?;
        self.check_phase(node, sources)?;
        for weight in node.op.weights() {
            self.check_weight(node, weight)?;
        }
        self.check_floats(node)?;
        if let Op::Neuron(neuron) = &node.op {
            self.check_neuron(node, neuron)?;
        }
        if let Op::Egru { zoneout, restart, .. } = &node.op {
            if !(0.0..=1.0).contains(zoneout) {
                let (node, value) = (node.name.clone(), *zoneout);
                let parameter = "zoneout";
                return Err(GraphError::Parameter { node, parameter, value, range: UNIT });
            }
            if *restart == Some(0) {
                let problem = String::from("a state cannot restart every 0 steps");
                return Err(GraphError::Field {
                    node: node.name.clone(),
                    field: "restart",
                    problem,
                });
            }
        }
        if let Op::Embedding { .. } = &node.op {
            self.check_tokens(node, sources)?;
        }
        if let Op::Attention { .. } = &node.op {
            self.check_spikes(node, sources)?;
        }
        let inputs: Vec<_> = inputs.into_iter().map(Some).collect();
        match shape::infer(self, node, &inputs)? {
            Some(inferred) if inferred == node.shape => Ok(()),
            Some(inferred) => Err(GraphError::Shape {
                node: node.name.clone(),
                declared: node.shape.clone(),
                inferred,
            }),
            None => Err(GraphError::UnknownShape { node: node.name.clone() }),
        }
    }

    /// The shape that arrives at every port; `sources` is sorted by port.
    fn port_shapes(&self, node: &Node, sources: &[Link]) -> Result<Vec<&[usize]>, GraphError> {
        let name = &node.name;
        let connected = sources.last().map_or(0, |link| link.port.saturating_add(1));
        let ports = shape::ports(&node.op, connected);
        if connected > ports {
            return Err(GraphError::NoPort { node: name.clone(), port: connected - 1, ports });
        }
        let mut shapes: Vec<&[usize]> = Vec::new();
        for link in sources {
            let from = &self.nodes[link.node];
            // A port number may be anything: the first gap ends the search.
            if link.port > shapes.len() {
                return Err(GraphError::OpenPort { node: name.clone(), port: shapes.len() });
            }
            match shapes.get(link.port) {
                None => shapes.push(&from.shape),
                Some(expected) if *expected != from.shape => {
                    return Err(GraphError::Sum {
                        node: name.clone(),
                        port: link.port,
                        from: from.name.clone(),
                        found: from.shape.clone(),
                        expected: expected.to_vec(),
                    });
                }
                Some(_) => {}
            }
        }
        if shapes.len() < ports {
            return Err(GraphError::OpenPort { node: name.clone(), port: shapes.len() });
        }
        if matches!(node.op, Op::Output) && sources.len() != 1 {
            let problem = format!("takes exactly one edge, not {}", sources.len());
            return Err(GraphError::Field { node: name.clone(), field: "port", problem });
        }
        Ok(shapes)
    }

    fn check_phase(&self, node: &Node, sources: &[Link]) -> Result<(), GraphError> {
        for link in sources {
            let from = &self.nodes[link.node];
            let problem = match (from.phase, node.phase) {
                (Phase::Step, Phase::Step) => continue,
                (Phase::Sequence, Phase::Step) => {
                    "a node of phase `step` cannot wait for one of phase `sequence`"
                }
                (_, Phase::Sequence) if link.delay > 0 => {
                    "an edge within phase `sequence` has no delay"
                }
                (Phase::Step, Phase::Sequence) if !matches!(from.op, Op::Readout { .. }) => {
                    "only a read-out passes from phase `step` to `sequence`"
                }
                (_, Phase::Sequence) => continue,
            };
            let (from, to) = (from.name.clone(), node.name.clone());
            return Err(GraphError::Phase { from, to, problem });
        }
        Ok(())
    }

    /// What names the rows of a table must be checked before it is used: it comes from outside.
    fn check_tokens(&self, node: &Node, sources: &[Link]) -> Result<(), GraphError> {
        let numbers = |link: &Link| {
            let op = &self.nodes[link.node].op;
            matches!(op, Op::Input { signal } if *signal != Signal::Binary)
        };
        match sources {
            [link] if numbers(link) => Ok(()),
            _ => {
                let problem = String::from(
                    "an embedding takes one edge, from an input of token numbers that is not \
                     declared as binary",
                );
                Err(GraphError::Field { node: node.name.clone(), field: "port", problem })
            }
        }
    }

    /// Attention packs what it reads into bits.
    fn check_spikes(&self, node: &Node, sources: &[Link]) -> Result<(), GraphError> {
        let spikes = |link: &Link| match &self.nodes[link.node].op {
            Op::Neuron(neuron) => !matches!(neuron.membrane, Membrane::Li { .. }),
            Op::Input { signal } => *signal == Signal::Binary,
            _ => false,
        };
        let distinct: BTreeSet<(usize, usize)> =
            sources.iter().map(|link| (link.node, link.delay)).collect();
        if sources.len() == 3 && distinct.len() == 3 && sources.iter().all(spikes) {
            return Ok(());
        }
        let problem = String::from(
            "attention takes one edge per port, from three populations of neurons that spike",
        );
        Err(GraphError::Field { node: node.name.clone(), field: "port", problem })
    }

    fn check_weight(&self, node: &Node, weight: &Weight) -> Result<(), GraphError> {
        let tensor = self.tensor(&node.name, &weight.tensor)?;
        let data_type = |expected| GraphError::DataType {
            node: node.name.clone(),
            tensor: weight.tensor.clone(),
            found: tensor.data_type(),
            expected,
        };
        match (&tensor.values, &weight.scale) {
            (Values::F32(_) | Values::F16(_), None) => Ok(()),
            (Values::F32(_) | Values::F16(_), Some(_)) => {
                Err(data_type("i8 or i4 (it has scales)"))
            }
            (Values::I8(_) | Values::I4(_), Some(scale)) => {
                let channels = tensor.output_channels(weight.layout);
                let grouped = matches!(node.op, Op::Linear { .. } | Op::Embedding { .. })
                    && node.shape.len() == 1;
                let groups = tensor.groups().filter(|_| grouped);
                self.check_scales(node, scale, channels, groups)
            }
            (Values::I8(_) | Values::I4(_), None) => {
                Err(data_type("f32 or f16 (it has no scales)"))
            }
            (Values::I32(_), _) => Err(data_type("f32, f16, i8 or i4")),
        }
    }

    fn check_scales(
        &self,
        node: &Node,
        name: &str,
        channels: usize,
        groups: Option<[usize; 2]>,
    ) -> Result<(), GraphError> {
        let scales = self.tensor(&node.name, name)?;
        if scales.shape != [channels] && groups.is_none_or(|groups| scales.shape != groups) {
            return Err(GraphError::TensorShape {
                node: node.name.clone(),
                tensor: name.into(),
                found: scales.shape.clone(),
                expected: match groups {
                    Some([rows, groups]) => format!(
                        "[{channels}], one scale per output channel, or [{rows}, {groups}], one \
                         per {GROUP} weights of a row,"
                    ),
                    None => format!("[{channels}], one scale per output channel,"),
                },
            });
        }
        for value in float_values(node, name, scales)? {
            if *value <= 0.0 {
                return Err(GraphError::Parameter {
                    node: node.name.clone(),
                    parameter: "a weight scale",
                    value: *value,
                    range: "the positive numbers",
                });
            }
        }
        Ok(())
    }

    /// Biases, factors and neuron parameters are 32-bit floats.
    fn check_floats(&self, node: &Node) -> Result<(), GraphError> {
        let weights: BTreeSet<&str> =
            node.op.weights().iter().map(|weight| weight.tensor.as_str()).collect();
        for name in node.op.tensors() {
            if !weights.contains(name) {
                float_values(node, name, self.tensor(&node.name, name)?)?;
            }
        }
        Ok(())
    }

    fn check_neuron(&self, node: &Node, neuron: &Neuron) -> Result<(), GraphError> {
        let decay = |parameter, param| (parameter, param, UNIT);
        let mut checks = match &neuron.membrane {
            Membrane::If => Vec::new(),
            Membrane::Lif { beta, .. } | Membrane::Li { beta } => Vec::from([decay("beta", beta)]),
            Membrane::CubaLif { alpha, beta } => {
                Vec::from([decay("alpha", alpha), decay("beta", beta)])
            }
            Membrane::AdaptiveLif { beta, rho, gain } => {
                Vec::from([decay("beta", beta), decay("rho", rho), ("gain", gain, FINITE)])
            }
        };
        checks.push(("threshold", &neuron.threshold, FINITE));
        for (parameter, param, range) in checks {
            let within = |value: f32| match range {
                UNIT => (0.0..=1.0).contains(&value),
                _ => value.is_finite(),
            };
            let outside = self.param_values(node, param)?.iter().find(|value| !within(**value));
            if let Some(&value) = outside {
                let node = node.name.clone();
                return Err(GraphError::Parameter { node, parameter, value, range });
            }
        }
        Ok(())
    }

    fn param_values<'a>(&'a self, node: &Node, param: &'a Param) -> Result<&'a [f32], GraphError> {
        let name = match param {
            Param::Shared(value) => return Ok(core::slice::from_ref(value)),
            Param::Tensor(name) => name,
        };
        let tensor = self.tensor(&node.name, name)?;
        let channels = node.shape.last().copied().unwrap_or(1);
        if tensor.shape != node.shape && tensor.shape != [channels] {
            return Err(GraphError::TensorShape {
                node: node.name.clone(),
                tensor: name.clone(),
                found: tensor.shape.clone(),
                expected: format!("{:?} or [{channels}]", node.shape),
            });
        }
        float_values(node, name, tensor)
    }

    fn check_used(&self) -> Result<(), GraphError> {
        let used: BTreeSet<&str> = self.nodes.iter().flat_map(|node| node.op.tensors()).collect();
        match self.tensors.keys().find(|name| !used.contains(name.as_str())) {
            Some(tensor) => Err(GraphError::UnusedTensor { tensor: tensor.clone() }),
            None => Ok(()),
        }
    }

    /// An integer-only graph names the fraction bits of every input that is no spikes, and of
    /// nothing else.
    fn check_integer(&self) -> Result<(), GraphError> {
        let Some(fractions) = &self.integer else { return Ok(()) };
        let wrong = |node: &str, problem: &str| {
            let (node, problem) = (node.to_string(), problem.to_string());
            Err(GraphError::Field { node, field: "integer", problem })
        };
        for node in &self.nodes {
            if let Op::Input { signal: Signal::Graded | Signal::Dense } = node.op {
                match fractions.get(&node.name) {
                    Some(0..=15) => {}
                    Some(_) => return wrong(&node.name, "an input has at most 15 fraction bits"),
                    None => {
                        return wrong(&node.name, "the fraction bits of this input are missing");
                    }
                }
            }
        }
        let is_input = |name: &str| {
            let node = self.nodes.iter().find(|node| node.name == name);
            node.is_some_and(
                |node| matches!(node.op, Op::Input { signal } if signal != Signal::Binary),
            )
        };
        match fractions.keys().find(|name| !is_input(name)) {
            Some(name) => wrong(name, "only inputs that are no spikes have fraction bits"),
            None => Ok(()),
        }
    }

    fn check_task(&self) -> Result<(), GraphError> {
        let task = &self.task;
        let wrong = |field, problem: String| Err(GraphError::Task { field, problem });
        if task.mean.len() != task.std.len() {
            let lengths = format!("{} means but {} deviations", task.mean.len(), task.std.len());
            return wrong("std", lengths);
        }
        if task.mean.iter().any(|mean| !mean.is_finite()) {
            return wrong("mean", "holds a value that is not finite".to_string());
        }
        if task.std.iter().any(|std| !std.is_finite() || *std <= 0.0) {
            return wrong("std", "holds a value that is not finite and positive".to_string());
        }
        if task.window > MAX_WINDOW {
            return wrong("window", format!("{} steps are over {MAX_WINDOW}", task.window));
        }
        if task.step_ms.is_some_and(|step| !step.is_finite() || step <= 0.0) {
            return wrong("step_ms", "must be finite and positive".to_string());
        }
        if let Some(detection) = &task.detection {
            detection.check().or_else(|(field, problem)| wrong(field, problem))?;
        }
        if let Some(inputs) = self.only_channels(|op| matches!(op, Op::Input { .. })) {
            for (field, len) in [("mean", task.mean.len()), ("channels", task.channels.len())] {
                if len != 0 && len != inputs {
                    return wrong(field, format!("has {len} entries for {inputs} input channels"));
                }
            }
        }
        if let Some(outputs) = self.only_channels(|op| matches!(op, Op::Output))
            && !task.classes.is_empty()
            && task.classes.len() != outputs
        {
            let len = task.classes.len();
            return wrong("classes", format!("names {len} classes for {outputs} output channels"));
        }
        Ok(())
    }

    /// The channels of the one node of a kind; `None` when there are several.
    fn only_channels(&self, wanted: fn(&Op) -> bool) -> Option<usize> {
        let mut nodes = self.nodes.iter().filter(|node| wanted(&node.op));
        match (nodes.next(), nodes.next()) {
            (Some(node), None) => node.shape.last().copied(),
            _ => None,
        }
    }
}

fn check_shape(
    shape: &[usize],
    what: impl Fn() -> String,
    min_axes: usize,
) -> Result<(), GraphError> {
    let axes = min_axes..=MAX_AXES;
    if axes.contains(&shape.len()) && !shape.contains(&0) && elements(shape).is_some() {
        Ok(())
    } else {
        Err(GraphError::Size { what: what(), shape: shape.to_vec(), limit: MAX_AXES })
    }
}

fn float_values<'a>(node: &Node, name: &str, tensor: &'a Tensor) -> Result<&'a [f32], GraphError> {
    match &tensor.values {
        Values::F32(values) => Ok(values),
        _ => Err(GraphError::DataType {
            node: node.name.clone(),
            tensor: name.into(),
            found: tensor.data_type(),
            expected: "f32",
        }),
    }
}
