//! Graphs that give a whole image a class: what they see in a picture.

use crate::{
    evaluate::normalise,
    failure::{Failure, Result},
    labelled::recorded,
};
use serde::Serialize;
use spikelet_data::image_file;
use spikelet_graph::{Graph, Op};
use spikelet_runtime::Executor;
use std::path::Path;

/// Classes that are named.
const NAMED: usize = 5;

/// A class a picture may be of.
#[derive(Debug, Serialize)]
pub struct Guess {
    /// Its name; `class N` where the model does not know it.
    pub class: String,
    /// Its place among the outputs.
    pub index: usize,
    /// What the model gave.
    pub score: f32,
    /// Its share among all classes (softmax of the scores).
    pub share: f64,
}

/// The likeliest classes of a picture, best first: brought to the size of the input as for the data the
/// model learned from, and shown for as many steps as its window has.
///
/// # Errors
/// A graph that does not look at square images of one or three channels; what is no readable picture.
pub fn see(graph: &Graph, picture: &Path) -> Result<Vec<Guess>> {
    let input = graph.nodes.iter().find(|node| matches!(node.op, Op::Input { .. }));
    let shape = input.map_or(&[][..], |node| &node.shape);
    let (side, channels) = match *shape {
        [height, width, channels @ (1 | 3)] if height == width => (height, channels),
        _ => {
            let problem = format!("{} takes steps of shape {shape:?}, no pictures", graph.name);
            return Err(Failure::input(problem)
                .help("pictures are for models of square images with one or three channels"));
        }
    };
    let scaled = recorded(graph)?.frames.resize.max(side);
    let rgb = image_file::load(picture, scaled, side)?;
    let mut x: Vec<f32> = match channels {
        1 => rgb.chunks_exact(3).map(grey).collect(),
        _ => rgb.iter().map(|&value| f32::from(value) / 255.0).collect(),
    };
    normalise(&graph.task, &mut x);
    let executor = Executor::new(graph)?;
    let mut scores = Vec::new();
    let shown = x.repeat(graph.task.window.max(1));
    executor.run_to_end(&mut [executor.state()], &shown, &mut scores)?;
    Ok(guesses(&graph.task.classes, &scores))
}

/// Brightness of a pixel, from 0 to 1 (ITU-R BT.601).
fn grey(rgb: &[u8]) -> f32 {
    let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(f32::from);
    (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
}

fn guesses(names: &[String], scores: &[f32]) -> Vec<Guess> {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |score: f32| f64::from(score - largest).exp();
    let sum: f64 = scores.iter().map(|&score| exp(score)).sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let guess = |index: usize| Guess {
        class: names.get(index).cloned().unwrap_or_else(|| format!("class {index}")),
        index,
        score: scores[index],
        share: exp(scores[index]) / sum,
    };
    order.into_iter().take(NAMED).map(guess).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_best_with_their_names() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let scores = [0.0, 3.0, 1.0, -1.0, 2.0, 1.0];
        let found = guesses(&names, &scores);
        let named: Vec<&str> = found.iter().map(|guess| guess.class.as_str()).collect();
        assert_eq!(named, ["b", "class 4", "c", "class 5", "a"]);
        let sum: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
        assert!((found[0].share - 3.0_f64.exp() / sum).abs() < 1e-9);
        assert_eq!((found[1].index, found[1].score), (4, 2.0));
    }
}
