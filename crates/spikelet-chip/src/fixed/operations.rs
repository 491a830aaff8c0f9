//! What nodes compute, apart from populations, cells and convolutions.

use super::{
    FixedRun, ONE, difference, function, limited, number, product, rounded, sigmoid, sum, tanh,
    value,
};
use crate::error::ChipError;
use spikelet_graph::{Function, Op, Pooling, Readout, shape::adaptive_window};

/// Added to a variance.
const EPSILON: f64 = 1e-5;

impl FixedRun {
    /// The output of a node in the present step.
    ///
    /// # Errors
    /// A number that names no token.
    pub(super) fn node(&mut self, index: usize) -> Result<Vec<i32>, ChipError> {
        let node = &self.graph.nodes[index];
        let channels = node.shape.last().copied().unwrap_or(1).max(1);
        let op = node.op.clone();
        Ok(match &op {
            Op::Input { .. } => Vec::new(),
            Op::Linear { bias, .. } => {
                let bias = bias.as_ref().map_or(&[][..], |name| self.tensor(name));
                self.matrices[index][0].multiply(&self.port(index, 0), bias)
            }
            Op::Conv2d { .. } => self.convolve(index),
            Op::Legendre { memories, order, .. } => self.legendre(index, *memories, *order),
            Op::Pool2d { pooling, kernel, stride, padding } => {
                self.pool(index, *pooling, *kernel, *stride, *padding)
            }
            Op::AdaptivePool2d { size } => self.adaptive(index, *size),
            Op::Interpolate2d { size } => self.interpolate(index, *size),
            Op::Flatten | Op::Add | Op::Output => self.port(index, 0),
            Op::Concat => self.concat(index, channels),
            Op::Slice { start, length } => {
                let x = self.port(index, 0);
                let rows = x.chunks_exact(x.len() / (node.len() / channels));
                rows.flat_map(|row| row[*start..start + length].to_vec()).collect()
            }
            Op::Scale { factor, shift } => {
                let factor = self.tensor(factor);
                let shift = shift.as_ref().map_or(&[][..], |name| self.tensor(name));
                let scaled = |(at, x): (usize, &i32)| {
                    let shift = shift.get(at % channels).copied().unwrap_or(0);
                    sum(product(*x, factor[at % channels]), shift)
                };
                self.port(index, 0).iter().enumerate().map(scaled).collect()
            }
            Op::Activation { function } => {
                let of = |x: i32| match function {
                    Function::Relu => x.max(0),
                    Function::ReluSquared => product(x.max(0), x.max(0)),
                    Function::Tanh => tanh(x),
                    Function::Sigmoid => sigmoid(x),
                };
                self.port(index, 0).into_iter().map(of).collect()
            }
            Op::Neuron(neuron) => {
                let current = self.port(index, 0);
                self.neurons(index, neuron, &current)
            }
            Op::Lstm { bias, .. } => self.lstm(index, bias),
            Op::Gru { bias_input, bias_hidden, .. } => self.gru(index, [bias_input, bias_hidden]),
            Op::Egru { bias_input, bias_hidden, threshold, zoneout, restart, .. } => {
                self.egru(index, [bias_input, bias_hidden], threshold, *zoneout, *restart)
            }
            Op::Embedding { weight } => {
                let token = value(self.port(index, 0)[0]);
                let tokens = self.graph.tensor(&node.name, &weight.tensor)?.shape[0];
                if token < 0.0 || token.fract() != 0.0 || token >= tokens as f64 {
                    let problem = format!("`{}`: {token} is no token of {tokens}", node.name);
                    return Err(ChipError::Request(problem));
                }
                self.matrices[index][0].multiply(&one_hot(token as usize, tokens), &[])
            }
            Op::LayerNorm { weight, bias } => self.layer_norm(index, channels, [weight, bias]),
            Op::TokenShift { mix } => {
                let (now, before, mix) =
                    (self.port(index, 0), self.port(index, 1), self.tensor(mix));
                let mixed = |(at, (x, before)): (usize, (&i32, &i32))| {
                    let mix = mix[at % channels];
                    sum(product(*x, mix), product(*before, difference(ONE, mix)))
                };
                now.iter().zip(&before).enumerate().map(mixed).collect()
            }
            Op::Wkv { decay, first } => self.wkv(index, decay, first),
            Op::Multiply => {
                let mut all = self.port(index, 0);
                for port in 1..self.ports(index) {
                    let factor = self.port(index, port);
                    all.iter_mut().zip(factor).for_each(|(all, x)| *all = product(*all, x));
                }
                all
            }
            Op::Border { value } => self.border(index, channels, value),
            Op::Attention { heads, scale } => self.attention(index, channels, *heads, *scale),
            Op::Readout { readout } => self.readout(index, *readout),
        })
    }

    fn legendre(&self, index: usize, memories: usize, order: usize) -> Vec<i32> {
        let (u, m) = (self.port(index, 0), self.port(index, 1));
        let [a, b] = &self.matrices[index][..] else { return Vec::new() };
        let mut out = Vec::with_capacity(memories * order);
        for memory in 0..memories {
            // The vector lies as a matrix of one row or of one column: the values are the same.
            let driven = (0..order).map(|i| product(u[memory], b.value(i)));
            let states = a.multiply(&m[memory * order..(memory + 1) * order], &[]);
            out.extend(states.into_iter().zip(driven).map(|(state, input)| sum(state, input)));
        }
        out
    }

    fn pool(
        &self,
        index: usize,
        pooling: Pooling,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Vec<i32> {
        let (node, x, source) =
            (&self.graph.nodes[index], self.port(index, 0), self.source_shape(index));
        let (height, width, channels) = (source[0], source[1], source[2]);
        let taps = kernel[0] * kernel[1];
        let at = |k: usize| {
            let (position, channel) = (k / channels, k % channels);
            let (row, column) = (position / node.shape[1], position % node.shape[1]);
            let window = (0..taps).filter_map(|tap| {
                let y = (row * stride[0] + tap / kernel[1]).checked_sub(padding[0])?;
                let x = (column * stride[1] + tap % kernel[1]).checked_sub(padding[1])?;
                (y < height && x < width).then_some((y * width + x) * channels + channel)
            });
            let values = window.map(|at| i64::from(x[at]));
            match pooling {
                Pooling::Max => values.max().map_or(i32::MIN, limited),
                Pooling::Sum => limited(values.sum()),
                Pooling::Average => mean(values.sum(), taps),
            }
        };
        (0..node.len()).map(at).collect()
    }

    fn adaptive(&self, index: usize, size: [usize; 2]) -> Vec<i32> {
        let (node, x, source) =
            (&self.graph.nodes[index], self.port(index, 0), self.source_shape(index));
        let (height, width, channels) = (source[0], source[1], source[2]);
        let at = |k: usize| {
            let (position, channel) = (k / channels, k % channels);
            let rows = adaptive_window(height, size[0], position / size[1]);
            let columns = adaptive_window(width, size[1], position % size[1]);
            let taps = rows.len() * columns.len();
            let values = rows.flat_map(|y| columns.clone().map(move |x| y * width + x));
            mean(values.map(|at| i64::from(x[at * channels + channel])).sum(), taps)
        };
        (0..node.len()).map(at).collect()
    }

    fn interpolate(&self, index: usize, size: [usize; 2]) -> Vec<i32> {
        let (x, source) = (self.port(index, 0), self.source_shape(index));
        let (height, width, channels) = (source[0], source[1], source[2]);
        let (rows, columns) = (places(height, size[0]), places(width, size[1]));
        let mut out = Vec::with_capacity(self.graph.nodes[index].len());
        for (rows, down) in &rows {
            for (columns, right) in &columns {
                for channel in 0..channels {
                    let at = |y: usize, column: usize| x[(y * width + column) * channels + channel];
                    let [upper, lower] =
                        rows.map(|y| between(at(y, columns[0]), at(y, columns[1]), *right));
                    out.push(between(upper, lower, *down));
                }
            }
        }
        out
    }

    fn concat(&self, index: usize, channels: usize) -> Vec<i32> {
        let rows = self.graph.nodes[index].len() / channels;
        let ports: Vec<Vec<i32>> = (0..self.ports(index)).map(|p| self.port(index, p)).collect();
        let part = |row: usize, x: &[i32]| {
            let width = x.len() / rows;
            x[row * width..(row + 1) * width].to_vec()
        };
        (0..rows).flat_map(|row| ports.iter().flat_map(move |x| part(row, x))).collect()
    }

    fn layer_norm(&self, index: usize, channels: usize, [weight, bias]: [&str; 2]) -> Vec<i32> {
        let (weight, bias) = (self.tensor(weight), self.tensor(bias));
        let normalized = |row: &[i32]| {
            let total: i64 = row.iter().map(|x| i64::from(*x)).sum();
            let centre = mean(total, channels);
            let off: Vec<i32> = row.iter().map(|x| difference(*x, centre)).collect();
            let squares = off.iter().map(|x| value(*x) * value(*x)).sum::<f64>();
            let scale = number(1.0 / (squares / channels as f64 + EPSILON).sqrt());
            let off = off.into_iter().zip(weight.iter().zip(bias));
            off.map(|(x, (w, b))| sum(product(product(x, scale), *w), *b)).collect::<Vec<_>>()
        };
        self.port(index, 0).chunks_exact(channels).flat_map(normalized).collect()
    }

    fn border(&self, index: usize, channels: usize, value: &str) -> Vec<i32> {
        let (node, x, value) = (&self.graph.nodes[index], self.port(index, 0), self.tensor(value));
        let (height, width) = (node.shape[0], node.shape[1]);
        let at = |k: usize| {
            let (row, column, c) = (k / channels / width, k / channels % width, k % channels);
            let inside = (1..height - 1).contains(&row) && (1..width - 1).contains(&column);
            match inside {
                true => x[((row - 1) * (width - 2) + column - 1) * channels + c],
                false => value[c],
            }
        };
        (0..node.len()).map(at).collect()
    }

    fn attention(&self, index: usize, channels: usize, heads: usize, scale: f32) -> Vec<i32> {
        let [q, k, v] = [0, 1, 2].map(|port| self.port(index, port));
        let (tokens, head) = (self.graph.nodes[index].len() / channels, channels / heads);
        // Keys times values: counts, which fit 64 bits.
        let mut together = vec![0_i64; channels * head];
        for token in 0..tokens {
            let at = token * channels;
            for channel in (0..channels).filter(|c| v[at + c] != 0) {
                let first = channel / head * head;
                for inner in (0..head).filter(|inner| k[at + first + inner] != 0) {
                    let pair = product(k[at + first + inner], v[at + channel]);
                    together[channel * head + inner] += i64::from(pair);
                }
            }
        }
        let factor = f64::from(scale);
        let at = |k: usize| {
            let (token, channel) = (k / channels, k % channels);
            let first = channel / head * head;
            let counted: i64 = (0..head)
                .filter(|inner| q[token * channels + first + inner] != 0)
                .map(|inner| {
                    let q = q[token * channels + first + inner];
                    i64::from(rounded(i64::from(q) * together[channel * head + inner]))
                })
                .sum();
            number(value(limited(counted)) * factor)
        };
        (0..tokens * channels).map(at).collect()
    }

    fn readout(&mut self, index: usize, readout: Readout) -> Vec<i32> {
        let (x, steps) = (self.port(index, 0), self.steps + 1);
        let sums = &mut self.states[index][0];
        for (of, x) in sums.iter_mut().zip(&x) {
            *of = match readout {
                Readout::Sum | Readout::Mean => sum(*of, *x),
                Readout::Last => *x,
                Readout::Max if steps == 1 => *x,
                Readout::Max => *x.max(of),
            };
        }
        let of = |x: &i32| match readout {
            Readout::Mean => function(*x, |x| x / steps as f64),
            _ => *x,
        };
        sums.iter().map(of).collect()
    }
}

/// The mean of so many numbers with a sum.
fn mean(sum: i64, of: usize) -> i32 {
    limited((sum as f64 / of.max(1) as f64).round() as i64)
}

/// What each of so many output positions lies between along an axis, and its share of the second.
fn places(inputs: usize, outputs: usize) -> Vec<([usize; 2], i32)> {
    let place = |output: usize| {
        let middle = (output as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5;
        let at = middle.clamp(0.0, (inputs - 1) as f64);
        let first = at as usize;
        ([first, (first + 1).min(inputs - 1)], number(at.fract()))
    };
    (0..outputs).map(place).collect()
}

/// Two numbers by the share of the second, rounded once.
fn between(first: i32, second: i32, share: i32) -> i32 {
    let part = |x: i32, share: i32| i64::from(x) * i64::from(share);
    rounded(part(first, ONE - share) + part(second, share))
}

/// All numbers 0 but one, which is 1.
fn one_hot(at: usize, len: usize) -> Vec<i32> {
    let mut all = vec![0; len];
    all[at] = ONE;
    all
}
