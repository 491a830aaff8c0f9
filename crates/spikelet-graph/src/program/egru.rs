//! The event-based GRU in the numbers of a program.

use super::{
    BufferId, Content, Step, Units,
    bounds::{abs, column_sums, unsupported},
    fixed,
    integer::TABLE_LIMIT,
    lower::Lower,
};
use crate::{
    error::GraphError,
    op::{Op, Weight},
};
use alloc::format;

impl Lower<'_> {
    pub(super) fn egru(&mut self, index: usize) -> Result<(), GraphError> {
        let node = &self.graph.nodes[index];
        let Op::Egru {
            weight_input,
            weight_hidden,
            bias_input,
            bias_hidden,
            threshold,
            zoneout,
            restart,
        } = &node.op
        else {
            unreachable!("only called for such nodes")
        };
        if !self.program.integer {
            let problem = "small devices compute it in integers alone: give a graph made by \
                           `spikelet compress --integer-only`";
            return Err(unsupported(node, problem));
        }
        let thresholds = self.graph.tensor(&node.name, threshold)?.to_f32();
        if thresholds.iter().any(|t| *t < 0.0) {
            let problem = "a threshold below 0 lets its state grow without limit";
            return Err(unsupported(node, problem));
        }
        let a = self.gates(index, 0, weight_input, bias_input)?;
        let b = self.gates(index, 1, weight_hidden, bias_hidden)?;
        let name = format!("{} h", node.name);
        let h = self.buffer(&name, Content::Values, node.len(), true, fixed::STATE);
        let share = fixed::round((1.0 - f64::from(*zoneout)) * fixed::power(fixed::DECAY as i32));
        let units = Units {
            name: node.name.clone(),
            threshold: self.numbers(&thresholds, h),
            share: (*zoneout != 0.0).then_some(share),
            restart: *restart,
            h,
        };
        let to = self.own_values(index, self.format(index), false);
        self.push(Step::Egru { units, gates: [a, b], to });
        Ok(())
    }

    /// What a port adds to the three gates, as a table is given it.
    fn gates(
        &mut self,
        index: usize,
        port: usize,
        weight: &Weight,
        bias: &str,
    ) -> Result<BufferId, GraphError> {
        let node = &self.graph.nodes[index];
        let (reals, _) = column_sums(self.graph, node, weight)?;
        let biases = self.graph.tensor(&node.name, bias)?.to_f32();
        let largest = biases.iter().fold(0.0, |most: f64, b| most.max(abs(*b)));
        if reals * self.formats.arriving[index][port] + largest >= TABLE_LIMIT / 2.0 {
            let problem = "its gates leave the range of their tables: scale its weights down";
            return Err(unsupported(node, problem));
        }
        let value = self.port(index, port);
        let name = format!("{} {}", node.name, ["from input", "from events"][port]);
        let to = self.buffer(&name, Content::Values, 3 * node.len(), false, fixed::TABLE_IN);
        self.multiply((index, port), weight, Some(bias), value, None, (to, false))?;
        Ok(to)
    }
}
