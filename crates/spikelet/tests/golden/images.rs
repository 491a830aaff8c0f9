//! Sizes and images of golden files.

use serde_json::Value;

/// A list of sizes.
pub fn sizes(values: &Value) -> Vec<usize> {
    let values = values.as_array().expect("a list");
    values.iter().map(|v| v.as_u64().expect("a size") as usize).collect()
}

/// `[.., channels, h, w]` to `[.., h, w, channels]`.
pub fn channels_last(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let &[.., channels, h, w] = shape else { panic!("an image") };
    let image = |image: &[f32]| -> Vec<f32> {
        (0..h * w)
            .flat_map(|p| (0..channels).map(move |c| c * h * w + p))
            .map(|k| image[k])
            .collect()
    };
    values.chunks_exact(channels * h * w).flat_map(image).collect()
}
