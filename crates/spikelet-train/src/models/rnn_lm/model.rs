//! The networks.

use super::config::RnnLmConfig;
use crate::{
    init::Init,
    models::{
        ModelError,
        gru::GruLayer,
        lstm::LstmLayer,
        recurrent_lm::{Carry, LmLayer, Parts, RecurrentLm},
    },
};

/// A language model of LSTM layers.
pub type LstmTiedLm = RecurrentLm<LstmLayer>;
/// A language model of GRU layers.
pub type GruLm = RecurrentLm<GruLayer>;

impl LstmTiedLm {
    /// A fresh network for a vocabulary of so many tokens.
    ///
    /// # Errors
    /// Settings out of range, more weights than any memory holds.
    pub fn new(
        config: &RnnLmConfig,
        vocabulary: usize,
        window: usize,
        init: &mut Init,
    ) -> Result<LstmTiedLm, ModelError> {
        let layer = |inputs: usize, units: usize, init: &mut Init| {
            let dropconnect = config.dropconnect;
            LstmLayer { dropconnect, ..LstmLayer::new(inputs, units, init) }
        };
        network(config, [vocabulary, window], layer, init)
    }
}

impl GruLm {
    /// A fresh network for a vocabulary of so many tokens.
    ///
    /// # Errors
    /// Settings out of range, more weights than any memory holds.
    pub fn new(
        config: &RnnLmConfig,
        vocabulary: usize,
        window: usize,
        init: &mut Init,
    ) -> Result<GruLm, ModelError> {
        let layer = |inputs: usize, units: usize, init: &mut Init| {
            let dropconnect = config.dropconnect;
            GruLayer { dropconnect, ..GruLayer::new(inputs, units, init) }
        };
        network(config, [vocabulary, window], layer, init)
    }
}

fn network<L: LmLayer>(
    config: &RnnLmConfig,
    [vocabulary, window]: [usize; 2],
    layer: impl FnMut(usize, usize, &mut Init) -> L,
    init: &mut Init,
) -> Result<RecurrentLm<L>, ModelError> {
    config.check(vocabulary)?;
    let parts = Parts {
        vocabulary,
        embedding: config.embedding,
        projection: false,
        dropout: &config.dropout,
        regularise: &config.regularise,
        carry: Carry::Full,
        window,
    };
    Ok(RecurrentLm::made(parts, &config.widths(), layer, init))
}
