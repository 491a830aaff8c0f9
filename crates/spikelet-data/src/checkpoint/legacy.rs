//! The container that torch wrote before version 1.6: pickles one after the other, then storages.

use super::{
    error::Fault,
    input::Input,
    pickle::{Node, Pickle},
    source::Source,
    torch::StorageId,
    value::Value,
};
use std::collections::HashMap;

/// The first pickle of the file is this number.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i128 = 1001;

/// The pickle and where each storage lies: offset and length in bytes.
pub(crate) struct Legacy {
    pub pickle: Pickle,
    pub storages: HashMap<String, (u64, u64)>,
}

/// Whether the file begins with the magic number, pickled.
pub(crate) fn detect(start: &[u8]) -> bool {
    let magic = &MAGIC.to_le_bytes()[..10];
    let number = match start {
        // Protocols from 4 on put a frame around it.
        [0x80, 4 | 5, 0x95, frame @ ..] => frame.get(8..).unwrap_or_default(),
        [0x80, _, number @ ..] => number,
        _ => return false,
    };
    matches!(number, [0x8a, 10, digits @ ..] if digits.starts_with(magic))
}

/// Reads the pickles, and the sizes of the storages but not the storages.
pub(crate) fn read(source: &Source) -> Result<Legacy, Fault> {
    let input = &mut Input::new(source, 0);
    let magic = Pickle::read(input)?;
    let protocol = Pickle::read(input)?;
    let is = |pickle: &Pickle, number| matches!(pickle.nodes[pickle.root as usize], Node::Int(value) if value == number);
    if !is(&magic, MAGIC) || !is(&protocol, PROTOCOL) {
        return Err(Fault::damaged(0, "the header of a torch file is damaged"));
    }
    // What the writing machine was like. Storages are little-endian whatever it says.
    Pickle::read(input)?;
    let pickle = Pickle::read(input)?;
    let at = input.position();
    let keys = Pickle::read(input)?;
    let keys = Value { pickle: &keys, id: keys.root };
    let sizes = element_sizes(&pickle);
    let mut storages = HashMap::new();
    let mut at_storage = input.position();
    for &key in keys.elements() {
        let key = keys.at(key).key();
        let key = key.ok_or_else(|| Fault::damaged(at, "the key of a storage is not text"))?;
        let count = source.read(at_storage, 8)?;
        let count = count.iter().rev().fold(0, |count, &byte| count << 8 | u64::from(byte));
        let Some(&size) = sizes.get(&key) else {
            let problem = format!("storage {key} is used by no tensor, so its size is unknown");
            return Err(Fault::damaged(at_storage, problem));
        };
        let data = at_storage + 8;
        let length = count.checked_mul(size);
        let end =
            length.and_then(|length| data.checked_add(length)).filter(|&end| end <= source.len);
        let (Some(length), Some(end)) = (length, end) else {
            let problem = format!("storage {key} of {count} elements reaches beyond the file");
            return Err(Fault::damaged(at_storage, problem));
        };
        storages.insert(key, (data, length));
        at_storage = end;
    }
    Ok(Legacy { pickle, storages })
}

/// Bytes of one element of each storage the pickle mentions.
fn element_sizes(pickle: &Pickle) -> HashMap<String, u64> {
    let values = (0..pickle.nodes.len()).map(|id| Value { pickle, id: id as u32 });
    let storages = values.filter(|value| matches!(value.node(), Node::Persistent(_)));
    storages
        .filter_map(|value| {
            let storage = StorageId::of(value).ok()?;
            let size = storage.element_size(value)?;
            Some((storage.key, size))
        })
        .collect()
}
