//! `spikelet generate`.

use crate::{
    failure::{Failure, Outcome, Result},
    generate::{Order, Sampler, Streams, TextStream, Tokens},
    model::Model,
    ui::Ui,
};
use serde::Serialize;
use spikelet_data::atomic;
use spikelet_runtime::{Executor, Prompt};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

/// Let a language model go on from a prompt
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  spikelet generate runs/shakespeare --prompt 'ROMEO:' --tokens 300 --stream
  spikelet generate model.safetensors --prompt-file story.txt --count 4 --seed 7
  spikelet generate model.safetensors --prompt-file book.txt --tokens 0 --save-state book.state
  spikelet generate model.safetensors --load-state book.state --prompt 'Then' --temperature 1

Printed is what follows the prompt. The same seed gives the same text, whatever --count is.
The sampler and its defaults are those of SpikeGPT's official generator: probabilities outside the
nucleus (--top-p) become zero, the rest is raised to the power of 1/temperature. In models of
characters and bytes the nucleus behind a line's end is that of --top-p-newline. --order usual
divides logits by the temperature first, as most programs do.
Reading a prompt takes time once: --save-state keeps what the model knows after it (also after
Ctrl-C, as far as it has been read), --load-state goes on from there.
--json prints one document; with --stream one line for each piece of text, then the document.")]
pub struct Args {
    /// A graph file, or the folder of a run.
    model: PathBuf,
    /// Text to go on from.
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<OsString>,
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
    /// Whether the nucleus is cut before the temperature acts (official) or after it (usual).
    #[arg(long, value_enum, default_value_t)]
    order: Order,
    /// End before this text (may be repeated).
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Seed of the draws.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Texts to generate from the same prompt, side by side.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    count: u16,
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
    text: String,
    tokens: usize,
    /// A stop text ended it.
    stopped: bool,
}

/// Runs the command.
pub fn run(args: &Args, ui: &Ui) -> Result {
    if args.stream && args.count > 1 && !ui.json {
        return Err(Failure::usage("--stream prints one text, --count asks for several")
            .help("add --json, which tells them apart, or leave out one of the two"));
    }
    if args.stop.iter().any(String::is_empty) {
        return Err(Failure::usage("--stop needs a text"));
    }
    let model = Model::load(&args.model)?;
    let executor = Executor::new(&model.graph)?.with_threads(rayon::current_num_threads());
    let vocabulary = executor.vocabulary();
    let mut prompt = match &args.load_state {
        Some(path) => load(path, &executor)?,
        None => Prompt::new(&executor)?,
    };
    let tokens = Tokens::of(&model.graph.task, vocabulary.unwrap_or(0))?;
    let (text, source) = args.text()?;
    let text = tokens.encode(&text, &source)?;
    if text.is_empty() && prompt.tokens().is_empty() {
        return Err(Failure::usage("there is nothing to go on from")
            .help("give a text with --prompt or --prompt-file, or a state with --load-state"));
    }
    let interrupted = ui.catch_ctrl_c()?;
    let started = Instant::now();
    let bar = ui.progress(text.len() as u64, "prompt");
    let read = prompt.read(&executor, &text, |done| {
        bar.set_position(done as u64);
        !interrupted.load(Ordering::Relaxed)
    })?;
    bar.finish_and_clear();
    let rate = |tokens: usize, started: Instant| {
        (tokens > 0).then(|| tokens as f64 / started.elapsed().as_secs_f64())
    };
    let prompt_tokens_per_second = rate(read, started);
    if let Some(path) = &args.save_state {
        atomic::write(path, &prompt.to_bytes())?;
    }
    let started = Instant::now();
    let wanted = if read == text.len() { args.tokens } else { 0 };
    let mut writer = Writer::new(args, ui);
    let mut streams = Streams::new(&executor);
    let sampler = args.sampler(&tokens);
    for id in 0..u64::from(args.count) {
        streams.add(id, &prompt, sampler.clone(), args.seed);
    }
    let bar = ui.progress(if args.stream { 0 } else { wanted as u64 }, "tokens");
    for _ in 0..wanted {
        if streams.is_empty() || interrupted.load(Ordering::Relaxed) {
            break;
        }
        for next in streams.advance()? {
            if writer.push(next.stream as usize, tokens.bytes(next.token))? {
                streams.remove(next.stream);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let texts = writer.finish()?;
    let generated: usize = texts.iter().map(|text| text.tokens).sum();
    let interrupted = interrupted.load(Ordering::Relaxed);
    let report = Report {
        prompt_tokens: prompt.tokens().len(),
        prompt_tokens_per_second,
        texts,
        tokens_per_second: rate(generated, started),
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

impl Args {
    /// The prompt and its name in errors.
    fn text(&self) -> Result<(Vec<u8>, String)> {
        if let Some(prompt) = &self.prompt {
            return Ok((prompt.as_encoded_bytes().to_vec(), "--prompt".to_owned()));
        }
        let Some(path) = &self.prompt_file else { return Ok((Vec::new(), String::new())) };
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
        Ok((text, path.display().to_string()))
    }

    fn sampler(&self, tokens: &Tokens) -> Sampler {
        Sampler {
            temperature: self.temperature,
            top_p: self.top_p,
            top_p_after: tokens.newline().map(|token| (token, self.top_p_newline)),
            top_k: self.top_k,
            repetition_penalty: self.repetition_penalty,
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
    texts: Vec<Text>,
    streams: Vec<TextStream>,
    /// Printing goes on.
    live: bool,
    ui: &'a Ui,
}

impl<'a> Writer<'a> {
    fn new(args: &Args, ui: &'a Ui) -> Self {
        let count = usize::from(args.count);
        Writer {
            texts: (0..count).map(|_| Text::default()).collect(),
            streams: vec![TextStream::new(&args.stop); count],
            live: args.stream,
            ui,
        }
    }

    /// Adds a token; says whether the text has ended.
    fn push(&mut self, stream: usize, bytes: &[u8]) -> Result<bool> {
        let text = self.streams[stream].push(bytes);
        let stopped = self.streams[stream].has_stopped();
        self.texts[stream].tokens += 1;
        self.texts[stream].stopped = stopped;
        self.add(stream, text)?;
        Ok(stopped)
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
