#!/usr/bin/env python3
"""The peer of `spikelet bench egru`: recurrent layers of the published sizes in PyTorch.

A step is `nn.GRU` at batch 1 on one thread, whatever the activity: it has no events. Training is a step
(forward, backward) on windows of 70 at batch 64 on two threads, once of an EGRU written as a loop over
time steps with autograd, as its users write it, once of `nn.GRU`. The EGRU's thresholds are the same for all
units of a layer, chosen so that a fifth of them has an event, as in Spikelet's step. `step/decoder` has a linear
layer of 10,000 outputs behind the layers.
"""

import argparse
import json
import statistics
import time

import torch
from torch import nn

SIZES = [750, 1350, 1350, 750]
TIME, BATCH = 70, 64
ACTIVITIES = [1, 5, 10, 20, 50, 100]
STEPS = [f"step/activity-{a}" for a in ACTIVITIES] + ["step/table", "step/pruned", "step/decoder"]
WORDS = 10_000
TRAINED_ACTIVITY = 0.2
CASES = STEPS + ["train/egru-loop", "train/gru"]


def grus():
    return nn.ModuleList(nn.GRU(i, h) for i, h in zip(SIZES, SIZES[1:]))


class Event(torch.autograd.Function):
    """1 above the threshold; the derivative is a triangle."""

    @staticmethod
    def forward(ctx, u, dampening, support):
        ctx.save_for_backward(u)
        ctx.constants = dampening, support
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, g):
        (u,) = ctx.saved_tensors
        dampening, support = ctx.constants
        return g * dampening * torch.clamp(1 - support * u.abs(), min=0), None, None


class Egru(nn.Module):
    def __init__(self, inputs, hidden, threshold):
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(inputs, 3 * hidden))
        self.recurrent = nn.Parameter(torch.empty(hidden, 3 * hidden))
        for matrix in (self.kernel, self.recurrent):
            nn.init.uniform_(matrix, -2 / matrix.shape[0] ** 0.5, 2 / matrix.shape[0] ** 0.5)
        self.bias = nn.Parameter(torch.zeros(3 * hidden))
        self.recurrent_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.threshold = nn.Parameter(torch.full((hidden,), threshold))

    def forward(self, x):
        from_input = x @ self.kernel + self.bias
        y = h = torch.zeros(x.shape[1], self.threshold.shape[0])
        outputs = []
        for a in from_input:
            a_z, a_r, a_g = a.chunk(3, 1)
            b_z, b_r, b_g = torch.addmm(self.recurrent_bias, y, self.recurrent).chunk(3, 1)
            z = torch.sigmoid(a_z + b_z)
            g = torch.tanh(a_g + torch.sigmoid(a_r + b_r) * b_g)
            c = z * h + (1 - z) * g
            o = Event.apply(c - self.threshold, 3.6, 3.6)
            y = o * c
            h = c - o * self.threshold
            outputs.append(y)
        return torch.stack(outputs)


@torch.no_grad()
def set_activity(layers, x):
    """Thresholds at which a fraction of the units of every layer has an event; returns the mean over layers."""
    found = []
    for layer in layers:
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            layer.threshold.fill_(middle)
            low, high = (middle, high) if (layer(x) != 0).float().mean() > TRAINED_ACTIVITY else (low, middle)
        layer.threshold.fill_(high)
        x = layer(x)
        found.append((x != 0).float().mean().item())
    return statistics.mean(found)


def step(decoder):
    """Milliseconds of a step at batch 1: the median over steps of a stream."""
    torch.set_num_threads(1)
    layers = grus()
    decoder = nn.Linear(SIZES[3], WORDS) if decoder else nn.Identity()
    state = [torch.zeros(1, 1, h) for h in SIZES[1:]]
    times = []
    with torch.inference_mode():
        for _ in range(60):
            x = torch.randn(1, 1, SIZES[0])
            start = time.perf_counter()
            for i, layer in enumerate(layers):
                x, state[i] = layer(x, state[i])
            decoder(x)
            times.append(time.perf_counter() - start)
    return statistics.median(times[10:]) * 1e3


def train(kind, runs):
    """Seconds of the fastest training step, and the fraction of units with an event."""
    torch.set_num_threads(2)
    x = torch.randn(TIME, BATCH, SIZES[0]) if kind == "gru" else torch.rand(TIME, BATCH, SIZES[0]) * 2 - 1
    activity = None
    if kind == "gru":
        layers = grus()
    else:
        layers = nn.ModuleList(Egru(i, h, 0.3) for i, h in zip(SIZES, SIZES[1:]))
        activity = set_activity(layers, x)
    weight = torch.randn(TIME, BATCH, SIZES[3])
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        y = x
        for layer in layers:
            y = layer(y)
            y = y[0] if isinstance(y, tuple) else y
        (y * weight).sum().backward()
        times.append(time.perf_counter() - start)
        for p in layers.parameters():
            p.grad = None
    return min(times), activity


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--case", choices=CASES)
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    if options.list:
        print(*CASES, sep="\n")
        return
    torch.manual_seed(0)
    for case in [options.case] if options.case else CASES:
        group, kind = case.split("/")
        if group == "step":
            rows = [("time", step(kind == "decoder"), "ms")]
        else:
            seconds, activity = train("gru" if kind == "gru" else "egru", options.runs)
            rows = [("time", seconds, "s")] + ([("activity", 100 * activity, "%")] if activity is not None else [])
        for metric, value, unit in rows:
            print(json.dumps({"suite": "egru", "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)


if __name__ == "__main__":
    main()
