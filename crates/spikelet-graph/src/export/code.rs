//! A program as calls of helper functions on constants and arrays, the same in every language.

use super::fusion::Fusion;
use crate::{
    error::GraphError,
    graph::Graph,
    op::{Function, Pooling, Readout},
    program::{
        BufferId, Constant, Content, Convolution, Factor, Program, Source, Step, Window, fixed,
    },
};
use alloc::{format, string::String, vec, vec::Vec};

/// Float convolutions with at least as many weights run in another order on a host.
const PACKED: usize = 1 << 14;

/// A program in the form that is printed.
pub(super) struct Code {
    pub(super) program: Program,
    pub(super) constants: Vec<Named>,
    pub(super) shapes: Vec<Convolution>,
    pub(super) calls: Vec<Call>,
    /// Where every buffer is.
    pub(super) places: Vec<Place>,
    /// Arrays that live during a step, shared by buffers that live apart.
    pub(super) slots: Vec<(Content, usize)>,
}

/// A constant array.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) values: Data,
}

/// The values of a constant array.
pub(super) enum Data {
    Constant(Constant),
    /// Places within a row.
    Places(Vec<u32>),
    U32(Vec<u32>),
}

/// Where a buffer is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A field of the state.
    State,
    /// The start of a slot.
    Slot(usize),
}

/// A call, or the loop over a population.
pub(super) enum Call {
    Helper { name: &'static str, args: Vec<Arg> },
    Population { step: usize, constants: [Option<usize>; 5] },
}

/// An argument.
#[derive(Clone, Copy)]
pub(super) enum Arg {
    /// A buffer that is written, and its length.
    To(BufferId),
    /// A buffer that is written, of a length that is known.
    Into(BufferId),
    /// A buffer that is read, and its length.
    From(BufferId),
    /// A buffer that is read, of a length that is known.
    Read(BufferId),
    /// An event list that is written: its array and its count.
    ToEvents(BufferId),
    /// An event list that is read.
    Events(BufferId),
    /// Readings: first and number.
    Input(usize, usize),
    Constant(usize),
    /// A constant and its length.
    Channels(usize),
    Shape(usize),
    Unsigned(u32),
    Signed(i32),
    Float(f32),
    /// Whether something is so.
    Flag(bool),
    /// Steps before this one, or with this one.
    Steps {
        with_this: bool,
    },
    /// No constant; with its length.
    Nothing,
    NoChannels,
}

impl Code {
    pub(super) fn new(graph: &Graph) -> Result<Self, GraphError> {
        let program = Program::new(graph)?;
        let fraction = |output: &BufferId| program.buffers[*output].fraction;
        if let [first, rest @ ..] = program.outputs.as_slice()
            && let Some(other) = rest.iter().find(|output| fraction(output) != fraction(first))
        {
            let problem = String::from(
                "its scores have other units than those of the first output: export a graph with \
                 one of them",
            );
            let node = program.buffers[*other].name.clone();
            return Err(GraphError::Field { node, field: "op", problem });
        }
        let mut code = Code {
            constants: Vec::new(),
            shapes: Vec::new(),
            calls: Vec::new(),
            places: Vec::new(),
            slots: Vec::new(),
            program: program.clone(),
        };
        let fusion = Fusion::new(&program);
        code.place(&fusion);
        let normal = (!graph.task.mean.is_empty()).then(|| {
            let mut named = |name: &str, values: &Vec<f32>| {
                let values = Constant::F32(values.clone());
                code.constant(name, &format!("{name} of the readings"), values)
            };
            [named("mean", &graph.task.mean), named("deviation", &graph.task.std)]
        });
        let mut steps = program.steps.iter().enumerate();
        while let Some((index, step)) = steps.next() {
            if let Some(fused) = fusion.first.get(&index) {
                code.product(*fused, &program.steps[index..]);
                steps.nth(1);
            } else if !fusion.gone.contains(&index) {
                code.step(graph, index, step, normal)?;
            }
        }
        Ok(code)
    }

    /// Gives buffers that survive a field, and the others a slot of their kind.
    fn place(&mut self, fusion: &Fusion) {
        let buffers = &self.program.buffers;
        let lives = fusion.lives(&self.program);
        // Large buffers first: small ones share their slots.
        let mut order: Vec<usize> = (0..buffers.len()).collect();
        order.sort_by_key(|index| (core::cmp::Reverse(buffers[*index].len), *index));
        let mut places = vec![Place::State; buffers.len()];
        let mut taken: Vec<Vec<[usize; 2]>> = Vec::new();
        for index in order {
            let (buffer, Some(life)) = (&buffers[index], lives[index]) else { continue };
            if buffer.kept {
                continue;
            }
            let free = |slot: &usize| {
                let apart = |other: &[usize; 2]| other[1] < life[0] || life[1] < other[0];
                self.slots[*slot].0 == buffer.content && taken[*slot].iter().all(apart)
            };
            let slot = (0..self.slots.len()).find(free).unwrap_or_else(|| {
                self.slots.push((buffer.content, buffer.len));
                taken.push(Vec::new());
                taken.len() - 1
            });
            taken[slot].push(life);
            places[index] = Place::Slot(slot);
        }
        self.places = places;
    }

    pub(super) fn constant(&mut self, name: &str, what: &str, values: Constant) -> usize {
        self.data(name, what, Data::Constant(values))
    }

    pub(super) fn data(&mut self, name: &str, what: &str, values: Data) -> usize {
        let name = format!("{}_{}", super::identifier(name), self.constants.len());
        self.constants.push(Named { name, what: String::from(what), values });
        self.constants.len() - 1
    }

    pub(super) fn call(&mut self, name: &'static str, args: &[Arg]) {
        self.calls.push(Call::Helper { name, args: args.to_vec() });
    }

    pub(super) fn name(&self, buffer: BufferId) -> String {
        self.program.buffers[buffer].name.clone()
    }

    fn fraction(&self, buffer: BufferId) -> u32 {
        self.program.buffers[buffer].fraction
    }

    fn step(
        &mut self,
        graph: &Graph,
        index: usize,
        step: &Step,
        normal: Option<[usize; 2]>,
    ) -> Result<(), GraphError> {
        let integer = self.program.integer;
        match step {
            Step::Load { start, to } => {
                let x = Arg::Input(*start, self.program.buffers[*to].len);
                let [mean, deviation] = match normal {
                    Some([mean, deviation]) => [Arg::Constant(mean), Arg::Channels(deviation)],
                    None => [Arg::Nothing, Arg::NoChannels],
                };
                let mut args = vec![Arg::Into(*to), x, mean, deviation];
                if integer {
                    args.push(Arg::Float((1_u32 << self.fraction(*to)) as f32));
                }
                self.call(if integer { "load_fixed" } else { "load_float" }, &args);
            }
            Step::LoadEvents { start, to } => {
                let x = Arg::Input(*start, self.program.buffers[*to].len);
                self.call("load_events", &[Arg::ToEvents(*to), x]);
            }
            Step::Begin { bias: None, to } => {
                let sums = self.program.buffers[*to].content == Content::Sums;
                self.call(if sums { "clear_sums" } else { "clear" }, &[Arg::To(*to)]);
            }
            Step::Begin { bias: Some(bias), to } => {
                let bias = self.constant(&self.name(*to), "bias", bias.clone());
                self.call("begin", &[Arg::To(*to), Arg::Channels(bias)]);
            }
            Step::AddBias { bias, to } => {
                let bias = self.constant(&self.name(*to), "bias", bias.clone());
                self.call("add_bias", &[Arg::To(*to), Arg::Channels(bias)]);
            }
            Step::Matrix { weights, from, to } => self.matrix(weights, *from, *to),
            Step::Convolve { weights, shape, from, to } => {
                if !integer && weights.values.len() >= PACKED {
                    let node = graph
                        .nodes
                        .iter()
                        .find(|n| n.op.tensors().contains(&weights.name.as_str()));
                    let problem = format!(
                        "a float convolution of {} weights would not give the bits of \
                         `spikelet run`: make the graph integer-only",
                        weights.values.len()
                    );
                    let node = node.map_or_else(String::new, |node| node.name.clone());
                    return Err(GraphError::Field { node, field: "weight", problem });
                }
                let kernel = self.constant(&weights.name, "kernel", weights.values.clone());
                let shape = self.shape(*shape);
                let args = [Arg::Into(*to), Arg::Constant(kernel), Arg::Shape(shape)];
                match from {
                    Source::Events(from) => {
                        self.call(
                            "conv_events",
                            &[args.as_slice(), &[Arg::Events(*from)]].concat(),
                        );
                    }
                    Source::Values(from) => {
                        self.call("conv_values", &[args.as_slice(), &[Arg::From(*from)]].concat());
                    }
                }
            }
            Step::Finish { factor, from, to } => self.finish(factor, *from, *to),
            Step::LegendreStates { a, order, from: Source::Events(from), to } => {
                let a = self.constant(&self.name(*to), "A, column after column", a.clone());
                let order = Arg::Unsigned(*order as u32);
                let args = [Arg::Into(*to), Arg::Constant(a), order, Arg::Events(*from)];
                self.call("legendre_states", &args);
            }
            Step::LegendreInputs { b, from: Source::Events(from), to } => {
                let b = self.constant(&self.name(*to), "B", b.clone());
                self.call(
                    "legendre_inputs",
                    &[Arg::Into(*to), Arg::Channels(b), Arg::Events(*from)],
                );
            }
            Step::LegendreStates { to, .. } | Step::LegendreInputs { to, .. } => {
                let problem = String::from("only Legendre memories of spikes can be exported");
                let node = self.name(*to);
                return Err(GraphError::Field { node, field: "op", problem });
            }
            Step::Add { from: Source::Events(from), shift, to } => {
                let one = 1_i32 << (*shift).max(0);
                let one = if integer { Arg::Signed(one) } else { Arg::Float(1.0) };
                self.call("add_events", &[Arg::Into(*to), one, Arg::Events(*from)]);
            }
            Step::Add { from: Source::Values(from), shift, to } => {
                let args = [Arg::To(*to), Arg::Read(*from)];
                if !integer || *shift == 0 {
                    self.call("add_values", &args);
                } else {
                    let up = Arg::Signed(1 << (*shift).max(0));
                    let down = Arg::Unsigned((-*shift).max(0) as u32);
                    self.call("add_shifted", &[args.as_slice(), &[up, down]].concat());
                }
            }
            Step::Densify { from, to } => self.call("densify", &[Arg::To(*to), Arg::Events(*from)]),
            Step::List { from, to } => {
                self.call("list_active", &[Arg::ToEvents(*to), Arg::From(*from)]);
            }
            Step::Pool { pooling, window, channels, factor, from, to } => {
                self.pool(*pooling, *window, *channels, factor.as_ref(), *from, *to);
            }
            Step::Scale { factor, offset, from, to } => {
                if integer {
                    match offset {
                        None => self.call("clear", &[Arg::To(*to)]),
                        Some(offset) => {
                            let offset = self.constant(&self.name(*to), "offset", offset.clone());
                            self.call("begin", &[Arg::To(*to), Arg::Channels(offset)]);
                        }
                    }
                    self.finish(factor, *from, *to);
                } else {
                    let name = self.name(*to);
                    let values = self.constant(&name, "factors", factor.values.clone());
                    self.call(
                        "scale_float",
                        &[Arg::To(*to), Arg::Read(*from), Arg::Channels(values)],
                    );
                    if let Some(offset) = offset {
                        let offset = self.constant(&name, "offset", offset.clone());
                        self.call("add_bias", &[Arg::To(*to), Arg::Channels(offset)]);
                    }
                }
            }
            Step::Apply { function: Function::Relu, from, to } => {
                self.call("relu", &[Arg::To(*to), Arg::Read(*from)]);
            }
            Step::Apply { function, from, to } if integer => {
                let table = self.table(*function == Function::Tanh);
                self.call("look_up", &[Arg::To(*to), Arg::Read(*from), Arg::Constant(table)]);
            }
            Step::Egru { units, gates: [a, b], to } => {
                let threshold = self.constant(&units.name, "thresholds", units.threshold.clone());
                let tables = [true, false].map(|is_tanh| Arg::Constant(self.table(is_tanh)));
                let args = [
                    &[Arg::To(*to), Arg::Into(units.h), Arg::Read(*a), Arg::Read(*b)],
                    &[Arg::Constant(threshold)] as &[Arg],
                    &tables,
                    &[
                        Arg::Signed(units.share.unwrap_or(1 << fixed::DECAY)),
                        Arg::Unsigned(fixed::STATE - self.fraction(*to)),
                        Arg::Unsigned(units.restart.unwrap_or(0) as u32),
                        Arg::Steps { with_this: false },
                    ],
                ];
                self.call("egru", &args.concat());
            }
            Step::Apply { to, .. } => {
                let problem = String::from("this function needs an integer-only graph");
                let node = self.name(*to);
                return Err(GraphError::Field { node, field: "function", problem });
            }
            Step::Fire { population, .. } | Step::Integrate { population, .. } => {
                let p = population.clone();
                let mut constant = |what: &str, values: Constant| {
                    (values.len() > 1).then(|| self.constant(&p.name, what, values))
                };
                let constants = [
                    constant("thresholds", p.threshold),
                    constant("decays of the potential", p.beta),
                    constant("factors of the current", p.drive),
                    constant("decays of the second value", p.second_decay),
                    constant("gains of the adaptation", p.gain),
                ];
                self.calls.push(Call::Population { step: index, constants });
            }
            Step::Reduce { readout, from, sum, to } => self.reduce(*readout, *from, *sum, *to),
            Step::Keep { from, to } => match self.program.buffers[*to].content {
                Content::Events => {
                    self.call("keep_events", &[Arg::ToEvents(*to), Arg::Events(*from)]);
                }
                _ => self.call("keep_values", &[Arg::To(*to), Arg::Read(*from)]),
            },
        }
        Ok(())
    }

    /// The table of tanh or of the logistic function; one for all that use it.
    fn table(&mut self, is_tanh: bool) -> usize {
        let name = if is_tanh { "tanh" } else { "sigmoid" };
        let there = self.constants.iter().position(|named| named.what == name);
        let values = || Constant::I32(fixed::table(is_tanh));
        there.unwrap_or_else(|| self.constant("table", name, values()))
    }

    pub(super) fn shape(&mut self, shape: Convolution) -> usize {
        self.shapes.push(shape);
        self.shapes.len() - 1
    }

    fn pool(
        &mut self,
        pooling: Pooling,
        window: Window,
        channels: usize,
        factor: Option<&Factor>,
        from: BufferId,
        to: BufferId,
    ) {
        let shape =
            self.shape(Convolution { window, inputs: channels, outputs: channels, groups: 1 });
        let is_max = Arg::Flag(pooling == Pooling::Max);
        self.call("pool", &[Arg::Into(to), Arg::Read(from), Arg::Shape(shape), is_max]);
        match factor.map(|factor| (&factor.values, factor.shift)) {
            Some((Constant::I32(values), shift)) => {
                let args = [Arg::To(to), Arg::Signed(values[0]), Arg::Unsigned(shift)];
                self.call("scale_each", &args);
            }
            Some((Constant::F32(values), _)) => {
                self.call("divide_each", &[Arg::To(to), Arg::Float(values[0])]);
            }
            _ => {}
        }
    }

    fn reduce(&mut self, readout: Readout, from: Source, sum: BufferId, to: BufferId) {
        match (readout, from) {
            (Readout::Max, Source::Events(from)) => {
                self.call("max_events", &[Arg::Into(to), Arg::Events(from)]);
            }
            (Readout::Max, Source::Values(from)) => {
                let steps = Arg::Steps { with_this: false };
                self.call("max_values", &[Arg::To(to), Arg::Read(from), steps]);
            }
            (_, Source::Events(from)) => {
                if self.program.integer {
                    self.call("sum_events", &[Arg::Into(sum), Arg::Events(from)]);
                } else {
                    let args = [Arg::Into(sum), Arg::Float(1.0), Arg::Events(from)];
                    self.call("add_events", &args);
                }
            }
            (_, Source::Values(from)) => {
                let name = if self.program.integer { "sum_values" } else { "add_values" };
                self.call(name, &[Arg::To(sum), Arg::Read(from)]);
            }
        }
        if readout == Readout::Mean {
            let steps = Arg::Steps { with_this: true };
            let args = [Arg::To(to), Arg::Read(sum)];
            if self.program.integer {
                let shift = Arg::Signed(self.fraction(to) as i32 - self.fraction(sum) as i32);
                self.call("mean_fixed", &[args.as_slice(), &[shift, steps]].concat());
            } else {
                self.call("mean_float", &[args.as_slice(), &[steps]].concat());
            }
        }
    }
}

impl Named {
    /// Bytes of storage.
    pub(super) fn bytes(&self, place_bytes: usize) -> usize {
        match &self.values {
            Data::Constant(constant) => constant.bytes(),
            Data::Places(places) => places.len() * place_bytes,
            Data::U32(values) => 4 * values.len(),
        }
    }
}

impl Code {
    /// Bytes of an index in an event list.
    pub(super) fn index_bytes(&self) -> usize {
        let most = self.program.buffers.iter().map(|buffer| buffer.len).max().unwrap_or(0);
        if most <= 1 << 16 { 2 } else { 4 }
    }

    /// Bytes of a place in a sparse row.
    pub(super) fn place_bytes(&self) -> usize {
        let most = self.constants.iter().filter_map(|constant| match &constant.values {
            Data::Places(places) => places.iter().max(),
            _ => None,
        });
        if most.max().is_none_or(|most| *most < 256) { 1 } else { 2 }
    }

    /// Bytes of a buffer of this content and length, without the count of an event list.
    pub(super) fn bytes(&self, content: Content, len: usize) -> usize {
        match content {
            Content::Events => self.index_bytes() * len,
            Content::Values | Content::Sums => 4 * len,
        }
    }

    /// The buffers of the state.
    pub(super) fn kept(&self) -> impl Iterator<Item = BufferId> {
        (0..self.program.buffers.len()).filter(|buffer| self.program.buffers[*buffer].kept)
    }
}
