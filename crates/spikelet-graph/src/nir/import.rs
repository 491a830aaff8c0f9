//! A NIR graph as an event graph that runs.

use super::{
    DELAYED, DT, STEP, TASK,
    error::NirError,
    fields::Fields,
    layers::{Layer, by_channel, layer},
    loops,
    model::{NirGraph, PORT},
    neurons::{Population, population},
    order::Form,
};
use crate::{
    builder::GraphBuilder,
    graph::Graph,
    neuron::{Membrane, Neuron, Param, Reset},
    op::{Layout, Op, Readout, Signal, Weight},
    task::Task,
    tensor::Tensor,
    validate::MAX_DELAY,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A NIR graph that runs, and what the file left open.
#[derive(Clone, Debug)]
pub struct Import {
    /// The event graph.
    pub graph: Graph,
    /// Seconds of a time step.
    pub dt: f64,
    /// What was assumed, a sentence each.
    pub notes: Vec<String>,
}

impl NirGraph {
    /// The event graph that steps through this graph, `dt` seconds a step; without `dt`, the step
    /// that the file's metadata names, or [`STEP`].
    ///
    /// Inputs are graded events. Spikes that reach an output are counted there
    /// ([`Readout::Sum`]); other values pass. Names of nodes stay, and so does the task record of a
    /// file that was written here.
    ///
    /// # Errors
    /// Nodes that NIR does not define, fields that do not fit, and what the event graph cannot
    /// express.
    pub fn to_graph(&self, name: &str, dt: Option<f64>) -> Result<Import, NirError> {
        let mut notes = Vec::new();
        let named = self.metadata.get(DT).and_then(|field| field.as_number());
        let dt = match (dt, named.filter(|dt| *dt > 0.0 && dt.is_finite())) {
            (Some(dt), _) => dt,
            (None, Some(named)) => {
                notes.push(format!("a step is {named} s, as the file's metadata says"));
                named
            }
            (None, None) => {
                notes.push(format!(
                    "the file names no time step: taken as {STEP} s, as snnTorch writes files"
                ));
                STEP
            }
        };
        if !(dt > 0.0 && dt.is_finite()) {
            return Err(NirError::TimeStep { dt });
        }
        let mut import = Importer::new(self, name, dt, notes)?;
        import.infer()?;
        import.check_sums()?;
        import.add_edges();
        let Importer { mut builder, mut notes, .. } = import;
        notes.sort();
        notes.dedup();
        let mut task = Task::default();
        if let Some(text) = self.metadata.get(TASK).and_then(|field| field.as_text()) {
            match serde_json::from_str(text) {
                Ok(found) => task = found,
                Err(error) => notes.push(format!("metadata `{TASK}` is left out: {error}")),
            }
        }
        task.notes.insert("nir.version".into(), self.version.clone());
        task.notes.insert("nir.dt".into(), format!("{dt} s"));
        builder.task(task);
        Ok(Import { graph: builder.finish()?, dt, notes })
    }
}

/// What a node gives.
#[derive(Clone)]
struct Given {
    form: Form,
    spikes: bool,
}

struct Importer<'a> {
    nir: &'a NirGraph,
    names: Vec<&'a str>,
    /// Ends of the edges, by position of the node.
    edges: Vec<[usize; 2]>,
    /// Edges that wait a step because they close a loop.
    delayed: BTreeSet<usize>,
    dt: f64,
    builder: GraphBuilder,
    taken: BTreeSet<String>,
    given: Vec<Option<Given>>,
    /// Where values enter and leave a node in the event graph, and the steps they wait before.
    entry: Vec<(String, usize)>,
    exit: Vec<String>,
    notes: Vec<String>,
}

impl<'a> Importer<'a> {
    fn new(
        nir: &'a NirGraph,
        name: &str,
        dt: f64,
        mut notes: Vec<String>,
    ) -> Result<Self, NirError> {
        let names: Vec<&str> = nir.nodes.keys().map(String::as_str).collect();
        let index = loops::positions(&nir.nodes);
        let mut edges = Vec::with_capacity(nir.edges.len());
        for [from, to] in &nir.edges {
            let end = |name: &String| {
                index.get(name.as_str()).copied().ok_or_else(|| NirError::Edge {
                    from: from.clone(),
                    to: to.clone(),
                    problem: format!("no node is named `{name}`"),
                })
            };
            edges.push([end(from)?, end(to)?]);
        }
        let kind = |node: usize| nir.nodes[names[node]].kind.as_str();
        let holds: Vec<bool> = (0..names.len())
            .map(|node| matches!(kind(node), "IF" | "LIF" | "CubaLIF" | "I" | "LI" | "CubaLI"))
            .collect();
        let inputs: Vec<usize> = (0..names.len()).filter(|&node| kind(node) == "Input").collect();
        let waits: Vec<bool> = edges.iter().map(|[_, to]| kind(*to) == "Delay").collect();
        let hints = hints(nir, &index, &edges);
        let delayed = loops::delayed(&inputs, &holds, &edges, &waits, &hints);
        for &edge in &delayed {
            let [from, to] = &nir.edges[edge];
            notes.push(format!("`{from}` reaches `{to}` a step later: the edge closes a loop"));
        }
        let entry = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
        let exit = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Importer {
            nir,
            edges,
            delayed,
            dt,
            builder: GraphBuilder::new(name),
            taken: nir.nodes.keys().cloned().collect(),
            given: vec![None; names.len()],
            names,
            entry,
            exit,
            notes,
        })
    }

    /// Adds the nodes, each as soon as one of its inputs is known.
    fn infer(&mut self) -> Result<(), NirError> {
        let mut targets = vec![Vec::new(); self.names.len()];
        for [from, to] in &self.edges {
            targets[*from].push(*to);
        }
        let mut queue = VecDeque::new();
        for node in 0..self.names.len() {
            let fields = self.fields(node);
            if fields.node.kind == "Input" {
                fields.only(&["shape"])?;
                let shape = fields.sizes("shape")?;
                let form = Form::of_nir(&shape).ok_or_else(|| {
                    fields.wrong("shape", format!("{shape:?}: one to three sizes from 1"))
                })?;
                self.builder.input(fields.name, Signal::Graded, &form.graph_shape());
                self.given[node] = Some(Given { form, spikes: false });
                queue.push_back(node);
            }
        }
        while let Some(from) = queue.pop_front() {
            let Some(input) = self.given[from].clone() else { continue };
            for &to in &targets[from] {
                if self.given[to].is_none() {
                    self.given[to] = Some(self.node(to, &input)?);
                    queue.push_back(to);
                }
            }
        }
        match self.given.iter().position(Option::is_none) {
            Some(node) => Err(NirError::node(self.names[node], "no Input leads to it")),
            None => Ok(()),
        }
    }

    fn fields(&self, node: usize) -> Fields<'a> {
        let name = self.names[node];
        Fields { name, node: &self.nir.nodes[name] }
    }

    fn node(&mut self, index: usize, input: &Given) -> Result<Given, NirError> {
        let fields = self.fields(index);
        if let Some(found) = population(fields, &input.form, self.dt)? {
            return self.neuron(index, found, &input.form);
        }
        if let Some((layer, form)) = layer(fields, &input.form)? {
            let passes = matches!(layer, Layer::Flatten | Layer::Delay(_));
            self.layer(index, layer)?;
            return Ok(Given { form, spikes: passes && input.spikes });
        }
        match fields.node.kind.as_str() {
            "Output" => self.output(index, input)?,
            PORT => self.builder.node(fields.name, Op::Add),
            kind => {
                let (node, kind) = (fields.name.into(), kind.into());
                return Err(NirError::UnknownKind { node, kind });
            }
        }
        Ok(input.clone())
    }

    /// Spikes are counted, several sources added up first.
    fn output(&mut self, index: usize, input: &Given) -> Result<(), NirError> {
        let fields = self.fields(index);
        fields.only(&["shape"])?;
        let shape = fields.sizes("shape")?;
        if shape != input.form.shape {
            let problem = format!("is {shape:?} but {:?} arrives", input.form.shape);
            return Err(fields.wrong("shape", problem));
        }
        if !input.form.is_flat() || input.form.is_reordered() {
            self.notes.push(format!(
                "output `{}` gives its values channels last, not first as NIR does",
                fields.name
            ));
        }
        let sources = self.edges.iter().filter(|[_, to]| *to == index).count();
        let spikes = input.spikes && sources == 1;
        let mut last: Option<String> = None;
        let parts = [(sources > 1, "sum", Op::Add), (spikes, "count", COUNT)];
        for (_, what, op) in parts.into_iter().filter(|(wanted, ..)| *wanted) {
            let name = self.free(fields.name, what);
            self.builder.node(&name, op);
            match &last {
                Some(last) => self.builder.edge(last, &name, 0),
                None => self.entry[index].0.clone_from(&name),
            }
            last = Some(name);
        }
        self.builder.node(fields.name, Op::Output);
        if let Some(last) = &last {
            self.builder.edge(last, fields.name, 0);
        }
        if spikes {
            self.notes.push(format!("the spikes that reach output `{}` are counted", fields.name));
        }
        Ok(())
    }

    fn layer(&mut self, index: usize, layer: Layer) -> Result<(), NirError> {
        let name = self.names[index];
        let bias_of = |builder: &mut GraphBuilder, bias: Option<Tensor>| {
            bias.map(|bias| builder.tensor(&format!("{name}.bias"), bias))
        };
        let op = match layer {
            Layer::Linear { weight, bias } => {
                let layout = Layout::ByInput;
                let weight = weight.permuted(&[1, 0]).unwrap_or(weight);
                let tensor = self.builder.tensor(&format!("{name}.weight"), weight);
                let bias = bias_of(&mut self.builder, bias);
                Op::Linear { weight: Weight { tensor, scale: None, layout }, bias }
            }
            Layer::Conv { weight, bias, window, groups } => {
                let tensor = self.builder.tensor(&format!("{name}.weight"), weight);
                let weight = Weight { tensor, scale: None, layout: Layout::ByInput };
                let bias = bias_of(&mut self.builder, bias);
                let (stride, padding) = (window.stride, window.padding);
                Op::Conv2d { weight, bias, stride, padding, dilation: window.dilation, groups }
            }
            Layer::Pool { pooling, kernel, window } => {
                Op::Pool2d { pooling, kernel, stride: window.stride, padding: window.padding }
            }
            Layer::Flatten => Op::Flatten,
            Layer::Scale(factors) => {
                let factor = Tensor::f32(&[factors.len()], factors)?;
                let factor = self.builder.tensor(&format!("{name}.factor"), factor);
                Op::Scale { factor, shift: None }
            }
            Layer::Delay(seconds) => {
                let steps = (seconds / self.dt).round();
                if steps > MAX_DELAY as f64 {
                    let problem = format!("{seconds} s are {steps} steps; {MAX_DELAY} is the most");
                    return Err(NirError::field(name, "delay", problem));
                }
                let steps = steps as usize;
                let off = (steps as f64 * self.dt - seconds).abs();
                if off > 1e-3 * self.dt {
                    self.notes.push(format!("delay `{name}` of {seconds} s is {steps} steps"));
                }
                self.entry[index].1 = steps;
                Op::Add
            }
        };
        self.builder.node(name, op);
        Ok(())
    }

    fn neuron(&mut self, index: usize, found: Population, form: &Form) -> Result<Given, NirError> {
        let name = self.names[index];
        if found.starts_at_reset {
            self.notes.push(format!("the potentials of `{name}` start at v_reset"));
        }
        if let Some(current) = &found.constant {
            let entry = self.free(name, "rest");
            let ones = vec![1.0; form.len()];
            self.affine(&entry, name, "v_leak", form, [&ones, current])?;
            self.builder.edge(&entry, name, 0);
            self.entry[index].0 = entry;
        }
        let mut param = |what: &str, values: &[f64]| self.param(name, what, form, values);
        let alpha = found.alpha.map(|alpha| param("alpha", &alpha)).transpose()?;
        let beta = found.beta.map(|beta| param("beta", &beta)).transpose()?;
        let Some(threshold) = found.threshold else {
            let beta = beta.unwrap_or(Param::Shared(1.0));
            if let Some(beta) = alpha {
                let synapse = self.free(name, "synapse");
                self.builder.node(&synapse, Op::Neuron(integrator(beta)));
                self.builder.edge(&synapse, name, 0);
                self.entry[index].0 = synapse;
            }
            self.builder.node(name, Op::Neuron(integrator(beta)));
            if let Some([gain, shift]) = &found.output {
                let exit = self.free(name, "potential");
                self.affine(&exit, name, "r", form, [gain, shift])?;
                self.builder.edge(name, &exit, 0);
                self.exit[index] = exit;
            }
            return Ok(Given { form: form.clone(), spikes: false });
        };
        let membrane = match (alpha, beta) {
            (Some(alpha), Some(beta)) => Membrane::CubaLif { alpha, beta },
            (_, Some(beta)) => Membrane::Lif { beta, input_decay: found.input_decay },
            (_, None) => Membrane::If,
        };
        let neuron = Neuron {
            membrane,
            threshold: self.param(name, "threshold", form, &threshold)?,
            fires_at_threshold: false,
            reset: if found.resets { Reset::Zero } else { Reset::None },
            reset_delayed: false,
        };
        self.builder.node(name, Op::Neuron(neuron));
        Ok(Given { form: form.clone(), spikes: true })
    }

    /// One value for all, one per channel, or one per neuron: the first that says it all.
    fn param(
        &mut self,
        node: &str,
        what: &str,
        form: &Form,
        values: &[f64],
    ) -> Result<Param, NirError> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        if let Some(&first) = values.first()
            && values.iter().all(|value| *value == first)
        {
            return Ok(Param::Shared(first));
        }
        let tensor = match by_channel(form, &values) {
            Some(channels) => Tensor::f32(&[channels.len()], channels)?,
            None => Tensor::f32(&form.graph_shape(), values)?,
        };
        Ok(Param::Tensor(self.builder.tensor(&format!("{node}.{what}"), tensor)))
    }

    /// A node that scales and shifts by channel, on behalf of a field of a NIR node.
    fn affine(
        &mut self,
        name: &str,
        node: &str,
        field: &str,
        form: &Form,
        values: [&[f64]; 2],
    ) -> Result<(), NirError> {
        let mut tensor = |values: &[f64], what: &str| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let Some(values) = by_channel(form, &values) else {
                let problem = "differs within a channel, which the event graph cannot";
                return Err(NirError::field(node, field, problem));
            };
            let tensor = Tensor::f32(&[values.len()], values)?;
            Ok(self.builder.tensor(&format!("{name}.{what}"), tensor))
        };
        let factor = tensor(values[0], "factor")?;
        let shifts = values[1].iter().any(|shift| *shift != 0.0);
        let shift = shifts.then(|| tensor(values[1], "shift")).transpose()?;
        self.builder.node(name, Op::Scale { factor, shift });
        Ok(())
    }

    /// A name that no node has.
    fn free(&mut self, node: &str, what: &str) -> String {
        let mut name = format!("{node}.{what}");
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// All that is added up must have one shape and one order.
    fn check_sums(&self) -> Result<(), NirError> {
        let mut first: BTreeMap<usize, &Form> = BTreeMap::new();
        for [from, to] in &self.edges {
            let Some(given) = &self.given[*from] else { continue };
            let expected = *first.entry(*to).or_insert(&given.form);
            if *expected != given.form {
                let problem = format!(
                    "cannot add `{}` {:?} to {:?} (a flattened image counts as another shape)",
                    self.names[*from], given.form.shape, expected.shape
                );
                return Err(NirError::node(self.names[*to], problem));
            }
        }
        Ok(())
    }

    fn add_edges(&mut self) {
        for (edge, [from, to]) in self.edges.iter().enumerate() {
            let (entry, steps) = &self.entry[*to];
            let delay = steps + usize::from(self.delayed.contains(&edge));
            self.builder.edge((self.exit[*from].as_str(), delay), entry, 0);
        }
    }
}

const COUNT: Op = Op::Readout { readout: Readout::Sum };

fn integrator(beta: Param) -> Neuron {
    Neuron {
        membrane: Membrane::Li { beta },
        threshold: Param::Shared(1.0),
        fires_at_threshold: false,
        reset: Reset::None,
        reset_delayed: false,
    }
}

/// The edges that the writer meant to wait, by index: text in the metadata, see [`DELAYED`].
fn hints(nir: &NirGraph, index: &BTreeMap<&str, usize>, edges: &[[usize; 2]]) -> Vec<usize> {
    let text = nir.metadata.get(DELAYED).and_then(|field| field.as_text());
    let named: Option<Vec<[String; 2]>> = text.and_then(|text| serde_json::from_str(text).ok());
    let find = |[from, to]: &[String; 2]| {
        let ends = [*index.get(from.as_str())?, *index.get(to.as_str())?];
        edges.iter().position(|edge| *edge == ends)
    };
    named.unwrap_or_default().iter().take(MAX_HINTS).filter_map(find).collect()
}

/// The most hints that are looked at.
const MAX_HINTS: usize = 1024;
