"""Times Meta-SpikeFormer in PyTorch and SpikingJelly, one JSON object a line.

Each case runs in a process of its own, so that its peak memory is its own:

    SIZE/STEPS/RATE    one image of 224 x 224, no gradient, two threads. The rate is that of Spikelet's case:
                       PyTorch multiplies zeros too, so its time does not depend on it.
    training           forward, backward and SGD of the small preset's network: batch 64, 64 x 64, one step
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

SUITE = "metaspikeformer"
THREADS = 2
REPEATS = 5
CASES = [f"{size}/{steps}/{rate}" for size in ("15m", "31m") for steps in (1, 4) for rate in (10, 15, 20)]
TRAINING = "training"
# Widths, heads, channels, classes, batch and side of the small preset.
SMALL = ((16, 32, 64, 96), 4, 1, 10, 64, 64)
# What the normalisations before queries, keys and values start with in it.
GAIN = 4.0


def report(case, metric, value, unit):
    print(json.dumps({"suite": SUITE, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


def report_times(case, run, per, unit):
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    report(case, "time", per * statistics.median(seconds), unit)
    report(case, "fastest", per * min(seconds), unit)


def inference(case):
    import torch
    from metaspikeformer_model import SIZES, MetaSpikeformer
    from spikingjelly.clock_driven import functional

    size, steps, _ = case.split("/")
    model = MetaSpikeformer(SIZES[size], 1000).eval()
    x = torch.randn(1, 3, 224, 224)

    def image():
        with torch.inference_mode():
            model(x, int(steps))
        functional.reset_net(model)

    report_times(case, image, 1e3, "ms")


def training(case):
    import torch
    from metaspikeformer_model import MetaSpikeformer
    from spikingjelly.clock_driven import functional

    widths, heads, channels, classes, batch, side = SMALL
    model = MetaSpikeformer(widths, classes, channels, heads)
    for block in [*model.block3, *model.block4]:
        for projection in (block.attn.q_conv, block.attn.k_conv, block.attn.v_conv):
            torch.nn.init.constant_(projection[1].weight, GAIN)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    x, labels = torch.randn(batch, channels, side, side), torch.arange(batch) % classes

    def step():
        torch.nn.functional.cross_entropy(model(x, 1), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        functional.reset_net(model)

    report_times(case, step, 1, "s")


def run(case):
    import resident
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    (training if case == TRAINING else inference)(case)
    report(case, "peak_memory", resident.peak(), "MiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, TRAINING], help="only this one, in this process")
    parser.add_argument("--list", action="store_true", help="print the cases")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join([*CASES, TRAINING]))
    elif arguments.case:
        run(arguments.case)
    else:
        for case in [*CASES, TRAINING]:
            subprocess.run([sys.executable, __file__, "--case", case], check=True)


if __name__ == "__main__":
    main()
