//! Random graphs on chips of random sizes.

use crate::support::check::{self, STEPS};
use crate::support::random::{self, Random};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn cores_receive_what_the_runtime_computes(seed in any::<u64>()) {
        check(seed)?;
    }
}

/// Most cases are simulated; and one that once released a step twice.
#[test]
fn most_random_graphs_fit() {
    let fits = (0..200).filter(|&seed| check(seed * 7919).unwrap()).count();
    assert!(fits > 120, "{fits} of 200");
    assert!(check(9_068_686_031_882_249_476).unwrap());
}

/// Whether the graph of a seed fits its chip; then all must hold.
fn check(seed: u64) -> Result<bool, TestCaseError> {
    let (graph, signal) = random::graph(seed);
    let mut random = Random::new(seed ^ 0xc0de);
    let len = graph.node("x").unwrap().len();
    let x = random::input(&mut random, signal, STEPS * len);
    check::check(&graph, &x, &mut random)
}
