"""Times the official recurrent step of SpikeGPT in plain PyTorch, one JSON object a line.

Random weights of the two published sizes, 32-bit floats on the CPU (the published generator has no
other precision there): matrix-vector products, element-wise WKV, LIF neurons, one token at a time.
The cases bear the names of `spikelet bench decode`; those of other precisions repeat the figure.

    SIZE/PRECISION/THREADS

    python benches/peers/decode_torch.py --check tests/golden/spikegpt/small.safetensors
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

SUITE = "decode"
# Layers, channels, tokens.
SIZES = {"45m": (12, 512, 5458), "216m": (18, 768, 50277)}
PRECISIONS = ("f32", "f16", "int8", "int4")
THREADS = (1, 2)
CASES = [f"{size}/{precision}/{threads}" for size in SIZES for precision in PRECISIONS for threads in THREADS]
SECONDS = 4.0


def report(case, metric, value, unit):
    print(json.dumps({"suite": SUITE, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


def weights(layers, channels, tokens):
    """Fresh weights of every block, the embedding as spikes, the head."""
    import torch

    def matrix(rows, columns):
        return (torch.rand(rows, columns) * 2 - 1) / columns**0.5

    def block():
        norm = lambda: (torch.ones(channels), torch.zeros(channels))
        mixes = lambda names: {f"mix_{name}": torch.rand(channels) for name in names}
        return {
            "ln1": norm(),
            "ln2": norm(),
            "att": mixes("kvr")
            | {name: matrix(channels, channels) for name in ("key", "value", "receptance", "output")}
            | {"decay": -torch.exp(torch.linspace(-5, 3, channels)), "first": torch.full((channels,), -1.2)},
            "ffn": mixes("kr")
            | {
                "key": matrix(4 * channels, channels),
                "value": matrix(channels, 4 * channels),
                "receptance": matrix(channels, channels),
            },
        }

    return {
        "emb": (torch.randn(tokens, channels) >= 0).float(),
        "ln0": (torch.ones(channels), torch.zeros(channels)),
        "blocks": [block() for _ in range(layers)],
        "ln_out": (torch.ones(channels), torch.zeros(channels)),
        "head": matrix(tokens, channels),
    }


def golden_weights(tensors):
    """The same of a golden file."""
    import torch

    get = lambda name: tensors[f"weights.{name}"].squeeze()
    norm = lambda name: (get(f"{name}.weight"), get(f"{name}.bias"))

    def mix(prefix, names, matrices):
        mixes = {f"mix_{name}": get(f"{prefix}.time_mix_{name}") for name in names}
        return mixes | {name: get(f"{prefix}.{name}.weight") for name in matrices}

    def block(layer):
        att, ffn = f"blocks.{layer}.att", f"blocks.{layer}.ffn"
        recurrence = {"decay": -torch.exp(get(f"{att}.time_decay")), "first": get(f"{att}.time_first")}
        return {
            "ln1": norm(f"blocks.{layer}.ln1"),
            "ln2": norm(f"blocks.{layer}.ln2"),
            "att": mix(att, "kvr", ("key", "value", "receptance", "output")) | recurrence,
            "ffn": mix(ffn, "kr", ("key", "value", "receptance")),
        }

    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("weights.blocks.")}
    return {
        "emb": (get("emb.weight") >= 0).float(),
        "ln0": norm("blocks.0.ln0"),
        "blocks": [block(layer) for layer in sorted(layers)],
        "ln_out": norm("ln_out"),
        "head": get("head.weight"),
    }


def check(path):
    """Stops unless a golden file's logits come out."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    net = golden_weights(tensors)
    layers, channels = len(net["blocks"]), net["emb"].shape[1]
    worst = 0.0
    for tokens, logits in zip(tensors["input.tokens"], tensors["parallel.logits"]):
        state = fresh_state(layers, channels)
        for token, expected in zip(tokens, logits):
            worst = max(worst, (step(net, state, int(token)) - expected).abs().max().item())
    print(f"{path}: logits differ by {worst:.2e} at most")
    if worst > 1e-4:
        sys.exit(1)


def fresh_state(layers, channels):
    import torch

    zero = lambda: torch.zeros(channels)
    return [
        {"att": zero(), "ffn": zero(), "p": zero(), "q": zero(), "o": torch.full((channels,), -1e30), "v1": zero(), "v2": zero()}
        for _ in range(layers)
    ]


def step(net, state, token):
    """Logits behind one more token."""
    import torch
    from torch.nn.functional import layer_norm

    channels = net["emb"].shape[1]
    norm = lambda x, parameters: layer_norm(x, (channels,), *parameters)

    def lif(current, v):
        v = v + (current - v) / 2
        spikes = (v >= 1).float()
        return spikes, v * (1 - spikes)

    def shifted(x, before, mix):
        return x * mix + before * (1 - mix)

    def time_mix(x, s, w):
        k = w["key"] @ shifted(x, s["att"], w["mix_k"])
        v = w["value"] @ shifted(x, s["att"], w["mix_v"])
        r = torch.sigmoid(w["receptance"] @ shifted(x, s["att"], w["mix_r"]))
        s["att"] = x
        first = w["first"] + k
        top = torch.maximum(s["o"], first)
        old, new = torch.exp(s["o"] - top), torch.exp(first - top)
        mean = (old * s["p"] + new * v) / (old * s["q"] + new)
        decayed = w["decay"] + s["o"]
        top = torch.maximum(decayed, k)
        old, new = torch.exp(decayed - top), torch.exp(k - top)
        s["p"], s["q"], s["o"] = old * s["p"] + new * v, old * s["q"] + new, top
        return w["output"] @ (r * mean)

    def channel_mix(x, s, w):
        k = torch.square(torch.relu(w["key"] @ shifted(x, s["ffn"], w["mix_k"])))
        r = torch.sigmoid(w["receptance"] @ shifted(x, s["ffn"], w["mix_r"]))
        s["ffn"] = x
        return r * (w["value"] @ k)

    x = norm(net["emb"][token], net["ln0"])
    for block, s in zip(net["blocks"], state):
        spikes, s["v1"] = lif(time_mix(norm(x, block["ln1"]), s, block["att"]), s["v1"])
        x = x + spikes
        spikes, s["v2"] = lif(channel_mix(norm(x, block["ln2"]), s, block["ffn"]), s["v2"])
        x = x + spikes
    return net["head"] @ norm(x, net["ln_out"])


def measure(size, threads):
    """Median seconds of a token."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layers, channels, tokens = SIZES[size]
    with torch.no_grad():
        net, state = weights(layers, channels, tokens), fresh_state(layers, channels)
        step(net, state, 0)
        times, begun = [], time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            start = time.perf_counter()
            step(net, state, len(times) * 7919 % tokens)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--check", metavar="FILE", help="compare with a golden file instead")
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.check)
    if arguments.list:
        print("\n".join(CASES))
        return
    if arguments.case:
        size, _, threads = arguments.case.split("/")
        seconds = measure(size, int(threads))
        report(arguments.case, "time", 1e3 * seconds, "ms")
        report(arguments.case, "tokens", 1 / seconds, "1/s")
        return
    # A process for each, so that the number of threads is that of the case.
    for case in CASES:
        subprocess.run([sys.executable, __file__, "--case", case], check=True)


if __name__ == "__main__":
    main()
