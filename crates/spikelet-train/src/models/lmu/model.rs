//! The classical LMU as a Burn module.

use super::config::LmuConfig;
use crate::{
    init::Init,
    model::{SequenceModel, State, step_by_step},
    models::ModelError,
    raise::RaiseError,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{Graph, GraphBuilder, Readout};
use spikelet_kernels::legendre::Legendre;
use std::sync::Arc;

/// `u = E_x x + E_h h + E_m m; m = A m + B u; h = tanh(W_x x + W_h h + W_m m); y = W_o h + b`.
#[derive(Module, Debug)]
pub struct Lmu {
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
    /// `[classes, hidden]`.
    pub w_o: Param<Tensor<2>>,
    /// `[classes]`.
    pub b_o: Param<Tensor<1>>,
    /// A `[order, order]` as it is applied, and B `[order]`.
    #[module(skip)]
    pub legendre: Arc<(Vec<f32>, Vec<f32>)>,
    /// How outputs become logits.
    #[module(skip)]
    pub readout: Readout,
}

impl Lmu {
    /// A network with the initial values of the official code.
    ///
    /// # Errors
    /// If there are no Legendre matrices for the settings.
    pub fn new(
        config: &LmuConfig,
        inputs: usize,
        classes: usize,
        init: &mut Init,
    ) -> Result<Lmu, ModelError> {
        let Legendre { a, b, .. } =
            Legendre::new(config.order, config.theta, config.discretization, config.legendre)?;
        let states = config.memories * config.order;
        Ok(Lmu {
            e_x: init.lecun_uniform([config.memories, inputs]),
            e_h: init.lecun_uniform([config.memories, config.hidden]),
            e_m: init.constant(0.0, [config.memories, states]),
            w_x: init.xavier_normal([config.hidden, inputs]),
            w_h: init.xavier_normal([config.hidden, config.hidden]),
            w_m: init.xavier_normal([config.hidden, states]),
            w_o: init.torch_linear(config.hidden, [classes, config.hidden]),
            b_o: init.torch_linear(config.hidden, [classes]),
            legendre: Arc::new((a, b)),
            readout: config.readout,
        })
    }
}

impl SequenceModel for Lmu {
    fn initial_state(&self, batch: usize, device: &Device) -> State {
        let [hidden, states] = self.w_m.val().dims();
        vec![Tensor::zeros([batch, states], device), Tensor::zeros([batch, hidden], device)]
    }

    fn step(&self, x: Tensor<2>, state: State) -> (Tensor<2>, State) {
        let [m, h] = state.try_into().expect("memory and hidden state");
        let apply = |w: &Param<Tensor<2>>, x: &Tensor<2>| x.clone().matmul(w.val().transpose());
        let u = apply(&self.e_x, &x) + apply(&self.e_h, &h) + apply(&self.e_m, &m);
        let m = legendre_step(u, m, &self.legendre);
        let h = (apply(&self.w_x, &x) + apply(&self.w_h, &h) + apply(&self.w_m, &m)).tanh();
        (apply(&self.w_o, &h) + self.b_o.val().unsqueeze(), vec![m, h])
    }

    fn sequence(&self, x: Tensor<3>) -> Tensor<3> {
        step_by_step(self, x)
    }

    fn readout(&self) -> Readout {
        self.readout
    }

    fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        super::lower::lower(self, graph, input)
    }

    fn from_graph(graph: &Graph, device: &Device) -> Result<Self, RaiseError> {
        super::checkpoint::from_graph(graph, device)
    }
}

/// `A m[k] + B u[k]` for every memory: `u` `[batch, memories]` and `m` `[batch, memories * order]`
/// to `[batch, memories * order]`, memory-major.
pub fn legendre_step(u: Tensor<2>, m: Tensor<2>, (a, b): &(Vec<f32>, Vec<f32>)) -> Tensor<2> {
    let [batch, memories] = u.dims();
    let order = b.len();
    let device = u.device();
    let a = Tensor::<2>::from_data(TensorData::new(a.clone(), [order, order]), &device);
    let b = Tensor::<2>::from_data(TensorData::new(b.clone(), [1, order]), &device);
    let m = m.reshape([batch * memories, order]).matmul(a.transpose());
    let u = u.reshape([batch * memories, 1]) * b;
    (m + u).reshape([batch, memories * order])
}
