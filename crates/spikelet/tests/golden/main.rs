//! Agreement with the papers' own code: weights, inputs, outputs, spikes and gradients.
//!
//! Every test function reads all cases that the `README.json` of its folder lists, under
//! `$SPIKELET_GOLDEN` or `tests/golden` of the repository, and compares within the tolerances
//! written in each case.

mod compare;
mod files;
mod images;
mod l2mu;
mod l2mu_braille;
mod metaspikeformer;
mod sltt;
mod spikegpt;

#[test]
fn l2mu() {
    l2mu::run();
}

#[test]
fn l2mu_braille() {
    l2mu_braille::run();
}

#[test]
fn sltt() {
    sltt::run();
}

#[test]
fn metaspikeformer() {
    metaspikeformer::run();
}

#[test]
fn spikegpt() {
    spikegpt::run();
}
