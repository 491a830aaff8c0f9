//! NIR's layers: which form of value they give, and the operation of the event graph.

use super::{error::NirError, fields::Fields, order::Form};
use crate::{op::Pooling, shape::positions, tensor::Tensor};

/// A layer in the event graph's terms.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// `weight` is `[out, in]`.
    Linear { weight: Tensor, bias: Option<Tensor> },
    /// `weight` is `[kh, kw, in / groups, out]`.
    Conv { weight: Tensor, bias: Option<Tensor>, window: Window, groups: usize },
    /// Pooling.
    Pool { pooling: Pooling, kernel: [usize; 2], window: Window },
    /// To one axis.
    Flatten,
    /// One factor per channel.
    Scale(Vec<f32>),
    /// Values arrive so many seconds later.
    Delay(f64),
}

/// Where windows lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

/// The layer of a NIR node and the form of what it gives; `None` if its type is no layer.
pub(super) fn layer(node: Fields, form: &Form) -> Result<Option<(Layer, Form)>, NirError> {
    let read = Reader { node, form };
    Ok(Some(match node.node.kind.as_str() {
        "Affine" => read.linear(true)?,
        "Linear" => read.linear(false)?,
        "Conv1d" => read.conv(true)?,
        "Conv2d" => read.conv(false)?,
        "SumPool2d" => read.pool(Pooling::Sum)?,
        "AvgPool2d" => read.pool(Pooling::Average)?,
        "Flatten" => read.flatten()?,
        "Scale" => read.scale()?,
        "Delay" => read.delay()?,
        _ => return Ok(None),
    }))
}

struct Reader<'a> {
    node: Fields<'a>,
    form: &'a Form,
}

impl Reader<'_> {
    fn linear(&self, affine: bool) -> Result<(Layer, Form), NirError> {
        self.node.only(if affine { &["weight", "bias"] } else { &["weight"] })?;
        let weight = self.node.floats("weight")?;
        let [outputs, inputs] = weight.shape[..] else {
            let problem = format!("must have two axes, not {:?}", weight.shape);
            return Err(self.node.wrong("weight", problem));
        };
        if !self.form.is_flat() || inputs != self.form.len() {
            let problem = format!("takes {inputs} values but gets {:?}", self.form.shape);
            return Err(self.node.wrong("weight", problem));
        }
        let columns = self.form.nir_positions();
        let rows = weight.values.chunks_exact(inputs.max(1));
        let values = rows.flat_map(|row| columns.iter().map(|&column| row[column] as f32));
        let weight = Tensor::f32(&[outputs, inputs], values.collect())?;
        let bias = if affine { self.bias(outputs)? } else { None };
        Ok((Layer::Linear { weight, bias }, Form::vector(outputs)))
    }

    /// A bias of zeros is none.
    fn bias(&self, outputs: usize) -> Result<Option<Tensor>, NirError> {
        let bias = self.node.floats("bias")?;
        if bias.values.len() != outputs {
            let problem = format!("has {} values for {outputs} outputs", bias.values.len());
            return Err(self.node.wrong("bias", problem));
        }
        if bias.values.iter().all(|value| *value == 0.0) {
            return Ok(None);
        }
        let values = bias.values.iter().map(|&value| value as f32).collect();
        Ok(Some(Tensor::f32(&[outputs], values)?))
    }

    /// A convolution along one axis has height 1.
    fn conv(&self, one_axis: bool) -> Result<(Layer, Form), NirError> {
        self.node.only(&[
            "input_shape",
            "weight",
            "bias",
            "stride",
            "padding",
            "dilation",
            "groups",
        ])?;
        let axes = if one_axis { 2 } else { 3 };
        let [channels, height, width] = self.form.image_of(self.node.name, axes)?;
        let weight = self.node.floats("weight")?;
        let (outputs, per_group, kernel) = match (one_axis, &weight.shape[..]) {
            (true, &[outputs, per_group, length]) => (outputs, per_group, [1, length]),
            (false, &[outputs, per_group, h, w]) => (outputs, per_group, [h, w]),
            _ => {
                let problem = format!("has shape {:?}", weight.shape);
                return Err(self.node.wrong("weight", problem));
            }
        };
        if self.node.node.fields.contains_key("input_shape") {
            let sizes = self.node.sizes("input_shape")?;
            if sizes != self.form.shape[1..] {
                let problem = format!("is {sizes:?} but {:?} arrives", &self.form.shape[1..]);
                return Err(self.node.wrong("input_shape", problem));
            }
        }
        let groups = self.node.size("groups")?;
        if per_group.checked_mul(groups) != Some(channels) {
            let problem = format!("{groups} of {per_group} input channels, but {channels} arrive");
            return Err(self.node.wrong("groups", problem));
        }
        let along = |field: &'static str, other: usize| match one_axis {
            true => self.node.size(field).map(|size| [other, size]),
            false => self.node.pair(field),
        };
        let (stride, dilation) = (along("stride", 1)?, along("dilation", 1)?);
        let padding = match self.node.text("padding") {
            None => along("padding", 0)?,
            Some("valid") => [0, 0],
            Some("same") => self.same(kernel, stride, dilation)?,
            Some(other) => {
                let problem = format!("{other:?}: known are sizes, \"same\" and \"valid\"");
                return Err(self.node.wrong("padding", problem));
            }
        };
        let window = Window { stride, padding, dilation };
        let [height, width] = self.windows([height, width], kernel, window)?;
        let values = weight.values.iter().map(|&value| value as f32).collect();
        let [h, w] = kernel;
        let weight = Tensor::f32(&[outputs, per_group, h, w], values)?;
        let weight = weight.permuted(&[2, 3, 1, 0]).unwrap_or(weight);
        let shape = if one_axis { vec![outputs, width] } else { vec![outputs, height, width] };
        let bias = self.bias(outputs)?;
        Ok((Layer::Conv { weight, bias, window, groups }, self.form_of(&shape)?))
    }

    /// PyTorch's padding "same": as much on both sides, where that is possible.
    fn same(
        &self,
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Result<[usize; 2], NirError> {
        if stride != [1, 1] {
            return Err(self.node.wrong("padding", "\"same\" needs a stride of 1"));
        }
        let along = |axis: usize| {
            let around = kernel[axis].checked_sub(1)?.checked_mul(dilation[axis])?;
            around.is_multiple_of(2).then_some(around / 2)
        };
        match (along(0), along(1)) {
            (Some(vertical), Some(horizontal)) => Ok([vertical, horizontal]),
            _ => {
                let problem = format!(
                    "\"same\" of a kernel of {kernel:?} pads one side more than the other, which \
                     the event graph cannot"
                );
                Err(self.node.wrong("padding", problem))
            }
        }
    }

    fn pool(&self, pooling: Pooling) -> Result<(Layer, Form), NirError> {
        self.node.only(&["kernel_size", "stride", "padding"])?;
        let [channels, height, width] = self.form.image_of(self.node.name, 3)?;
        let kernel = self.node.pair("kernel_size")?;
        let (stride, padding) = (self.node.pair("stride")?, self.node.pair("padding")?);
        let window = Window { stride, padding, dilation: [1, 1] };
        let [height, width] = self.windows([height, width], kernel, window)?;
        let form = self.form_of(&[channels, height, width])?;
        Ok((Layer::Pool { pooling, kernel, window }, form))
    }

    fn windows(
        &self,
        size: [usize; 2],
        kernel: [usize; 2],
        window: Window,
    ) -> Result<[usize; 2], NirError> {
        let Window { stride, padding, dilation } = window;
        let along = |axis: usize| {
            if stride[axis] == 0 || dilation[axis] == 0 {
                return None;
            }
            positions(size[axis], kernel[axis], stride[axis], padding[axis], dilation[axis])
        };
        match (along(0), along(1)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => {
                let problem = format!(
                    "windows of {kernel:?} in steps of {stride:?} do not fit {size:?} padded by \
                     {padding:?}"
                );
                Err(NirError::node(self.node.name, problem))
            }
        }
    }

    /// Only everything into one axis: what lies between has no place in the event graph.
    fn flatten(&self) -> Result<(Layer, Form), NirError> {
        self.node.only(&["start_dim", "end_dim", "input_type"])?;
        let rank = self.form.shape.len() as i64;
        let (start, end) = (self.node.integer("start_dim")?, self.node.integer("end_dim")?);
        let last = if end < 0 { end.saturating_add(rank) } else { end };
        if start != 0 || last != rank - 1 {
            let problem = format!(
                "axes {start} to {end} of {:?}: only flattening all axes can run (no batch axis \
                 is counted)",
                self.form.shape
            );
            return Err(self.node.wrong("start_dim", problem));
        }
        Ok((Layer::Flatten, self.form.flattened()))
    }

    /// The event graph scales by channel: within a channel, factors must agree.
    fn scale(&self) -> Result<(Layer, Form), NirError> {
        self.node.only(&["scale"])?;
        let scale = self.node.floats("scale")?;
        if scale.shape != self.form.shape {
            let problem = format!("has shape {:?}, the input {:?}", scale.shape, self.form.shape);
            return Err(self.node.wrong("scale", problem));
        }
        let values: Vec<f32> = scale.values.iter().map(|&value| value as f32).collect();
        let factors = by_channel(self.form, &self.form.in_graph_order(&values));
        let problem = "differs within a channel, which the event graph cannot";
        factors
            .map(|factors| (Layer::Scale(factors), self.form.clone()))
            .ok_or_else(|| self.node.wrong("scale", problem))
    }

    fn delay(&self) -> Result<(Layer, Form), NirError> {
        self.node.only(&["delay"])?;
        let values = self.node.floats("delay")?.values;
        match values.first() {
            Some(&delay) if delay >= 0.0 && values.iter().all(|other| *other == delay) => {
                Ok((Layer::Delay(delay), self.form.clone()))
            }
            _ => {
                let problem = "must be one time for all values, from 0";
                Err(self.node.wrong("delay", problem))
            }
        }
    }

    fn form_of(&self, shape: &[usize]) -> Result<Form, NirError> {
        Form::of_nir(shape)
            .ok_or_else(|| NirError::node(self.node.name, format!("gives {shape:?}")))
    }
}

/// One value per channel of the last axis, from values in the order of the event graph; `None`
/// where they differ within a channel.
pub(super) fn by_channel(form: &Form, values: &[f32]) -> Option<Vec<f32>> {
    let channels = form.as_image().map_or(form.len(), |[channels, _, _]| channels);
    let first = values.get(..channels)?;
    values.chunks(channels).all(|position| position == first).then(|| first.to_vec())
}
