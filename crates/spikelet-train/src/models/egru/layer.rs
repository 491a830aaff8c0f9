//! One EGRU layer, its weights under the names and with the shapes they have in the official code.

use super::{config::CellConfig, functions};
use crate::{
    draws::{Draws, LAYER_STREAMS},
    init::Init,
    lower::tensor,
    ops::egru::{EgruOutputs, EgruSettings, EgruState, EgruWeights},
    params,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_graph::{GraphBuilder, Layout, Op, Weight};
use spikelet_kernels::egru::PseudoDerivative;
use std::sync::Arc;

/// An EGRU layer; see [`spikelet_kernels::egru`].
#[derive(Module, Debug)]
pub struct EgruLayer {
    /// `[input, 3 hidden]`, gates in the order z, r, g.
    pub kernel: Param<Tensor<2>>,
    /// `[hidden, 3 hidden]`.
    pub recurrent_kernel: Param<Tensor<2>>,
    /// `[3 hidden]`.
    pub bias: Param<Tensor<1>>,
    /// `[3 hidden]`.
    pub recurrent_bias: Param<Tensor<1>>,
    /// Thresholds `[hidden]`, from 0 to 1.
    pub thr: Param<Tensor<1>>,
    /// The stand-in for the derivative of events.
    #[module(skip)]
    pub pseudo: PseudoDerivative,
    /// Fraction of units that keep their state in a step.
    #[module(skip)]
    pub zoneout: f32,
    /// Fraction of recurrent weights dropped in a pass of training.
    #[module(skip)]
    pub dropconnect: f32,
}

/// Draws for zoneout. Those from 2 on are for what stands behind a layer.
const ZONEOUT: u64 = 0;

impl EgruLayer {
    /// A fresh layer: weights Xavier normal, biases 0, thresholds from a Beta distribution with
    /// `beta = 3` and the mean asked for.
    pub fn new(config: &CellConfig, inputs: usize, units: usize, init: &mut Init) -> EgruLayer {
        let mut kernel = |inputs: usize| {
            let std = config.init_gain * (2.0 / (inputs + 3 * units) as f32).sqrt();
            init.normal(std, [inputs, 3 * units])
        };
        let (kernel, recurrent_kernel) = (kernel(inputs), kernel(units));
        let mean = f64::from(config.threshold_mean);
        let thr = init.beta(3.0 * mean / (1.0 - mean), 3.0, [units]);
        EgruLayer {
            kernel,
            recurrent_kernel,
            bias: init.constant(0.0, [3 * units]),
            recurrent_bias: init.constant(0.0, [3 * units]),
            thr: if config.train_threshold { thr } else { thr.set_require_grad(false) },
            pseudo: PseudoDerivative { dampening: config.dampening, support: config.support },
            zoneout: config.zoneout,
            dropconnect: config.dropconnect,
        }
    }

    /// Units.
    pub fn units(&self) -> usize {
        self.recurrent_kernel.val().dims()[0]
    }

    /// The state before the first step.
    pub fn initial_state(&self, batch: usize, device: &Device) -> EgruState {
        let zeros = || Tensor::zeros([batch, self.units()], device);
        EgruState { y: zeros(), h: zeros(), trace: zeros() }
    }

    /// Runs over `x` `[time, batch, input]` from a state. With `draws`, as in training, units are
    /// zoned out and recurrent weights dropped; they are those of layer `index`.
    pub fn run(
        &self,
        x: Tensor<3>,
        state: EgruState,
        draws: Option<&Draws>,
        index: usize,
    ) -> EgruOutputs {
        let [time, batch, _] = x.dims();
        let (units, first) = (self.units(), index as u64 * LAYER_STREAMS);
        let zoned = draws.filter(|_| self.zoneout > 0.0);
        let mask = zoned
            .map(|draws| draws.each(first + ZONEOUT, self.zoneout, time, batch * units))
            .map(Arc::new);
        let recurrent = self.recurrent_kernel.val();
        let recurrent = match draws {
            Some(draws) => draws.connections(recurrent, self.dropconnect, index),
            None => recurrent,
        };
        let weights = EgruWeights {
            kernel: self.kernel.val(),
            recurrent,
            bias: self.bias.val(),
            recurrent_bias: self.recurrent_bias.val(),
            threshold: self.thr.val(),
        };
        let settings = EgruSettings { pseudo: self.pseudo, share: 1.0 - self.zoneout, mask };
        functions::layer(x, weights, state, settings)
    }

    /// The layer with its thresholds brought back into 0 to 1, which the official code does before
    /// every pass.
    pub fn clamped(self) -> Self {
        let thr = self.thr.map(|thr| {
            let (tracked, device) = (thr.is_require_grad(), thr.device());
            let mut values = params::values(thr);
            values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
            // A parameter must be a leaf of the autodiff graph.
            let shape = [values.len()];
            let inside = Tensor::from_data(TensorData::new(values, shape), &device);
            if tracked { inside.require_grad() } else { inside }
        });
        EgruLayer { thr, ..self }
    }

    /// Adds the layer to a graph behind `input`. The weights of the input lie by input if it is
    /// sparse. After `restart` steps the state starts again.
    pub fn lower(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        input: &str,
        sparse: bool,
        restart: Option<usize>,
    ) {
        let mut weight = |end: &str, param: &Param<Tensor<2>>, layout: Layout| {
            let stored = tensor(param);
            let stored = match layout {
                Layout::ByInput => stored,
                Layout::ByOutput => stored.permuted(&[1, 0]).expect("two axes"),
            };
            let tensor = graph.tensor(&format!("{name}.{end}"), stored);
            Weight { tensor, scale: None, layout }
        };
        let by_input = if sparse { Layout::ByInput } else { Layout::ByOutput };
        let weight_input = weight("kernel", &self.kernel, by_input);
        let weight_hidden = weight("recurrent_kernel", &self.recurrent_kernel, Layout::ByInput);
        let mut vector = |end: &str, param: &Param<Tensor<1>>| {
            graph.tensor(&format!("{name}.{end}"), tensor(param))
        };
        let op = Op::Egru {
            weight_input,
            weight_hidden,
            bias_input: vector("bias", &self.bias),
            bias_hidden: vector("recurrent_bias", &self.recurrent_bias),
            threshold: vector("thr", &self.thr),
            zoneout: self.zoneout,
            restart,
        };
        graph.node(name, op);
        graph.edge(input, name, 0);
        graph.edge((name, 1), name, 1);
    }
}
