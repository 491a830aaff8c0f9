//! What stands in front of the first layer: frames of event counts, pooled and brought together.

use crate::models::ModelError;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Reset};

/// How frames `[height, width, 2]` of event counts become inputs, as in the official gesture code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontConfig {
    /// Side of the squares of which the largest count of each polarity is kept.
    pub pool: usize,
    /// What becomes of the two polarities.
    pub aggregate: Aggregate,
}

/// What becomes of the two polarities of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// The first less the second.
    Diff,
    /// 1 where their sum is above 1, so that a single event gives 0.
    Bool,
    /// Both are inputs, side by side.
    None,
}

impl FrontConfig {
    /// Inputs that frames of this shape become.
    ///
    /// # Errors
    /// Frames without two polarities, or squares that do not fit them.
    pub fn inputs(&self, [height, width, polarities]: [usize; 3]) -> Result<usize, ModelError> {
        let value = polarities as f32;
        if polarities != 2 {
            return Err(ModelError::Setting { name: "polarities", value, range: "2" });
        }
        if self.pool == 0 || height < self.pool || width < self.pool {
            let (layer, kernel, size) = ("front".to_owned(), self.pool, [height, width]);
            return Err(ModelError::Image { layer, kernel, size });
        }
        let positions = (height / self.pool) * (width / self.pool);
        Ok(if self.aggregate == Aggregate::None { 2 * positions } else { positions })
    }

    /// `[time, batch, height * width * 2]` to `[time, batch, inputs]`.
    pub fn run(&self, x: Tensor<3>, [height, width, _]: [usize; 3]) -> Tensor<3> {
        let [time, batch, _] = x.dims();
        let (k, h, w) = (self.pool, height / self.pool, width / self.pool);
        // What does not fill a square is left out, as PyTorch does.
        let x = x.reshape([time * batch, height, width, 2]);
        let x = x.narrow(1, 0, h * k).narrow(2, 0, w * k);
        let x = x.reshape([time * batch * h, k, w, k * 2]).max_dim(1);
        let x = x.reshape([time * batch * h * w, k, 2]).max_dim(1);
        let x: Tensor<2> = x.reshape([time * batch * h * w, 2]);
        let [first, second] = [0, 1].map(|polarity| x.clone().narrow(1, polarity, 1));
        let x = match self.aggregate {
            Aggregate::Mean => (first + second).mul_scalar(0.5),
            Aggregate::Diff => first - second,
            Aggregate::Bool => (first + second).greater_elem(1.0).float(),
            Aggregate::None => x,
        };
        let inputs = x.dims()[1] * h * w;
        x.reshape([time, batch, inputs])
    }

    /// Adds it to a graph behind `input`; returns the node that gives the inputs.
    pub fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        let (pooling, kernel) = (Pooling::Max, [self.pool; 2]);
        let op = Op::Pool2d { pooling, kernel, stride: kernel, padding: [0, 0] };
        graph.node("front.pool", op);
        graph.edge(input, "front.pool", 0);
        let weights = match self.aggregate {
            Aggregate::Mean => Some([0.5, 0.5]),
            Aggregate::Diff => Some([1.0, -1.0]),
            Aggregate::Bool => Some([1.0, 1.0]),
            Aggregate::None => None,
        };
        let mut last = "front.pool";
        if let Some(weights) = weights {
            let weight = spikelet_graph::Tensor::f32(&[1, 2, 1, 1], weights.to_vec());
            let weight = weight.expect("two values");
            let (from, stride) = (last, [1, 1]);
            graph.conv2d("front.sum", from, &weight, None, Layout::ByOutput, stride, [0, 0], 1);
            last = "front.sum";
        }
        if self.aggregate == Aggregate::Bool {
            // A neuron without memory that fires above 1.
            let neuron = Neuron {
                membrane: Membrane::Lif { beta: Param::Shared(0.0), input_decay: false },
                threshold: Param::Shared(1.0),
                fires_at_threshold: false,
                reset: Reset::None,
                reset_delayed: false,
            };
            graph.neuron("front.bool", &[last], neuron);
            last = "front.bool";
        }
        graph.node("front", Op::Flatten);
        graph.edge(last, "front", 0);
        "front".to_owned()
    }
}
