//! What learns.

mod commands;
mod convnets;
mod data_sets;
mod detection;
mod detector;
mod egru;
mod frames;
mod generate;
mod gestures;
mod gradients;
mod language_twins;
mod metaspikeformer;
mod metaspikeformer_variants;
mod official_tokens;
mod pictures;
mod presets;
mod recurrent_lm;
mod segmentation;
mod segmenter;
mod sentences;
mod sequence_forms;
mod spikegpt;
mod training;
