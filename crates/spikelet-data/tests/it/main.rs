//! Tests of readers on whole files, through what the crate makes public.
//! One program for all: each costs seconds to link.

mod checkpoint;
mod checkpoint_weights;
mod shared_data;
mod shared_events;
mod shipped_wisdm;
mod vision_metrics;
