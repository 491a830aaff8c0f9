//! The tensors of one architecture in a checkpoint, with a record of what was used.

use super::{ConvertError, Report};
use spikelet_data::checkpoint::{Checkpoint, TensorF32, Value};
use spikelet_graph::{Membrane, Neuron, Param, Reset, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// Keys under which trainers keep hyper-parameters, also nested.
const WRAPPERS: [&str; 6] =
    ["hyper_parameters", "hparams", "params", "config", "args", "parameters"];

/// Shape and values by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// What stands before the names of a state dict that has all of `names`.
#[cfg(feature = "train")]
pub(super) fn root(checkpoint: &Checkpoint, names: &[&str]) -> Option<String> {
    let prefix = checkpoint.state_dict_prefix();
    // Data-parallel training puts a name of its own before all others.
    ["", "module."]
        .map(|inner| format!("{prefix}{inner}"))
        .into_iter()
        .find(|root| names.iter().all(|name| checkpoint.info(&format!("{root}{name}")).is_ok()))
}

pub(super) struct Weights<'a> {
    pub checkpoint: &'a Checkpoint,
    arch: &'static str,
    root: String,
    used: BTreeSet<String>,
    pub notes: Vec<String>,
    /// Up to snnTorch 0.7 the soft reset of `Leaky` is inside of the decay,
    /// `v = beta (v' - [v' > threshold] threshold) + I`, which is an immediate reset. Its
    /// `Synaptic`, and all neurons later, reset one step late and after the decay.
    pub old_snntorch: bool,
    /// Height and width of images, where the user says them.
    pub size: Option<usize>,
}

impl<'a> Weights<'a> {
    pub fn new(checkpoint: &'a Checkpoint, arch: &'static str, root: String) -> Self {
        Self {
            checkpoint,
            arch,
            root,
            used: BTreeSet::new(),
            notes: Vec::new(),
            old_snntorch: false,
            size: None,
        }
    }

    pub fn has(&self, name: &str) -> bool {
        let full = self.full(name);
        self.checkpoint.names().any(|other| other == full)
    }

    /// Fails with a list of everything that is not there.
    pub fn require<S: AsRef<str>>(&self, names: &[S]) -> Result<(), ConvertError> {
        let absent = names.iter().map(AsRef::as_ref).filter(|name| !self.has(name));
        let missing: Vec<_> = absent.map(|name| self.full(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let known: BTreeSet<_> = names.iter().map(|name| self.full(name.as_ref())).collect();
        Err(self.missing(missing, &known))
    }

    /// The error for hyper-parameters that are neither tensors nor metadata.
    pub fn missing_hyper_parameters(&self, missing: Vec<String>) -> ConvertError {
        let missing = missing.into_iter().map(|name| format!("hyper-parameter {name}")).collect();
        self.missing(missing, &self.used)
    }

    fn missing(&self, missing: Vec<String>, known: &BTreeSet<String>) -> ConvertError {
        let unexpected = self.state_dict().filter(|name| !known.contains(*name));
        ConvertError::Missing {
            file: self.checkpoint.path().to_path_buf(),
            arch: self.arch,
            missing,
            unexpected: unexpected.map(str::to_owned).collect(),
        }
    }

    /// Reads a tensor of the given rank.
    pub fn read(&mut self, name: &str, rank: usize) -> Result<Tensor, ConvertError> {
        let tensor = self.read_any(name)?;
        if tensor.shape.len() != rank {
            return Err(self.shape(name, tensor.shape, format!("{rank} axes")));
        }
        Ok(Tensor::f32(&tensor.shape, tensor.data)?)
    }

    /// Reads a tensor of the given shape.
    pub fn read_as(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ConvertError> {
        let tensor = self.read_any(name)?;
        if tensor.shape != shape {
            return Err(self.shape(name, tensor.shape, format!("{shape:?}")));
        }
        Ok(Tensor::f32(shape, tensor.data)?)
    }

    /// Reads a tensor with a single value, of whatever rank.
    pub fn scalar(&mut self, name: &str) -> Result<f32, ConvertError> {
        let tensor = self.read_any(name)?;
        match tensor.data[..] {
            [value] => Ok(value),
            _ => Err(self.shape(name, tensor.shape, "a single value".into())),
        }
    }

    /// The snnTorch neuron `name`, `Leaky` or (with `alpha`) `Synaptic`.
    pub fn population(&mut self, name: &str) -> Result<Population, ConvertError> {
        let beta = self.scalar(&format!("{name}.beta"))?;
        let threshold = self.scalar(&format!("{name}.threshold"))?;
        let alpha = self.optional_scalar(&format!("{name}.alpha"))?;
        let reset_name = format!("{name}.reset_mechanism_val");
        let reset = match self.optional_scalar(&reset_name)? {
            None | Some(0.0) => Reset::Subtract,
            Some(1.0) => Reset::Zero,
            Some(2.0) => Reset::None,
            Some(other) => {
                let value = other.to_string();
                return Err(self.setting(&reset_name, &value, "known are 0, 1 and 2"));
            }
        };
        let factor_name = format!("{name}.graded_spikes_factor");
        match self.optional_scalar(&factor_name)? {
            None | Some(1.0) => Ok(self.population_of(beta, threshold, alpha, reset)),
            Some(factor) => {
                let problem = "only spikes of size 1 can be converted";
                Err(self.setting(&factor_name, &factor.to_string(), problem))
            }
        }
    }

    /// A population of snnTorch with these parameters.
    pub fn population_of(
        &self,
        beta: f32,
        threshold: f32,
        alpha: Option<f32>,
        reset: Reset,
    ) -> Population {
        // snnTorch clamps decays as it runs; the graph holds the value that takes effect.
        let clamp = |decay: f32| decay.clamp(0.0, 1.0);
        let reset_delayed = !self.old_snntorch || alpha.is_some();
        let (beta, alpha) = (clamp(beta), alpha.map(clamp));
        Population { beta, threshold, alpha, reset, reset_delayed }
    }

    pub fn setting(&self, name: &str, value: &str, problem: &'static str) -> ConvertError {
        let file = self.checkpoint.path().to_path_buf();
        ConvertError::Setting { file, tensor: self.full(name), value: value.into(), problem }
    }

    fn optional_scalar(&mut self, name: &str) -> Result<Option<f32>, ConvertError> {
        if self.has(name) { self.scalar(name).map(Some) } else { Ok(None) }
    }

    /// A number among the hyper-parameters, wherever the trainer nested it.
    pub fn hyper_parameter(&self, name: &str) -> Option<f64> {
        find_number(self.checkpoint.value(), name, 0)
    }

    pub fn shape(&self, name: &str, found: Vec<usize>, expected: String) -> ConvertError {
        let file = self.checkpoint.path().to_path_buf();
        ConvertError::Shape { file, tensor: self.full(name), found, expected }
    }

    pub fn into_report(self) -> Report {
        let unexpected = self.state_dict().filter(|name| !self.used.contains(*name));
        let unexpected = unexpected.map(str::to_owned).collect();
        let present = |name: &String| self.checkpoint.names().any(|other| other == name);
        let used = self.used.iter().filter(|name| present(name)).cloned().collect();
        let (arch, root) = (self.arch.to_owned(), self.root.clone());
        Report { arch, root, used, unexpected, notes: self.notes }
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    /// Every tensor below the root, but counters of batches, which evaluation does not need.
    pub fn read_all(&mut self) -> Result<Tensors, ConvertError> {
        let names = self.checkpoint.names().filter_map(|name| name.strip_prefix(&*self.root));
        let names: Vec<String> = names.map(str::to_owned).collect();
        let mut all = BTreeMap::new();
        for name in names {
            if name.ends_with(".num_batches_tracked") {
                self.used.insert(self.full(&name));
                continue;
            }
            let tensor = self.read_any(&name)?;
            all.insert(name, (tensor.shape, tensor.data));
        }
        Ok(all)
    }

    /// The error for tensors that do not form the network their sizes say.
    pub fn not_this_network(&self, problem: String) -> ConvertError {
        let (file, arch) = (self.checkpoint.path().to_path_buf(), self.arch);
        ConvertError::Network { file, arch, problem }
    }

    fn read_any(&mut self, name: &str) -> Result<TensorF32, ConvertError> {
        let full = self.full(name);
        let tensor = self.checkpoint.tensor(&full)?;
        self.used.insert(full);
        Ok(tensor)
    }

    /// Names of the state dict, without optimiser states and the like around it.
    fn state_dict(&self) -> impl Iterator<Item = &str> {
        let prefix = self.checkpoint.state_dict_prefix();
        self.checkpoint.names().filter(move |name| name.starts_with(prefix))
    }
}

/// Parameters that all neurons of a population share.
#[derive(Clone, Copy)]
pub(super) struct Population {
    pub beta: f32,
    pub threshold: f32,
    /// Only CuBa-LIF has a synaptic decay.
    pub alpha: Option<f32>,
    pub reset: Reset,
    pub reset_delayed: bool,
}

impl Population {
    pub fn neuron(self) -> Neuron {
        let alpha = self.alpha.map(Param::Shared);
        self.neuron_with(Param::Shared(self.beta), Param::Shared(self.threshold), alpha)
    }

    /// A neuron that resets like this one, with other parameters.
    pub fn neuron_with(self, beta: Param, threshold: Param, alpha: Option<Param>) -> Neuron {
        let membrane = match alpha {
            None => Membrane::Lif { beta, input_decay: false },
            Some(alpha) => Membrane::CubaLif { alpha, beta },
        };
        let Self { reset, reset_delayed, .. } = self;
        Neuron { membrane, threshold, fires_at_threshold: false, reset, reset_delayed }
    }
}

fn find_number(value: Value, name: &str, depth: usize) -> Option<f64> {
    if let Some(number) = value.get(name).and_then(Value::as_f64) {
        return Some(number);
    }
    if depth == WRAPPERS.len() {
        return None;
    }
    WRAPPERS.iter().filter_map(|wrapper| value.get(wrapper)).find_map(|inner| {
        // The metadata of safetensors is text; nested values are JSON in it.
        match inner.as_str().map(serde_json::from_str::<serde_json::Value>) {
            Some(Ok(json)) => find_in_json(&json, name),
            Some(Err(_)) => None,
            None => find_number(inner, name, depth + 1),
        }
    })
}

fn find_in_json(json: &serde_json::Value, name: &str) -> Option<f64> {
    let here = json.get(name).and_then(serde_json::Value::as_f64);
    here.or_else(|| {
        WRAPPERS.iter().filter_map(|key| json.get(key)).find_map(|inner| find_in_json(inner, name))
    })
}
