"""Checks the peer of suite `sltt` against the golden files: outputs and gradients of BPTT, SLTT and SLTT-K.

    python benches/peers/check_sltt.py FOLDER      FOLDER holds sltt/vgg_tiny_T6.safetensors and its like
"""

import json
import sys
from pathlib import Path
from unittest.mock import patch

import sltt_rules
import torch
from convnet_model import Chain, PreactBlock, conv
from safetensors.torch import load_file
from torch import nn


def vgg(golden, lif):
    return Chain("8C3-P2-12C3-P2-16C3-16C3-A2-FC", (16, 16, 2), golden["outputs"].shape[-1], lif)


def preact(golden, lif):
    stem = golden["weights.conv1.weight"]
    last = golden["weights.bn1.weight"].shape[0]
    first = stem.shape[0]
    blocks = [PreactBlock(first, first, 1, lif), PreactBlock(first, last, 2, lif), PreactBlock(last, last, 1, lif)]
    classes, inputs = golden["weights.linear.weight"].shape
    end = [nn.BatchNorm2d(last), lif(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(inputs, classes)]
    return nn.Sequential(conv(stem.shape[1], first, 3, bias=False), *blocks, *end)


def official_names(kind, model):
    """Ours to the file's: a chain has its layers in the same order; a ResNet differs in its outer names."""
    ours = [name for name, _ in model.named_parameters()]
    if kind == "preact":
        outer = dict(zip("0123458", ("conv1", "layer1.0", "layer2.0", "layer2.1", "bn1", "relu1", "linear")))
        return {name: outer[name.split(".", 1)[0]] + "." + name.split(".", 1)[1] for name in ours}
    stages, index, names = 1, 0, {}
    for place, layer in enumerate(model):
        if isinstance(layer, nn.AvgPool2d):
            stages, index = stages + 1, 0
            continue
        for part, _ in layer.named_parameters():
            owner = "classifier.1" if isinstance(layer, nn.Linear) else f"layer{stages}.{index}"
            names[f"{place}.{part}"] = f"{owner}.{part}"
        # Drop-out has a number too, after the neurons.
        index += 2 if not list(layer.parameters()) else 1
    return names


def loss_like(config):
    def loss_of(logits, labels):
        entropy = nn.functional.cross_entropy(logits, labels)
        goal = torch.full_like(logits, config["loss_means"])
        share = config["loss_lambda"]
        return (1 - share) * entropy + share * nn.functional.mse_loss(logits, goal)

    # The peer's own loss where the file has the same one, so that it is checked as well.
    return sltt_rules.loss_of if config["mse_n_reg"] else loss_of


def check(kind, build, config, golden):
    count = len(config["ksteps"])
    for rule, name in (("bptt", "grad_bptt"), ("sltt", "grad_sltt"), (f"sltt-k={count}", "grad_slttk")):
        model = build(golden, sltt_rules.parse(rule)[0])
        names = official_names(kind, model)
        with torch.no_grad():
            for ours, parameter in model.named_parameters():
                parameter.copy_(golden[f"weights.{names[ours]}"])
        x = golden["input"].float()
        x = x if config["event"] else x.expand(config["T"], *x.shape)
        # SLTT-K draws its steps by this; the file says which were drawn.
        order = torch.tensor(config["ksteps"]) if "=" in rule else torch.arange(config["T"])
        with patch("sltt_rules.loss_of", loss_like(config)), patch("torch.randperm", lambda _: order):
            loss, total = sltt_rules.gradients(model, rule, x, golden["labels"])
        difference = (total - golden["outputs"].sum(0)).abs().max().item()
        worst = 0.0
        for ours, parameter in model.named_parameters():
            wanted = golden[f"{name}.{names[ours]}"]
            found = torch.zeros_like(wanted) if parameter.grad is None else parameter.grad
            worst = max(worst, ((found - wanted).abs().max() / (1e-4 * wanted.abs().max() + 1e-6)).item())
        print(f"{config['name']} {rule}: outputs differ by {difference:.1e}, gradients by {worst:.3f} of the tolerance")
        if worst > 1 or difference > 1e-3:
            raise SystemExit("error: the peer does not compute what the golden file holds")


def main():
    folder = Path(sys.argv[1]) / "sltt"
    for case in json.loads((folder / "README.json").read_text())["cases"]:
        config = case.get("config", {})
        # The normaliser-free network has no peer, and the file of single neurons no network.
        build = {"vgg": vgg, "preact": preact}.get(config.get("arch"))
        if build:
            check(config["arch"], build, config, load_file(folder / case["file"]))


if __name__ == "__main__":
    main()
