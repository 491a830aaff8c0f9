//! Data formats, windows, splits, augmentation, checkpoint readers, metrics.
//!
//! Every reader gives [`sequences::Sequences`], [`frames::Frames`] or [`text::Text`], or says in a [`error::DataError`] which file, line or offset is
//! broken. Files are untrusted: no reader panics on one, or takes memory for a size it has not checked.

pub mod aedat2;
pub mod aedat3;
pub mod atomic;
pub mod augment;
pub mod braille;
pub mod check;
pub mod checkpoint;
pub mod cifar;
pub mod class_folders;
pub mod csv;
pub mod error;
pub mod event_camera;
pub mod event_frames;
pub mod event_sets;
pub mod event_stream;
pub mod events;
pub mod evt2;
pub mod find;
pub mod frame_augment;
pub mod frames;
pub mod frames_file;
pub mod frames_source;
pub mod gestures;
pub mod idx;
pub mod image_file;
pub mod lines;
pub mod metrics;
pub mod nearest;
pub mod nmnist;
pub mod normalize;
pub mod npy;
pub mod number;
pub mod registry;
mod resized_crop;
pub mod samples;
pub mod sequences;
pub mod sequences_file;
pub mod shd;
pub mod source;
pub mod split;
pub mod stream;
mod stream_arrays;
pub mod synth_folder;
pub mod synth_gestures;
pub mod synth_saccades;
pub mod synthetic;
pub mod table;
pub mod text;
pub mod text_source;
pub mod wisdm;
pub mod wisdm_columns;
pub mod wisdm_pack;
pub mod wisdm_text;

pub use error::{DataError, Result};
pub use frames::Frames;
pub use samples::Samples;
pub use sequences::Sequences;
pub use split::Split;
pub use text::Text;
