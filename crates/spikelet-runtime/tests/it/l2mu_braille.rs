//! The published Braille network against what the official code computed.

use crate::support::braille::{self, CHANNELS, STEPS, golden, network, numbers, parse, read};
use spikelet_runtime::{Executor, Output, Profiler};

/// Index of the largest value, the first of several.
fn argmax(values: &[f32]) -> usize {
    (0..values.len()).rev().max_by(|a, b| values[*a].total_cmp(&values[*b])).unwrap()
}

#[test]
fn spikes_and_logits_are_those_of_the_official_code() {
    let Some(events) = braille::events() else { return };
    let bytes = read(&golden().join("val9_first24.safetensors"));
    let want = parse(&bytes);
    let integers = |name: &str| numbers(&want.tensor(name).unwrap(), i32::from_le_bytes);
    let pool = integers("pool_index");
    let streams = pool.len();
    let executor = Executor::new(&network("l2mu_braille7_best.safetensors")).unwrap();
    assert!(executor.state_bytes() < 8192, "{} bytes", executor.state_bytes());

    let mut x = Vec::new();
    for t in 0..STEPS {
        for sample in &pool {
            x.extend_from_slice(&events[*sample as usize][t * CHANNELS..(t + 1) * CHANNELS]);
        }
    }
    let mut states = vec![executor.state(); streams];
    let mut counts = std::collections::BTreeMap::new();
    let mut out = Vec::new();
    executor
        .run_observed(&mut states, &x, &mut out, |seen| {
            if let Output::Spikes(events) = seen.output {
                let at = seen.step as usize * streams + seen.stream;
                let counts: &mut Vec<i32> =
                    counts.entry(seen.name.to_string()).or_insert_with(|| vec![0; STEPS * streams]);
                counts[at] = events.len() as i32;
            }
        })
        .unwrap();

    let logits = numbers(&want.tensor("logits").unwrap(), f32::from_le_bytes);
    let last = &out[out.len() - logits.len()..];
    let mut same = 0;
    for sample in 0..streams {
        let (got, want) = (&last[sample * 7..][..7], &logits[sample * 7..][..7]);
        assert_eq!(argmax(got), argmax(want), "prediction of sample {sample}");
        let same_spikes = ["u", "m", "h", "out"].iter().all(|population| {
            let want = integers(&format!("spike_count.{population}"));
            let stream = |counts: &[i32]| -> Vec<i32> {
                counts.iter().skip(sample).step_by(streams).copied().collect()
            };
            stream(&counts[*population]) == stream(&want)
        });
        same += usize::from(same_spikes && got == want);
    }
    assert!(same >= 23, "{same} of 24 samples have the same spike counts");

    let mut plain = Vec::new();
    let mut states = vec![executor.state(); streams];
    executor.run(&mut states, &x, &mut plain).unwrap();
    assert_eq!(plain, out, "looking changes the results");
}

#[test]
fn the_validation_split_gives_the_published_score_and_operation_counts() {
    let Some(events) = braille::events() else { return };
    let executor = Executor::new(&network("l2mu_braille7_best.safetensors")).unwrap();
    let data = braille::data_file().unwrap();
    let tensors = parse(&data);
    let split = numbers(&tensors.tensor("val_index").unwrap(), i32::from_le_bytes);
    let split = &split[9 * 280..];
    let labels = tensors.tensor("labels").unwrap();
    let mut profiler = Profiler::new(&executor);
    let mut right = 0;
    for sample in split {
        let mut out = Vec::new();
        let x = &events[*sample as usize];
        executor.run_profiled(&mut [executor.state()], x, &mut out, &mut profiler).unwrap();
        right +=
            usize::from(argmax(&out[out.len() - 7..]) == labels.data()[*sample as usize] as usize);
    }
    assert_eq!(right, 264);

    let counters = profiler.counters();
    assert_eq!((counters.samples, counters.steps), (280, 280 * 256));
    let total = counters.total();
    let (effective, dense) = (total.effective_acs / 280, total.dense / 280);
    assert_eq!(total.effective_macs, 0);
    assert!((880_000..=920_000).contains(&effective), "{effective} accumulates a sample");
    assert!((31_400_000..=31_600_000).contains(&dense), "{dense} dense operations a sample");
}
