//! Folders with one folder a class, as ImageNet, N-MNIST and most sets of users are laid out.
//!
//! `<root>/<class>/<file>`, or `<root>/{train,val,test}/<class>/<file>`; where there is no `test`, `val` is what is
//! reported. Classes and files are taken in the order of their names.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Result};
use crate::frames::MAX_CLASSES;

/// The files of a folder, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassFolders {
    /// Class names, in order.
    pub classes: Vec<String>,
    /// Each file and its class; training part first, then validation and test.
    pub files: Vec<(PathBuf, u32)>,
    /// Sizes of the parts, if the folder has them.
    pub official: Option<[usize; 3]>,
}

/// Lists the files below `root` whose names end in one of `endings`.
pub fn list(root: &Path, endings: &[&str]) -> Result<ClassFolders> {
    let at_top = folders(root)?;
    let part = |wanted: &str| at_top.iter().find(|name| name.to_lowercase() == wanted);
    let Some(train) = part("train") else {
        let files = files_of(root, &at_top, endings)?;
        return ClassFolders { classes: at_top, files, official: None }.checked(root, endings);
    };
    let (val, test) = match (part("val"), part("test")) {
        (val, None) => (None, val),
        (val, test) => (val, test),
    };
    let classes = folders(&root.join(train))?;
    let (mut files, mut official) = (Vec::new(), [0; 3]);
    for (size, part) in official.iter_mut().zip([Some(train), val, test]) {
        if let Some(part) = part {
            let found = files_of(&root.join(part), &classes, endings)?;
            *size = found.len();
            files.extend(found);
        }
    }
    ClassFolders { classes, files, official: Some(official) }.checked(root, endings)
}

impl ClassFolders {
    fn checked(self, root: &Path, endings: &[&str]) -> Result<Self> {
        match self.files.is_empty() {
            false => Ok(self),
            true => Err(DataError::file(
                root,
                format!(
                    "no files; expected <class>/<name>.{}, or these in train, val and test",
                    endings.join(" or .")
                ),
            )),
        }
    }
}

fn files_of(folder: &Path, classes: &[String], endings: &[&str]) -> Result<Vec<(PathBuf, u32)>> {
    let mut files = Vec::new();
    for name in folders(folder)? {
        let Some(class) = classes.iter().position(|c| *c == name) else {
            return Err(DataError::file(
                &folder.join(&name),
                "this class has no folder in the training part",
            ));
        };
        let mut of_class = entries(&folder.join(&name))?;
        of_class.retain(|path| {
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            endings.contains(&extension.to_lowercase().as_str())
        });
        files.extend(of_class.into_iter().map(|path| (path, class as u32)));
    }
    Ok(files)
}

fn folders(root: &Path) -> Result<Vec<String>> {
    let names: Vec<String> = entries(root)?
        .into_iter()
        .filter(|path| path.is_dir())
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .collect();
    match names.len() {
        0..=MAX_CLASSES => Ok(names),
        n => Err(DataError::file(root, format!("{n} folders; up to {MAX_CLASSES} classes"))),
    }
}

/// Everything in a folder, in the order of names.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| DataError::io(folder, e);
    let mut paths = fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(io)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, value: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [value]).unwrap();
    }

    #[test]
    fn folders_are_classes_and_parts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (i, name) in ["cat/2.png", "cat/1.png", "dog/1.png"].iter().enumerate() {
            put(&at(name), i as u8);
        }
        fs::write(at("cat/notes.txt"), "no image").unwrap();
        let plain = list(dir.path(), &["png"]).unwrap();
        assert_eq!((plain.classes.len(), plain.official), (2, None));
        assert_eq!(plain.files[0], (at("cat/1.png"), 0));
        assert_eq!(plain.files[2], (at("dog/1.png"), 1));

        put(&at("Train/a/1.png"), 1);
        put(&at("Train/b/1.png"), 1);
        put(&at("val/b/1.png"), 1);
        let parts = list(dir.path(), &["png"]).unwrap();
        assert_eq!((parts.official, parts.files[2].1), (Some([2, 0, 1]), 1));
        put(&at("test/a/1.png"), 1);
        assert_eq!(list(dir.path(), &["png"]).unwrap().official, Some([2, 1, 1]));
        put(&at("test/c/1.png"), 1);
        assert!(
            list(dir.path(), &["png"])
                .unwrap_err()
                .to_string()
                .contains("no folder in the training")
        );
        let empty = tempfile::tempdir().unwrap();
        assert!(list(empty.path(), &["png"]).unwrap_err().to_string().contains("no files"));
    }
}
