//! Packing of 4-bit integers: two in a byte, even index in the low nibble, every row of the last
//! axis on a byte of its own.

use crate::tensor::elements;
use alloc::vec::Vec;

/// Bytes that a tensor of this shape takes, unless that overflows.
pub fn packed_len(shape: &[usize]) -> Option<usize> {
    let (row, outer) = match shape.split_last() {
        Some((&row, outer)) => (row, outer),
        None => (1, shape),
    };
    elements(shape)?;
    elements(outer)?.checked_mul(row.div_ceil(2))
}

/// Packs integers in -8..=7 whose rows have `row` elements. Higher bits are dropped.
pub fn pack(values: &[i8], row: usize) -> Vec<u8> {
    let mut packed = Vec::with_capacity(values.len().div_ceil(2));
    for row in values.chunks(row.max(1)) {
        packed.extend(row.chunks(2).map(|pair| {
            let high = pair.get(1).copied().unwrap_or(0);
            (pair[0] as u8 & 0x0f) | (high as u8) << 4
        }));
    }
    packed
}

/// The integers of rows of `row` elements.
pub fn unpack(packed: &[u8], row: usize) -> Vec<i8> {
    let mut values = Vec::with_capacity(packed.len() * 2);
    for bytes in packed.chunks(row.div_ceil(2).max(1)) {
        for index in 0..row.min(bytes.len() * 2) {
            values.push(nibble(bytes[index / 2], index % 2 == 1));
        }
    }
    values
}

/// One of the two integers of a byte, sign-extended.
pub fn nibble(byte: u8, high: bool) -> i8 {
    if high { (byte as i8) >> 4 } else { ((byte << 4) as i8) >> 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_on_a_byte() {
        let values = [-8, 7, 1, -1, 0, 3];
        let packed = pack(&values, 3);
        assert_eq!(packed, [0x78, 0x01, 0x0f, 0x03]);
        assert_eq!(unpack(&packed, 3), values);
        assert_eq!(packed_len(&[2, 3]), Some(4));
        assert_eq!(packed_len(&[]), Some(1));
        assert_eq!(packed_len(&[usize::MAX, 2]), None);
    }
}
