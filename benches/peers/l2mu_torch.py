"""Times L2MU in PyTorch and snnTorch on the Braille data, one JSON object a line.

Each case runs in a process of its own, so that its peak memory is its own:

    braille/eval   the published network on validation split 9 (must give the published predictions)
    braille/step   the published network, batch 1, one thread, no gradient: a time step
    braille/epoch  training from scratch on split 9, batch 64, two threads: the second epoch
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

SUITE = "l2mu"


def report(case, metric, value, unit):
    print(json.dumps({"suite": SUITE, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


def report_peak_memory(case):
    """Peak resident memory of this process, as Linux counts it."""
    with open("/proc/self/status") as status:
        kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    report(case, "peak_memory", kib / 1024, "MiB")


def build():
    import braille
    from l2mu_model import L2mu

    return L2mu(
        braille.INPUTS, braille.CLASSES, braille.ORDER, braille.THETA,
        braille.MEMORIES, braille.HIDDEN, braille.BETA_THRESHOLD,
    )


def published():
    import braille

    model = build()
    model.load_state_dict(braille.checkpoint())
    return model.eval()


def run_eval(case, data):
    """Checks that this is the published network: 264 of 280 right, and the spike counts of the golden file."""
    import braille
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    model = published()
    events, labels, val_index = braille.load(data)
    _, validation = braille.split(len(events), val_index, 9)
    golden = load_file(braille.golden_folder() / "val9_first24.safetensors")
    with torch.no_grad():
        start = time.perf_counter()
        counts = model(events[validation]).sum(1)
        seconds = time.perf_counter() - start
        wanted = golden["logits"]
        same = (model(events[golden["pool_index"].long()]).sum(1) == wanted).all(1).sum().item()
    correct = (counts.argmax(1) == labels[validation]).sum().item()
    if correct != 264 or same < len(wanted) - 1:
        raise SystemExit(f"not the published network: {correct}/280 right, {same}/{len(wanted)} golden counts equal")
    report(case, "correct", correct, "samples")
    report(case, "accuracy", 100 * correct / len(validation), "%")
    report(case, "golden_counts_equal", same, "samples")
    report(case, "time", 1e6 * seconds / counts.shape[0] / events.shape[1], "us/step")


def run_step(case, data):
    import braille
    import torch

    torch.set_num_threads(1)
    model = published()
    events, _, val_index = braille.load(data)
    samples = events[val_index[9][:12]]
    with torch.no_grad():
        model(samples[:1])
        times = []
        for sample in samples:
            start = time.perf_counter()
            model(sample[None])
            times.append(1e6 * (time.perf_counter() - start) / len(sample))
    report(case, "time", statistics.median(times), "us")


def run_epoch(case, data):
    import braille
    import torch
    from torch import nn

    torch.set_num_threads(2)
    torch.manual_seed(42)
    model = build()
    events, labels, val_index = braille.load(data)
    training = torch.from_numpy(braille.split(len(events), val_index, 9)[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=braille.LEARNING_RATE)
    loss_of = nn.CrossEntropyLoss()
    for _ in range(2):
        start = time.perf_counter()
        for batch in training[torch.randperm(len(training))].split(braille.BATCH):
            optimizer.zero_grad()
            loss = loss_of(model(events[batch]).sum(1), labels[batch])
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
    report(case, "time", seconds, "s")


CASES = {"braille/eval": run_eval, "braille/step": run_step, "braille/epoch": run_epoch}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="run one case in this process (default: each in its own)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--data", help="folder that holds braille/")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
        return
    if arguments.case:
        CASES[arguments.case](arguments.case, arguments.data)
        report_peak_memory(arguments.case)
        return
    for case in CASES:
        extra = ["--data", arguments.data] if arguments.data else []
        subprocess.run([sys.executable, __file__, "--case", case, *extra], check=True)


if __name__ == "__main__":
    main()
