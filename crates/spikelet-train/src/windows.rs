//! The batches of an epoch: samples in a random order, or the windows of a text one behind the other.

use crate::{config::TrainConfig, model::State, params, prepare::Prepared};
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_data::{
    DataError, Text,
    columns::Columns,
    split::{rng, shuffle},
};

/// The batches of an epoch.
pub(crate) enum Batches<'a> {
    /// Samples in the order of the epoch, so many at a time.
    Shuffled { order: Vec<usize>, size: usize },
    /// Windows of a text in columns.
    Carried(Stream<'a>),
}

/// A text in columns, cut in windows.
pub(crate) struct Stream<'a> {
    text: &'a Text,
    columns: Columns,
    /// Where each window starts in its column, and how long it is.
    windows: Vec<(usize, usize)>,
}

/// A window of every column.
pub(crate) struct StreamWindow {
    /// Tokens `[time, batch, 1]`.
    pub(crate) x: Tensor<3>,
    /// What comes next, `[time, batch]`.
    pub(crate) labels: Vec<u32>,
    /// How long it is, as a fraction of the usual length: so much of the learning rate.
    pub(crate) share: f64,
}

impl<'a> Batches<'a> {
    /// Those of an epoch; `stream` is its random stream.
    pub(crate) fn new(
        data: &'a Prepared,
        train: &TrainConfig,
        epoch: usize,
        stream: u64,
    ) -> Result<Self, DataError> {
        let size = train.batch_size.max(1);
        match data.samples.text().filter(|text| text.windows.carried()) {
            Some(text) => {
                let columns = text.columns(size)?;
                let mut at = 0;
                let windows = text.lengths(columns, train.seed, epoch as u64).into_iter();
                let windows = windows.map(|length| {
                    at += length;
                    (at - length, length)
                });
                Ok(Self::Carried(Stream { text, columns, windows: windows.collect() }))
            }
            None => {
                let mut order = data.split.train.clone();
                shuffle(&mut order, &mut rng(train.seed, stream));
                Ok(Self::Shuffled { order, size })
            }
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Shuffled { order, size } => order.len().div_ceil(*size),
            Self::Carried(stream) => stream.windows.len(),
        }
    }
}

impl Stream<'_> {
    /// Window `index` of the epoch.
    pub(crate) fn window(&self, index: usize, device: &Device) -> StreamWindow {
        let (at, length) = self.windows[index];
        let (tokens, labels) = self.text.rows(self.columns, at, length);
        let x = TensorData::new(tokens, [length, self.columns.count, 1]);
        let share = length as f64 / self.text.window as f64;
        StreamWindow { x: Tensor::from_data(x, device), labels, share }
    }
}

/// The state that the next window takes over, for a checkpoint.
pub(crate) fn saved(carried: Option<&State>) -> params::Tensors {
    let parts = carried.into_iter().flatten().enumerate();
    parts
        .map(|(k, part)| (format!("{k:04}"), (part.dims().to_vec(), params::values(part.clone()))))
        .collect()
}

/// What [`saved`] was given.
pub(crate) fn restored(carried: &params::Tensors) -> Option<State> {
    let part = |(shape, values): &(Vec<usize>, Vec<f32>)| {
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), &Device::flex())
    };
    (!carried.is_empty()).then(|| carried.values().map(part).collect())
}
