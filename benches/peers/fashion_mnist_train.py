"""Trains the network of presets/quick/fashion-mnist.toml in PyTorch and SpikingJelly, one JSON object an epoch.

Same network, loss, optimiser, schedule and random changes of the images as the preset, and as there a tenth of
the training images is the validation part. The last line is the accuracy on the test images of the epoch that was
best on the validation part, and that of the last epoch.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import torch
from spikingjelly.clock_driven import functional

import fashion_mnist
import sltt_rules
from convnet_model import build

NETWORK, STEPS, BATCH, LR, MOMENTUM, WEIGHT_DECAY = "32C3-P2-64C3-P2-64C3-FC", 4, 64, 0.1, 0.9, 5e-4
VALIDATION = 0.1


def divided(labels, share, generator):
    """Indices of the training and of the validation part, which has this share of every class."""
    validation = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        picked = torch.randperm(len(members), generator=generator)[: round(share * len(members))]
        validation[members[picked]] = True
    return (~validation).nonzero().flatten(), validation.nonzero().flatten()


def repeated(images):
    """A still image is shown at every step; no copies are made."""
    return images.expand(STEPS, *images.shape)


def accuracy_of(model, images, labels, normalizer):
    model.eval()
    correct = 0
    with torch.inference_mode():
        for batch, wanted in zip(images.split(500), labels.split(500)):
            total = sum(model(frame) for frame in repeated(normalizer(batch)))
            functional.reset_net(model)
            correct += (total.argmax(1) == wanted).sum().item()
    model.train()
    return correct / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the idx files")
    parser.add_argument("--rule", default="sltt", help="bptt, sltt or sltt-k=K (default sltt)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--train-limit", type=int, help="use only the first training images")
    parser.add_argument("--checkpoint", type=Path, help="file written after every epoch, from which a run goes on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    # Its own stream, so that the order of the images is the same under every rule.
    order = torch.Generator().manual_seed(arguments.seed)

    images, labels = (part[: arguments.train_limit] for part in fashion_mnist.load(arguments.data, "train"))
    test = fashion_mnist.load(arguments.data, "t10k")
    # The parts are the same for all seeds.
    train, validation = divided(labels, VALIDATION, torch.Generator().manual_seed(0))
    validation = images[validation], labels[validation]
    images, labels = images[train], labels[train]
    normalizer = fashion_mnist.Normalizer(images)
    model = build(NETWORK, (28, 28, 1), 10, sltt_rules.parse(arguments.rule)[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
    batches = math.ceil(len(images) / BATCH)

    def report(**row):
        row = {"suite": "fashion-mnist", "rule": arguments.rule, "seed": arguments.seed, **row}
        print(json.dumps(row), flush=True)

    run = [arguments.rule, arguments.seed, arguments.epochs, arguments.train_limit]
    best, begun = (-1.0, 0, None), 0
    if arguments.checkpoint and arguments.checkpoint.exists():
        saved = torch.load(arguments.checkpoint)
        if saved["run"] != run:
            parser.error(f"{arguments.checkpoint} is of another run: {saved['run']}")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        order.set_state(saved["order"])
        best, begun = saved["best"], saved["epoch"]
    for epoch in range(begun, arguments.epochs):
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
        train_seconds = time.perf_counter() - start
        accuracy = accuracy_of(model, *validation, normalizer)
        seconds = time.perf_counter() - start
        if accuracy > best[0]:
            best = accuracy, epoch + 1, copy.deepcopy(model.state_dict())
        row = {"loss": losses / len(images), "train_accuracy": correct / len(images), "val_accuracy": accuracy}
        report(epoch=epoch + 1, **row, train_seconds=train_seconds, seconds=seconds)
        if arguments.checkpoint:
            saved = {"run": run, "epoch": epoch + 1, "best": best}
            saved |= {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            saved |= {"random": torch.get_rng_state(), "order": order.get_state()}
            partial = arguments.checkpoint.with_suffix(".partial")
            torch.save(saved, partial)
            partial.replace(arguments.checkpoint)
    last = accuracy_of(model, *test, normalizer)
    _, best_epoch, weights = best
    model.load_state_dict(weights)
    sizes = {"train": len(images), "validation": len(validation[1]), "test": len(test[1])}
    report(best_epoch=best_epoch, test_accuracy=accuracy_of(model, *test, normalizer), last_test_accuracy=last, **sizes)


if __name__ == "__main__":
    main()
