//! The L2MU as a Burn module.

use super::{
    config::{L2muConfig, NeuronKind},
    input::Encoder,
};
use crate::{
    init::Init,
    model::{SequenceModel, State},
    models::{ModelError, lmu::legendre_step},
    neuron::{NeuronState, NeuronTensors, Neurons, neuron_step},
    ops::{
        flex::is_f32_on_flex,
        l2mu::{Constants, Parameters, l2mu_sequence},
    },
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, GraphBuilder, Readout};
use spikelet_kernels::legendre::Legendre;
use std::sync::Arc;

/// The L2MU. Weights are `[out, in]` as in PyTorch, memory states memory-major.
#[derive(Module, Debug)]
pub struct L2mu {
    /// Real values to spikes.
    pub encoder: Option<Encoder>,
    /// `[memories, input]`.
    pub e_x: Param<Tensor<2>>,
    /// `[memories, hidden]`.
    pub e_h: Param<Tensor<2>>,
    /// `[memories, memories * order]`.
    pub e_m: Param<Tensor<2>>,
    /// `[hidden, input]`.
    pub w_x: Param<Tensor<2>>,
    /// `[hidden, hidden]`.
    pub w_h: Param<Tensor<2>>,
    /// `[hidden, memories * order]`.
    pub w_m: Param<Tensor<2>>,
    /// `[output, hidden]`.
    pub w_o: Param<Tensor<2>>,
    /// `[output]`.
    pub b_o: Param<Tensor<1>>,
    /// Neurons driven by the input, `h` and `m`.
    pub u: Neurons,
    /// Neurons of the memory.
    pub m: Neurons,
    /// Hidden neurons.
    pub h: Neurons,
    /// Output neurons.
    pub out: Neurons,
    /// A, B and the surrogate.
    #[module(skip)]
    pub constants: Arc<Constants>,
}

/// Currents, state and spikes of one population at one step, `[batch, neurons]`.
#[derive(Clone, Debug)]
pub struct Trace {
    /// `u`, `m`, `h`, `out`, or `enc_ch0` .., `enc_encoder`, `enc_decoder`.
    pub population: String,
    /// Input current.
    pub current: Tensor<2>,
    /// Membrane potential (before its delayed reset) and synaptic current.
    pub state: NeuronState,
    /// Spikes.
    pub spikes: Tensor<2>,
}

impl L2mu {
    /// A network with fresh weights (initialisation: spec of the official code).
    ///
    /// # Errors
    /// If the Legendre matrices or a population cannot be made of the settings.
    pub fn new(
        config: &L2muConfig,
        inputs: usize,
        classes: usize,
        init: &mut Init,
    ) -> Result<L2mu, ModelError> {
        let (encoder, inputs) = Encoder::new(config, inputs, init)?;
        let states = config.memories * config.order;
        let Legendre { a, b, .. } =
            Legendre::new(config.order, config.theta, config.discretization, config.legendre)?;
        Ok(L2mu {
            encoder,
            e_x: init.lecun_uniform([config.memories, inputs]),
            e_h: init.lecun_uniform([config.memories, config.hidden]),
            e_m: init.constant(0.0, [config.memories, states]),
            w_x: init.xavier_normal([config.hidden, inputs]),
            w_h: init.xavier_normal([config.hidden, config.hidden]),
            w_m: init.xavier_normal([config.hidden, states]),
            w_o: init.torch_linear(config.hidden, [classes, config.hidden]),
            b_o: init.torch_linear(config.hidden, [classes]),
            u: config.population(&config.u, 1, init)?,
            m: config.population(&config.m, 1, init)?,
            h: config.population(&config.h, 1, init)?,
            out: config.population(&config.out, 1, init)?,
            constants: Arc::new(Constants {
                legendre: (a, b),
                synaptic: config.neuron == NeuronKind::CubaLif,
                reset_delayed: config.reset_delayed,
                surrogate: config.surrogate,
            }),
        })
    }

    /// Inputs of the model: channels of the data.
    pub fn inputs(&self) -> usize {
        match &self.encoder {
            Some(encoder) => encoder.weight.val().dims()[0],
            None => self.e_x.val().dims()[1],
        }
    }

    /// Neurons of every population with a state, in the order of [`trace`](Self::trace).
    pub fn populations(&self) -> Vec<(String, usize, NeuronTensors)> {
        let mut all = Vec::new();
        if let Some(encoder) = &self.encoder {
            let [channels, population] = encoder.weight.val().dims();
            let neurons = encoder.repeated();
            all.push(("enc_ch".to_owned(), channels * population, neurons));
            for (layer, name) in encoder.layers.iter().zip(["enc_encoder", "enc_decoder"]) {
                let size = layer.bias.val().dims()[0];
                all.push((name.to_owned(), size, layer.neurons.tensors()));
            }
        }
        let order = self.constants.legendre.1.len();
        let ([memories, _], [hidden]) = (self.e_x.val().dims(), [self.w_x.val().dims()[0]]);
        let classes = self.b_o.val().dims()[0];
        all.push(("u".to_owned(), memories, self.u.tensors()));
        all.push(("m".to_owned(), memories * order, self.m.tensors()));
        all.push(("h".to_owned(), hidden, self.h.tensors()));
        all.push(("out".to_owned(), classes, self.out.tensors()));
        all
    }

    /// One step that shows every population. The state is, per population, its spikes, potential
    /// and (CuBa-LIF) synaptic current.
    pub fn trace(&self, x: Tensor<2>, state: State) -> (Vec<Trace>, State) {
        let dynamics = self.u.dynamics;
        let per_population = if self.constants.synaptic { 3 } else { 2 };
        let mut traces: Vec<Trace> = Vec::new();
        let mut next = State::new();
        let old = |k: usize| state[k * per_population].clone();
        let populations = self.populations();
        let encoders = populations.len() - 4;
        for (k, (name, _, neurons)) in populations.into_iter().enumerate() {
            let new = |k: usize| traces[k].spikes.clone();
            let current = if k < encoders {
                let encoder = self.encoder.as_ref().expect("a population of the input module");
                match k {
                    0 => encoder.channel_current(x.clone()),
                    k => encoder.layers[k - 1].current(new(k - 1)),
                }
            } else {
                let (m, h) = (encoders + 1, encoders + 2);
                let input = || if encoders > 0 { new(encoders - 1) } else { x.clone() };
                let apply = |w: &Param<Tensor<2>>, x| Tensor::matmul(x, w.val().transpose());
                match k - encoders {
                    0 => {
                        apply(&self.e_x, input())
                            + apply(&self.e_h, old(h))
                            + apply(&self.e_m, old(m))
                    }
                    1 => legendre_step(new(encoders), old(m), &self.constants.legendre),
                    2 => {
                        apply(&self.w_x, input())
                            + apply(&self.w_h, old(h))
                            + apply(&self.w_m, new(m))
                    }
                    _ => apply(&self.w_o, new(h)) + self.b_o.val().unsqueeze(),
                }
            };
            let before = NeuronState {
                v: state[k * per_population + 1].clone(),
                second: (per_population == 3).then(|| state[k * per_population + 2].clone()),
            };
            let (spikes, after) = neuron_step(current.clone(), before, neurons, dynamics);
            next.push(spikes.clone());
            next.push(after.v.clone());
            next.extend(after.second.clone());
            traces.push(Trace { population: name, current, state: after, spikes });
        }
        (traces, next)
    }

    fn parameters(&self) -> Parameters {
        let all = [&self.u, &self.m, &self.h, &self.out];
        let betas = Tensor::cat(all.map(|p| p.tensors().beta).to_vec(), 0);
        let thresholds = Tensor::cat(all.map(|p| p.threshold.val()).to_vec(), 0);
        let alphas = match &self.u.alpha {
            Some(_) => {
                Tensor::cat(all.iter().filter_map(|p| Some(p.alpha.as_ref()?.val())).collect(), 0)
            }
            None => betas.zeros_like(),
        };
        Parameters {
            e_x: self.e_x.val(),
            e_h: self.e_h.val(),
            e_m: self.e_m.val(),
            w_x: self.w_x.val(),
            w_h: self.w_h.val(),
            w_m: self.w_m.val(),
            w_o: self.w_o.val(),
            b_o: self.b_o.val(),
            neurons: Tensor::stack(vec![betas, thresholds, alphas], 0),
        }
    }
}

impl SequenceModel for L2mu {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let tensors = if self.constants.synaptic { 3 } else { 2 };
        let zeros = |n: usize| Tensor::<2>::zeros([batch, n], device);
        self.populations()
            .into_iter()
            .flat_map(|(_, n, _)| (0..tensors).map(|_| zeros(n)).collect::<Vec<_>>())
            .collect()
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let (mut traces, next) = self.trace(x, state);
        (traces.pop().expect("the output population").spikes, next)
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        if !is_f32_on_flex(&x) {
            return crate::model::step_by_step(self, x);
        }
        let x = match &self.encoder {
            Some(encoder) => encoder.sequence(x),
            None => x,
        };
        l2mu_sequence(x, self.parameters(), self.constants.clone())
    }

    fn readout(&self) -> Readout {
        Readout::Sum
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::checkpoint::from_graph(graph, device)
    }
}
