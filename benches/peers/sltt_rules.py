"""BPTT, SLTT and SLTT-K: from a batch `[time, batch, channels, height, width]` to gradients."""

import torch
from spikingjelly.clock_driven import functional
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from lif import DetachedLif, Lif

MSE_SHARE = 0.05


def parse(rule):
    """The neuron of a rule and how many steps it learns from (None: all)."""
    if rule == "bptt":
        return Lif, None
    if rule == "sltt":
        return DetachedLif, None
    name, _, steps = rule.partition("=")
    if name != "sltt-k" or not steps.isdigit() or int(steps) < 1:
        raise SystemExit(f"error: unknown learning rule {rule}: use bptt, sltt or sltt-k=K")
    return DetachedLif, int(steps)


def loss_of(logits, labels):
    target = one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (1 - MSE_SHARE) * cross_entropy(logits, labels) + MSE_SHARE * mse_loss(logits, target)


def gradients(model, rule, x, labels):
    """Adds the gradients of the mean loss over time; returns that loss and the sum of the outputs."""
    time = len(x)
    if rule == "bptt":
        outputs = torch.stack([model(frame) for frame in x])
        loss = loss_of(outputs.flatten(0, 1), labels.repeat(time))
        loss.backward()
        total, value = outputs.detach().sum(0), loss.item()
    else:
        _, count = parse(rule)
        learning = set(torch.randperm(time)[:count].tolist())
        total, value = 0, 0.0
        for t, frame in enumerate(x):
            # Steps that do not learn still run in training mode: they count in the running statistics.
            with torch.set_grad_enabled(t in learning):
                out = model(frame)
                if t in learning:
                    # Divided by all steps, also where few learn, as in the official code.
                    loss = loss_of(out, labels) / time
                    loss.backward()
                    value += loss.item()
            total = total + out.detach()
    functional.reset_net(model)
    return value, total
