//! Folding a batch normalisation (a [`Op::Scale`]) into the layer before it.

use crate::{
    compress::uses,
    error::GraphError,
    graph::Graph,
    op::{Layout, Op, Weight},
    tensor::{Tensor, Values},
    topology::Topology,
};
use alloc::{format, string::String, vec, vec::Vec};

impl Graph {
    /// Folds every per-channel scale and shift that alone follows a linear layer or convolution
    /// into that layer's weights and bias, and returns the names of the scale nodes that went.
    ///
    /// A scale stays where it has other inputs, the layer has other readers, the edge between
    /// them has a delay, a tensor is shared, or the weights are integers (fold first, then
    /// quantise). Half-precision weights become 32-bit floats.
    ///
    /// # Errors
    /// A graph that is not valid, or products that overflow.
    pub fn fold_scales(&mut self) -> Result<Vec<String>, GraphError> {
        let mut folded = Vec::new();
        let mut topology = self.validate()?;
        while let Some((layer, scale)) = self.find_fold(&topology) {
            folded.push(self.fold(layer, scale)?);
            topology = self.topology()?;
        }
        self.validate()?;
        Ok(folded)
    }

    /// A layer and the scale behind it, by index.
    fn find_fold(&self, topology: &Topology) -> Option<(usize, usize)> {
        let uses = uses(self);
        (0..self.nodes.len()).find_map(|scale| {
            let [source] = topology.sources[scale][..] else { return None };
            let (Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. }) =
                &self.nodes[source.node].op
            else {
                return None;
            };
            let own = |name: &String| uses.get(name.as_str()) == Some(&1);
            let values = self.tensors.get(&weight.tensor).map(|tensor| &tensor.values);
            let can_fold = matches!(self.nodes[scale].op, Op::Scale { .. })
                && self.nodes[scale].phase == self.nodes[source.node].phase
                && source.delay == 0
                && topology.targets[source.node].len() == 1
                && own(&weight.tensor)
                && bias.as_ref().is_none_or(own)
                && matches!(values, Some(Values::F32(_) | Values::F16(_)));
            can_fold.then_some((source.node, scale))
        })
    }

    fn fold(&mut self, layer: usize, scale: usize) -> Result<String, GraphError> {
        let removed = self.nodes[scale].name.clone();
        let name = self.nodes[layer].name.clone();
        let (
            Op::Scale { factor, shift },
            Op::Linear { weight, bias } | Op::Conv2d { weight, bias, .. },
        ) = (self.nodes[scale].op.clone(), self.nodes[layer].op.clone())
        else {
            return Ok(removed);
        };
        let factors = self.tensor(&removed, &factor)?.to_f32();
        let scaled = self.scaled_weight(&name, &weight, &factors)?;
        self.tensors.insert(weight.tensor.clone(), scaled);
        if bias.is_some() || shift.is_some() {
            let mut values = match &bias {
                Some(bias) => self.tensor(&name, bias)?.to_f32(),
                None => vec![0.0; factors.len()],
            };
            values.iter_mut().zip(&factors).for_each(|(value, factor)| *value *= factor);
            if let Some(shift) = &shift {
                let shifts = self.tensor(&removed, shift)?.to_f32();
                values.iter_mut().zip(shifts).for_each(|(value, shift)| *value += shift);
            }
            let tensor = bias.unwrap_or_else(|| self.free_name(&format!("{name}.bias")));
            self.tensors.insert(tensor.clone(), Tensor::f32(&[values.len()], values)?);
            if let Op::Linear { bias, .. } | Op::Conv2d { bias, .. } = &mut self.nodes[layer].op {
                *bias = Some(tensor);
            }
        }
        self.nodes.remove(scale);
        self.edges.retain(|edge| edge.to != removed);
        for edge in self.edges.iter_mut().filter(|edge| edge.from == removed) {
            edge.from = name.clone();
        }
        self.drop_unused([Some(factor), shift]);
        Ok(removed)
    }

    fn scaled_weight(
        &self,
        node: &str,
        weight: &Weight,
        factors: &[f32],
    ) -> Result<Tensor, GraphError> {
        let tensor = self.tensor(node, &weight.tensor)?;
        let mut values = tensor.to_f32();
        let len = values.len();
        for (position, value) in values.iter_mut().enumerate() {
            *value *= match weight.layout {
                Layout::ByInput => factors[position % factors.len()],
                Layout::ByOutput => factors[position / (len / factors.len())],
            };
        }
        Tensor::f32(&tensor.shape, values)
    }

    fn drop_unused(&mut self, names: [Option<String>; 2]) {
        for name in names.into_iter().flatten() {
            if !uses(self).contains_key(name.as_str()) {
                self.tensors.remove(&name);
            }
        }
    }

    /// `name`, or with a number behind it if a tensor has it.
    pub(crate) fn free_name(&self, name: &str) -> String {
        let mut free = String::from(name);
        let mut number = 2;
        while self.tensors.contains_key(&free) {
            free = format!("{name}.{number}");
            number += 1;
        }
        free
    }
}
