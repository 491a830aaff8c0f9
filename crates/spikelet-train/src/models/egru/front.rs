//! What stands in front of the first layer: frames of event counts, pooled and brought together.

use super::convolutions::ConvolutionsConfig;
use crate::models::ModelError;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use spikelet_graph::{GraphBuilder, Layout, Membrane, Neuron, Op, Param, Pooling, Reset};

/// How frames `[height, width, 2]` of event counts become inputs, as in the official gesture code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontConfig {
    /// Side of the squares of which the largest count of each polarity is kept.
    pub pool: usize,
    /// What becomes of the two polarities.
    pub aggregate: Aggregate,
    /// What inputs are divided by.
    #[serde(default)]
    pub divide: Divide,
    /// The convolutions behind; without, positions are the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convolutions: Option<ConvolutionsConfig>,
}

/// What becomes of the two polarities of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// Their mean.
    Mean,
    /// The first less the second.
    Diff,
    /// 1 where a count is above 1, so that a single event gives 0; all positions of the first
    /// polarity, then those of the second.
    Bool,
    /// Both counts, in the same order.
    None,
}

/// What inputs are divided by: the official code divides means and counts by the largest value of
/// the training part, 19, and those of the test part by the largest of that, 18.5.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Divide {
    /// In training.
    pub train: f32,
    /// Everywhere else, and in the graph.
    pub test: f32,
}

impl Default for Divide {
    fn default() -> Self {
        Divide { train: 1.0, test: 1.0 }
    }
}

/// The node of counts times factors.
pub(super) const COUNTS: &str = "front.counts";

fn scale(graph: &mut GraphBuilder, name: &str, from: &str, factor: Vec<f32>) {
    let factor = spikelet_graph::Tensor::f32(&[factor.len()], factor);
    let factor = graph.tensor(&format!("{name}.factor"), factor.expect("a value a channel"));
    graph.node(name, Op::Scale { factor, shift: None });
    graph.edge(from, name, 0);
}

impl Aggregate {
    /// What the polarities are multiplied by before they add up, if they do.
    fn weights(self) -> Option<[f32; 2]> {
        match self {
            Aggregate::Mean => Some([0.5, 0.5]),
            Aggregate::Diff => Some([1.0, -1.0]),
            Aggregate::Bool | Aggregate::None => None,
        }
    }

    /// Values that are left of a position.
    pub fn channels(self) -> usize {
        match self {
            Aggregate::Mean | Aggregate::Diff => 1,
            Aggregate::Bool | Aggregate::None => 2,
        }
    }
}

impl FrontConfig {
    /// Pooling and polarities, nothing else.
    pub fn new(pool: usize, aggregate: Aggregate) -> FrontConfig {
        FrontConfig { pool, aggregate, divide: Divide::default(), convolutions: None }
    }

    /// Height, width and channels of what frames of this shape become.
    ///
    /// # Errors
    /// Frames without two polarities, squares that do not fit them, divisors that are none.
    pub fn image(&self, [height, width, polarities]: [usize; 3]) -> Result<[usize; 3], ModelError> {
        let value = polarities as f32;
        if polarities != 2 {
            return Err(ModelError::Setting { name: "polarities", value, range: "2" });
        }
        if self.pool == 0 || height < self.pool || width < self.pool {
            let (layer, kernel, size) = ("front".to_owned(), self.pool, [height, width]);
            return Err(ModelError::Image { layer, kernel, size });
        }
        for (name, value) in
            [("divide.train", self.divide.train), ("divide.test", self.divide.test)]
        {
            if value <= 0.0 || !value.is_finite() {
                return Err(ModelError::Setting { name, value, range: "above 0" });
            }
        }
        Ok([height / self.pool, width / self.pool, self.aggregate.channels()])
    }

    /// `[time, batch, height * width * 2]` to `[time * batch, h, w, channels]`.
    pub fn images(
        &self,
        x: Tensor<3>,
        [height, width, _]: [usize; 3],
        training: bool,
    ) -> Tensor<4> {
        let [time, batch, _] = x.dims();
        let (k, h, w) = (self.pool, height / self.pool, width / self.pool);
        // What does not fill a square is left out, as PyTorch does.
        let x = x.reshape([time * batch, height, width, 2]);
        let x = x.narrow(1, 0, h * k).narrow(2, 0, w * k);
        let x = x.reshape([time * batch * h, k, w, k * 2]).max_dim(1);
        let x = x.reshape([time * batch * h * w, k, 2]).max_dim(1);
        let x: Tensor<2> = x.reshape([time * batch * h * w, 2]);
        let polarity = |polarity: usize| x.clone().narrow(1, polarity, 1);
        let x = match self.aggregate {
            Aggregate::Mean => (polarity(0) + polarity(1)).mul_scalar(0.5),
            Aggregate::Diff => polarity(0) - polarity(1),
            Aggregate::Bool => x.greater_elem(1.0).float(),
            Aggregate::None => x,
        };
        let divisor = if training { self.divide.train } else { self.divide.test };
        let x = if divisor == 1.0 { x } else { x.mul_scalar(1.0 / divisor) };
        x.reshape([time * batch, h, w, self.aggregate.channels()])
    }

    /// `[time, batch, height * width * 2]` to `[time, batch, inputs]`, without convolutions.
    pub fn run(&self, x: Tensor<3>, shape: [usize; 3], training: bool) -> Tensor<3> {
        let [time, batch, _] = x.dims();
        let x = self.images(x, shape, training);
        let [_, h, w, channels] = x.dims();
        // One polarity after the other, as the official code has them.
        let x = if channels == 1 { x } else { x.permute([0, 3, 1, 2]) };
        x.reshape([time, batch, channels * h * w])
    }

    /// Adds the images to a graph behind `input`; returns their node.
    fn lower_images(&self, graph: &mut GraphBuilder, input: &str) -> String {
        let mut last = self.lower_pool(graph, input);
        if let Some(weights) = self.aggregate.weights() {
            let weight = spikelet_graph::Tensor::f32(&[1, 2, 1, 1], weights.to_vec());
            let (weight, stride) = (weight.expect("two values"), [1, 1]);
            let name = "front.sum";
            graph.conv2d(name, &*last, &weight, None, Layout::ByOutput, stride, [0, 0], 1);
            last = name.to_owned();
        }
        if self.aggregate == Aggregate::Bool {
            // Neurons without memory that fire above 1.
            let neuron = Neuron {
                membrane: Membrane::Lif { beta: Param::Shared(0.0), input_decay: false },
                threshold: Param::Shared(1.0),
                fires_at_threshold: false,
                reset: Reset::None,
                reset_delayed: false,
            };
            graph.neuron("front.bool", &[&last], neuron);
            last = "front.bool".to_owned();
        }
        if self.divide.test != 1.0 {
            let factor = vec![1.0 / self.divide.test; self.aggregate.channels()];
            scale(graph, "front.divide", &last, factor);
            last = "front.divide".to_owned();
        }
        last
    }

    fn lower_pool(&self, graph: &mut GraphBuilder, input: &str) -> String {
        if self.pool == 1 {
            return input.to_owned();
        }
        let (pooling, kernel) = (Pooling::Max, [self.pool; 2]);
        let op = Op::Pool2d { pooling, kernel, stride: kernel, padding: [0, 0] };
        graph.node("front.pool", op);
        graph.edge(input, "front.pool", 0);
        "front.pool".to_owned()
    }

    /// Adds what convolutions read to a graph behind `input`; returns its node, and how often the
    /// first kernel has to be there along its inputs. Sums of polarities are left to that kernel, so
    /// that what it reads are still events: counts times a factor, of both polarities.
    pub fn lower_counts(&self, graph: &mut GraphBuilder, input: &str) -> (String, usize) {
        let Some(weights) = self.aggregate.weights() else {
            return (self.lower_images(graph, input), 1);
        };
        let pooled = self.lower_pool(graph, input);
        let factor = weights.map(|weight| weight / self.divide.test).to_vec();
        scale(graph, COUNTS, &pooled, factor);
        (COUNTS.to_owned(), 2)
    }

    /// Adds the inputs of the first layer, without convolutions, to a graph behind `input`; returns
    /// their node.
    pub fn lower(&self, graph: &mut GraphBuilder, input: &str) -> String {
        let images = self.lower_images(graph, input);
        let flatten = |graph: &mut GraphBuilder, name: &str, from: &str| {
            graph.node(name, Op::Flatten);
            graph.edge(from, name, 0);
        };
        if self.aggregate.channels() == 1 {
            flatten(graph, "front", &images);
            return "front".to_owned();
        }
        graph.node("front", Op::Concat);
        for polarity in 0..2 {
            let [one, flat] = ["", ".flat"].map(|end| format!("front.{polarity}{end}"));
            graph.node(&one, Op::Slice { start: polarity, length: 1 });
            graph.edge(&*images, &one, 0);
            flatten(graph, &flat, &one);
            graph.edge(&*flat, "front", polarity);
        }
        "front".to_owned()
    }
}
