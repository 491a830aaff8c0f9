//! The fused form of every model over a sequence gives the outputs and gradients of its steps.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use spikelet_train::{
    init::Init,
    model::{SequenceModel, step_by_step},
    models::{
        gru::{Gru, GruConfig},
        l2mu::{L2mu, L2muConfig},
        lstm::{Lstm, LstmConfig},
    },
    params::{self, Tensors},
};

const INPUTS: usize = 3;
const CLASSES: usize = 4;

/// `[time, batch, channels]`, different in every place.
fn input(time: usize, batch: usize, device: &Device) -> Tensor<3> {
    let values = (0..time * batch * INPUTS).map(|i| (i as f32 * 0.7).sin() * 1.5).collect();
    let x = TensorData::new::<f32, _>(values, [time, batch, INPUTS]);
    Tensor::from_data(x, device).require_grad()
}

struct Found {
    outputs: Vec<f32>,
    x: Vec<f32>,
    gradients: Tensors,
}

fn run<M: SequenceModel>(model: &M, x: Tensor<3>, outputs: Tensor<3>) -> Found {
    let values = params::values(outputs.clone().inner());
    // A different weight for every output, so that no gradient cancels.
    let weights = (0..values.len()).map(|i| 1.0 + (i as f32 * 0.3).cos()).collect();
    let weights = TensorData::new::<f32, _>(weights, outputs.dims());
    let weights = Tensor::<3>::from_data(weights, &outputs.device());
    let gradients = (outputs * weights).sum().backward();
    let x = params::values(x.grad(&gradients).expect("a gradient of the input"));
    let gradients = GradientsParams::from_grads(gradients, model);
    let mut found = Tensors::new();
    struct Read<'a>(&'a GradientsParams, &'a mut Tensors, Vec<String>);
    impl burn::module::ModuleVisitor for Read<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.2.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.2.pop();
        }
        fn visit_float<const D: usize>(&mut self, p: &burn::module::Param<Tensor<D>>) {
            let g = self.0.get::<D>(p.id).unwrap_or_else(|| panic!("{}", self.2.join(".")));
            self.1.insert(self.2.join("."), (g.dims().to_vec(), params::values(g)));
        }
    }
    model.visit(&mut Read(&gradients, &mut found, vec![]));
    Found { outputs: values, x, gradients: found }
}

fn forms_agree<M: SequenceModel>(model: &M, bound: f32) {
    for (time, batch) in [(1, 1), (7, 5), (12, 37)] {
        let device = Device::flex().autodiff();
        let x = input(time, batch, &device);
        let fused = run(model, x.clone(), model.sequence(x));
        let x = input(time, batch, &device);
        let steps = run(model, x.clone(), step_by_step(model, x));
        // A form may give the last step alone where nothing else is read out.
        let tail = &steps.outputs[steps.outputs.len() - fused.outputs.len()..];
        close("outputs", &fused.outputs, tail, 1e-6);
        close("x", &fused.x, &steps.x, bound);
        for (name, (_, expected)) in &steps.gradients {
            close(name, &fused.gradients[name].1, expected, bound);
        }
    }
}

fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1.0_f32, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= bound * largest, "{what}[{i}]: {f} is not {e}");
    }
}

#[test]
fn lstm() {
    for readout in ["mean", "sum"] {
        let config: LstmConfig =
            toml::from_str(&format!("hidden = 9\nreadout = \"{readout}\"")).unwrap();
        let mut init = Init::new(3, &Device::flex().autodiff());
        forms_agree(&Lstm::new(&config, INPUTS, CLASSES, &mut init), 1e-5);
    }
}

#[test]
fn gru() {
    for readout in ["mean", "last"] {
        let config: GruConfig =
            toml::from_str(&format!("hidden = 9\nreadout = \"{readout}\"")).unwrap();
        let mut init = Init::new(3, &Device::flex().autodiff());
        let model = Gru::new(&config, INPUTS, CLASSES, &mut init);
        match readout {
            "mean" => forms_agree(&model, 1e-5),
            _ => {
                let device = Device::flex().autodiff();
                let x = input(6, 2, &device);
                let last = step_by_step(&model, x.clone()).narrow(0, 5, 1);
                let found = params::values(model.sequence(x).inner());
                close("the last step", &found, &params::values(last.inner()), 1e-6);
            }
        }
    }
}

#[test]
fn l2mu() {
    for (neuron, delayed) in
        [("lif", true), ("lif", false), ("cuba-lif", true), ("cuba-lif", false)]
    {
        for module in [
            "kind = \"plain\"",
            "kind = \"single\"\npopulation = 3",
            "kind = \"stacked\"\npopulation = 3\nencoding = 5\noutput = 4",
        ] {
            let text = format!(
                "memories = 4\norder = 3\ntheta = 6\nhidden = 7\nneuron = \"{neuron}\"\n\
                 reset_delayed = {delayed}\n\
                 u = {{ beta = 0.6, threshold = 0.31, alpha = 0.4 }}\n\
                 m = {{ beta = 0.4, threshold = 0.27, alpha = 0.3 }}\n\
                 h = {{ beta = 0.5, threshold = 0.43, alpha = 0.2 }}\n\
                 out = {{ beta = 0.7, threshold = 0.19, alpha = 0.5 }}\n\
                 [input]\n{module}\n"
            );
            let config: L2muConfig = toml::from_str(&text).unwrap();
            let mut init = Init::new(5, &Device::flex().autodiff());
            forms_agree(&L2mu::new(&config, INPUTS, CLASSES, &mut init).unwrap(), 2e-4);
        }
    }
}
