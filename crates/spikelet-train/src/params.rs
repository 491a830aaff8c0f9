//! The learned tensors of a module by name.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;

/// Name to values and shape. Names are the field names of the module, joined by dots.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A tensor that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The module has a tensor the source lacks.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// The shapes differ.
    #[error("tensor `{name}` has shape {found:?}, the model expects {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// The source has a tensor the module lacks.
    #[error("tensor `{0}` belongs to no parameter of the model")]
    Unexpected(String),
}

/// The values of an f32 tensor, row-major.
///
/// # Panics
/// If the tensor is of another type: every parameter is f32.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("parameters are f32")
}

/// Copies every learned tensor out of `module`.
pub fn collect<M: Module>(module: &M) -> Tensors {
    struct Collect {
        path: Vec<String>,
        found: Tensors,
    }
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let shape = value.dims().to_vec();
            let data = values(value);
            self.found.insert(self.path.join("."), (shape, data));
        }
    }
    let mut visitor = Collect { path: Vec::new(), found: Tensors::new() };
    module.visit(&mut visitor);
    visitor.found
}

/// Replaces every learned tensor of `module`; names and shapes must match exactly.
pub fn load<M: Module>(module: M, tensors: &Tensors) -> Result<M, LoadError> {
    struct Load<'a> {
        path: Vec<String>,
        tensors: &'a Tensors,
        used: usize,
        error: Option<LoadError>,
    }
    impl ModuleMapper for Load<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let name = self.path.join(".");
            let expected = param.val().dims().to_vec();
            match self.tensors.get(&name) {
                None => self.error = self.error.take().or(Some(LoadError::Missing(name))),
                Some((found, _)) if *found != expected => {
                    let found = found.clone();
                    let error = LoadError::Shape { name, found, expected };
                    self.error = self.error.take().or(Some(error));
                }
                Some((shape, values)) => {
                    self.used += 1;
                    let data = TensorData::new(values.clone(), shape.clone());
                    return param.map(|old| {
                        let tracked = old.is_require_grad();
                        let new = Tensor::from_data(data, &old.device());
                        if tracked { new.require_grad() } else { new }
                    });
                }
            }
            param
        }
    }
    let mut mapper = Load { path: Vec::new(), tensors, used: 0, error: None };
    let module = module.map(&mut mapper);
    if let Some(error) = mapper.error {
        return Err(error);
    }
    if mapper.used < tensors.len() {
        let known = collect(&module);
        let extra = tensors.keys().find(|name| !known.contains_key(*name));
        return Err(LoadError::Unexpected(extra.cloned().unwrap_or_default()));
    }
    Ok(module)
}

/// Gives every parameter an id made of its name, so that optimiser state found in a checkpoint
/// belongs to the same parameter in the next process.
pub fn name_ids<M: Module>(module: M) -> M {
    struct Name {
        path: Vec<String>,
    }
    impl ModuleMapper for Name {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            // FNV-1a, 64 bits.
            let id = self.path.join(".").bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, byte| {
                (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
            let (_, value, mapper) = param.consume();
            Param::from_mapped_value(ParamId::from(id), value, mapper)
        }
    }
    module.map(&mut Name { path: Vec::new() })
}
