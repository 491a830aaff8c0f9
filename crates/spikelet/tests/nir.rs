//! NIR files: what the shared graphs compute, and the commands on them.

use spikelet_data::{braille, find};
use spikelet_graph::{Graph, nir};
use spikelet_runtime::Executor;

/// The event graph of a shared NIR file; `None`, with a printed reason, without it.
fn shared(name: &str, dt: Option<f64>) -> Option<nir::Import> {
    let file = find::for_test("nir")?.join(name);
    let import = nir::load(&file).and_then(|nir| nir.to_graph(name, dt));
    Some(import.unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Index of the largest value, the first of several.
fn class(result: &[f32]) -> u32 {
    let first_largest = |best: usize, i| if result[i] > result[best] { i } else { best };
    (0..result.len()).fold(0, first_largest) as u32
}

/// The result after the last step of one sample, `[time, input]`.
fn last(executor: &Executor, x: &[f32]) -> Vec<f32> {
    let (mut state, mut out) = (executor.state(), Vec::new());
    executor.run_to_end(std::slice::from_mut(&mut state), x, &mut out).unwrap();
    out
}

/// Right answers over all Braille samples, of how many.
fn braille_score(graph: &Graph) -> Option<[usize; 2]> {
    let data = braille::load(&find::for_test("braille")?).unwrap();
    let sequences = &data.sequences;
    let size = sequences.time * sequences.channels;
    let executor = Executor::new(graph).unwrap();
    let samples = sequences.x.chunks_exact(size).zip(&sequences.y);
    let right = samples.filter(|(x, y)| class(&last(&executor, x)) == **y).count();
    Some([right, sequences.y.len()])
}

#[test]
fn the_braille_graph_reads_96_percent() {
    let Some(import) = shared("braille_noDelay_bias_zero.nir", None) else { return };
    let Some([right, all]) = braille_score(&import.graph) else { return };
    println!("{right} of {all}; {:?}", import.notes);
    // A simulator in numpy got 96 to 97 %.
    assert!((960..=970).contains(&(right * 1000 / all)), "{right} of {all}");
}
