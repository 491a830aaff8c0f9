//! Comparisons with the tolerances of a case.

use serde_json::Value;

/// A number that the case's tolerances must hold.
pub fn tolerance(case: &Value, name: &str) -> f32 {
    case["tolerances"][name]
        .as_f64()
        .unwrap_or_else(|| panic!("{}: no tolerance `{name}`", case["file"])) as f32
}

/// Every value within `bound` of the golden one.
pub fn close(what: &str, found: &[f32], golden: &[f32], bound: f32) {
    assert_eq!(found.len(), golden.len(), "{what}: number of values");
    for (i, (f, g)) in found.iter().zip(golden).enumerate() {
        let difference = (f - g).abs();
        assert!(difference <= bound, "{what}[{i}]: {f} is not {g} within {bound}");
    }
}

/// A gradient: within `grad_rel_to_tensor_max` of its largest value plus `grad_abs`.
pub fn gradient(case: &Value, what: &str, found: &[f32], golden: &[f32]) {
    let largest = golden.iter().fold(0.0_f32, |m, g| m.max(g.abs()));
    let bound = tolerance(case, "grad_rel_to_tensor_max") * largest + tolerance(case, "grad_abs");
    close(what, found, golden, bound);
}

/// Spikes: at most `spike_mismatches` differ.
pub fn spikes(case: &Value, what: &str, found: &[f32], golden: &[f32]) {
    assert_eq!(found.len(), golden.len(), "{what}: number of spikes");
    let differ = found.iter().zip(golden).filter(|(f, g)| f != g).count();
    let allowed = tolerance(case, "spike_mismatches") as usize;
    assert!(differ <= allowed, "{what}: {differ} spikes differ, {allowed} allowed");
}
