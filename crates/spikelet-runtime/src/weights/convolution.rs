//! Convolutions with what arrives.

use super::{Arrival, Store, Sums, Weights};
#[cfg(feature = "std")]
use spikelet_kernels::spike_conv::Events;
use spikelet_kernels::{conv, conv::Conv};

impl Weights {
    /// `out += W * x`, a convolution.
    pub(crate) fn add_convolution(
        &self,
        shape: &Conv,
        x: Arrival,
        out: &mut [f32],
        sums: &mut Sums,
    ) {
        match (&self.store, x) {
            #[cfg(feature = "std")]
            (Store::Packed(_) | Store::Panels(_), x) => self.convolve(shape, x, &[], true, out),
            (Store::F32(w), Arrival::Spikes(events)) => conv::add_events(shape, out, w, events),
            (Store::F32(w), Arrival::Graded(events, x)) => {
                conv::add_graded(shape, out, w, events, x);
            }
            (Store::F32(w), Arrival::Dense(x)) => conv::add_dense(shape, out, w, x),
            (Store::I8(w), Arrival::Spikes(events)) => {
                self.with_integers(out, sums, |acc| conv::add_events_i8(shape, acc, w, events));
            }
            (Store::I8(w), Arrival::Graded(events, x)) => {
                self.with_floats(out, sums, |acc| conv::add_graded_i8(shape, acc, w, events, x));
            }
            (Store::I8(w), Arrival::Dense(x)) => {
                conv::add_dense_i8(shape, out, w, &self.scale, x);
            }
            (Store::F16(_) | Store::I4(_) | Store::GroupsI8(_) | Store::GroupsI4(_), _) => {
                unreachable!("kernels of convolutions are floats or have 8 bits")
            }
            (Store::Sparse(_), _) => unreachable!("kernels of convolutions are kept whole"),
        }
    }

    /// Writes `W * x` plus a bias (or an empty one) over `out`, or adds it; only where the weights are
    /// packed.
    #[cfg_attr(not(feature = "std"), allow(unused_variables))]
    pub(crate) fn convolve(
        &self,
        shape: &Conv,
        x: Arrival,
        bias: &[f32],
        add: bool,
        out: &mut [f32],
    ) {
        match (&self.store, x) {
            #[cfg(feature = "std")]
            (Store::Packed(w), x) => w.forward_into(shape, events_of(x), bias, add, out),
            #[cfg(feature = "std")]
            (Store::Panels(w), Arrival::Graded(_, x) | Arrival::Dense(x)) => {
                w.forward_into(x, bias, add, out);
            }
            _ => unreachable!("packed weights take events or values, as they were packed for"),
        }
    }
}

/// The events of an image.
#[cfg(feature = "std")]
fn events_of(x: Arrival) -> Events {
    match x {
        Arrival::Spikes(places) => Events { places, x: None },
        Arrival::Graded(places, x) => Events { places, x: Some(x) },
        Arrival::Dense(_) => unreachable!("by input there are events"),
    }
}
