//! Training of detectors: which anchors learn what, losses, the training loop, detections.
//!
//! Rules and settings are those of MMDetection 3 for Mask R-CNN and RetinaNet.

mod assign;
mod detect;
mod learn;
mod loss;
mod mask_targets;
mod trainer;

pub use assign::{Assigned, Assigner, sample};
pub use detect::{Detected, detect, figures};
pub use learn::{Batch, Losses, learn, normalized};
pub use loss::{absolute, binary_cross_entropy, focal};
pub use mask_targets::mask_target;
pub use trainer::{
    DetectionConfig, DetectionEpoch, DetectionError, DetectionModel, DetectionObserver,
    DetectionTrain, MEAN, STD, Trained, train,
};
