//! Input where there is none: random, but the same every time.

use spikelet_graph::{Graph, GraphError, Op, Signal};

/// One value in so many is an event.
const ONE_IN: usize = 10;

/// Input for so many steps, `[time, input]`, in the order in which the runtime takes it: spikes and
/// events with the probability 1/10, dense values from -1 to 1, any token.
///
/// # Errors
/// Whatever [`Graph::validate`] finds.
pub fn made_up_input(graph: &Graph, steps: usize, seed: u64) -> Result<Vec<f32>, GraphError> {
    let topology = graph.validate()?;
    let mut random = Random(seed);
    let mut x = Vec::new();
    for _ in 0..steps {
        for &node in &topology.order {
            let Op::Input { signal } = graph.nodes[node].op else { continue };
            let tokens = topology.targets[node].iter().find_map(|link| {
                let Op::Embedding { weight } = &graph.nodes[link.node].op else { return None };
                Some(graph.tensors.get(&weight.tensor)?.shape[0])
            });
            for _ in 0..graph.nodes[node].len() {
                let chosen = random.below(ONE_IN) == 0;
                let value = random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
                x.push(match (tokens, signal) {
                    (Some(tokens), _) => random.below(tokens) as f32,
                    (None, Signal::Binary) => f32::from(chosen),
                    (None, Signal::Graded) if !chosen => 0.0,
                    (None, Signal::Graded | Signal::Dense) => value,
                });
            }
        }
    }
    Ok(x)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ z >> 31) * n as u128) >> 64) as usize
    }
}
