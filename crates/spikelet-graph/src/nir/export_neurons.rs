//! Neurons of the event graph as NIR's: the equations of `neurons.rs` the other way.

use super::{
    error::NirError,
    model::{Field, FieldValues, NirNode},
    order::Form,
    report::Fidelity,
};
use crate::{
    graph::{Graph, Node},
    neuron::{Membrane, Neuron, Param, Reset},
};

/// A neuron in NIR's terms.
pub(super) struct Written {
    pub node: NirNode,
    pub fidelity: Fidelity,
    pub notes: Vec<String>,
}

/// Why NIR has no such neuron.
pub(super) enum Refused {
    /// No type of NIR says this.
    Inexpressible(String),
    /// The graph is not valid.
    Error(NirError),
}

/// The NIR node of a population, with a time step of `dt` seconds.
pub(super) fn write(
    graph: &Graph,
    node: &Node,
    neuron: &Neuron,
    form: &Form,
    dt: f64,
) -> Result<Written, Refused> {
    let writer = Writer { graph, node, form, dt };
    let mut written = writer.membrane(neuron)?;
    if matches!(neuron.membrane, Membrane::Li { .. }) {
        return Ok(written);
    }
    let worse = |written: &mut Written, fidelity: Fidelity, note: &str| {
        written.fidelity = written.fidelity.max(fidelity);
        written.notes.push(note.to_owned());
    };
    if neuron.fires_at_threshold {
        let note = "fires at the threshold, a NIR neuron only above: differs where the potential \
                    equals the threshold";
        worse(&mut written, Fidelity::Approximated, note);
        metadata(&mut written, "fires_at_threshold", "true");
    }
    if written.node.kind == "Threshold" {
        return Ok(written);
    }
    match neuron.reset {
        Reset::Zero => {}
        Reset::Subtract => {
            let note = "a spike subtracts the threshold; NIR knows only a reset to a value: \
                        written with a reset to zero, which is another network";
            worse(&mut written, Fidelity::Lossy, note);
            metadata(&mut written, "reset", "subtract");
        }
        Reset::None => {
            let note = "a spike resets nothing; every NIR neuron resets: written with a reset to \
                        zero, which is another network";
            worse(&mut written, Fidelity::Lossy, note);
            metadata(&mut written, "reset", "none");
        }
    }
    if neuron.reset_delayed && neuron.reset != Reset::None {
        let note = "the reset takes effect a step late (snnTorch); NIR's takes effect at once";
        worse(&mut written, Fidelity::Lossy, note);
        metadata(&mut written, "reset_delayed", "true");
    }
    Ok(written)
}

fn metadata(written: &mut Written, key: &str, value: &str) {
    written.node.metadata.insert(key.into(), Field::text(value));
}

struct Writer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    form: &'a Form,
    dt: f64,
}

impl Writer<'_> {
    fn membrane(&self, neuron: &Neuron) -> Result<Written, Refused> {
        let threshold = self.values(&neuron.threshold)?;
        let zeros = vec![0.0; self.form.len()];
        let ones = vec![1.0; self.form.len()];
        let over_dt = |tau: &[f64]| tau.iter().map(|tau| tau / self.dt).collect::<Vec<f64>>();
        let fires = |mut fields: Vec<(&'static str, Vec<f64>)>| {
            fields.extend([("v_threshold", threshold.clone()), ("v_reset", zeros.clone())]);
            fields
        };
        let (kind, fields) = match &neuron.membrane {
            Membrane::If => ("IF", fires(vec![("r", ones)])),
            Membrane::AdaptiveLif { .. } => {
                return Err(Refused::Inexpressible(
                    "NIR has no neuron with an adaptive threshold".into(),
                ));
            }
            Membrane::Lif { beta, .. } | Membrane::Li { beta } => {
                let beta = self.values(beta)?;
                let li = matches!(neuron.membrane, Membrane::Li { .. });
                let all = |value: f64| beta.iter().all(|beta| *beta == value);
                let scaled = matches!(neuron.membrane, Membrane::Lif { input_decay: true, .. });
                if all(1.0) && scaled {
                    let problem =
                        "beta is 1 and the current enters as (1 - beta) I: it never spikes";
                    return Err(Refused::Inexpressible(problem.into()));
                } else if all(1.0) && li {
                    ("I", vec![("r", ones)])
                } else if all(1.0) {
                    ("IF", fires(vec![("r", ones)]))
                } else if all(0.0) && !li && neuron.reset == Reset::None {
                    ("Threshold", vec![("threshold", threshold.clone())])
                } else {
                    let tau = self.tau("beta", &beta)?;
                    let r = if scaled { ones } else { over_dt(&tau) };
                    let fields = vec![("tau", tau), ("r", r), ("v_leak", zeros.clone())];
                    if li { ("LI", fields) } else { ("LIF", fires(fields)) }
                }
            }
            Membrane::CubaLif { alpha, beta } => {
                let tau_syn = self.tau("alpha", &self.values(alpha)?)?;
                let tau_mem = self.tau("beta", &self.values(beta)?)?;
                let (r, w_in) = (over_dt(&tau_mem), over_dt(&tau_syn));
                let fields = vec![
                    ("tau_syn", tau_syn),
                    ("tau_mem", tau_mem),
                    ("r", r),
                    ("w_in", w_in),
                    ("v_leak", zeros.clone()),
                ];
                ("CubaLIF", fires(fields))
            }
        };
        let mut node = NirNode { kind: kind.into(), ..NirNode::default() };
        for (name, values) in fields {
            let values = FieldValues::F64(self.form.in_nir_order(&values));
            node.fields.insert(name.into(), Field { shape: self.form.shape.clone(), values });
        }
        Ok(Written { node, fidelity: Fidelity::Exact, notes: Vec::new() })
    }

    /// `dt / (1 - decay)`.
    fn tau(&self, what: &str, decay: &[f64]) -> Result<Vec<f64>, Refused> {
        if decay.contains(&1.0) {
            let problem = format!("{what} is 1, which is no finite time constant");
            return Err(Refused::Inexpressible(problem));
        }
        Ok(decay.iter().map(|decay| self.dt / (1.0 - decay)).collect())
    }

    /// One value per neuron, in the order of the event graph.
    fn values(&self, param: &Param) -> Result<Vec<f64>, Refused> {
        let values = self
            .graph
            .param(&self.node.name, param)
            .map_err(|error| Refused::Error(NirError::Graph(error)))?;
        let values: Vec<f64> = values.into_iter().map(f64::from).collect();
        Ok(values.iter().copied().cycle().take(self.form.len()).collect())
    }
}
