//! What a teacher says of every training sample: recorded, or asked of a graph.

use crate::{
    evaluate::{check_channels, prepare_frames},
    failure::{Failure, Result},
    model::Model,
};
use spikelet_data::{Samples, npy};
use spikelet_runtime::Executor;
use spikelet_train::prepare::Prepared;
use std::path::Path;

/// Images that are asked for together.
const STREAMS: usize = 16;

/// Logits `[samples, classes]`; those of samples that nothing is learned from may be 0.
pub fn logits(teacher: &Path, data: &Prepared) -> Result<Vec<f32>> {
    let classes = data.samples.classes().len();
    let shape = [data.samples.len(), classes];
    if teacher.extension().is_some_and(|ending| ending == "npy") {
        return recorded(teacher, shape);
    }
    let graph = Model::load(teacher)?.graph;
    let Samples::Frames { frames, .. } = &data.samples else {
        let problem =
            format!("{}: a graph teaches images and event frames only", teacher.display());
        return Err(Failure::input(problem).help("record its logits in a .npy file"));
    };
    if !graph.task.classes.is_empty() && graph.task.classes != frames.classes {
        return Err(Failure::input(format!(
            "{}: the teacher's classes are not those of the data",
            teacher.display()
        )));
    }
    let samples = prepare_frames(&graph, frames.clone())?;
    let executor = Executor::new(&graph)?;
    check_channels(&graph, &executor, samples.values())?;
    if executor.output_len() != classes {
        let found = executor.output_len();
        return Err(Failure::input(format!(
            "{}: the teacher gives {found} values, the data has {classes} classes",
            teacher.display()
        )));
    }
    let mut all = vec![0.0; shape[0] * classes];
    let (mut x, mut out) = (Vec::new(), Vec::new());
    for index in data.split.train.chunks(STREAMS) {
        samples.batch(index, &mut x);
        out.clear();
        let mut states: Vec<_> = index.iter().map(|_| executor.state()).collect();
        executor.run_to_end(&mut states, &x, &mut out)?;
        for (&i, scores) in index.iter().zip(out.chunks_exact(classes)) {
            all[i * classes..(i + 1) * classes].copy_from_slice(scores);
        }
    }
    Ok(all)
}

fn recorded(path: &Path, shape: [usize; 2]) -> Result<Vec<f32>> {
    let array = npy::load(path)?;
    if array.shape != shape {
        return Err(Failure::input(format!(
            "{}: recorded logits of shape {:?}; [samples, classes] of the data are {shape:?}",
            path.display(),
            array.shape
        )));
    }
    let values = array.to_f32();
    match values.iter().all(|v| v.is_finite()) {
        true => Ok(values),
        false => Err(Failure::input(format!("{}: logits must be finite", path.display()))),
    }
}
