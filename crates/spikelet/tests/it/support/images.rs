//! A small image set in idx form, as MNIST and Fashion-MNIST have it, that a network can learn.

use std::{fs, path::Path};

/// Height and width of an image.
pub const SIDE: usize = 28;

/// Writes a training part and a test part with so many images of each of the ten classes.
pub fn write(folder: &Path, train: usize, test: usize) {
    fs::create_dir_all(folder).expect("a folder");
    for (part, of_each) in [("train", train), ("t10k", test)] {
        let n = 10 * of_each;
        let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
        let pixels: Vec<u8> = (0..n).flat_map(image).collect();
        let side = SIDE as u32;
        put(folder, &format!("{part}-images-idx3-ubyte"), &[n as u32, side, side], &pixels);
        put(folder, &format!("{part}-labels-idx1-ubyte"), &[n as u32], &labels);
    }
}

/// Image `i`: a bright bar whose row and direction tell the class, over a pattern of its own.
fn image(i: usize) -> Vec<u8> {
    let class = i % 10;
    let place = |position: usize| (4 + 5 * (class / 2)..7 + 5 * (class / 2)).contains(&position);
    let pixel = |at: usize| {
        let (row, column) = (at / SIDE, at % SIDE);
        let bar = place(if class.is_multiple_of(2) { row } else { column });
        let pattern = (row * 31 + column * 17 + i * 101) % 23;
        if bar { 200 + pattern as u8 } else { 2 * pattern as u8 }
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

fn put(folder: &Path, name: &str, shape: &[u32], values: &[u8]) {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(values);
    fs::write(folder.join(name), bytes).expect("written");
}
