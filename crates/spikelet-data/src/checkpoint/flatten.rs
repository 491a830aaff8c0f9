//! Names for all tensors of a nested checkpoint.

use super::{
    error::Fault,
    torch::{self, Located},
    value::{Kind, MAX_DEPTH, Value},
};

/// Values visited before a checkpoint counts as hostile: shared containers nested in one another
/// have exponentially many paths.
const MAX_VISITS: usize = 1 << 20;
/// Bytes of all names together, likewise.
const MAX_NAME_BYTES: usize = 16 << 20;

/// A named tensor, or why it cannot be read.
pub(crate) type Slot = (String, Result<Located, String>);

/// All tensors below `root`, in the order of the file. Names are the keys on the way, joined by
/// dots; in a pickled `torch.nn.Module` they are those of its state dict.
pub(crate) fn tensors(root: Value) -> Result<Vec<Slot>, Fault> {
    let mut walk = Walk { slots: Vec::new(), visits: 0, name_bytes: 0 };
    walk.visit(root, String::new(), 0)?;
    Ok(walk.slots)
}

struct Walk {
    slots: Vec<Slot>,
    visits: usize,
    name_bytes: usize,
}

impl Walk {
    fn visit(&mut self, value: Value, name: String, depth: usize) -> Result<(), Fault> {
        self.visits += 1;
        self.name_bytes += name.len();
        if self.visits > MAX_VISITS || self.name_bytes > MAX_NAME_BYTES {
            return Err(Fault::hostile(0, "too many values in nested containers"));
        }
        if depth > MAX_DEPTH {
            return Ok(());
        }
        if let Some(located) = torch::tensor(value) {
            // A file that is nothing but a tensor has no key for it.
            let name = if depth == 0 { "tensor".to_owned() } else { name };
            self.slots.push((name, located));
            return Ok(());
        }
        match value.kind() {
            Kind::Sequence(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    self.visit(item, join(&name, &index.to_string()), depth + 1)?;
                }
            }
            Kind::Mapping(entries) => self.entries(entries, &name, depth, false)?,
            Kind::Object { attributes, .. } => {
                let module = value.get("_modules").is_some() && value.get("_parameters").is_some();
                self.entries(attributes, &name, depth, module)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn entries(
        &mut self,
        entries: Vec<(Value, Value)>,
        name: &str,
        depth: usize,
        module: bool,
    ) -> Result<(), Fault> {
        for (key, value) in entries {
            let Some(key) = key.key() else {
                self.visits += 1;
                continue;
            };
            // The containers of a module are not part of the names of what they hold.
            let inner = match key.as_str() {
                "_parameters" | "_buffers" | "_modules" if module => name.to_owned(),
                key => join(name, key),
            };
            self.visit(value, inner, depth + 1)?;
        }
        Ok(())
    }
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}
