"""Times a training step of SpikeGPT in PyTorch, one JSON object a line.

    12x512/train      batch 4, 256 tokens: forward, backward, clipping, one step of Adam, two threads

    python benches/peers/spikegpt_torch.py --check tests/golden/spikegpt/small.safetensors
"""

import argparse
import json
import statistics
import time

SUITE = "spikegpt"
THREADS = 2
REPEATS = 3
CASES = ["12x512/train"]
VOCABULARY, BATCH, TIME = 5458, 4, 256


def report(case, metric, value, unit):
    print(json.dumps({"suite": SUITE, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


def run(case):
    import resident
    import torch
    from spikegpt_model import SpikeGpt, loss_of

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    layers, width = map(int, case.split("/")[0].split("x"))
    model = SpikeGpt(layers, width, VOCABULARY)
    tokens = torch.randint(VOCABULARY, (BATCH, TIME + 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=6e-4, betas=(0.9, 0.99), eps=4e-9, fused=True)

    def step():
        start = time.perf_counter()
        loss = loss_of(model(tokens[:, :-1]), tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    step()
    seconds = [step() for _ in range(REPEATS)]
    report(case, "time", statistics.median(seconds), "s")
    report(case, "fastest", min(seconds), "s")
    report(case, "speed", BATCH * TIME / statistics.median(seconds), "tokens/s")
    report(case, "peak_memory", resident.peak(), "MiB")


def check(path):
    """Stops unless logits, loss and gradients are those of the official code."""
    import torch
    from safetensors.torch import load_file
    from spikegpt_model import SpikeGpt, loss_of

    golden = load_file(path)
    weights = {name.removeprefix("weights."): value for name, value in golden.items() if name.startswith("weights.")}
    vocabulary, width = weights["emb.weight"].shape
    layers = sum(name.endswith(".ln1.weight") for name in weights)
    model = SpikeGpt(layers, width, vocabulary).eval()
    model.load_state_dict(weights)
    logits = model(golden["input.tokens"].long())
    loss = loss_of(logits, golden["input.targets"].long())
    loss.backward()
    worst = (logits - golden["parallel.logits"]).abs().max().item()
    assert worst <= 1e-4, f"logits differ by {worst}"
    assert abs(loss.item() - golden["parallel.loss"].item()) <= 1e-5, "the loss differs"
    for name, parameter in model.named_parameters():
        expected = golden[f"grad.{name}"]
        difference = (parameter.grad - expected).abs().max().item()
        assert difference <= 1e-3 * expected.abs().max().item() + 1e-6, f"gradient of {name} differs by {difference}"
    print(f"{path}: logits within {worst:.1e}, all gradients agree")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--check", metavar="FILE", help="compare with a golden file of the official code")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CASES))
    elif arguments.check:
        check(arguments.check)
    else:
        for case in [arguments.case] if arguments.case else CASES:
            run(case)


if __name__ == "__main__":
    main()
