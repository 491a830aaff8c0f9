"""Checks `metaspikeformer_model.py` against the golden files: logits, loss, gradients of one training step.

    python benches/peers/check_metaspikeformer.py [tests/golden/metaspikeformer]

The gradient of the input in the file is that of ten backward passes; one is compared with a tenth of it.
"""

import json
import sys
from pathlib import Path

import torch
from metaspikeformer_model import MetaSpikeformer
from safetensors.torch import load_file
from spikingjelly.clock_driven import functional

DEFAULT = Path(__file__).resolve().parents[2] / "tests" / "golden" / "metaspikeformer"


def model(config, tensors, prefix):
    widths, classes = config["embed_dim"], config["num_classes"]
    network = MetaSpikeformer(widths, classes, tensors["input"].shape[1], config["num_heads"])
    names = [name for name in tensors if name.startswith(prefix)]
    network.load_state_dict({name.removeprefix(prefix): tensors[name] for name in names})
    return network


def close(what, found, expected, bound):
    difference = (found - expected).abs().max().item()
    print(f"{what}: {difference:.2e}")
    if difference > bound:
        sys.exit(f"{what}: over {bound:.2e}")


def inference(config, tensors):
    network = model(config, tensors, "weights.").eval()
    for steps in config["T"]:
        with torch.no_grad():
            close(f"logits T={steps}", network(tensors["input"], steps), tensors[f"T{steps}.logits"], 1e-5)
        functional.reset_net(network)


def train_step(config, tensors):
    network = model(config, tensors, "weights_before.").train()
    x = tensors["input"].clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(network(x, config["T"]), tensors["labels"])
    loss.backward()
    close("loss", loss.detach(), tensors["loss"].squeeze(), 1e-5)
    for name, parameter in network.named_parameters():
        expected = tensors[f"grad.{name}"]
        close(name, parameter.grad, expected, 1e-4 * expected.abs().max().item() + 1e-6)
    expected = tensors["input_grad"]
    close("input, ten times", 10 * x.grad, expected, 1e-4 * expected.abs().max().item() + 1e-6)


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    for case in json.loads((folder / "README.json").read_text())["cases"]:
        if case["config"].get("kd"):
            print(f"{case['file']}: has a second head, which this network has not")
            continue
        run = {"inference": inference, "train_step": train_step}[case["kind"]]
        run(case["config"], load_file(folder / case["file"]))


if __name__ == "__main__":
    main()
