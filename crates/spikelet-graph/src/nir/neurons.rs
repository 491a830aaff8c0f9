//! NIR's neurons, continuous in time, as neurons that advance step by step.
//!
//! Forward Euler with a step of `dt`, as snnTorch and the NIR paper take it; a spike is a current
//! of 1 during its step. With `u = (v - v_reset) / g` every neuron becomes one of the event graph:
//!
//! | NIR | decays | gain `g` | in the event graph |
//! | --- | --- | --- | --- |
//! | `IF` | | `r` | IF |
//! | `I` | 1 | `r` | LI, then `g u` |
//! | `LIF` | `beta = 1 - dt / tau` | `r dt / tau` | LIF |
//! | `LI` | the same | the same | LI, then `g u + v_leak` |
//! | `CubaLIF` | `alpha = 1 - dt / tau_syn`, `beta = 1 - dt / tau_mem` | `w_in dt / tau_syn * r dt / tau_mem` | CuBa-LIF |
//! | `CubaLI` | the same | the same | LI of `alpha`, LI of `beta`, then `g u + v_leak` |
//! | `Threshold` | 0 | 1 | LIF without memory and reset |
//!
//! The threshold becomes `(v_threshold - v_reset) / g`. A LIF of `r = 1` keeps its scale: its
//! current enters as `(1 - beta) I`. `IF` and `I` integrate whole steps, `v + r I`, whatever `dt`
//! is: an input spike is a pulse of area 1 (sinabs, Norse).

use super::{
    error::NirError,
    fields::{Fields, Floats},
    order::Form,
};

/// What a field must hold.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    Any,
    Positive,
}

/// A population in the event graph's terms; values in the order of the event graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Population {
    /// Decay of the synaptic current.
    pub alpha: Option<Vec<f64>>,
    /// Decay of the potential.
    pub beta: Option<Vec<f64>>,
    /// The current enters as `(1 - beta) I`.
    pub input_decay: bool,
    /// The firing threshold; none for integrators.
    pub threshold: Option<Vec<f64>>,
    /// A spike sets the potential back.
    pub resets: bool,
    /// A constant current beside the input.
    pub constant: Option<Vec<f64>>,
    /// What the potential is multiplied by, and what is added, for integrators.
    pub output: Option<[Vec<f64>; 2]>,
    /// Whether the potential starts at another value than zero.
    pub starts_at_reset: bool,
}

/// The population of a NIR node; `None` if its type is no neuron.
pub(super) fn population(
    node: Fields,
    form: &Form,
    dt: f64,
) -> Result<Option<Population>, NirError> {
    let read = Reader { node, form, dt };
    let population = match node.node.kind.as_str() {
        "IF" => read.integrate_and_fire()?,
        "LIF" => read.leaky(true)?,
        "LI" => read.leaky(false)?,
        "CubaLIF" => read.current_based(true)?,
        "CubaLI" => read.current_based(false)?,
        "I" => {
            node.only(&["r"])?;
            let gain = read.values("r", Range::Positive)?;
            let output = read.output(gain, vec![0.0; form.len()]);
            Population { beta: Some(vec![1.0; form.len()]), output, ..Population::default() }
        }
        "Threshold" => {
            node.only(&["threshold"])?;
            let threshold = Some(read.values("threshold", Range::Any)?);
            Population { beta: Some(vec![0.0; form.len()]), threshold, ..Population::default() }
        }
        _ => return Ok(None),
    };
    Ok(Some(population))
}

struct Reader<'a> {
    node: Fields<'a>,
    form: &'a Form,
    dt: f64,
}

impl Reader<'_> {
    fn integrate_and_fire(&self) -> Result<Population, NirError> {
        self.node.only(&["r", "v_threshold", "v_reset"])?;
        let gain = self.values("r", Range::Positive)?;
        let reset = self.reset()?;
        let starts_at_reset = reset.iter().any(|v| *v != 0.0);
        let threshold = Some(self.threshold(&reset, &gain)?);
        Ok(Population { threshold, resets: true, starts_at_reset, ..Population::default() })
    }

    fn leaky(&self, fires: bool) -> Result<Population, NirError> {
        let fields: &[&str] = match fires {
            true => &["tau", "r", "v_leak", "v_threshold", "v_reset"],
            false => &["tau", "r", "v_leak"],
        };
        self.node.only(fields)?;
        let beta = self.decay("tau")?;
        let (r, leak) = (self.values("r", Range::Positive)?, self.values("v_leak", Range::Any)?);
        let input_decay = fires && r.iter().all(|r| *r == 1.0);
        let gain: Vec<f64> = match input_decay {
            true => r.clone(),
            false => r.iter().zip(&beta).map(|(r, beta)| r * (1.0 - beta)).collect(),
        };
        if !fires {
            let output = self.output(gain, leak);
            return Ok(Population { beta: Some(beta), output, ..Population::default() });
        }
        let reset = self.reset()?;
        let constant: Vec<f64> = (0..r.len()).map(|i| (leak[i] - reset[i]) / r[i]).collect();
        Ok(Population {
            threshold: Some(self.threshold(&reset, &gain)?),
            beta: Some(beta),
            input_decay,
            resets: true,
            constant: Some(constant).filter(|c| c.iter().any(|c| *c != 0.0)),
            starts_at_reset: reset.iter().any(|v| *v != 0.0),
            ..Population::default()
        })
    }

    fn current_based(&self, fires: bool) -> Result<Population, NirError> {
        let fields: &[&str] = match fires {
            true => &["tau_syn", "tau_mem", "r", "v_leak", "w_in", "v_threshold", "v_reset"],
            false => &["tau_syn", "tau_mem", "r", "v_leak", "w_in"],
        };
        self.node.only(fields)?;
        let (alpha, beta) = (self.decay("tau_syn")?, self.decay("tau_mem")?);
        let (r, leak) = (self.values("r", Range::Positive)?, self.values("v_leak", Range::Any)?);
        let w_in = self.node.floats_or("w_in", 1.0)?;
        let w_in = self.fitted("w_in", w_in, Range::Positive)?;
        let gain: Vec<f64> =
            (0..r.len()).map(|i| w_in[i] * (1.0 - alpha[i]) * r[i] * (1.0 - beta[i])).collect();
        let population =
            Population { alpha: Some(alpha), beta: Some(beta), ..Population::default() };
        if !fires {
            return Ok(Population { output: self.output(gain, leak), ..population });
        }
        let reset = self.reset()?;
        if reset != leak {
            let problem = "differs from v_reset: the event graph has no current-based neuron that \
                           leaks to another potential than it resets to";
            return Err(self.node.wrong("v_leak", problem));
        }
        let threshold = Some(self.threshold(&reset, &gain)?);
        let starts_at_reset = reset.iter().any(|v| *v != 0.0);
        Ok(Population { threshold, resets: true, starts_at_reset, ..population })
    }

    /// `1 - dt / tau`.
    fn decay(&self, field: &'static str) -> Result<Vec<f64>, NirError> {
        let dt = self.dt;
        let tau = self.values(field, Range::Positive)?;
        match tau.iter().find(|tau| **tau < dt * (1.0 - 1e-6)) {
            Some(tau) => {
                let problem = format!("{tau} s is shorter than a time step of {dt} s");
                Err(self.node.wrong(field, problem))
            }
            None => Ok(tau.iter().map(|tau| (1.0 - dt / tau).max(0.0)).collect()),
        }
    }

    /// Files before NIR 1.0 have no reset potential: it was zero.
    fn reset(&self) -> Result<Vec<f64>, NirError> {
        self.fitted("v_reset", self.node.floats_or("v_reset", 0.0)?, Range::Any)
    }

    fn threshold(&self, reset: &[f64], gain: &[f64]) -> Result<Vec<f64>, NirError> {
        let threshold = self.values("v_threshold", Range::Any)?;
        Ok((0..threshold.len()).map(|i| (threshold[i] - reset[i]) / gain[i]).collect())
    }

    /// Nothing to be done when it is `1 u + 0`.
    fn output(&self, gain: Vec<f64>, shift: Vec<f64>) -> Option<[Vec<f64>; 2]> {
        let plain = gain.iter().all(|g| *g as f32 == 1.0) && shift.iter().all(|s| *s == 0.0);
        (!plain).then_some([gain, shift])
    }

    fn values(&self, field: &'static str, range: Range) -> Result<Vec<f64>, NirError> {
        self.fitted(field, self.node.floats(field)?, range)
    }

    /// One value per neuron, in the order of the event graph. A single `w_in` or `v_reset` holds
    /// for all; they are read after a field that has as many values as there are neurons.
    fn fitted(
        &self,
        field: &'static str,
        found: Floats,
        range: Range,
    ) -> Result<Vec<f64>, NirError> {
        let Floats { shape, values } = found;
        if range == Range::Positive
            && let Some(value) = values.iter().find(|value| **value <= 0.0)
        {
            return Err(self.node.wrong(field, format!("holds {value}; it must be positive")));
        }
        let spreads = self.form.len() == 1 || matches!(field, "w_in" | "v_reset");
        match values[..] {
            [value] if spreads => Ok(vec![value; self.form.len()]),
            _ if shape == self.form.shape => Ok(self.form.in_graph_order(&values)),
            _ => {
                let problem =
                    format!("has shape {shape:?} but the input has {:?}", self.form.shape);
                Err(self.node.wrong(field, problem))
            }
        }
    }
}
