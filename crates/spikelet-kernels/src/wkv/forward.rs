//! The scan forward.

use super::{Params, State, advance};
use crate::{
    columns::{WIDTH, blocks, for_each, pieces, repeat},
    simd::dispatch,
};
use alloc::vec::Vec;

/// What [`backward`](super::backward) needs of a forward run: the state before every token, each
/// `[time, width]`.
#[derive(Debug)]
pub struct Saved<'a> {
    /// Weighted sums of values.
    pub p: &'a mut [f32],
    /// Sums of weights.
    pub q: &'a mut [f32],
    /// Largest exponents.
    pub o: &'a mut [f32],
}

/// Runs over `k` and `v`, `[time, width]`, and writes `y` of the same shape. `state` is the initial
/// state on entry and the final one on return. The same values as [`step`] once for each row, bit
/// for bit.
///
/// # Panics
/// When slices do not fit each other or the number of channels.
pub fn sequence(
    params: Params,
    state: State,
    k: &[f32],
    v: &[f32],
    y: &mut [f32],
    saved: Option<Saved>,
) {
    let width = state.p.len();
    if k.is_empty() {
        return;
    }
    params.check(width);
    assert!(width > 0 && k.len().is_multiple_of(width), "wkv: whole rows");
    assert!(v.len() == k.len() && y.len() == k.len(), "wkv: one value and output per key");
    assert!(state.q.len() == width && state.o.len() == width, "wkv: three values of state");
    let save = saved.is_some();
    let saved = saved.unwrap_or(Saved { p: &mut [], q: &mut [], o: &mut [] });
    for saved in [&saved.p, &saved.q, &saved.o] {
        assert_eq!(saved.len(), if save { k.len() } else { 0 }, "wkv: one saved state per key");
    }
    let items: Vec<_> = pieces(state.p, width)
        .into_iter()
        .zip(pieces(state.q, width))
        .zip(pieces(state.o, width))
        .zip(blocks(y, width))
        .zip(blocks(saved.p, width).into_iter().zip(blocks(saved.q, width)))
        .zip(blocks(saved.o, width))
        .enumerate()
        .collect();
    for_each(
        items,
        k.len(),
        |(block, (((((p, q), o), mut y), (mut all_p, mut all_q)), mut all_o))| {
            let (start, len) = (block * WIDTH, p.len());
            let (mut decay, mut first) = ([0.0; WIDTH], [0.0; WIDTH]);
            repeat(params.decay, start, &mut decay[..len]);
            repeat(params.first, start, &mut first[..len]);
            let params = Params { decay: &decay[..len], first: &first[..len] };
            dispatch(
                #[inline(always)]
                || {
                    for (t, y) in y.iter_mut().enumerate() {
                        if save {
                            all_p[t].copy_from_slice(p);
                            all_q[t].copy_from_slice(q);
                            all_o[t].copy_from_slice(o);
                        }
                        let at = t * width + start..t * width + start + len;
                        row(params, State { p, q, o }, &k[at.clone()], &v[at], y);
                    }
                },
            );
        },
    );
}

/// One token: `k`, `v` and `y` are `[width]`, and so is the state.
///
/// # Panics
/// When slices do not fit each other or the number of channels.
pub fn step(params: Params, state: State, k: &[f32], v: &[f32], y: &mut [f32]) {
    params.check(k.len());
    let channels = params.decay.len();
    dispatch(
        #[inline(always)]
        || {
            for (stream, y) in y.chunks_exact_mut(channels).enumerate() {
                let at = stream * channels..(stream + 1) * channels;
                let state = State {
                    p: &mut state.p[at.clone()],
                    q: &mut state.q[at.clone()],
                    o: &mut state.o[at.clone()],
                };
                row(params, state, &k[at.clone()], &v[at], y);
            }
        },
    );
}

#[inline(always)]
fn row(params: Params, state: State, k: &[f32], v: &[f32], y: &mut [f32]) {
    let n = y.len();
    let (decay, first, k, v) = (&params.decay[..n], &params.first[..n], &k[..n], &v[..n]);
    let (p, q, o) = (&mut state.p[..n], &mut state.q[..n], &mut state.o[..n]);
    for j in 0..n {
        let (out, [new_p, new_q, new_o]) =
            advance([decay[j], first[j]], [p[j], q[j], o[j]], k[j], v[j]);
        (y[j], p[j], q[j], o[j]) = (out, new_p, new_q, new_o);
    }
}
