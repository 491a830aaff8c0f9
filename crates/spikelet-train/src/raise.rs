//! The way back: the weights of an event graph as a model, to go on training.

use crate::{
    init::Init,
    neuron::{NeuronConfig, NeuronConfigError, NeuronModel, Neurons, ParameterConfig, ResetKind},
};
use burn::module::Param;
use burn::tensor::{Device, Tensor};
use spikelet_graph::{Graph, GraphError, Layout, Membrane, Op, Readout, Reset, Weight};
use spikelet_kernels::surrogate::Surrogate;

/// A graph that is not one of the model asked for.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// Something is missing or broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node is of another kind.
    #[error("node `{node}` is not {expected}: the graph is not one of the model asked for")]
    Kind {
        /// Its name.
        node: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A population that cannot be learned.
    #[error("node `{node}`: {source}")]
    Neuron {
        /// Its name.
        node: String,
        /// Why.
        source: NeuronConfigError,
    },
}

/// Reads weights of a graph, quantised ones as the values they stand for.
pub struct Raise<'a> {
    graph: &'a Graph,
    init: Init,
}

impl<'a> Raise<'a> {
    /// Tensors will live on `device`.
    pub fn new(graph: &'a Graph, device: &Device) -> Raise<'a> {
        Raise { graph, init: Init::new(0, device) }
    }

    /// Where the tensors live.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// The operation of a node.
    pub fn op(&self, node: &str) -> Result<&'a Op, RaiseError> {
        Ok(&self.graph.node(node)?.op)
    }

    /// Whether there is a node of this name.
    pub fn has(&self, node: &str) -> bool {
        self.graph.node(node).is_ok()
    }

    /// The matrix `[out, in]` of a linear node.
    pub fn matrix(&self, node: &str) -> Result<Param<Tensor<2>>, RaiseError> {
        match self.op(node)? {
            Op::Linear { weight, .. } => self.weight(node, weight),
            _ => Err(RaiseError::Kind { node: node.to_owned(), expected: "linear" }),
        }
    }

    /// The bias of a linear node.
    pub fn bias(&self, node: &str) -> Result<Param<Tensor<1>>, RaiseError> {
        match self.op(node)? {
            Op::Linear { bias: Some(bias), .. } => self.vector(node, bias),
            _ => Err(RaiseError::Kind { node: node.to_owned(), expected: "linear with a bias" }),
        }
    }

    /// A weight as `[out, in]`.
    pub fn weight(&self, node: &str, weight: &Weight) -> Result<Param<Tensor<2>>, RaiseError> {
        self.laid(node, weight, Layout::ByOutput)
    }

    /// A weight as `[in, out]`.
    pub fn by_input(&self, node: &str, weight: &Weight) -> Result<Param<Tensor<2>>, RaiseError> {
        self.laid(node, weight, Layout::ByInput)
    }

    fn laid(
        &self,
        node: &str,
        weight: &Weight,
        wanted: Layout,
    ) -> Result<Param<Tensor<2>>, RaiseError> {
        let shape = &self.graph.tensor(node, &weight.tensor)?.shape;
        let &[rows, columns] = shape.as_slice() else {
            return Err(RaiseError::Kind { node: node.to_owned(), expected: "a matrix" });
        };
        let values = self.graph.weight(node, weight)?;
        if weight.layout == wanted {
            return Ok(self.init.values(values, [rows, columns]));
        }
        // A parameter must be a leaf of the autodiff graph: values are turned round, not tensors.
        let turned = (0..values.len()).map(|k| values[k % rows * columns + k / rows]);
        Ok(self.init.values(turned.collect(), [columns, rows]))
    }

    /// The kernel `[kh, kw, in, out]` of a convolution whose weights lie by input.
    pub fn kernel(&self, node: &str, weight: &Weight) -> Result<Param<Tensor<4>>, RaiseError> {
        let shape = &self.graph.tensor(node, &weight.tensor)?.shape;
        match (shape.as_slice(), weight.layout) {
            (&[h, w, inputs, outputs], Layout::ByInput) => {
                Ok(self.init.values(self.graph.weight(node, weight)?, [h, w, inputs, outputs]))
            }
            _ => Err(RaiseError::Kind { node: node.to_owned(), expected: "a kernel by input" }),
        }
    }

    /// A tensor of one axis.
    pub fn vector(&self, node: &str, name: &str) -> Result<Param<Tensor<1>>, RaiseError> {
        let values = self.graph.tensor(node, name)?.to_f32();
        let n = values.len();
        Ok(self.init.values(values, [n]))
    }

    /// The table `[tokens, channels]` of an embedding.
    pub fn table(&self, node: &str, weight: &Weight) -> Result<Param<Tensor<2>>, RaiseError> {
        // A table lies by its tokens, which a matrix takes for its inputs.
        let turned = self.weight(node, weight)?.val();
        let [channels, tokens] = turned.dims();
        let values = crate::params::values(turned.transpose());
        Ok(self.init.values(values, [tokens, channels]))
    }

    /// A population whose parameters are learned; the surrogate is `surrogate`.
    pub fn neurons(&self, node: &str, surrogate: Surrogate) -> Result<Neurons, RaiseError> {
        let Op::Neuron(neuron) = self.op(node)? else {
            return Err(RaiseError::Kind { node: node.to_owned(), expected: "a population" });
        };
        let size = neuron
            .params()
            .into_iter()
            .map(|p| Ok(self.graph.param(node, p)?.len()))
            .collect::<Result<Vec<_>, GraphError>>()?
            .into_iter()
            .max()
            .unwrap_or(1);
        let shape = ParameterConfig { value: 0.5, learnable: true, per_neuron: size > 1 };
        let (model, alpha) = match &neuron.membrane {
            Membrane::Lif { .. } => (NeuronModel::Lif, None),
            Membrane::CubaLif { alpha, .. } => (NeuronModel::CubaLif, Some(alpha)),
            _ => {
                let expected = "a population of LIF or CuBa-LIF neurons";
                return Err(RaiseError::Kind { node: node.to_owned(), expected });
            }
        };
        let config = NeuronConfig {
            beta: Some(shape),
            alpha: alpha.map(|_| shape),
            threshold: shape,
            reset: match neuron.reset {
                Reset::None => ResetKind::None,
                Reset::Subtract => ResetKind::Subtract,
                Reset::Zero => ResetKind::Zero,
            },
            reset_delayed: neuron.reset_delayed,
            fires_at_threshold: neuron.fires_at_threshold,
            surrogate,
            ..NeuronConfig::new(model)
        };
        let mut neurons = config
            .init(size, self.init.device())
            .map_err(|source| RaiseError::Neuron { node: node.to_owned(), source })?;
        let spread = |p| -> Result<Param<Tensor<1>>, RaiseError> {
            let values = self.graph.param(node, p)?;
            let values = if values.len() == 1 { vec![values[0]; size] } else { values };
            Ok(self.init.values(values, [size]))
        };
        if let Membrane::Lif { beta, .. } | Membrane::CubaLif { beta, .. } = &neuron.membrane {
            neurons.beta = Some(spread(beta)?);
        }
        neurons.alpha = alpha.map(spread).transpose()?;
        neurons.threshold = spread(&neuron.threshold)?;
        Ok(neurons)
    }
}

/// How the graph reads its outputs over time.
pub fn readout(graph: &Graph) -> Result<Readout, RaiseError> {
    match graph.node("readout")?.op {
        Op::Readout { readout } => Ok(readout),
        _ => Err(RaiseError::Kind { node: "readout".to_owned(), expected: "a read-out" }),
    }
}
