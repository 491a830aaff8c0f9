//! EGRU (Subramoney et al. 2023, the code EvNN): language model and gesture network. All sizes come
//! from the shapes.

use super::{ConvertError, weights::Weights};
use spikelet_data::{
    checkpoint::Checkpoint,
    event_frames::{EventFramesConfig, Slice},
    gestures,
};
use spikelet_graph::{Graph, Task, task::EVENTS};
use spikelet_train::models::{
    egru::{self, Aggregate, Divide, OfficialFrames},
    egru_lm::{self, Carry},
};

/// Tokens of a window of the official evaluation.
const WINDOW: usize = 70;
/// Side of the frames of DVS128 Gesture; steps of a sample, and milliseconds of a step and of a sample.
const SENSOR: usize = 128;
const STEPS: usize = 68;
const STEP_MS: f32 = 25.0;
const SAMPLE_MS: u64 = 1700;
/// What means of counts are divided by: the largest of the training part, and of the test part.
const TRAIN_DIVISOR: f32 = 19.0;
const TEST_DIVISOR: f32 = 18.5;

pub(super) fn language_root(checkpoint: &Checkpoint) -> Option<String> {
    let names = ["embeddings.weight", "rnns.0.recurrent_kernel", "decoder.decoder.bias"];
    super::weights::root(checkpoint, &names)
}

pub(super) fn gestures_root(checkpoint: &Checkpoint) -> Option<String> {
    super::weights::root(checkpoint, &["layers.0.recurrent_kernel", "layers.0.thr", "fc.weight"])
}

/// As the official code evaluates it.
pub(super) fn windows(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = format!(
        "states start again every {WINDOW} tokens and only events go on, as in the official \
         evaluation; --arch egru-lm-stream carries everything"
    );
    language(weights, Carry::Events, WINDOW, note)
}

/// As one stream without windows.
pub(super) fn stream(weights: &mut Weights) -> Result<Graph, ConvertError> {
    let note = "states are carried from token to token without end; the official evaluation starts \
                them again in every window (--arch egru-lm)";
    language(weights, Carry::Full, 0, note.to_owned())
}

/// In windows of so many tokens, or 0.
fn language(
    weights: &mut Weights,
    carry: Carry,
    window: usize,
    note: String,
) -> Result<Graph, ConvertError> {
    weights.notes.push(note);
    let task = Task { window, ..Task::default() };
    let tensors = weights.read_all()?;
    egru_lm::official_graph(&tensors, carry, WINDOW, task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}

/// The gesture network on frames of the side that its published run has.
pub(super) fn gestures(weights: &mut Weights) -> Result<Graph, ConvertError> {
    of_side(weights, SENSOR)
}

/// On frames of 64 x 64.
pub(super) fn gestures_64(weights: &mut Weights) -> Result<Graph, ConvertError> {
    of_side(weights, 64)
}

/// On frames of 32 x 32.
pub(super) fn gestures_32(weights: &mut Weights) -> Result<Graph, ConvertError> {
    of_side(weights, 32)
}

fn of_side(weights: &mut Weights, side: usize) -> Result<Graph, ConvertError> {
    let tensors = weights.read_all()?;
    let convolutions = tensors.contains_key("conv.0.weight");
    let (note, window) = match convolutions {
        true => (
            format!(
                "inputs are frames {SENSOR} x {SENSOR} x 2 of event counts (25 ms, OFF and ON); the \
                 file does not say what comes before the convolutions: frames are pooled to {side} x \
                 {side} (--arch egru-dvs, egru-dvs-64 or egru-dvs-32), the polarities' mean is divided \
                 by {TEST_DIVISOR} as for the official test part, the outputs of all steps are averaged"
            ),
            STEPS,
        ),
        false => {
            let note = "inputs are the values in front of the first layer: frames pooled, brought \
                        together, and laid out polarity after polarity";
            (note.to_owned(), 0)
        }
    };
    weights.notes.push(note);
    let divide = Divide { train: TRAIN_DIVISOR, test: TEST_DIVISOR };
    let frames = OfficialFrames { sensor: SENSOR, side, aggregate: Aggregate::Mean, divide };
    let mut task = Task { window, step_ms: (window > 0).then_some(STEP_MS), ..Task::default() };
    if convolutions {
        // What makes `run` take a recording as it is.
        let events = EventFramesConfig {
            steps: STEPS,
            slice: Slice::Time,
            window_ms: SAMPLE_MS,
            ..EventFramesConfig::default()
        };
        task.notes.extend(serde_json::to_string(&events).map(|json| (EVENTS.to_owned(), json)));
    }
    let outputs = tensors.get("fc.bias").map_or(0, |(_, values)| values.len());
    if outputs == gestures::CLASSES.len() {
        task.classes = gestures::CLASSES.map(str::to_owned).to_vec();
    }
    egru::official_graph(&tensors, frames, task)
        .map_err(|source| weights.not_this_network(source.to_string()))
}
