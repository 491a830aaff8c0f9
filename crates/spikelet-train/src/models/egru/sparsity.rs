//! How much of a layer is silent, forwards and backwards.

use super::layer::EgruLayer;
use crate::{ops::egru::EgruOutputs, params, sparsity::Silence};

/// What is silent of a layer that gave `out`.
pub(in crate::models) fn silence(layer: &EgruLayer, out: &EgruOutputs) -> Silence {
    let [h, o] = [&out.h, &out.o].map(|t| params::values(t.clone()));
    let mut silence = Silence::default();
    let outside = |distance: f32| layer.pseudo.support * distance.abs() > 1.0;
    silence.add(&h, &o, &params::values(layer.thr.val()), outside);
    silence
}
