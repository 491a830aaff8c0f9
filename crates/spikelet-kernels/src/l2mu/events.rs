//! Spikes as indices, and rows added for them.

/// `out += value * row`.
#[inline(always)]
pub(super) fn add_scaled(out: &mut [f32], row: &[f32], value: f32) {
    for (out, w) in out.iter_mut().zip(row) {
        *out += value * w;
    }
}

/// The indices where `v - threshold > 0`, in order.
#[inline(always)]
pub(super) fn spikes(events: &mut [u32], v: &[f32], threshold: f32) -> usize {
    let mut n = 0;
    // Branch-free: every index is written, only those of spikes are kept.
    for (j, v) in v.iter().enumerate() {
        events[n] = j as u32;
        n += (v - threshold > 0.0) as usize;
    }
    n
}
