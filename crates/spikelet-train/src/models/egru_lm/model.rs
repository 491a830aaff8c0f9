//! EGRU layers in a language model.

use super::config::EgruLmConfig;
use crate::{
    draws::Draws,
    init::Init,
    model::State,
    models::{
        ModelError,
        egru::{EgruLayer, RegulariserConfig, checkpoint, silence},
        recurrent_lm::{LmLayer, Parts, RecurrentLm, layer::last_step},
    },
    ops::egru::{EgruOutputs, EgruState},
    raise::{Raise, RaiseError},
    sparsity::Silence,
};
use burn::tensor::Tensor;
use spikelet_graph::GraphBuilder;

/// A language model of EGRU layers; parameters have the official names.
pub type EgruLm = RecurrentLm<EgruLayer>;

impl EgruLm {
    /// A fresh network for a vocabulary of so many tokens and windows of `window` of them.
    ///
    /// # Errors
    /// Settings out of range, more weights than any memory holds.
    pub fn new(
        config: &EgruLmConfig,
        vocabulary: usize,
        window: usize,
        init: &mut Init,
    ) -> Result<EgruLm, ModelError> {
        config.check(vocabulary)?;
        let parts = Parts {
            vocabulary,
            embedding: config.embedding,
            projection: config.projection,
            dropout: &config.dropout,
            regularise: &config.regularise,
            carry: config.carry,
            window,
        };
        let layer = |inputs: usize, units: usize, init: &mut Init| {
            EgruLayer::new(&config.cell, inputs, units, init)
        };
        Ok(RecurrentLm::made(parts, &config.widths(), layer, init))
    }
}

/// Its state are the events of the last step and the internal state.
impl LmLayer for EgruLayer {
    const STATES: usize = 2;
    const GIVEN: usize = 1;
    const SPARSE: bool = true;
    type Outputs = EgruOutputs;

    fn units(&self) -> usize {
        EgruLayer::units(self)
    }

    fn pass(&self, x: Tensor<3>, state: State, draws: Option<&Draws>, index: usize) -> EgruOutputs {
        let [y, h] = state.try_into().expect("events and internal state");
        self.run(x, EgruState { trace: y.zeros_like(), y, h }, draws, index)
    }

    fn given(out: &EgruOutputs) -> Tensor<3> {
        out.y.clone()
    }

    fn last(out: &EgruOutputs) -> State {
        vec![last_step(&out.y), last_step(&out.h)]
    }

    fn clamped(self) -> Self {
        EgruLayer::clamped(self)
    }

    fn silence(&self, out: &EgruOutputs) -> Option<Silence> {
        Some(silence(self, out))
    }

    fn regularised(
        &self,
        term: &RegulariserConfig,
        sums: Tensor<2>,
        out: &EgruOutputs,
        place: [usize; 2],
    ) -> Tensor<2> {
        term.add(sums, self, out, place)
    }

    fn lower(
        &self,
        graph: &mut GraphBuilder,
        name: &str,
        input: &str,
        sparse: bool,
        restart: Option<usize>,
    ) {
        EgruLayer::lower(self, graph, name, input, sparse, restart);
    }

    fn raise(raise: &Raise<'_>, name: &str) -> Result<Self, RaiseError> {
        checkpoint::layer(raise, name)
    }
}
