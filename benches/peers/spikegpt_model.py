"""SpikeGPT in PyTorch with the arithmetic of the official model: token shift, WKV and LIF as a user without CUDA runs them.

Sequences are `[batch, time, channels]`, as in the official code; WKV and the neurons are loops over the tokens.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

# What stands before the first token in the exponent of WKV.
NOTHING = -1e38
# Weight of the largest logit's gradient in L2Wrap.
PULL = 1e-4


class Spike(torch.autograd.Function):
    """1 where the value is not negative; the arctan surrogate, alpha 2, behind."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad / (1 + (math.pi * x) ** 2)


class L2Wrap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss, logits):
        ctx.save_for_backward(logits)
        return loss

    @staticmethod
    def backward(ctx, grad):
        (logits,) = ctx.saved_tensors
        largest, index = logits.max(-1, keepdim=True)
        pull = torch.zeros_like(logits).scatter_(-1, index, largest * PULL / logits[..., 0].numel())
        return grad, pull


def lif(currents):
    """tau 2 with decaying input, threshold 1, reset to zero with its gradient."""
    v = torch.zeros_like(currents[:, 0])
    spikes = []
    for x in currents.unbind(1):
        v = v + (x - v) / 2
        s = Spike.apply(v - 1)
        spikes.append(s)
        v = (1 - s) * v
    return torch.stack(spikes, 1)


def wkv(w, u, k, v):
    p = q = torch.zeros_like(k[:, 0])
    o = torch.full_like(p, NOTHING)
    out = []
    for k, v in zip(k.unbind(1), v.unbind(1)):
        largest = torch.maximum(o, u + k)
        before, now = torch.exp(o - largest), torch.exp(u + k - largest)
        out.append((before * p + now * v) / (before * q + now))
        largest = torch.maximum(w + o, k)
        before, now = torch.exp(w + o - largest), torch.exp(k - largest)
        p, q, o = before * p + now * v, before * q + now, largest
    return torch.stack(out, 1)


class Mix(nn.Module):
    """Shares of the present token by name."""

    def __init__(self, width, names):
        super().__init__()
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))
        for name in names:
            self.register_parameter(f"time_mix_{name}", nn.Parameter(torch.arange(width).div(width).view(1, 1, -1)))

    def mixed(self, x, *names):
        before = self.shift(x)
        shares = (getattr(self, f"time_mix_{name}") for name in names)
        return [x * share + before * (1 - share) for share in shares]


class TimeMix(Mix):
    def __init__(self, width):
        super().__init__(width, "kvr")
        along = torch.arange(width) / max(width - 1, 1)
        self.time_decay = nn.Parameter(-5 + 8 * along**0.7)
        self.time_first = nn.Parameter(torch.full((width,), math.log(0.3)))
        for name in ("key", "value", "receptance", "output"):
            self.add_module(name, nn.Linear(width, width, bias=False))

    def forward(self, x):
        k, v, r = self.mixed(x, *"kvr")
        y = wkv(-torch.exp(self.time_decay), self.time_first, self.key(k), self.value(v))
        return self.output(torch.sigmoid(self.receptance(r)) * y)


class ChannelMix(Mix):
    def __init__(self, width):
        super().__init__(width, "kr")
        self.key = nn.Linear(width, 4 * width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        k, r = self.mixed(x, *"kr")
        return torch.sigmoid(self.receptance(r)) * self.value(torch.relu(self.key(k)) ** 2)


class Block(nn.Module):
    def __init__(self, width, first):
        super().__init__()
        self.ln0 = nn.LayerNorm(width) if first else nn.Identity()
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.att, self.ffn = TimeMix(width), ChannelMix(width)
        self.dropout = nn.Dropout(0.03)

    def forward(self, x):
        x = self.ln0(x)
        x = x + lif(self.att(self.ln1(x)))
        x = x + lif(self.ffn(self.ln2(x)))
        return self.dropout(x)


class SpikeGpt(nn.Module):
    def __init__(self, layers, width, vocabulary):
        super().__init__()
        self.emb = nn.Embedding(vocabulary, width)
        self.blocks = nn.Sequential(*(Block(width, layer == 0) for layer in range(layers)))
        self.ln_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens):
        return self.head(self.ln_out(self.blocks(Spike.apply(self.emb(tokens)))))


def loss_of(logits, targets):
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return L2Wrap.apply(loss, logits)
