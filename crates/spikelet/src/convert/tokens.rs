//! What the tokens of a converted language model are: checkpoints hold none of it.

use crate::failure::{Failure, Result};
use spikelet_data::vocabulary::Vocabulary;
use spikelet_graph::{Graph, Op};

/// Writes a vocabulary into the task record of a language model; `file` names it in errors.
///
/// # Errors
/// A graph that reads no tokens, a vocabulary of another size.
pub fn name_tokens(graph: &mut Graph, vocabulary: &Vocabulary, file: &str) -> Result<()> {
    let table = graph.nodes.iter().find_map(|node| match &node.op {
        Op::Embedding { weight } => Some((&node.name, weight)),
        _ => None,
    });
    let Some((node, weight)) = table else {
        return Err(Failure::usage(format!("{} reads no tokens", graph.name))
            .help("leave --tokenizer out: it is for language models"));
    };
    let tokens = graph.tensor(node, &weight.tensor)?.shape[0];
    let names = vocabulary.names();
    if names.len() != tokens {
        return Err(Failure::input(format!(
            "{file} has {} tokens, the model has {tokens}",
            names.len()
        ))
        .help("take the file that was published with the checkpoint"));
    }
    graph.task.classes = names;
    graph.task.tokenizer = vocabulary.tokenizer().map(|tokenizer| tokenizer.json().to_owned());
    Ok(())
}
