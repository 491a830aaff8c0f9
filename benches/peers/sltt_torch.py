"""Times training steps of BPTT, SLTT and SLTT-1 in PyTorch and SpikingJelly, one JSON object a line.

Each case runs in a process of its own, so that its peak memory is its own:

    NETWORK/RULE/TIME      forward, backward and one step of the optimiser on random events, two threads
    vgg11/inference/TIME   batch 1, normalisation folded into the convolutions, no gradient: a time step
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

SUITE = "sltt"
THREADS = 2
# Shape of the input, batch size.
NETWORKS = {"vgg11": ((48, 48, 2), 16), "resnet18": ((32, 32, 3), 32)}
# The faster layout of images for each (both were measured, see README.md).
TRAINING_LAYOUT, INFERENCE_LAYOUT = "channels-first", "channels-last"
RULES = ("bptt", "sltt", "sltt-k=1")
TIMES = (1, 2, 4, 6, 8, 16, 32)
CLASSES = 10
# A fifth of all values is 1.
EVENTS = 0.2
REPEATS = 5
# Small, so that firing rates stay where fresh weights put them.
LR = 1e-3
CASES = [f"{network}/{rule}/{t}" for network in NETWORKS for rule in RULES for t in TIMES]
CASES += [f"vgg11/inference/{t}" for t in TIMES]


def report(case, metric, value, unit):
    print(json.dumps({"suite": SUITE, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


def setup(network, lif, steps, batch, layout):
    """A network and events `[time, batch, channels, height, width]`, both in the same layout."""
    import torch
    from convnet_model import build

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    shape, usual_batch = NETWORKS[network]
    batch = batch or usual_batch
    memory_format = torch.channels_last if layout == "channels-last" else torch.contiguous_format
    height, width, channels = shape
    x = (torch.rand(steps * batch, channels, height, width) < EVENTS).float()
    x = x.to(memory_format=memory_format).unflatten(0, (steps, batch))
    return build(network, shape, CLASSES, lif).to(memory_format=memory_format), x


def firing_rates(model, x):
    """Fraction of neurons that fire in the first step, of every population (as `TrainingStep::firing_rates`)."""
    import torch
    from lif import Lif
    from spikingjelly.clock_driven import functional

    rates = []
    hooks = [
        module.register_forward_hook(lambda _module, _x, spikes: rates.append(spikes.mean().item()))
        for module in model.modules()
        if isinstance(module, Lif)
    ]
    with torch.no_grad():
        model(x[0])
    functional.reset_net(model)
    for hook in hooks:
        hook.remove()
    return rates


def report_firing_rates(case, model, x):
    rates = firing_rates(model, x)
    report(case, "least_rate", 100 * min(rates), "%")
    report(case, "most_rate", 100 * max(rates), "%")


def report_times(case, run, per, unit):
    """`run()` once to warm up and then timed; `per` turns seconds into the unit."""
    run()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    report(case, "time", per * statistics.median(seconds), unit)
    report(case, "fastest", per * min(seconds), unit)


def run_training(case, layout):
    import resident
    import sltt_rules
    import torch

    network, rule, steps = case.split("/")
    model, x = setup(network, sltt_rules.parse(rule)[0], int(steps), None, layout or TRAINING_LAYOUT)
    labels = torch.arange(x.shape[1]) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9, weight_decay=5e-4, fused=True)

    def step():
        sltt_rules.gradients(model, rule, x, labels)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    report_times(case, step, 1, "s")
    peak = resident.peak()
    # The optimiser has its state, and gradients are gone: what is left is what stays between steps.
    report(case, "step_resident", resident.extra_of(step), "MiB")
    report(case, "peak_memory", max(peak, resident.peak()), "MiB")
    report_firing_rates(case, model, x)


def run_inference(case, layout):
    import resident
    import torch
    from lif import Lif
    from spikingjelly.clock_driven import functional
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network, _, steps = case.split("/")
    model, many = setup(network, Lif, int(steps), 64, layout or INFERENCE_LAYOUT)
    # Running statistics of real activity, else fresh ones would silence the layers.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.inference_mode():
        for frame in many:
            model(frame)
    functional.reset_net(model)
    model.eval()
    layers = list(model)
    for i, layer in enumerate(layers[1:], 1):
        if isinstance(layer, nn.BatchNorm2d):
            layers[i - 1], layers[i] = fuse_conv_bn_eval(layers[i - 1], layer), nn.Identity()
    model = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Identity)))
    x = [frame[:1] for frame in many]

    def sample():
        with torch.inference_mode():
            for frame in x:
                model(frame)
        functional.reset_net(model)

    # The statistics took a larger batch than what is measured.
    resident.reset_peak()
    report_times(case, sample, 1e6 / len(x), "us/step")
    report(case, "peak_memory", resident.peak(), "MiB")
    report_firing_rates(case, model, many)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, metavar="CASE", help="run one case in this process (default: each in its own)")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--layout", choices=("channels-first", "channels-last"), help="of images (default: the faster one)")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
    elif arguments.case:
        run = run_inference if "/inference/" in arguments.case else run_training
        run(arguments.case, arguments.layout)
    else:
        extra = ["--layout", arguments.layout] if arguments.layout else []
        for case in CASES:
            subprocess.run([sys.executable, __file__, "--case", case, *extra], check=True)


if __name__ == "__main__":
    main()
