//! Reads the networks of other projects under `weights/` of the shared data.

use spikelet_data::{checkpoint::Checkpoint, find::for_test};

fn check(file: &str, expected: &[(&str, &[usize])], total: usize) {
    let Some(folder) = for_test("weights") else { return };
    let checkpoint = Checkpoint::open(&folder.join(file)).unwrap_or_else(|error| panic!("{error}"));
    for (name, shape) in expected {
        let tensor = checkpoint.tensor(name).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(tensor.shape, *shape, "{name}");
        assert!(tensor.data.iter().all(|value| value.is_finite()), "{name}");
    }
    for name in checkpoint.names() {
        let tensor = checkpoint.tensor(name).unwrap_or_else(|error| panic!("{error}"));
        println!("{file} {name} {:?}", tensor.shape);
    }
    assert_eq!(checkpoint.names().count(), total);
}

#[test]
fn sinabs_mnist() {
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[20, 1, 5, 5]),
        ("3.weight", &[32, 20, 5, 5]),
        ("6.weight", &[128, 32, 3, 3]),
        ("10.weight", &[500, 128]),
        ("12.weight", &[10, 500]),
    ];
    check("sinabs_mnist_params.pt", expected, 5);
}

#[test]
fn sinabs_dvs_gesture() {
    let expected: &[(&str, &[usize])] = &[
        ("0.weight", &[16, 2, 2, 2]),
        ("2.weight", &[16, 16, 3, 3]),
        ("5.weight", &[32, 16, 3, 3]),
        ("8.weight", &[32, 32, 3, 3]),
        ("11.weight", &[64, 32, 3, 3]),
        ("14.weight", &[64, 64, 3, 3]),
        ("18.weight", &[256, 64, 2, 2]),
        ("22.weight", &[128, 256]),
        ("24.weight", &[11, 128]),
    ];
    check("sinabs_dvs_gesture_params.pt", expected, 9);
}

#[test]
fn neurobench_dvs_gesture() {
    let expected: &[(&str, &[usize])] = &[
        ("conv1.weight", &[16, 2, 5, 5]),
        ("lif1.threshold", &[]),
        ("conv3.bias", &[64]),
        ("linear1.weight", &[11, 1024]),
        ("lif4.beta", &[]),
    ];
    check("neurobench_dvs_gesture_snn.pt", expected, 24);
}

#[test]
fn neurobench_wisdm() {
    let expected: &[(&str, &[usize])] = &[
        ("state_dict.model.conv1.weight", &[200, 6, 2]),
        ("state_dict.model.conv2.weight", &[256, 200, 1]),
        ("state_dict.model.linear.weight", &[7, 512]),
        ("state_dict.model.leaky3.beta", &[]),
        ("optimizer_states.0.state.0.exp_avg", &[200, 6, 2]),
    ];
    check("neurobench_wisdm_scnn.ckpt", expected, 37);
    let Some(folder) = for_test("weights") else { return };
    let checkpoint = Checkpoint::open(&folder.join("neurobench_wisdm_scnn.ckpt")).unwrap();
    assert_eq!(checkpoint.state_dict_prefix(), "state_dict.");
    assert_eq!(checkpoint.value().get("epoch").and_then(|epoch| epoch.as_i64()), Some(100));
    let lr = checkpoint.value().get("hyper_parameters").and_then(|h| h.get("lr"));
    assert_eq!(lr.and_then(|lr| lr.as_f64()), Some(0.001));
    let beta = checkpoint.tensor("state_dict.model.leaky1.beta").unwrap();
    assert_eq!(beta.data, [0.4]);
}
