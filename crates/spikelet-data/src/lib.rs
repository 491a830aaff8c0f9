//! Data formats, splits, checkpoint readers, metrics.
