//! scratch
use burn::tensor::Device;
use spikelet_train::{
    config::Config,
    init::Init,
    models::{ModelConfig, gru::Gru, l2mu::L2mu, lmu::Lmu, lstm::Lstm},
    prepare::Prepared,
    trainer::{self, EpochReport, Observer},
};
struct Show;
impl Observer for Show {
    fn batch(&mut self, _: usize, _: usize, _: usize, _: f32) -> bool {
        true
    }
    fn epoch(&mut self, r: &EpochReport) {
        println!(
            "{:3} loss {:.4} train {:.4} val {:.4} lr {:.5} {:.2}s{}",
            r.epoch,
            r.loss,
            r.train_accuracy,
            r.val_accuracy,
            r.lr,
            r.seconds,
            if r.best { " *" } else { "" }
        );
    }
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let config: Config = toml::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let t = std::time::Instant::now();
    let data = Prepared::new(&config.data, None).unwrap();
    println!(
        "data {} in {:?}; {} train {} val {} test; {}",
        data.sequences.n,
        t.elapsed(),
        data.split.train.len(),
        data.split.val.len(),
        data.split.test.len(),
        data.split_name
    );
    let device = Device::flex().autodiff();
    let mut init = Init::new(config.train.seed, &device);
    let (i, k) = (data.sequences.channels, data.sequences.classes.len());
    let dir = std::path::PathBuf::from(format!("{path}.run"));
    std::fs::create_dir_all(&dir).unwrap();
    macro_rules! go {
        ($m:expr) => {{
            let m = $m;
            println!("params {}", burn::module::Module::num_params(&m));
            let r = trainer::train(&config, m, &data, &dir, &mut Show).unwrap();
            println!(
                "test {:?} best epoch {}",
                r.result.map(|r| r.accuracy),
                r.position.best_epoch + 1
            );
        }};
    }
    match &config.model {
        ModelConfig::L2mu(c) => go!(L2mu::new(c, i, k, &mut init)),
        ModelConfig::Lmu(c) => go!(Lmu::new(c, i, k, &mut init)),
        ModelConfig::Lstm(c) => go!(Lstm::new(c, i, k, &mut init)),
        ModelConfig::Gru(c) => go!(Gru::new(c, i, k, &mut init)),
    }
}
