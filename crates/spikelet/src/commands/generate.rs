//! `spikelet generate`.

use crate::{
    failure::{Failure, Outcome, Result},
    generate::{Order, Sampler, Streams, TextStream, Tokens},
    model::Model,
    token_table,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::{atomic, split::rng};
use spikelet_runtime::{Executor, Prompt};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Let a language model go on from a prompt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet generate runs/shakespeare --prompt 'ROMEO:' --tokens 300 --stream
  spikelet generate model.safetensors --prompt-file story.txt --count 4 --seed 7
  spikelet generate model.safetensors --prompt-file book.txt --tokens 0 --save-state book.state
  spikelet generate model.safetensors --load-state book.state --prompt 'Then' --temperature 1
  spikelet generate model.safetensors --prompt 'One' --prompt 'Two' --count 8 --side-by-side 4

Printed is what follows the prompt, until there are --tokens of it, a --stop text, or (with --order
usual) the end mark of the model's tokenizer, such as <|endoftext|>. The same seed gives the same text,
whatever else is written beside it.
The sampler and its defaults are those of SpikeGPT's official generator: the end mark is never drawn,
probabilities outside the nucleus (--top-p) become zero, the rest is raised to the power of
1/temperature. In models of characters and bytes the nucleus behind a line's end is that of
--top-p-newline. --order usual divides logits by the temperature first, as most programs do, and ends a
text where its end mark is drawn.
Reading a prompt takes time once: --save-state keeps what the model knows after it (also after
Ctrl-C, as far as it has been read), --load-state goes on from there.
--json prints one document; with --stream one line for each piece of text, then the document.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// Text to go on from (may be repeated: every one is gone on from).
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Vec<OsString>,
    /// File with the text to go on from, or - for standard input.
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Tokens to generate.
    #[arg(long, value_name = "N", default_value_t = 200)]
    tokens: usize,
    /// Above 1 more varied, below 1 more certain; 0 always takes the most likely token.
    #[arg(long, value_name = "T", default_value_t = 1.5, value_parser = temperature)]
    temperature: f32,
    /// Choose among the most likely tokens that together exceed this probability; 1: among all.
    #[arg(long, value_name = "P", default_value_t = 0.7, value_parser = probability)]
    top_p: f32,
    /// --top-p behind the end of a line, in models of characters and bytes.
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = probability)]
    top_p_newline: f32,
    /// Choose among so many of the most likely tokens; 0: among all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Above 1, tokens that were there already become less likely.
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = penalty)]
    repetition_penalty: f32,
    /// Whether the nucleus is cut before the temperature acts (official) or after it (usual), which also ends texts.
    #[arg(long, value_enum, default_value_t)]
    order: Order,
    /// End before this text (may be repeated).
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Texts to generate from every prompt.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
    /// Most texts written side by side: all share one pass over the weights. The next one begins when
    /// one ends.
    #[arg(long, value_name = "N", default_value_t = 16)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    side_by_side: u16,
    /// EGRU language models: work out what every token adds to the first layer before the first step.
    #[arg(long)]
    table: bool,
    /// Print text as it comes. Without --json, only for one text.
    #[arg(long)]
    stream: bool,
    /// Keep what the model knows after the prompt in a file.
    #[arg(long, value_name = "FILE")]
    save_state: Option<PathBuf>,
    /// Go on from such a file.
    #[arg(long, value_name = "FILE")]
    load_state: Option<PathBuf>,
}

/// Longest prompt, in bytes.
const MAX_PROMPT: u64 = 1 << 26;

fn number(text: &str, fits: impl Fn(f32) -> bool, range: &str) -> std::result::Result<f32, String> {
    match text.parse() {
        Ok(value) if fits(value) => Ok(value),
        _ => Err(format!("need a number {range}")),
    }
}

fn temperature(text: &str) -> std::result::Result<f32, String> {
    number(text, |t| (0.0..=100.0).contains(&t), "from 0 to 100")
}

fn probability(text: &str) -> std::result::Result<f32, String> {
    number(text, |p| (0.0..=1.0).contains(&p), "from 0 to 1")
}

fn penalty(text: &str) -> std::result::Result<f32, String> {
    number(text, |f| (0.01..=100.0).contains(&f), "from 0.01 to 100")
}

#[derive(Serialize)]
struct Report {
    /// Of all prompts.
    prompt_tokens: usize,
    prompt_tokens_per_second: Option<f64>,
    texts: Vec<Text>,
    tokens_per_second: Option<f64>,
    /// Ctrl-C came before everything was done.
    interrupted: bool,
}

/// One text.
#[derive(Default, Serialize)]
struct Text {
    /// Number of its prompt, from 0.
    prompt: usize,
    text: String,
    tokens: usize,
    /// A stop text ended it.
    stopped: bool,
    /// The end mark of the tokenizer ended it.
    ended: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    args.check(ui)?;
    let model = Model::load(&args.model)?;
    let executor =
        token_table::executor(&model.graph, args.table)?.with_threads(rayon::current_num_threads());
    let vocabulary = executor.vocabulary();
    let begun = match &args.load_state {
        Some(path) => load(path, &executor)?,
        None => Prompt::new(&executor)?,
    };
    let tokens = Tokens::of(&model.graph.task, vocabulary.unwrap_or(0))?;
    let encode = |(text, source): (Vec<u8>, &str)| tokens.encode(&text, source);
    let prompts: Vec<Vec<u32>> = args.texts()?.into_iter().map(encode).collect::<Result<_>>()?;
    if prompts.iter().any(Vec::is_empty) && begun.tokens().is_empty() {
        return Err(Failure::usage("there is nothing to go on from")
            .help("give a text with --prompt or --prompt-file, or a state with --load-state"));
    }
    let interrupted = ui.catch_ctrl_c()?;
    let mut reader = Reader::new(&executor, ui, interrupted.clone());
    let mut writer = Writer::new(args, prompts.len(), ui);
    let mut streams = Streams::new(&executor);
    let sampler = args.sampler(&tokens);
    let started = Instant::now();
    let bar = ui.progress(if args.stream { 0 } else { writer.wanted() as u64 }, "tokens");
    let mut texts = (0..prompts.len()).flat_map(|p| (0..args.count).map(move |k| (p, k))).zip(0..);
    let end = tokens.end();
    // The prompt that was read last, which texts after it may share.
    let mut current: Option<(usize, Prompt)> = None;
    loop {
        while streams.len() < usize::from(args.side_by_side) {
            let Some(((number, draw), id)) = texts.next() else { break };
            let known = current.take().filter(|(known, _)| *known == number);
            let (_, prompt) = match known {
                Some(known) => known,
                None => (number, reader.read(begun.clone(), &prompts[number])?),
            };
            if let Some(path) = args.save_state.as_ref().filter(|_| draw == 0) {
                atomic::write(path, &prompt.to_bytes())?;
            }
            if interrupted.load(Ordering::Relaxed) {
                break;
            }
            if args.tokens > 0 {
                let rng = rng(args.seed, u64::from(draw));
                streams.add(id, &prompt, sampler.clone(), rng);
            }
            current = Some((number, prompt));
        }
        if streams.is_empty() || interrupted.load(Ordering::Relaxed) {
            break;
        }
        for next in streams.advance()? {
            let bytes = tokens.bytes(next.token);
            if writer.push(next.stream as usize, &bytes, end == Some(next.token))? {
                streams.remove(next.stream);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let writing = started.elapsed().saturating_sub(reader.time);
    let texts = writer.finish()?;
    let generated: usize = texts.iter().map(|text| text.tokens).sum();
    let rate = |tokens: usize, time: Duration| {
        (tokens > 0).then(|| tokens as f64 / time.as_secs_f64().max(1e-9))
    };
    let interrupted = interrupted.load(Ordering::Relaxed);
    let report = Report {
        prompt_tokens: reader.tokens,
        prompt_tokens_per_second: rate(reader.read, reader.time),
        texts,
        tokens_per_second: rate(generated, writing),
        interrupted,
    };
    report.print(args, ui)?;
    if interrupted {
        let kept = args.save_state.as_deref().map(|path| path.display().to_string());
        let help = kept.map_or("--save-state FILE keeps what has been read".to_owned(), |path| {
            format!("{} tokens have been read, kept in {path}", report.prompt_tokens)
        });
        return Err(Failure::new(crate::failure::Kind::Interrupted, "interrupted").help(help));
    }
    Ok(Outcome::Done)
}

/// Reads prompts, and keeps account of it.
struct Reader<'a> {
    executor: &'a Executor,
    ui: &'a Ui,
    /// Set when it is to stop.
    stop: Arc<AtomicBool>,
    /// Tokens read.
    read: usize,
    /// Tokens of all prompts, with what they went on from.
    tokens: usize,
    time: Duration,
}

impl<'a> Reader<'a> {
    fn new(executor: &'a Executor, ui: &'a Ui, stop: Arc<AtomicBool>) -> Self {
        Reader { executor, ui, stop, read: 0, tokens: 0, time: Duration::ZERO }
    }

    fn read(&mut self, mut prompt: Prompt, text: &[u32]) -> Result<Prompt> {
        let started = Instant::now();
        let bar = self.ui.progress(text.len() as u64, "prompt");
        self.read += prompt.read(self.executor, text, |done| {
            bar.set_position(done as u64);
            !self.stop.load(Ordering::Relaxed)
        })?;
        bar.finish_and_clear();
        self.tokens += prompt.tokens().len();
        self.time += started.elapsed();
        Ok(prompt)
    }
}

impl Args {
    fn check(&self, ui: &Ui) -> Result<()> {
        let prompts = self.prompt.len().max(1);
        if self.stream && usize::from(self.count) * prompts > 1 && !ui.json {
            return Err(Failure::usage("--stream prints one text, and several are asked for")
                .help("add --json, which tells them apart, or leave out --count or prompts"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Failure::usage("--stop needs a text"));
        }
        if self.save_state.is_some() && prompts > 1 {
            return Err(Failure::usage(format!("--save-state keeps one prompt, not {prompts}"))
                .help("give one --prompt"));
        }
        Ok(())
    }

    /// The prompts and their names in errors; an empty one if none is given.
    fn texts(&self) -> Result<Vec<(Vec<u8>, &str)>> {
        if let Some(path) = &self.prompt_file {
            let name = path.to_str().unwrap_or("the file of the prompt");
            return Ok(vec![(Self::content(path)?, name)]);
        }
        let text = |prompt: &OsString| (prompt.as_encoded_bytes().to_vec(), "--prompt");
        match self.prompt.is_empty() {
            true => Ok(vec![(Vec::new(), "")]),
            false => Ok(self.prompt.iter().map(text).collect()),
        }
    }

    fn content(path: &Path) -> Result<Vec<u8>> {
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdin()),
            false => Box::new(fs::File::open(path).map_err(|error| unreadable(path, error))?),
        };
        let mut text = Vec::new();
        let read = source.take(MAX_PROMPT + 1).read_to_end(&mut text);
        read.map_err(|error| unreadable(path, error))?;
        if text.len() as u64 > MAX_PROMPT {
            let message = format!("{}: a prompt of over {MAX_PROMPT} bytes", path.display());
            return Err(Failure::input(message)
                .help("read it in parts: --save-state after each, --load-state before the next"));
        }
        Ok(text)
    }

    fn sampler(&self, tokens: &Tokens) -> Sampler {
        Sampler {
            temperature: self.temperature,
            top_p: self.top_p,
            top_p_after: tokens.newline().map(|token| (token, self.top_p_newline)),
            top_k: self.top_k,
            repetition_penalty: self.repetition_penalty,
            never: tokens.end().filter(|_| self.order == Order::Official),
            order: self.order,
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    Failure::from(error).context(format!("cannot read {}", path.display()))
}

fn load(path: &Path, executor: &Executor) -> Result<Prompt> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    Prompt::from_bytes(executor, &bytes)
        .map_err(|error| Failure::from(error).context(path.display().to_string()))
}

/// The texts so far, printed as they come with `--stream`.
struct Writer<'a> {
    /// Tokens of each, at most.
    most: usize,
    texts: Vec<Text>,
    streams: Vec<TextStream>,
    /// Printing goes on.
    live: bool,
    ui: &'a Ui,
}

impl<'a> Writer<'a> {
    fn new(args: &Args, prompts: usize, ui: &'a Ui) -> Self {
        let each = usize::from(args.count);
        let text = |k| Text { prompt: k / each, ..Text::default() };
        Writer {
            most: args.tokens,
            texts: (0..prompts * each).map(text).collect(),
            streams: vec![TextStream::new(&args.stop); prompts * each],
            live: args.stream,
            ui,
        }
    }

    /// Tokens of all texts, at most.
    fn wanted(&self) -> usize {
        self.most.saturating_mul(self.texts.len())
    }

    /// Adds a token, `end` if it is the end mark; says whether the text has ended.
    fn push(&mut self, stream: usize, bytes: &[u8], end: bool) -> Result<bool> {
        let text = if end { String::new() } else { self.streams[stream].push(bytes) };
        let written = &mut self.texts[stream];
        written.tokens += 1;
        written.stopped = self.streams[stream].has_stopped();
        written.ended = end;
        let done = written.stopped || end || written.tokens >= self.most;
        self.add(stream, text)?;
        Ok(done)
    }

    fn add(&mut self, stream: usize, text: String) -> Result<()> {
        if self.live && !text.is_empty() {
            let mut out = self.ui.out();
            match self.ui.json {
                true => {
                    let line = serde_json::json!({ "stream": stream, "text": text });
                    writeln!(out, "{line}")?;
                }
                false => write!(out, "{text}")?,
            }
            out.flush()?;
        }
        self.texts[stream].text += &text;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Text>> {
        for stream in 0..self.streams.len() {
            let rest = self.streams[stream].finish();
            self.add(stream, rest)?;
        }
        Ok(self.texts)
    }
}

impl Report {
    fn print(&self, args: &Args, ui: &Ui) -> Result<()> {
        if ui.json && args.stream {
            let mut out = ui.out();
            writeln!(out, "{}", serde_json::to_string(self).map_err(std::io::Error::from)?)?;
            out.flush()?;
        } else if args.stream {
            writeln!(ui.out())?;
        } else {
            ui.print(|| self.text(), self)?;
        }
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.1}"));
        ui.detail(format!(
            "{} tokens of prompt at {} a second, then {} tokens a second",
            self.prompt_tokens,
            rate(self.prompt_tokens_per_second),
            rate(self.tokens_per_second)
        ));
        Ok(())
    }

    fn text(&self) -> String {
        match self.texts.as_slice() {
            [one] => one.text.clone(),
            texts => {
                let numbered = texts.iter().enumerate();
                numbered.map(|(k, text)| format!("--- {}\n{}\n", k + 1, text.text)).collect()
            }
        }
    }
}
