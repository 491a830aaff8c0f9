//! Golden folders: the list of cases and the tensors of each.

use serde_json::Value;
use spikelet_data::checkpoint::Checkpoint;
use std::path::{Path, PathBuf};

/// The cases of one system.
pub struct System {
    /// Its name, as that of the folder.
    pub name: &'static str,
    /// Its folder.
    pub folder: PathBuf,
    /// The entries of `cases`.
    pub cases: Vec<Value>,
}

impl System {
    /// Reads `README.json`.
    pub fn open(name: &'static str) -> System {
        let root = std::env::var_os("SPIKELET_GOLDEN")
            .map(PathBuf::from)
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"));
        let folder = root.join(name);
        let path = folder.join("README.json");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let readme: Value =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let cases = readme["cases"].as_array().expect("`cases` is a list").clone();
        System { name, folder, cases }
    }

    /// The file of a case.
    pub fn file(&self, case: &Value) -> Golden {
        Golden::open(&self.folder.join(case["file"].as_str().expect("`file` is a name")))
    }

    /// Closes the test: says how much was compared, and fails if nothing was.
    pub fn finish(self, tensors: usize) {
        println!("golden {}: {} cases, {tensors} tensors compared", self.name, self.cases.len());
        assert!(!self.cases.is_empty(), "golden {}: no case", self.name);
        assert!(tensors > 0, "golden {}: no tensor compared", self.name);
    }
}

/// The tensors of one case.
pub struct Golden {
    /// The file.
    pub checkpoint: Checkpoint,
}

impl Golden {
    /// Opens a safetensors file.
    pub fn open(path: &Path) -> Golden {
        Golden { checkpoint: Checkpoint::open(path).unwrap_or_else(|e| panic!("{e}")) }
    }

    /// Shape and values, whatever the type in the file.
    pub fn tensor(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensor = self.checkpoint.tensor(name).unwrap_or_else(|e| panic!("{e}"));
        (tensor.shape, tensor.data)
    }

    /// The names that begin with `prefix`, without it.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.checkpoint.names().filter_map(move |name| name.strip_prefix(prefix))
    }
}
