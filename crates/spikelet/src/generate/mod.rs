//! Generation with language models: from a prompt to text, for several independent streams at once.

mod sampler;
mod streams;
mod text;
mod tokens;

pub use sampler::{Order, Sampler};
pub use streams::{Streams, Token};
pub use text::TextStream;
pub use tokens::Tokens;
