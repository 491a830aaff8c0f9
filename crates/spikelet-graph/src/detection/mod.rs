//! Detectors: the settings that turn outputs of a graph into boxes, and the functions that do it.
//!
//! A detector is a graph that looks at an image, and for two stages a second one that looks at
//! regions of its features. What lies between and behind them is no network: anchors, the coding of
//! boxes, the choice of the best ones. It is defined here, once, for training and running alike.
//! Settings and equations are those of MMDetection 3, with which the authors of Meta-SpikeFormer
//! work.
//!
//! Outputs of the first graph, by name: `scores.L` `[h, w, anchors * classes]` and `deltas.L`
//! `[h, w, anchors * 4]` of every level `L`, logits both; with a second stage also `features.L`
//! `[h, w, channels]`. Outputs of the second: `classes` `[classes + 1]` (the last is the background)
//! and `boxes` `[classes * 4]`, and `masks` `[side, side, 4 * classes]`, where the four are the
//! pixels of a square of 2 x 2, row by row.

#[cfg(feature = "std")]
mod anchors;
#[cfg(feature = "std")]
mod boxes;
#[cfg(feature = "std")]
mod masks;
#[cfg(feature = "std")]
mod nms;
#[cfg(feature = "std")]
mod select;

#[cfg(feature = "std")]
pub use boxes::{Rect, area, clip, iou};
#[cfg(feature = "std")]
pub use masks::{mask_of, paste, pixel_place};
#[cfg(feature = "std")]
pub use nms::nms;
#[cfg(feature = "std")]
pub use select::{Found, decisions, of_regions, proposals};

use alloc::{format, string::String, vec::Vec};
use serde::{Deserialize, Serialize};

/// The most anchors of an image.
pub const MAX_ANCHORS: usize = 1 << 22;
/// The most regions of an image, and the most boxes of one.
pub const MAX_REGIONS: usize = 1 << 14;

/// What turns the outputs of a detector into boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// Boxes that predictions start from.
    pub anchors: Anchors,
    /// How boxes are coded relative to anchors.
    pub coder: Coder,
    /// Which boxes of the first stage are kept: regions where there is a second stage, else
    /// decisions.
    pub keep: Keep,
    /// The second stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Regions>,
}

/// Boxes around every position of every level: `scale * stride` on a side, with one area for all
/// ratios.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// Pixels from one position to the next, a level each.
    pub strides: Vec<usize>,
    /// Sizes in strides.
    pub scales: Vec<f32>,
    /// Height over width.
    pub ratios: Vec<f32>,
}

/// Differences of centres in sizes of the anchor and logarithms of ratios of sizes, normalised.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coder {
    /// What is taken off.
    pub mean: [f32; 4],
    /// What is divided by.
    pub std: [f32; 4],
}

/// Which boxes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// Scores above this one.
    pub score: f32,
    /// The best of every level before overlaps are looked at.
    pub per_level: usize,
    /// Of two boxes of one kind that overlap by more (intersection over union), the better.
    pub overlap: f32,
    /// The best of all.
    pub most: usize,
}

/// The second stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regions {
    /// Pixels from one position to the next, of the levels that regions are cut from.
    pub strides: Vec<usize>,
    /// A region of this side (square root of its area) and more, below twice of it, is cut from
    /// the first level; every doubling goes one level up.
    pub finest: f32,
    /// Positions on a side of a region for its box.
    pub side: usize,
    /// Positions on a side of a region for its mask, of half the side of the mask itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_side: Option<usize>,
    /// How boxes are coded relative to regions.
    pub coder: Coder,
    /// Which boxes are decisions.
    pub keep: Keep,
}

impl Detection {
    /// Whether settings are in range.
    ///
    /// # Errors
    /// A field and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Anchors { strides, scales, ratios } = &self.anchors;
        let sized = |values: &[f32]| {
            (1..=64).contains(&values.len())
                && values.iter().all(|v| v.is_finite() && *v > 0.0 && *v < 1e6)
        };
        if !sized(scales) {
            return Err(("anchors.scales", format!("{scales:?}: 1 to 64 positive sizes")));
        }
        if !sized(ratios) {
            return Err(("anchors.ratios", format!("{ratios:?}: 1 to 64 positive ratios")));
        }
        check_strides("anchors.strides", strides)?;
        self.coder.check("coder")?;
        self.keep.check("keep")?;
        let Some(regions) = &self.regions else { return Ok(()) };
        check_strides("regions.strides", &regions.strides)?;
        if !(regions.finest.is_finite() && regions.finest > 0.0) {
            return Err(("regions.finest", format!("{} is not a positive size", regions.finest)));
        }
        for (name, side) in
            [("regions.side", regions.side), ("regions.mask_side", regions.mask_side.unwrap_or(1))]
        {
            if !(1..=64).contains(&side) {
                return Err((name, format!("{side}: 1 to 64 positions")));
            }
        }
        regions.coder.check("regions.coder")?;
        regions.keep.check("regions.keep")
    }
}

fn check_strides(name: &'static str, strides: &[usize]) -> Result<(), (&'static str, String)> {
    match (1..=8).contains(&strides.len()) && strides.iter().all(|s| (1..=1024).contains(s)) {
        true => Ok(()),
        false => Err((name, format!("{strides:?}: 1 to 8 strides from 1 to 1024"))),
    }
}

impl Coder {
    /// No mean, deviations of one: what anchors are used with.
    pub const PLAIN: Coder = Coder { mean: [0.0; 4], std: [1.0; 4] };
    /// What regions are used with.
    pub const REGIONS: Coder = Coder { mean: [0.0; 4], std: [0.1, 0.1, 0.2, 0.2] };

    fn check(&self, name: &'static str) -> Result<(), (&'static str, String)> {
        let fits = self.mean.iter().all(|m| m.is_finite())
            && self.std.iter().all(|s| s.is_finite() && *s > 0.0);
        match fits {
            true => Ok(()),
            false => Err((name, format!("{:?}, {:?}: finite, and positive", self.mean, self.std))),
        }
    }
}

impl Keep {
    fn check(&self, name: &'static str) -> Result<(), (&'static str, String)> {
        let Keep { score, per_level, overlap, most } = *self;
        let shares = [score, overlap].iter().all(|v| (0.0..=1.0).contains(v));
        match shares && (1..=MAX_REGIONS).contains(&per_level) && (1..=MAX_REGIONS).contains(&most)
        {
            true => Ok(()),
            false => Err((
                name,
                format!("{self:?}: shares from 0 to 1, numbers from 1 to {MAX_REGIONS}"),
            )),
        }
    }
}
