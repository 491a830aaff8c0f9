//! `spikelet embed`.

use crate::{
    evaluate::{sentence_vocabulary, vocabulary},
    failure::{Failure, Outcome, Result},
    model::Model,
    ui::Ui,
};
use serde_json::json;
use spikelet_data::{text, vocabulary::Vocabulary};
use spikelet_graph::{Graph, GraphBuilder, Op, Readout};
use spikelet_runtime::Executor;
use std::{collections::BTreeSet, io::Write, path::PathBuf};

/// Turn sentences into vectors: the mean of what a language model makes of their tokens
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet embed runs/spikegpt-wikitext2 --text \"a sentence\" --text \"and another\"
  spikelet embed model.safetensors --input sentences.txt --json

The model is one of language or a classifier of sentences; the vector of a sentence is the mean over
its tokens of what the last layer hands to the head. With --json every line of the output is an
object with the sentence and its vector.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// A sentence (may be repeated).
    #[arg(long, value_name = "SENTENCE")]
    text: Vec<String>,
    /// File of sentences, one a line (.txt, also .gz), or documents (.jsonl).
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    input: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    let model = Model::load(&args.model)?;
    let (graph, vocabulary) = features(&model.graph)?;
    let mut sentences = args.text.clone();
    if let Some(path) = &args.input {
        let documents = text::documents(path)?;
        sentences.extend(documents.into_iter().filter(|text| !text.trim().is_empty()));
    }
    let executor = Executor::new(&graph)?;
    let mut out = ui.out();
    for sentence in sentences {
        let tokens = vocabulary.encode(sentence.as_bytes(), "the sentence")?;
        if tokens.is_empty() {
            return Err(Failure::input(format!("{sentence:?} has no tokens")));
        }
        let tokens: Vec<f32> = tokens.into_iter().map(|token| token as f32).collect();
        let (mut states, mut vector) = ([executor.state()], Vec::new());
        executor.run_to_end(&mut states, &tokens, &mut vector)?;
        match ui.json {
            true => writeln!(out, "{}", json!({ "text": sentence, "embedding": vector }))?,
            false => {
                let values: Vec<String> = vector.iter().map(|v| format!("{v:.4}")).collect();
                let line = sentence.replace('\n', " ");
                writeln!(out, "{line}\t{}", values.join(" "))?;
            }
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// The part of a graph in front of its head, with the mean over time behind it, and the vocabulary.
fn features(graph: &Graph) -> Result<(Graph, Vocabulary)> {
    let reads_tokens = graph.nodes.iter().any(|node| matches!(node.op, Op::Embedding { .. }));
    // A language model has a head over its tokens, a classifier one over its classes.
    let heads = [("head", vocabulary(graph)), ("classes", sentence_vocabulary(graph))];
    let found = heads.into_iter().find_map(|(head, vocabulary)| {
        let edge = graph.edges.iter().find(|edge| edge.to == head)?;
        Some((edge.from.as_str(), vocabulary))
    });
    let (Some((last, vocabulary)), true) = (found, reads_tokens) else {
        let message = format!("{} is no model of language or sentences", graph.name);
        return Err(Failure::input(message).help("train one, for example spikegpt/tinyshakespeare"));
    };
    let Some(vocabulary) = vocabulary? else {
        let message = format!("{} does not say what its tokens are", graph.name);
        return Err(Failure::input(message)
            .help("take the model of a run, or convert the checkpoint with --tokenizer"));
    };
    let mut kept = BTreeSet::from([last]);
    let mut open = vec![last];
    while let Some(node) = open.pop() {
        for edge in graph.edges.iter().filter(|edge| edge.to == node) {
            if kept.insert(&edge.from) {
                open.push(&edge.from);
            }
        }
    }
    let mut part = GraphBuilder::new(&graph.name);
    for node in graph.nodes.iter().filter(|node| kept.contains(node.name.as_str())) {
        match &node.op {
            Op::Input { signal } => part.input(&node.name, *signal, &node.shape),
            op => part.node(&node.name, op.clone()),
        }
        for name in node.op.tensors() {
            part.tensor(name, graph.tensor(&node.name, name)?.clone());
        }
    }
    for edge in graph.edges.iter().filter(|edge| kept.contains(edge.to.as_str())) {
        part.edge((edge.from.as_str(), edge.delay), &edge.to, edge.port);
    }
    part.readout("embedding", last, Readout::Mean);
    part.output("output", "embedding");
    Ok((part.finish()?, vocabulary))
}
