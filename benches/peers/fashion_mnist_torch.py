"""Trains the network of presets/quick/fashion-mnist.toml in PyTorch and SpikingJelly, one JSON object an epoch.

Same network, loss, optimiser, schedule and random changes of the images as the preset; the last line is the
accuracy on the test images after the last epoch. Nothing is selected on them.
"""

import argparse
import json
import math
import time

import torch
from spikingjelly.clock_driven import functional

import fashion_mnist
import sltt_rules
from convnet_model import build

NETWORK, STEPS, BATCH, LR, MOMENTUM, WEIGHT_DECAY = "32C3-P2-64C3-P2-64C3-FC", 4, 64, 0.1, 0.9, 5e-4


def repeated(images):
    """A still image is shown at every step; no copies are made."""
    return images.expand(STEPS, *images.shape)


def correct_of(model, images, labels, normalizer):
    model.eval()
    correct = 0
    with torch.inference_mode():
        for batch, wanted in zip(images.split(500), labels.split(500)):
            total = sum(model(frame) for frame in repeated(normalizer(batch)))
            functional.reset_net(model)
            correct += (total.argmax(1) == wanted).sum().item()
    model.train()
    return correct


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the idx files")
    parser.add_argument("--rule", default="sltt", help="bptt, sltt or sltt-k=K (default sltt)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-limit", type=int, help="use only the first training images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    # Its own stream, so that the order of the images is the same under every rule.
    order = torch.Generator().manual_seed(arguments.seed)

    images, labels = (part[: arguments.train_limit] for part in fashion_mnist.load(arguments.data, "train"))
    test_images, test_labels = fashion_mnist.load(arguments.data, "t10k")
    normalizer = fashion_mnist.Normalizer(images)
    model = build(NETWORK, (28, 28, 1), 10, sltt_rules.parse(arguments.rule)[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
    batches = math.ceil(len(images) / BATCH)

    def report(**row):
        row = {"suite": "fashion-mnist", "rule": arguments.rule, "seed": arguments.seed, **row}
        print(json.dumps(row), flush=True)

    for epoch in range(arguments.epochs):
        start = time.perf_counter()
        losses, correct = 0.0, 0
        for index, picked in enumerate(torch.randperm(len(images), generator=order).split(BATCH)):
            done = (epoch + index / batches) / arguments.epochs
            for group in optimizer.param_groups:
                group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * done))
            x = repeated(normalizer(fashion_mnist.changed(images[picked], order)))
            loss, total = sltt_rules.gradients(model, arguments.rule, x, labels[picked])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses += loss * len(picked)
            correct += (total.argmax(1) == labels[picked]).sum().item()
        seconds = time.perf_counter() - start
        row = {"loss": losses / len(images), "train_accuracy": correct / len(images), "train_seconds": seconds}
        row["test_accuracy"] = correct_of(model, test_images, test_labels, normalizer) / len(test_labels)
        report(epoch=epoch + 1, **row)
    report(
        epochs=arguments.epochs, train=len(images), test=len(test_labels),
        test_accuracy=correct_of(model, test_images, test_labels, normalizer) / len(test_labels),
    )


if __name__ == "__main__":
    main()
